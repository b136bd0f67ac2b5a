// SPDX-License-Identifier: MIT
// Losses over one block of elements, or one row: the value is returned, the gradient written, in one pass where the
// arithmetic allows. dx may be null when only the value is wanted.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/rows/softmax.hpp"

namespace tilewright::detail {

template <class T, class A>
struct ValueAndGradient {
  Vec<T, A> value, gradient;
};

/// The sum of the values that Point gives n elements; dx = gradient * scale. Every value, and every gradient, is
/// multiplied by a weight first where there are some.
template <class Point, class A>
float pointwise_loss(const PointBlock& block) noexcept {
  const PointBlock b = block;  // a copy that stores to dx cannot change
  using T = float;
  using V = Vec<T, A>;
  const V scale = simd::set<T, A>(b.scale), parameter = simd::set<T, A>(b.parameter);
  return reduce<Add, T, A, Term::is_long>(
      b.n, T(0), [&](Index i, auto... some) __attribute__((always_inline)) {
        V other = parameter;
        if constexpr (Point::kTakesOther) other = simd::load<T, A>(b.other + i, some...);
        const V x = simd::load<T, A>(b.x + i, some...), target = simd::load<T, A>(b.target + i, some...);
        ValueAndGradient<T, A> p = Point::template at<T, A>(x, target, other, parameter);
        if (b.weight != nullptr) {
          const V weight = simd::load<T, A>(b.weight + i, some...);
          p = {p.value * weight, p.gradient * weight};
        }
        if (b.dx != nullptr) simd::store(b.dx + i, p.gradient * scale, some...);
        if (b.values != nullptr) simd::store(b.values + i, p.value, some...);
        return p.value;
      });
}

/// (x - t)^2 and 2 (x - t)
struct SquaredError {
  static constexpr bool kTakesOther = false;
  template <class T, class A>
  TILEWRIGHT_INLINE ValueAndGradient<T, A> at(Vec<T, A> x, Vec<T, A> t, Vec<T, A>, Vec<T, A>) {
    const Vec<T, A> d = x - t;
    return {d * d, d + d};
  }
};

/// max(x, 0) - x t + log(1 + exp(-|x|)) and sigmoid(x) - t
struct LogisticLoss {
  static constexpr bool kTakesOther = false;
  template <class T, class A>
  TILEWRIGHT_INLINE ValueAndGradient<T, A> at(Vec<T, A> x, Vec<T, A> t, Vec<T, A>, Vec<T, A>) {
    using V = Vec<T, A>;
    const V zero = simd::set<T, A>(0), one = simd::set<T, A>(1);
    const V e = simd::exp_of_negative(zero - simd::abs(x));
    const V major = simd::div(one, one + e);
    const auto negative = x < zero;
    const V positive_part = simd::select(negative, zero, x);
    const V value = (positive_part - x * t) + simd::log1p_unit(e);
    return {value, simd::select(negative, e * major, major) - t};
  }
};

/// With q = 1 + (pos_weight - 1) t: (1 - t) x + q log(1 + exp(-x)) and q sigmoid(x) - pos_weight t.
struct WeightedLogisticLoss {
  static constexpr bool kTakesOther = true;
  template <class T, class A>
  TILEWRIGHT_INLINE ValueAndGradient<T, A> at(Vec<T, A> x, Vec<T, A> t, Vec<T, A> pos_weight, Vec<T, A>) {
    using V = Vec<T, A>;
    const V zero = simd::set<T, A>(0), one = simd::set<T, A>(1);
    const V e = simd::exp_of_negative(zero - simd::abs(x));
    const V major = simd::div(one, one + e);
    const auto negative = x < zero;
    const V softplus = simd::log1p_unit(e) + simd::select(negative, zero - x, zero);  // of -x
    const V q = simd::multiply_add(pos_weight - one, t, one);
    return {simd::multiply_add(one - t, x, q * softplus),
            simd::multiply_add(q, simd::select(negative, e * major, major), zero - pos_weight * t)};
  }
};

/// |x - t| and its sign
struct AbsoluteError {
  static constexpr bool kTakesOther = false;
  template <class T, class A>
  TILEWRIGHT_INLINE ValueAndGradient<T, A> at(Vec<T, A> x, Vec<T, A> t, Vec<T, A>, Vec<T, A>) {
    const Vec<T, A> d = x - t;
    return {simd::abs(d), simd::sign(d)};
  }
};

/// |d| < beta ? d^2 / (2 beta) : |d| - beta / 2
struct SmoothAbsoluteError {
  static constexpr bool kTakesOther = false;
  template <class T, class A>
  TILEWRIGHT_INLINE ValueAndGradient<T, A> at(Vec<T, A> x, Vec<T, A> t, Vec<T, A>, Vec<T, A> beta) {
    const Vec<T, A> d = x - t, size = simd::abs(d), half = simd::set<T, A>(T(0.5)), slope = simd::div(d, beta);
    const auto near = size < beta;
    return {simd::select(near, half * d * slope, simd::multiply_add(half, simd::set<T, A>(0) - beta, size)),
            simd::select(near, slope, simd::sign(d))};
  }
};

/// |d| <= delta ? d^2 / 2 : delta (|d| - delta / 2)
struct HuberLoss {
  static constexpr bool kTakesOther = false;
  template <class T, class A>
  TILEWRIGHT_INLINE ValueAndGradient<T, A> at(Vec<T, A> x, Vec<T, A> t, Vec<T, A>, Vec<T, A> delta) {
    const Vec<T, A> d = x - t, size = simd::abs(d), half = simd::set<T, A>(T(0.5));
    const auto near = size <= delta;
    return {simd::select(near, half * d * d, delta * simd::multiply_add(half, simd::set<T, A>(0) - delta, size)),
            simd::select(near, d, delta * simd::sign(d))};
  }
};

/// -t max(log x, -100) - (1 - t) max(log(1 - x), -100) and (x - t) / max(x (1 - x), 1e-12)
struct BinaryCrossEntropy {
  static constexpr bool kTakesOther = false;
  template <class T, class A>
  TILEWRIGHT_INLINE ValueAndGradient<T, A> at(Vec<T, A> x, Vec<T, A> t, Vec<T, A>, Vec<T, A>) {
    using V = Vec<T, A>;
    const V one = simd::set<T, A>(1), least = simd::set<T, A>(T(1e-12)), variance = x * (one - x);
    return {value<T, A>(x, t), simd::div(x - t, simd::select(variance < least, least, variance))};
  }

 private:
  /// Called, not inlined, which takes a tenth more time: the loops' copies of it were 12 KB.
  template <class T, class A>
  [[gnu::noinline]] static Vec<T, A> value(Vec<T, A> x, Vec<T, A> t) {
    using V = Vec<T, A>;
    const V zero = simd::set<T, A>(0), one = simd::set<T, A>(1), low = simd::set<T, A>(-100);
    const V yes = simd::log(x), no = simd::log1p(zero - x);
    return (t - one) * simd::select(no < low, low, no) - t * simd::select(yes < low, low, yes);
  }
};

/// t (log t - x) and -t; 0 where t is 0.
struct KlDivergence {
  static constexpr bool kTakesOther = false;
  template <class T, class A>
  TILEWRIGHT_INLINE ValueAndGradient<T, A> at(Vec<T, A> x, Vec<T, A> t, Vec<T, A>, Vec<T, A>) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    return {simd::select(t == zero, t * t, t * (simd::log(t) - x)), zero - t};
  }
};

/// exp(t) (t - x) and -exp(t); 0 where that is 0.
struct KlDivergenceOfLogs {
  static constexpr bool kTakesOther = false;
  template <class T, class A>
  TILEWRIGHT_INLINE ValueAndGradient<T, A> at(Vec<T, A> x, Vec<T, A> t, Vec<T, A>, Vec<T, A>) {
    const Vec<T, A> zero = simd::set<T, A>(0), p = simd::exp(t);
    return {simd::select(p == zero, p, p * (t - x)), zero - p};
  }
};

/// t = 1: x; t = -1: max(0, margin - x). At 0 the derivative is that of the margin's side, as PyTorch's clamp.
struct HingeEmbedding {
  static constexpr bool kTakesOther = false;
  template <class T, class A>
  TILEWRIGHT_INLINE ValueAndGradient<T, A> at(Vec<T, A> x, Vec<T, A> t, Vec<T, A>, Vec<T, A> margin) {
    const Vec<T, A> zero = simd::set<T, A>(0), one = simd::set<T, A>(1), gap = margin - x;
    const auto similar = t == one;
    return {simd::select(similar, x, simd::select(gap < zero, zero, gap)),
            simd::select(similar, one, simd::select(gap < zero, zero, simd::select(zero <= gap, zero - one, gap)))};
  }
};

/// max(0, margin - t (x - other)) and its derivative by x
struct MarginRanking {
  static constexpr bool kTakesOther = true;
  template <class T, class A>
  TILEWRIGHT_INLINE ValueAndGradient<T, A> at(Vec<T, A> x, Vec<T, A> t, Vec<T, A> other, Vec<T, A> margin) {
    const Vec<T, A> zero = simd::set<T, A>(0), gap = margin - t * (x - other);
    return {simd::select(gap < zero, zero, gap),
            simd::select(gap < zero, zero, simd::select(zero <= gap, zero - t, gap))};
  }
};

/// In the order of PointLoss.
template <class... P>
struct PointList {};
using Points =
    PointList<SquaredError, LogisticLoss, WeightedLogisticLoss, AbsoluteError, SmoothAbsoluteError, HuberLoss,
              BinaryCrossEntropy, KlDivergence, KlDivergenceOfLogs, HingeEmbedding, MarginRanking>;

/// The sum of exp(x - largest), whose terms dx receives unless it is null.
template <class T, class A>
TILEWRIGHT_MIXING T exponentials(const T* x, T* dx, Index n, T largest) noexcept {
  if (dx == nullptr) return sum_of_exponentials<false, T, A>(x, dx, n, largest);
  return sum_of_exponentials<true, T, A>(x, dx, n, largest);
}

/// log(sum_j exp(x_j)) - x_target for one row; dx = (softmax(x) - onehot) * scale. Three passes over a row that sits in
/// the first-level cache: maximum; exponentials (into dx) and their sum; scaling.
template <class A>
float cross_entropy_row(const float* x, float* dx, Index n, Index target, float scale) noexcept {
  using T = float;
  const T largest = row_max<T, A, MaxOfNumbers>(x, n), picked = x[target];
  const T sum = exponentials<T, A>(x, dx, n, largest);
  if (dx != nullptr) {
    const Vec<T, A> factor = simd::div(simd::set<T, A>(scale), simd::set<T, A>(sum));
    simd::for_registers<T, A>(
        n, [=](Index i, auto... some) __attribute__((always_inline)) {
          simd::store(dx + i, simd::load<T, A>(dx + i, some...) * factor, some...);
        });
    dx[target] -= scale;
  }
  return scalar_log<T, A>(sum) + (largest - picked);
}

/// With targets r_j = weight_j (share probability_j + uniform), and `picked` more at `target`: sum_j r_j (log(sum
/// exp(x)) - x_j), and dx = scale (sum(r) softmax(x) - r). A target of 0 contributes 0 whatever x is.
template <class A>
float cross_entropy_mix(const MixRow& row) noexcept {
  const MixRow m = row;
  using T = float;
  using V = Vec<T, A>;
  const T largest = row_max<T, A, MaxOfNumbers>(m.x, m.n), at_target = m.target < 0 ? 0 : m.x[m.target];
  const V top = simd::set<T, A>(largest), zero = simd::set<T, A>(0);
  const V uniform = simd::set<T, A>(m.uniform), share = simd::set<T, A>(m.share);
  const auto wanted = [&](Index i, auto... some) __attribute__((always_inline)) {
    V r = uniform;
    if (m.probabilities != nullptr) r = simd::multiply_add(share, simd::load<T, A>(m.probabilities + i, some...), r);
    return m.weight == nullptr ? r : r * simd::load<T, A>(m.weight + i, some...);
  };
  const T mass = m.picked + reduce<Add, T, A, Term::is_long>(m.n, T(0), wanted);
  const T away = reduce<Add, T, A, Term::is_long>(
      m.n, T(0), [&](Index i, auto... some) __attribute__((always_inline)) {
        const V r = wanted(i, some...);
        return simd::select(r == zero, zero, r * (top - simd::load<T, A>(m.x + i, some...)));
      });
  const T sum = exponentials<T, A>(m.x, m.dx, m.n, largest);  // x may be dx: from here on x is gone
  T value = away + mass * scalar_log<T, A>(sum);
  if (m.target >= 0) value += m.picked * (largest - at_target);
  if (m.dx != nullptr) {
    const V factor = simd::set<T, A>(m.scale * mass / sum), scale = simd::set<T, A>(-m.scale);
    simd::for_registers<T, A>(
        m.n, [&](Index i, auto... some) __attribute__((always_inline)) {
          const V e = simd::load<T, A>(m.dx + i, some...);
          simd::store(m.dx + i, simd::multiply_add(wanted(i, some...), scale, e * factor), some...);
        });
    if (m.target >= 0) m.dx[m.target] -= m.scale * m.picked;
  }
  return value;
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
