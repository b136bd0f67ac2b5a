// SPDX-License-Identifier: MIT
// Bare loops: multiply-adds and divisions on registers, and arrays that are moved. Nothing that does the same can be
// faster.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/simd/simd.hpp"

namespace tilewright::detail {

template <class T, class A>
T fma_loop(Index steps, T a, T b) noexcept {
  const Vec<T, A> factor = simd::set<T, A>(a), term = simd::set<T, A>(b);
  Vec<T, A> x[kFmaChains];
#pragma GCC unroll 12
  for (int i = 0; i < kFmaChains; ++i) x[i] = simd::set<T, A>(b * static_cast<T>(i));  // or it would be one chain
  for (Index s = 0; s < steps; ++s)
#pragma GCC unroll 12
    for (int i = 0; i < kFmaChains; ++i) x[i] = simd::multiply_add(x[i], factor, term);
#pragma GCC unroll 12
  for (int i = 1; i < kFmaChains; ++i) x[0] = x[0] + x[i];
  T lanes[kLanes<T, A>];
  simd::store(lanes, x[0]);
  return lanes[0];
}

/// Divisions, each with kRoots square roots: they share one slow unit on most CPUs.
template <int kRoots, class A>
float divide_loop(Index steps, float a) noexcept {
  using V = Vec<float, A>;
  const V divisor = simd::set<float, A>(a);
  V x[kFmaChains];
#pragma GCC unroll 12
  for (int i = 0; i < kFmaChains; ++i) x[i] = simd::set<float, A>(a + static_cast<float>(i));
  for (Index s = 0; s < steps; ++s)
#pragma GCC unroll 12
    for (int i = 0; i < kFmaChains; ++i) {
      const V y = kRoots > 0 ? simd::sqrt(x[i]) : x[i];
      const V quotient = simd::div(divisor, y);
      x[i] = kRoots > 1 ? simd::sqrt(quotient) : quotient;
    }
#pragma GCC unroll 12
  for (int i = 1; i < kFmaChains; ++i) x[0] = x[0] + x[i];
  float lanes[kLanes<float, A>];
  simd::store(lanes, x[0]);
  return lanes[0];
}

/// Every whole register of the arrays [0 .. kReads) is read, and of the following kWrites (or with two writes and more,
/// of all but the first) written. Four at a time; eight where sums are all there is to wait for.
template <class A, int kReads, int kWrites>
float stream_loop(float* const* arrays, Index n) noexcept {
  using V = Vec<float, A>;
  // Copies, because any store might change what `arrays` points at.
  constexpr int count = kWrites >= 2 ? kReads : kReads + kWrites;
  float* p[count];
#pragma GCC unroll 4
  for (int i = 0; i < count; ++i) p[i] = arrays[i];
  constexpr Index lanes = kLanes<float, A>;
  constexpr bool in_place = kWrites >= 2;
  constexpr int each = kWrites == 0 ? 8 : 4;
  const V a = simd::set<float, A>(1.0001F);
  V sum[each];
#pragma GCC unroll 8
  for (int u = 0; u < each; ++u) sum[u] = simd::set<float, A>(0);
  const auto move = [&](Index at, V& total) {
    V x[kReads];
#pragma GCC unroll 4
    for (int r = 0; r < kReads; ++r) x[r] = simd::load<float, A>(p[r] + at);
    if constexpr (kWrites == 0) {
#pragma GCC unroll 4
      for (int r = 0; r < kReads; ++r) total = total + x[r];
    } else {
#pragma GCC unroll 4
      for (int w = 0; w < kWrites; ++w) {
        const V y = in_place      ? simd::multiply_add(x[w + 1], a, x[0])
                    : kReads == 2 ? simd::multiply_add(x[0], a, x[kReads - 1])
                                  : x[0] * a;
        simd::store(p[in_place ? w + 1 : kReads] + at, y);
      }
    }
  };
  Index i = 0;
  for (; i + each * lanes <= n; i += each * lanes)
#pragma GCC unroll 8
    for (int u = 0; u < each; ++u) move(i + u * lanes, sum[u]);
  for (; i + lanes <= n; i += lanes) move(i, sum[0]);
#pragma GCC unroll 8
  for (int u = 1; u < each; ++u) sum[0] = sum[0] + sum[u];
  float rest[kLanes<float, A>];
  simd::store(rest, sum[0]);
  return rest[0];
}

}  // namespace tilewright::detail
