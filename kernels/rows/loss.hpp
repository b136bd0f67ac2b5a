// SPDX-License-Identifier: MIT
// Losses over one block of elements, or one row: the value is returned, the gradient written, in one pass where the
// arithmetic allows. dx may be null when only the value is wanted.
#pragma once

#include "kernels/map/formulas.hpp"
#include "kernels/rows/reduce.hpp"

namespace tilewright::detail {

/// Sum of point.value(x, t) over n elements; dx = point.gradient(x, t) * scale.
template <class Point, class T, class A>
T pointwise_loss(const T* x, const T* target, T* dx, Index n, T scale) noexcept {
  const Vec<T, A> s = simd::set<T, A>(scale);
  const auto at = [=](Index i, auto... lanes) __attribute__((always_inline)) {
    const auto p = Point::template at<T, A>(simd::load<T, A>(x + i, lanes...), simd::load<T, A>(target + i, lanes...));
    if (dx != nullptr) simd::store(dx + i, p.gradient * s, lanes...);
    return p.value;
  };
  return reduce<Add, T, A>(n, T(0), at);
}

template <class T, class A>
struct ValueAndGradient {
  Vec<T, A> value, gradient;
};

/// (x - t)^2 and 2 (x - t)
struct SquaredError {
  template <class T, class A>
  TILEWRIGHT_INLINE ValueAndGradient<T, A> at(Vec<T, A> x, Vec<T, A> t) {
    const Vec<T, A> d = x - t;
    return {d * d, d + d};
  }
};

/// max(x, 0) - x t + log(1 + exp(-|x|)) and sigmoid(x) - t
struct LogisticLoss {
  template <class T, class A>
  TILEWRIGHT_INLINE ValueAndGradient<T, A> at(Vec<T, A> x, Vec<T, A> t) {
    using V = Vec<T, A>;
    const V zero = simd::set<T, A>(0), one = simd::set<T, A>(1);
    const V e = simd::exp(zero - simd::abs(x));
    const V major = simd::div(one, one + e);
    const auto negative = x < zero;
    const V positive_part = simd::select(negative, zero, x);
    const V value = (positive_part - x * t) + simd::log1p_unit(e);
    return {value, simd::select(negative, e * major, major) - t};
  }
};

/// log(sum_j exp(x_j)) - x_target for one row; dx = (softmax(x) - onehot) * scale. Three passes over a row that sits in
/// the first-level cache: maximum; exponentials (into dx) and their sum; scaling.
template <class T, class A>
T cross_entropy_row(const T* x, T* dx, Index n, Index target, T scale) noexcept {
  using V = Vec<T, A>;
  constexpr int lanes = kLanes<T, A>;
  const T largest = reduce<Max, T, A>(
      n, -std::numeric_limits<T>::infinity(), [=](Index i, auto... some) __attribute__((always_inline)) {
        return simd::load<T, A>(x + i, some...);
      });
  const T picked = x[target];
  const V m = simd::set<T, A>(largest);
  const T sum = reduce<Add, T, A>(
      n, T(0), [=](Index i, auto... some) __attribute__((always_inline)) {
        const V e = simd::exp(simd::load<T, A>(x + i, some...) - m);
        if (dx != nullptr) simd::store(dx + i, e, some...);
        return e;
      });
  const V log_sum = simd::log_normal(simd::set<T, A>(sum));
  T first[lanes];
  simd::store(first, log_sum);
  if (dx != nullptr) {
    const V factor = simd::div(simd::set<T, A>(scale), simd::set<T, A>(sum));
    simd::for_registers<T, A>(
        n, [=](Index i, auto... some) __attribute__((always_inline)) {
          simd::store(dx + i, simd::load<T, A>(dx + i, some...) * factor, some...);
        });
    dx[target] -= scale;
  }
  return first[0] + (largest - picked);
}

/// sums[j] += sum over rows of x[i * row_stride + j]: ascending rows, one chain from zero, then one addition.
template <class T, class A>
void add_column_sums(const T* x, Index row_stride, Index rows, Index cols, T* sums) noexcept {
  constexpr int lanes = kLanes<T, A>;
  constexpr int wide = 4;
  Index j = 0;
  for (; j + wide * lanes <= cols; j += wide * lanes) {
    Vec<T, A> s[wide];
#pragma GCC unroll 4
    for (int v = 0; v < wide; ++v) s[v] = simd::set<T, A>(0);
    for (Index i = 0; i < rows; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < wide; ++v) s[v] = s[v] + simd::load<T, A>(x + i * row_stride + j + v * lanes);
#pragma GCC unroll 4
    for (int v = 0; v < wide; ++v) simd::store(sums + j + v * lanes, simd::load<T, A>(sums + j + v * lanes) + s[v]);
  }
  for (; j < cols; j += lanes) {
    const auto some = simd::first_lanes<T, A>(cols - j < lanes ? cols - j : lanes);
    Vec<T, A> s = simd::set<T, A>(0);
    for (Index i = 0; i < rows; ++i) s = s + simd::load<T, A>(x + i * row_stride + j, some);
    simd::store(sums + j, simd::load<T, A>(sums + j, some) + s, some);
  }
}

}  // namespace tilewright::detail
