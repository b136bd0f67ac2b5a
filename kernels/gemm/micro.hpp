// SPDX-License-Identifier: MIT
// The micro-kernel: one tile of C in registers, one pass over k.
//
// Each element of the tile is one chain of fused multiply-adds from zero in ascending p (the numerics specification);
// the registers run over the columns of C, so the width of a register does not change any bit. With R rows and V
// registers across, a step over p loads V registers of B, broadcasts R elements of A and does R * V fused
// multiply-adds. On AVX-512 14 x 2 uses 28 of 32 registers for C, two for B and one for A.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/simd/simd.hpp"

namespace tilewright::detail {

/// How many steps before the end the tile of C is brought towards the first-level cache: long enough for the second or
/// third level to answer (some 60 cycles, 14 a step), short enough not to be pushed out again by A and B.
inline constexpr Index kPrefetchAhead = 32;

/// Rows of a full tile: as many accumulators as the register file holds beside B and A. AVX-512 and NEON have 32
/// registers, AVX2 and SSE2 16 (SSE2 spends one more on the product that FMA would have kept).
template <class T, class A>
inline constexpr int tile_rows_of = kIsAvx512<A> ? 14
                                    : kIsNeon<A> ? 12
                                    : kIsAvx2<A> ? 6
                                                 : 5;

template <class T, class A, int R, int V, bool kPacked, bool kRagged>
void gemm_micro(const Tile<T>& t) noexcept {
  constexpr int lanes = kLanes<T, A>;
  const T* a = t.a;
  const T* b = t.b;
  const Index row = kPacked ? 1 : t.a_row_stride;
  const Index step_a = kPacked ? tile_rows_of<T, A> : t.a_k_stride;
  const Index step_b = kPacked ? Index{kTileVectors} * lanes : t.b_k_stride;
  const auto last = simd::first_lanes<T, A>(t.cols - (V - 1) * lanes);

  Vec<T, A> acc[R][V];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) acc[i][v] = simd::set<T, A>(0);

  const auto step = [&]() __attribute__((always_inline)) {
    Vec<T, A> bv[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      if (kRagged && v == V - 1)
        bv[v] = simd::load<T, A>(b + v * lanes, last);
      else
        bv[v] = simd::load<T, A>(b + v * lanes);
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Vec<T, A> av = simd::set<T, A>(a[i * row]);
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) acc[i][v] = simd::fma(av, bv[v], acc[i][v]);
    }
    a += step_a;
    b += step_b;
  };
  const Index ahead = t.k > kPrefetchAhead ? kPrefetchAhead : 0;
  for (Index p = ahead; p < t.k; ++p) step();
  if (ahead > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) __builtin_prefetch(t.c + i * t.c_row_stride + v * lanes, 1);
    for (Index p = 0; p < ahead; ++p) step();
  }

  const Vec<T, A> alpha = simd::set<T, A>(t.alpha);
  const Vec<T, A> keep_c = simd::set<T, A>(t.keep_c);
  const bool read_c = t.keep_c != T(0);
  const bool whole = t.cols == Index{V} * lanes;
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
    T* c = t.c + i * t.c_row_stride;
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      T* at = c + v * lanes;
      Vec<T, A> value = acc[i][v] * alpha;
      if (v < V - 1 || whole) {
        if (read_c) value = simd::fma(keep_c, simd::load<T, A>(at), value);
        simd::store(at, value);
      } else {
        if (read_c) value = simd::fma(keep_c, simd::load<T, A>(at, last), value);
        simd::store(at, value, last);
      }
    }
  }
}

}  // namespace tilewright::detail
