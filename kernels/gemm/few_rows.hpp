// SPDX-License-Identifier: MIT
// Products of a few rows of A by a large B: bound by reading B, once. Each element of B is met R times, so packing it
// for the micro-kernel would cost more than the product.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/simd/transpose.hpp"

namespace tilewright::detail {

/// B's rows are neighbours: eight of them at a time along their whole length, the sums of all columns waiting in the
/// first-level cache. Long runs are what memory answers fastest to.
template <class T, class A, int R>
void few_rows_across(const FewRows<T>& t) noexcept {
  const T* a[R];
  for (int r = 0; r < R; ++r) a[r] = t.a + (r < t.rows ? r : t.rows - 1) * t.a_stride;
  constexpr Index together = 8, ahead = 256 / Index{sizeof(T)};
  const auto some_rows = [&](Index p, auto count) __attribute__((always_inline)) {
    constexpr Index steps = decltype(count)::value;
    const T* b = t.b + p * t.b_stride;
    simd::for_registers<T, A>(
        t.n, [&](Index j, auto... some) __attribute__((always_inline)) {
          Vec<T, A> s[R];
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r)
            s[r] = p == 0 ? simd::set<T, A>(0) : simd::load<T, A>(t.sums + r * t.sums_stride + j, some...);
#pragma GCC unroll 8
          for (Index q = 0; q < steps; ++q) {
            const T* from = b + q * t.b_stride + j;
            __builtin_prefetch(from + ahead);
            const Vec<T, A> bv = simd::load<T, A>(from, some...);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) s[r] = simd::fma(simd::set<T, A>(a[r][p + q]), bv, s[r]);
          }
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) simd::store(t.sums + r * t.sums_stride + j, s[r], some...);
        });
  };
  Index p = 0;
  for (; p + together <= t.k; p += together) some_rows(p, std::integral_constant<Index, together>());
  for (; p < t.k; ++p) some_rows(p, std::integral_constant<Index, 1>());
}

/// B's columns are neighbours: squares of registers are transposed and multiplied at once. Meanwhile what comes after
/// this block is fetched, a long run of each column at a time.
template <class T, class A, int R>
void few_rows_along(const FewRows<T>& t) noexcept {
  constexpr int lanes = kLanes<T, A>;
  constexpr Index line = 64 / Index{sizeof(T)}, lines = lanes * lanes / line > 0 ? lanes * lanes / line : 1;
  const T* a[R];
  for (int r = 0; r < R; ++r) a[r] = t.a + (r < t.rows ? r : t.rows - 1) * t.a_stride;
  const T* soon = t.next;
  Index fetched = 0;
  for (Index j = 0; j < t.n; j += lanes) {
    const Index cols = t.n - j < lanes ? t.n - j : lanes;
    const T* b = t.b + j * t.b_stride;
    Vec<T, A> s[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) s[r] = simd::set<T, A>(0);
    for (Index p = 0; p < t.k; p += lanes) {
#pragma GCC unroll 16
      for (int i = 0; i < lines; ++i) __builtin_prefetch(soon + fetched + i * line, 0, 2);
      fetched += lines * line;
      if (fetched >= t.k) {
        fetched = 0;
        soon += t.b_stride;
      }
      Vec<T, A> square[lanes];
      const Index steps = t.k - p < lanes ? t.k - p : lanes;
      if (steps == lanes && cols == lanes) {
#pragma GCC unroll 16
        for (int i = 0; i < lanes; ++i) square[i] = simd::load<T, A>(b + i * t.b_stride + p);
        simd::transpose<T, A>(square);
#pragma GCC unroll 16
        for (int i = 0; i < lanes; ++i)
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) s[r] = simd::fma(simd::set<T, A>(a[r][p + i]), square[i], s[r]);
        continue;
      }
      const auto some = simd::first_lanes<T, A>(steps);
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i)
        square[i] = i < cols ? simd::load<T, A>(b + i * t.b_stride + p, some) : simd::set<T, A>(0);
      simd::transpose<T, A>(square);
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i)
        if (i < steps)
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) s[r] = simd::fma(simd::set<T, A>(a[r][p + i]), square[i], s[r]);
    }
    const auto some = simd::first_lanes<T, A>(cols);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) simd::store(t.sums + r * t.sums_stride + j, s[r], some);
  }
}

}  // namespace tilewright::detail
