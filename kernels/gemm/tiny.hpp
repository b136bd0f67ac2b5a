// SPDX-License-Identifier: MIT
// Products by a matrix so small that all of it stays in registers: one register for each of its rows. What is left is
// to broadcast the elements of A, eight rows at a time, whose chains hide each other's latency. Where there are too few
// registers (K = 0) the matrix stays in the first-level cache, and any k will do.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/gemm/micro.hpp"

namespace tilewright::detail {

/// gemm_tiny below, for rows of b that fill a register, or any.
template <class T, class A, int K, bool kAlong, bool kWhole>
[[gnu::always_inline]] inline void gemm_tiny_rows(const T* a, Index a_stride, const T* b_rows, Index b_row_stride,
                                                  Index cols, const TinyEnd<T>& end) noexcept {
  using Register = typename RegisterOf<T, A>::type;
  const auto some = simd::first_lanes<T, A>(cols);
  const auto load = [&](const T* from) __attribute__((always_inline)) {
    if constexpr (kWhole)
      return simd::load<T, A>(from);
    else
      return simd::load<T, A>(from, some);
  };
  [[maybe_unused]] Register b[K > 0 ? K : 1];
#pragma GCC unroll 16
  for (int p = 0; p < K; ++p) b[p] = load(b_rows + p * b_row_stride);
  const Index step = kAlong ? 1 : a_stride;
  Index row = kAlong ? a_stride : 1, c_row = end.c_row_stride;
  const T alpha = end.alpha;
  T* c = end.c;
  for (Index left = end.rows;;) {
    // Unknown again in every pass: GCC would keep the sum of every stride and every step otherwise, in memory.
    asm volatile("" : "+r"(row), "+r"(c_row));
    const T* base[3] = {a, a + 3 * row, a + 6 * row};
    Register sum[kTinyRows];
#pragma GCC unroll 8
    for (int r = 0; r < kTinyRows; ++r) sum[r] = simd::set<T, A>(0);
    const auto multiply = [&](Index p, const Register& row_of_b) __attribute__((always_inline)) {
#pragma GCC unroll 8
      for (int r = 0; r < kTinyRows; ++r)
        sum[r] = simd::multiply_add(simd::set<T, A>(base[r / 3][r % 3 * row + (kAlong ? p : 0)]), row_of_b, sum[r]);
      if constexpr (!kAlong) {
#pragma GCC unroll 3
        for (int g = 0; g < 3; ++g) base[g] += step;
      }
    };
    if constexpr (K > 0) {
#pragma GCC unroll 16
      for (int p = 0; p < K; ++p) multiply(p, b[p]);
    } else {
      for (Index p = 0; p < end.k; ++p) multiply(p, load(b_rows + p * b_row_stride));
    }
    if (alpha != T(1)) {
      const Register factor = simd::set<T, A>(alpha);
#pragma GCC unroll 8
      for (int r = 0; r < kTinyRows; ++r) sum[r] = sum[r] * factor;
    }
    T* to = c;
#pragma GCC unroll 8
    for (int r = 0; r < kTinyRows; ++r, to += c_row) {
      if constexpr (kWhole)
        simd::store(to, sum[r]);
      else
        simd::store(to, sum[r], some);
    }
    left -= kTinyRows;
    if (left <= 0) return;
    const Index next = left < kTinyRows ? left : kTinyRows;
    a += next * row;
    c += next * c_row;
  }
}

/// c[i] = alpha * a[i] * b for k = K, or any k with K = 0, and at least kTinyRows rows. The last rows are computed
/// again where their number is not a multiple of that, so c is never read.
template <class T, class A, int K, bool kAlong>
void gemm_tiny(const T* a, Index a_stride, const T* b, Index b_row_stride, Index cols, const TinyEnd<T>& end) noexcept {
  if constexpr (K == 0)
    if (cols == RegisterOf<T, A>::type::size)
      return gemm_tiny_rows<T, A, K, kAlong, true>(a, a_stride, b, b_row_stride, cols, end);
  gemm_tiny_rows<T, A, K, kAlong, false>(a, a_stride, b, b_row_stride, cols, end);
}

}  // namespace tilewright::detail
