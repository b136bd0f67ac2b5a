// SPDX-License-Identifier: MIT
// The element-wise loops, one formula object each. Whole registers first, then one partial register through the same
// formula.
//
// Where a table serves, on AVX2, the rows that lanes choose are looked for a block ahead. From an argument to its row,
// from there through memory to the addresses, the columns and the polynomial it is a long way, and the CPU can follow
// few registers at a time on it: 27 cycles for each (sigmoid, Zen 3). In two loops it is 20.
#pragma once

#include "kernels/map/formulas.hpp"

namespace tilewright::detail {

template <class F, class T, class A>
concept HasRows = sizeof(T) == 4 && kIsAvx2<A>&& requires(Vec<float, A> x, const Numbers<float, A>& p) {
  F::template rows<A>(x, p);
};
template <class F, class T, class A>
concept HasSlopeRows = sizeof(T) == 4 && kIsAvx2<A>&& requires(Vec<float, A> x, const Numbers<float, A>& p) {
  F::template slope_rows<A>(x, p);
};

/// body(i, where the rows of these lanes are) for whole registers of n elements, in blocks, after rows(i) of each.
template <class A, class Rows, class Body>
TILEWRIGHT_INLINE void rows_ahead(Index n, Rows rows, Body body) {
  constexpr Index lanes = kLanes<float, A>, block = 32 * lanes;
  alignas(32) std::int32_t found[block];
  for (Index first = 0; first < n; first += block) {
    const Index count = n - first < block ? n - first : block;
    for (Index i = 0; i < count; i += lanes) simd::store_rows<A>(rows(first + i), found + i);
    for (Index i = 0; i < count; i += lanes) body(first + i, found + i);
  }
}

/// y[i] = f(x[i]); y may be x.
template <class F, class T, class A>
void map_forward(const T* x, T* y, Index n, const ActivationNumbers<T>& numbers) noexcept {
  Numbers<T, A> p(numbers);
  if constexpr (HasRows<F, T, A>) {
    // The partial register goes through memory, and not through another copy of the formula.
    const Index whole = n / kLanes<T, A> * kLanes<T, A>;
    const auto some = simd::first_lanes<T, A>(n - whole);
    T rest[kLanes<T, A>];
    const T* from = x;
    T* to = y;
    for (Index count = whole;; count = kLanes<T, A>) {
      detail::rows_ahead<A>(
          count,
          [&](Index i) __attribute__((always_inline)) { return F::template rows<A>(simd::load<T, A>(from + i), p); },
          [&](Index i, const std::int32_t* rows) __attribute__((always_inline)) {
            p.rows = rows;
            simd::store(to + i, F::template forward<T, A>(simd::load<T, A>(from + i), p));
          });
      if (whole == n || from == rest) break;
      simd::store(rest, simd::load<T, A>(x + whole, some));
      from = to = rest;
    }
    if (whole < n) simd::store(y + whole, simd::load<T, A>(rest), some);
  } else {
    simd::for_registers<T, A>(
        n, [=](Index i, auto... some) __attribute__((always_inline)) {
          simd::store(y + i, F::template forward<T, A>(simd::load<T, A>(x + i, some...), p), some...);
        });
  }
}

/// dx[i] = dy[i] * f'(saved[i]); dx may be dy or saved.
template <class F, class T, class A>
void map_backward(const T* saved, const T* dy, T* dx, Index n, const ActivationNumbers<T>& numbers) noexcept {
  Numbers<T, A> p(numbers);
  if constexpr (HasSlopeRows<F, T, A>) {
    const Index whole = n / kLanes<T, A> * kLanes<T, A>;
    const auto some = simd::first_lanes<T, A>(n - whole);
    T rest[kLanes<T, A>], rest_dy[kLanes<T, A>];
    const T *from = saved, *up = dy;
    T* to = dx;
    for (Index count = whole;; count = kLanes<T, A>) {
      detail::rows_ahead<A>(
          count,
          [&](Index i)
              __attribute__((always_inline)) { return F::template slope_rows<A>(simd::load<T, A>(from + i), p); },
          [&](Index i, const std::int32_t* rows) __attribute__((always_inline)) {
            p.rows = rows;
            simd::store(to + i, F::template backward<T, A>(simd::load<T, A>(from + i), simd::load<T, A>(up + i), p));
          });
      if (whole == n || from == rest) break;
      simd::store(rest, simd::load<T, A>(saved + whole, some));
      simd::store(rest_dy, simd::load<T, A>(dy + whole, some));
      from = to = rest;
      up = rest_dy;
    }
    if (whole < n) simd::store(dx + whole, simd::load<T, A>(rest), some);
  } else {
    simd::for_registers<T, A>(
        n, [=](Index i, auto... some) __attribute__((always_inline)) {
          const Vec<T, A> d =
              F::template backward<T, A>(simd::load<T, A>(saved + i, some...), simd::load<T, A>(dy + i, some...), p);
          simd::store(dx + i, d, some...);
        });
  }
}

}  // namespace tilewright::detail
