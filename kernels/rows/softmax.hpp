// SPDX-License-Identifier: MIT
// Rows: softmax and its relatives, sums, extremes, and the gradient of softmax. The sums have the order of reduce.hpp.
#pragma once

#include "kernels/rows/reduce.hpp"
#include "kernels/simd/logarithm.hpp"

namespace tilewright::detail {

template <class T, class A, class Op = Max>
T row_max(const T* x, Index n) noexcept {
  return reduce<Op, T, A>(
      n, -std::numeric_limits<T>::infinity(), [=](Index i, auto... some) __attribute__((always_inline)) {
        return simd::load<T, A>(x + i, some...);
      });
}

/// The first place that holds `value`, or a NaN if that is one.
template <class T, class A>
Index row_find(const T* x, Index n, T value) noexcept {
  constexpr int lanes = kLanes<T, A>;
  const Vec<T, A> v = simd::set<T, A>(value);
  Index i = 0;
  const auto differs = [=](T at) { return value == value ? at != value : at == at; };
  for (; i + lanes <= n; i += lanes) {
    const Vec<T, A> here = simd::load<T, A>(x + i);
    if (value == value ? xsimd::any(here == v) : !xsimd::all(here == here)) break;
  }
  while (i < n && differs(x[i])) ++i;
  return i;
}

template <class T, class A>
double row_sum(const T* x, Index n) noexcept {
  return sum_in_blocks<T, A>(
      n, [=](Index i, auto... some) __attribute__((always_inline)) { return simd::load<T, A>(x + i, some...); });
}

template <class T, class A>
double row_dot(const T* x, const T* y, Index n) noexcept {
  return sum_in_blocks<T, A>(
      n, [=](Index i, auto... some) __attribute__((always_inline)) {
        return Product<T, A>{simd::load<T, A>(x + i, some...), simd::load<T, A>(y + i, some...)};
      });
}

/// to = a x + b y
template <class T, class A>
void row_combine(const T* x, const T* y, T a, T b, T* to, Index n) noexcept {
  const Vec<T, A> va = simd::set<T, A>(a), vb = simd::set<T, A>(b);
  simd::for_registers<T, A>(
      n, [=](Index i, auto... some) __attribute__((always_inline)) {
        simd::store(to + i,
                    simd::multiply_add(va, simd::load<T, A>(x + i, some...), vb * simd::load<T, A>(y + i, some...)),
                    some...);
      });
}

/// sum (x - center)^2
template <class T, class A>
double row_squares(const T* x, Index n, T center) noexcept {
  const Vec<T, A> c = simd::set<T, A>(center);
  return sum_in_blocks<T, A>(
      n, [=](Index i, auto... some) __attribute__((always_inline)) {
        const Vec<T, A> d = simd::load<T, A>(x + i, some...) - c;
        return Product<T, A>{d, d};
      });
}

/// to = (x - center) factor, or exp(x - center) factor
template <class T, class A, bool kExp>
void row_distances(const T* x, T center, T factor, T* to, Index n) noexcept {
  const Vec<T, A> c = simd::set<T, A>(center), f = simd::set<T, A>(factor);
  simd::for_registers<T, A>(
      n, [=](Index i, auto... some) __attribute__((always_inline)) {
        const Vec<T, A> d = simd::load<T, A>(x + i, some...) - c;
        simd::store(to + i, (kExp ? simd::exp(d) : d) * f, some...);
      });
}

/// exp(x - largest) for reduce(): n and r of the exponent first, then the rest.
template <class T, class A>
struct Exponentials {
  const T* x;
  Vec<T, A> largest;
  TILEWRIGHT_MEMBER void begin(Index i, Vec<T, A>& n, Vec<T, A>& r) const {
    const auto argument = simd::exp_argument_of_negative<T, A>(simd::load<T, A>(x + i) - largest);
    n = argument.n, r = argument.r;
  }
  TILEWRIGHT_MEMBER Vec<T, A> end(Vec<T, A> n, Vec<T, A> r) const { return simd::exp(simd::ExpArgument<T, A>{n, r}); }
  TILEWRIGHT_MEMBER Vec<T, A> operator()(Index i, auto... some) const {
    return simd::exp_of_negative<T, A>(simd::load<T, A>(x + i, some...) - largest);
  }
};

/// sum exp(x - largest); the terms are also stored in y when kStores.
template <bool kStores, class T, class A>
TILEWRIGHT_INLINE T sum_of_exponentials(const T* x, T* y, Index n, T largest) {
  return reduce<Add, T, A, Term::is_long>(
      n, T(0), Exponentials<T, A>{x, simd::set<T, A>(largest)},
      [=](Vec<T, A> e, Index i, auto... some) __attribute__((always_inline)) {
        if constexpr (kStores) simd::store(y + i, e, some...);
      });
}

/// log(x) of a normal positive number, infinity or NaN.
template <class T, class A>
TILEWRIGHT_INLINE T scalar_log(T x) {
  return simd::first_lane<T, A>(simd::log_normal(simd::set<T, A>(x)));
}

/// log(sum exp(x)), not overflowing; -infinity for a row of such.
template <class T, class A>
TILEWRIGHT_MIXING T row_logsumexp(const T* x, Index n) noexcept {
  const T largest = row_max<T, A, MaxOfNumbers>(x, n);
  if (!(__builtin_fabs(largest) < std::numeric_limits<T>::infinity())) return row_max<T, A>(x, n);  // or NaN beside it
  return largest + scalar_log<T, A>(sum_of_exponentials<false, T, A>(x, nullptr, n, largest));
}

/// Of a row from here on the last pass, which only writes memory, asks for the next row.
inline constexpr Index kLongRow = 1 << 15;

/// y = exp(x - max) / sum, or (x - max) - log(sum). The extremes of some rows that fit into the first-level cache come
/// first, then their sums, so that no row waits for its own.
template <class T, class A, bool kLog>
TILEWRIGHT_MIXING void softmax_rows(const RowBlock& all) noexcept {
  using V = Vec<T, A>;
  constexpr Index kMost = 16, kElements = 4096;
  const RowBlock t = all;
  for (Index first = 0, count; first < t.rows; first += count) {
    const T* x = t.x + first * t.x_stride;
    T* y = t.y + first * t.y_stride;
    T largest[kMost], sums[kMost] = {};
    for (count = 0; first + count < t.rows && count < kMost && (count == 0 || (count + 1) * t.n <= kElements); ++count)
      largest[count] = row_max<T, A, MaxOfNumbers>(x + count * t.x_stride, t.n);
    for (Index k = 0; k < count; ++k)
      sums[k] = sum_of_exponentials<!kLog, T, A>(x + k * t.x_stride, y + k * t.y_stride, t.n, largest[k]);
    for (Index k = 0; k < count; k += kLanes<T, A>) {
      const V sum = simd::load<T, A>(sums + k);
      simd::store(sums + k, kLog ? simd::log_normal(sum) : simd::div(simd::set<T, A>(1), sum));
    }
    for (Index k = 0; k < count; ++k, x += t.x_stride, y += t.y_stride) {
      const V m = simd::set<T, A>(largest[k]), last = simd::set<T, A>(sums[k]);
      const auto finish = [=](auto fetches) __attribute__((always_inline)) {
        simd::for_registers<T, A>(
            t.n, [=](Index i, auto... some) __attribute__((always_inline)) {
              if constexpr (fetches) __builtin_prefetch(x + t.x_stride + i, 0, 2);
              if constexpr (kLog)
                simd::store(y + i, (simd::load<T, A>(x + i, some...) - m) - last, some...);
              else
                simd::store(y + i, simd::load<T, A>(y + i, some...) * last, some...);
            });
      };
      if (t.n >= kLongRow && first + k + 1 < t.rows)
        finish(std::true_type{});
      else
        finish(std::false_type{});
    }
  }
}

/// The gradients of softmax, dx = y (dy - sum y dy), or of log_softmax, dx = dy - exp(y) sum dy. The sums of some short
/// rows come first, so that no row waits for its own.
template <class T, class A, bool kLog>
void softmax_rows_backward(const SoftmaxGradients& all) noexcept {
  using V = Vec<T, A>;
  constexpr Index kMost = 8, kElements = 512;
  const SoftmaxGradients t = all;
  for (Index first = 0, count; first < t.rows; first += count) {
    T sums[kMost];
    for (count = 0; first + count < t.rows && count < kMost && (count == 0 || (count + 1) * t.n <= kElements);
         ++count) {
      const T *y = t.y + (first + count) * t.y_stride, *dy = t.dy + (first + count) * t.dy_stride;
      sums[count] = reduce<Add, T, A>(
          t.n, T(0), [=](Index i, auto... some) __attribute__((always_inline)) {
            const V d = simd::load<T, A>(dy + i, some...);
            if constexpr (kLog)
              return d;
            else
              return Product<T, A>{simd::load<T, A>(y + i, some...), d};
          });
    }
    for (Index k = 0; k < count; ++k) {
      const T *y = t.y + (first + k) * t.y_stride, *dy = t.dy + (first + k) * t.dy_stride;
      T* dx = t.dx + (first + k) * t.dx_stride;
      const V sum = simd::set<T, A>(kLog ? -sums[k] : sums[k]);
      const auto differentiate = [=](auto fetches) __attribute__((always_inline)) {
        simd::for_registers<T, A>(
            t.n, [=](Index i, auto... some) __attribute__((always_inline)) {
              const V v = simd::load<T, A>(y + i, some...), d = simd::load<T, A>(dy + i, some...);
              if constexpr (fetches) {
                __builtin_prefetch(y + t.y_stride + i, 0, 2);
                __builtin_prefetch(dy + t.dy_stride + i, 0, 2);
              }
              if constexpr (kLog)
                simd::store(dx + i, simd::multiply_add(simd::exp(v), sum, d), some...);
              else
                simd::store(dx + i, v * (d - sum), some...);
            });
      };
      if (t.n >= kLongRow && first + k + 1 < t.rows)
        differentiate(std::true_type{});
      else
        differentiate(std::false_type{});
    }
  }
}

}  // namespace tilewright::detail
