// SPDX-License-Identifier: MIT
// One object per activation: the forward formula and the backward formula, on batches. The stand-alone loops, the
// epilogue of gemm and the tails all use these objects; no formula stands anywhere else.
//
// backward(saved, dy, p) is dy * f'(x), where saved is the input x or the output y as saves_input() says, and p has the
// activation's numbers. NaN in `saved` or dy gives NaN.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/simd/elementary.hpp"
#include "kernels/simd/piecewise.hpp"

namespace tilewright::detail {

template <class T, class A>
struct Numbers {
  Vec<T, A> a, b;
  TILEWRIGHT_MEMBER explicit Numbers(const ActivationNumbers<T>& n)
      : a(simd::set<T, A>(n.a)), b(simd::set<T, A>(n.b)) {}
};

struct Identity {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A>) {
    return x;
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A>, Vec<T, A> dy, Numbers<T, A>) {
    return dy;
  }
};

/// f'(0) = 0, as PyTorch. Selections rather than products: dy may be infinite where the result is 0.
struct Relu {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A>) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    return simd::select(x <= zero, zero, x);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> y, Vec<T, A> dy, Numbers<T, A>) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    return simd::select(y <= zero, zero, simd::select(zero < y, dy, y));
  }
};

struct LeakyRelu {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A> p) {
    return simd::select(simd::set<T, A>(0) < x, x, x * p.a);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> y, Vec<T, A> dy, Numbers<T, A> p) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    return simd::select(zero < y, dy, simd::select(y <= zero, dy * p.a, y));
  }
};

/// f' = y (1 - y)
struct Sigmoid {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A>) {
    return simd::near_or_far<SigmoidTable<A>>(
        x, [](auto v) { return simd::even_pieces<SigmoidTable<A>, A>(v); }, [=] { return simd::sigmoid(x); });
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> y, Vec<T, A> dy, Numbers<T, A>) {
    return dy * (y * (simd::set<T, A>(1) - y));
  }
};

/// f' = 1 - y^2
struct Tanh {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A>) {
    return simd::near_or_far<TanhTable<A>>(
        x, [](auto v) { return simd::with_sign(simd::octave_pieces<TanhTable<A>, A>(simd::abs(v)), v); },
        [=] { return simd::tanh(x); });
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> y, Vec<T, A> dy, Numbers<T, A>) {
    const Vec<T, A> one = simd::set<T, A>(1);
    return dy * ((one - y) * (one + y));
  }
};

/// f = x Phi(x);  f' = Phi(x) + x phi(x), phi(x) = exp(-x^2/2) / sqrt(2 pi). With q the probability beyond |x|, Phi is
/// 1 - q above 0 and q below; x multiplies before the power of two so that the left tail keeps its digits down to the
/// smallest subnormal.
struct Gelu {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A>) {
    return simd::near_or_far<GeluTable<A>>(
        x, [](auto v) { return simd::times_even_pieces<GeluTable<A>, A>(v); }, [=] { return far<T, A>(x); });
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Numbers<T, A>) {
    return dy * simd::near_or_far<GeluSlopeTable<A>>(
                    x, [](auto v) { return simd::even_pieces<GeluSlopeTable<A>, A>(v); },
                    [=] { return far_slope<T, A>(x); });
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> far(Vec<T, A> x) {
    const simd::NormalTail<T, A> n = simd::normal_tail(x);
    const auto positive = simd::set<T, A>(0) <= x;
    const Vec<T, A> one = simd::set<T, A>(1), q = n.scale.times(n.upper.high), below_one = one - q;
    const Vec<T, A> rest = ((one - below_one) - q) - n.scale.times(n.upper.low);
    const Vec<T, A> above = simd::fma(x, below_one, bounded_above<T, A>(x) * rest);
    const simd::Pair<T, A> product = simd::times({bounded_below<T, A>(x), simd::set<T, A>(0)}, n.upper);
    const Vec<T, A> below = n.scale.times(product.high + product.low);
    return simd::select(positive, above, below);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> far_slope(Vec<T, A> x) {
    const simd::NormalTail<T, A> n = simd::normal_tail(x);
    const auto positive = simd::set<T, A>(0) <= x;
    const Vec<T, A> xb = bounded_below<T, A>(simd::set<T, A>(0) - simd::abs(x));  // -|x|
    const simd::Pair<T, A> slope = simd::times({xb, simd::set<T, A>(0)}, n.density);
    const simd::Pair<T, A> sum = simd::two_sum(n.upper.high, slope.high);
    const Vec<T, A> below = n.scale.times(sum.high + (sum.low + (slope.low + n.upper.low)));
    return simd::select(positive, simd::set<T, A>(1) - below, below);
  }
  /// min(x, 64): rest is 0 there, and infinity * 0 is not formed.
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> bounded_above(Vec<T, A> x) {
    const Vec<T, A> high = simd::set<T, A>(64);
    return simd::select(high < x, high, x);
  }
  /// max(x, -64): there the result is 0 anyhow, and -infinity * 0 is not formed.
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> bounded_below(Vec<T, A> x) {
    const Vec<T, A> low = simd::set<T, A>(-64);
    return simd::select(x < low, low, x);
  }
};

/// s = sigmoid(u), u = 2 sqrt(2/pi) (x + 0.044715 x^3);  f = x s;  f' = s + x s (1 - s) u'.
/// u reaches 100 before f underflows, so its rounding would cost 60 ulp in exp(u): u is formed in two pieces.
struct GeluTanh {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A>) {
    return simd::near_or_far<GeluTanhTable<A>>(
        x, [](auto v) { return simd::times_even_pieces<GeluTanhTable<A>, A>(v); }, [=] { return far<T, A>(x); });
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Numbers<T, A>) {
    return dy * simd::near_or_far<GeluTanhSlopeTable<A>>(
                    x, [](auto v) { return simd::even_pieces<GeluTanhSlopeTable<A>, A>(v); },
                    [=] { return far_slope<T, A>(x); });
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> far(Vec<T, A> x) {
    const Parts<T, A> p = parts<T, A>(x);
    return simd::times_sigmoid(p.x, p.negative, p.e);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> far_slope(Vec<T, A> x) {
    const Parts<T, A> p = parts<T, A>(x);
    using P = simd::Pair<T, A>;
    const Vec<T, A> zero = simd::set<T, A>(0), square = p.bounded * p.bounded;
    const P cubic{simd::set<T, A>(T(3 * kCubic)), simd::set<T, A>(T(3 * kCubic - double(T(3 * kCubic))))};
    const P bend = simd::times({square, simd::fma(p.bounded, p.bounded, zero - square)}, cubic);
    const P slope = simd::two_sum(simd::set<T, A>(T(kLinear)), bend.high);
    const Vec<T, A> low = slope.low + (bend.low + simd::set<T, A>(T(kLinear - double(T(kLinear)))));
    return gate_derivative<T, A>(p.negative, simd::times<T, A>({p.bounded, zero}, {slope.high, low}), p.e);
  }

  // 2 sqrt(2/pi), and 0.044715 times that: to double, and the rest.
  static constexpr double kLinear = 0x1.9884533d43651p+0, kLinearRest = -9.96930880911092e-17;
  static constexpr double kCubic = 0x1.2444f2a4d8b4bp-4, kCubicRest = -6.175149918155315e-19;

  template <class T, class A>
  struct Parts {
    Vec<T, A> x;        // from where f is 0 on upwards
    Vec<T, A> bounded;  // to where f is x, too
    xsimd::batch_bool<T, A> negative;
    simd::ScaledExp<T, A> e;  // exp(-|u|)
  };

  template <class T, class A>
  TILEWRIGHT_INLINE Parts<T, A> parts(Vec<T, A> x) {
    using V = Vec<T, A>;
    const V low = simd::set<T, A>(sizeof(T) == 4 ? T(-12) : T(-24));
    const V c = simd::select(x < low, low, x);
    const V a = simd::abs(c);
    const V high = simd::set<T, A>(sizeof(T) == 4 ? T(12) : T(24));
    const V b = simd::select(high < a, high, a);
    constexpr T linear = T(kLinear), cubic = T(kCubic);
    const V linear_low = simd::set<T, A>(T(kLinear - double(linear) + kLinearRest));
    const V cubic_low = simd::set<T, A>(T(kCubic - double(cubic) + kCubicRest));
    const V square = b * b;
    const V square_low = simd::fma(b, b, simd::set<T, A>(0) - square);
    const V product = square * simd::set<T, A>(cubic);
    const V product_low = simd::fma(square, simd::set<T, A>(cubic), simd::set<T, A>(0) - product);
    const V sum = product + simd::set<T, A>(linear);  // TwoSum (Knuth)
    const V part = sum - product;
    const V sum_low = (product - (sum - part)) + (simd::set<T, A>(linear) - part);
    V low_terms = sum_low + product_low + linear_low;
    low_terms = simd::fma(square_low, simd::set<T, A>(cubic), low_terms);
    low_terms = simd::fma(square, cubic_low, low_terms);
    const V u = b * sum;
    const V u_low = simd::fma(b, sum, simd::set<T, A>(0) - u) + b * low_terms;
    const V zero = simd::set<T, A>(0);
    return {c, simd::with_sign(b, x), x < zero, simd::scaled_exp(zero - u, zero - u_low)};
  }

  /// s + s (1 - s) w, where w = x u'. With m = 1 / (1 + e) that is m (1 + e m w) where u >= 0 and e m (1 + m w) below.
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> gate_derivative(xsimd::batch_bool<T, A> negative, simd::Pair<T, A> w,
                                              simd::ScaledExp<T, A> e) {
    using P = simd::Pair<T, A>;
    const Vec<T, A> one = simd::set<T, A>(1), zero = simd::set<T, A>(0);
    const Vec<T, A> small = e.rounded(), scale = e.scale.times(simd::set<T, A>(1));
    const P power{small, e.error * scale};
    const Vec<T, A> denominator = one + small;
    const P m = simd::quotient(P{one, zero}, P{denominator, small - (denominator - one) + power.low});
    const P bend = simd::times(simd::select(negative, m, simd::times(power, m)), w);
    const P sum = simd::two_sum(one, bend.high);
    const P rest{sum.high, sum.low + bend.low};
    const P factor = simd::select(negative, simd::times(P{e.value, e.error}, m), m);
    const P both = simd::times(factor, rest);
    const Vec<T, A> product = both.high + both.low;
    return simd::select(negative, e.scale.times(product), product);
  }
};

/// f = x s, s = sigmoid(x);  f' = s + x s (1 - s).
struct Silu {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A>) {
    return simd::near_or_far<SigmoidTable<A>>(
        x, [](auto v) { return simd::times_even_pieces<SigmoidTable<A>, A>(v); }, [=] { return far<T, A>(x); });
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Numbers<T, A>) {
    return dy * simd::near_or_far<SiluSlopeTable<A>>(
                    x, [](auto v) { return simd::even_pieces<SiluSlopeTable<A>, A>(v); },
                    [=] { return far_slope<T, A>(x); });
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> far(Vec<T, A> x) {
    const Vec<T, A> c = clamp<T, A>(x);
    return simd::times_sigmoid(c, x < simd::set<T, A>(0), decay<T, A>(c));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> far_slope(Vec<T, A> x) {
    const Vec<T, A> c = clamp<T, A>(x);
    // x s (1 - s) vanishes long before 1e4; the clamp keeps infinity * 0 out.
    const Vec<T, A> high = simd::set<T, A>(T(1e4));
    const Vec<T, A> w = simd::select(high < c, high, c);
    return GeluTanh::gate_derivative<T, A>(x < simd::set<T, A>(0), {w, simd::set<T, A>(0)}, decay<T, A>(c));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> clamp(Vec<T, A> x) {
    const Vec<T, A> low = simd::set<T, A>(Constants<T>::kExpLow);
    return simd::select(x < low, low, x);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE simd::ScaledExp<T, A> decay(Vec<T, A> x) {
    return simd::scaled_exp(simd::set<T, A>(0) - simd::abs(x), simd::set<T, A>(0));
  }
};

/// min(max(x, low), high); NaN goes through.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> clip(Vec<T, A> x, Vec<T, A> low, Vec<T, A> high) {
  return simd::select(x < low, low, simd::select(high < x, high, x));
}

/// dy where low < x < high, else 0; NaN where x is NaN. dy may be infinite where the result is 0.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> pass_between(Vec<T, A> x, Vec<T, A> low, Vec<T, A> high, Vec<T, A> dy) {
  const Vec<T, A> zero = simd::set<T, A>(0);
  return simd::select(x <= low, zero, simd::select(high <= x, zero, simd::select(x == x, dy, x)));
}

struct Relu6 {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A>) {
    return detail::clip<T, A>(x, simd::set<T, A>(0), simd::set<T, A>(6));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> y, Vec<T, A> dy, Numbers<T, A>) {
    return detail::pass_between<T, A>(y, simd::set<T, A>(0), simd::set<T, A>(6), dy);
  }
};

struct Hardtanh {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A> p) {
    return detail::clip<T, A>(x, p.a, p.b);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> y, Vec<T, A> dy, Numbers<T, A> p) {
    return detail::pass_between<T, A>(y, p.a, p.b, dy);
  }
};

/// exp(x) - 1 for x <= 0; for x > 0 anything but NaN.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> exp_fall(Vec<T, A> x) {
  const Vec<T, A> zero = simd::set<T, A>(0), c = simd::select(zero < x, zero, x);
  return simd::near_or_far<ExpFallTable<A>>(
      c, [](auto v) { return simd::with_sign(simd::octave_pieces<ExpFallTable<A>, A>(simd::abs(v)), v); },
      [=] { return simd::expm1(c); });
}

/// f' = x > 0 ? 1 : a exp(x)
struct Elu {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A> p) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    return simd::select(zero < x, x, p.a * detail::exp_fall<T, A>(x));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Numbers<T, A> p) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    return dy * simd::select(zero < x, simd::set<T, A>(1), p.a * simd::exp(x));
  }
};

/// f' = scale * (x > 0 ? 1 : alpha exp(x))
struct Selu {
  static constexpr double kScale = 1.0507009873554804934, kAlpha = 1.6732632423543772848;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A>) {
    return simd::select(simd::set<T, A>(0) < x, scaled<T, A>(x, kScale),
                        scaled<T, A>(detail::exp_fall<T, A>(x), kScale * kAlpha));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Numbers<T, A>) {
    const Vec<T, A> negative = simd::set<T, A>(T(kScale * kAlpha)) * simd::exp(x);
    return dy * simd::select(simd::set<T, A>(0) < x, simd::set<T, A>(T(kScale)), negative);
  }
  /// factor v, with the factor in two pieces; infinity - infinity is not formed.
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> scaled(Vec<T, A> v, double factor) {
    const Vec<T, A> high = simd::set<T, A>(T(factor)), low = simd::set<T, A>(T(factor - double(T(factor))));
    return simd::fma(high, v, low * simd::at_most(v, std::numeric_limits<T>::max()));
  }
};

/// f' = x > 0 ? 1 : exp(x / a). x / a is formed in two pieces, because its rounding would grow with it.
struct Celu {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A> p) {
    return simd::select(simd::set<T, A>(0) < x, x, p.a * simd::expm1_scaled(power<T, A>(x, p.a)));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Numbers<T, A> p) {
    return dy * simd::select(simd::set<T, A>(0) < x, simd::set<T, A>(1), power<T, A>(x, p.a).rounded());
  }
  template <class T, class A>
  TILEWRIGHT_INLINE simd::ScaledExp<T, A> power(Vec<T, A> x, Vec<T, A> a) {
    const Vec<T, A> low = simd::set<T, A>(Constants<T>::kExpLow), zero = simd::set<T, A>(0);
    const Vec<T, A> q = simd::div(x, a);
    const Vec<T, A> rest = simd::div(simd::fma(zero - q, a, x), a);
    return simd::scaled_exp(q, simd::select(low < q, rest, zero));
  }
};

/// f' = sigmoid(a x). a x is formed in two pieces.
struct Softplus {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A> p) {
    const Vec<T, A> soft = simd::near_or_far<SoftplusTable<A>>(
        plain<T, A>(x, p.a),
        [](auto v) {
          const auto zero = simd::set<float, A>(0);
          return simd::select(v < zero, zero, v) + simd::even_pieces<SoftplusTable<A>, A>(simd::abs(v));
        },
        [=] { return far<T, A>(x, p); });
    return simd::select(p.b < p.a * x, x, soft);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Numbers<T, A> p) {
    const Vec<T, A> slope = simd::near_or_far<SigmoidTable<A>>(
        plain<T, A>(x, p.a), [](auto v) { return simd::even_pieces<SigmoidTable<A>, A>(v); },
        [=] { return far_slope<T, A>(x, p); });
    return dy * simd::select(p.b < p.a * x, simd::set<T, A>(1), slope);
  }
  /// x where the tables serve: they are for a = 1.
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> plain(Vec<T, A> x, Vec<T, A> a) {
    return simd::select(a == simd::set<T, A>(1), x, simd::set<T, A>(std::numeric_limits<T>::infinity()));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> far(Vec<T, A> x, Numbers<T, A> p) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    const Vec<T, A> u = p.a * x;
    const Vec<T, A> log_part = simd::log1p_unit(decay<T, A>(u, p.a, x).rounded());
    const Vec<T, A> rest = simd::select(zero < u, simd::fma(p.a, x, zero - u), zero);
    return simd::div(simd::select(u < zero, zero, u) + (log_part + rest), p.a);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> far_slope(Vec<T, A> x, Numbers<T, A> p) {
    const Vec<T, A> u = p.a * x;
    return simd::times_sigmoid(simd::set<T, A>(1), u < simd::set<T, A>(0), decay<T, A>(u, p.a, x));
  }
  /// exp(-|u|), u = a x
  template <class T, class A>
  TILEWRIGHT_INLINE simd::ScaledExp<T, A> decay(Vec<T, A> u, Vec<T, A> a, Vec<T, A> x) {
    const Vec<T, A> zero = simd::set<T, A>(0), low = simd::set<T, A>(Constants<T>::kExpLow);
    const Vec<T, A> size = zero - simd::abs(u);
    const Vec<T, A> rest = simd::fma(zero - a, simd::abs(x), zero - size);
    return simd::scaled_exp(size, simd::select(low < size, rest, zero));
  }
};

/// f' = sigmoid(-x)
struct LogSigmoid {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A>) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    const Vec<T, A> log_part = simd::near_or_far<SoftplusTable<A>>(
        x, [](auto v) { return simd::even_pieces<SoftplusTable<A>, A>(simd::abs(v)); },
        [=] { return simd::log1p_unit(simd::exp(zero - simd::abs(x))); });
    return simd::select(zero < x, zero, x) - log_part;
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Numbers<T, A> p) {
    return dy * Sigmoid::forward<T, A>(simd::set<T, A>(0) - x, p);
  }
};

/// With e = exp(-|x|): tanh(log(1 + exp(x))) is (1 + 2e) / (1 + 2e + 2e^2) above 0 and e (e + 2) / (e (e + 2) + 2)
/// below; the derivative adds 4 x e^2 (1 + e) / (1 + 2e + 2e^2)^2, or below 4 x e (1 + e) / (e (e + 2) + 2)^2.
struct Mish {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A>) {
    return simd::near_or_far<MishTable<A>>(
        x, [](auto v) { return simd::times_even_pieces<MishTable<A>, A>(v); }, [=] { return far<T, A>(x); });
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Numbers<T, A>) {
    return dy * simd::near_or_far<MishSlopeTable<A>>(
                    x, [](auto v) { return simd::even_pieces<MishSlopeTable<A>, A>(v); },
                    [=] { return far_slope<T, A>(x); });
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> far(Vec<T, A> x) {
    const Vec<T, A> c = Silu::clamp<T, A>(x), zero = simd::set<T, A>(0);
    const Parts<T, A> p = parts<T, A>(c);
    const Pair<T, A> ratio = simd::quotient(p.numerator, p.denominator);
    const Pair<T, A> factor = simd::select(p.negative, simd::times({c, zero}, p.power), Pair<T, A>{c, zero});
    const Pair<T, A> y = simd::times(factor, ratio);
    const Vec<T, A> sum = y.high + y.low;
    const Vec<T, A> finite = simd::select(sum == sum, sum, y.high);  // infinity has no low part
    return simd::select(p.negative, p.e.scale.times(finite), finite);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> far_slope(Vec<T, A> x) {
    const Vec<T, A> high = simd::set<T, A>(T(1e4)), low = Silu::clamp<T, A>(x), zero = simd::set<T, A>(0);
    const Vec<T, A> c = simd::select(high < low, high, low);  // keeps infinity * 0 out
    const Parts<T, A> p = parts<T, A>(c);
    // numerator + 4 x (1 + e) e^2 / denominator, or below without e^2; then over the denominator.
    const Vec<T, A> one_plus = simd::set<T, A>(1) + p.small.high;
    const Pair<T, A> grown{one_plus, p.small.high - (one_plus - simd::set<T, A>(1)) + p.small.low};
    const Pair<T, A> bend = simd::quotient(simd::times({c * simd::set<T, A>(4), zero}, grown), p.denominator);
    const Pair<T, A> above = simd::times(simd::times(bend, p.small), p.small);
    const Pair<T, A> part = simd::select(p.negative, bend, above);
    const Pair<T, A> sum = simd::two_sum(p.numerator.high, part.high);
    const Pair<T, A> ratio = simd::quotient({sum.high, sum.low + (part.low + p.numerator.low)}, p.denominator);
    const Pair<T, A> one{simd::set<T, A>(1), zero};
    const Pair<T, A> y = simd::times(simd::select(p.negative, p.power, one), ratio);
    const Vec<T, A> slope = y.high + y.low;
    return simd::select(p.negative, p.e.scale.times(slope), slope);
  }

  template <class T, class A>
  using Pair = simd::Pair<T, A>;
  template <class T, class A>
  struct Parts {
    xsimd::batch_bool<T, A> negative;
    simd::ScaledExp<T, A> e;
    Pair<T, A> power, small;            // e without its scales, and with them
    Pair<T, A> numerator, denominator;  // of the gate; below 0 divided by e
  };
  template <class T, class A>
  TILEWRIGHT_INLINE Parts<T, A> parts(Vec<T, A> x) {
    using P = Pair<T, A>;
    const Vec<T, A> one = simd::set<T, A>(1), two = simd::set<T, A>(2), zero = simd::set<T, A>(0);
    const auto negative = x < zero;
    const simd::ScaledExp<T, A> e = simd::scaled_exp(zero - simd::abs(x), zero);
    const P power{e.value, e.error}, small{e.rounded(), e.scale.times(e.error)};
    // below 0: e + 2 over e (e + 2) + 2; above: 1 + 2e over 1 + 2e + 2e^2
    const P first =
        simd::two_sum(simd::select(negative, two, one), simd::select(negative, small.high, small.high + small.high));
    const P numerator{first.high, simd::fma(simd::select(negative, one, two), small.low, first.low)};
    const P product = simd::times(small, simd::select(negative, numerator, P{small.high + small.high, zero}));
    const P second = simd::two_sum(simd::select(negative, two, numerator.high), product.high);
    const P denominator{second.high, second.low + product.low + simd::select(negative, zero, numerator.low)};
    return {negative, e, power, small, numerator, denominator};
  }
};

/// f' = 1 / (1 + |x|)^2
struct Softsign {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A>) {
    // Halves, so that 1 + |x| stays finite; the quotient of infinities is 1.
    const Vec<T, A> half = simd::set<T, A>(T(0.5)), largest = simd::set<T, A>(std::numeric_limits<T>::max());
    const Vec<T, A> c = detail::clip<T, A>(x, simd::set<T, A>(0) - largest, largest);
    return simd::div(c * half, simd::fma(simd::abs(c), half, half));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Numbers<T, A>) {
    using P = simd::Pair<T, A>;
    const Vec<T, A> half = simd::set<T, A>(T(0.5)), zero = simd::set<T, A>(0);
    const Vec<T, A> largest = simd::set<T, A>(std::numeric_limits<T>::max()), a = simd::abs(x);
    const P denominator = simd::two_sum(simd::select(largest < a, largest, a) * half, half);
    const P inverse = simd::quotient(P{half, zero}, denominator);
    return dy * simd::fma(inverse.high, inverse.high, (inverse.high + inverse.high) * inverse.low);
  }
};

/// u = 1.702 x in two pieces, s = sigmoid(u);  f = x s;  f' = s + u s (1 - s).
struct QuickGelu {
  static constexpr double kFactor = 1.702, kFactorRest = 4.263256414560601e-17;  // to double, and the rest
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A>) {
    return simd::near_or_far<QuickGeluTable<A>>(
        x, [](auto v) { return simd::times_even_pieces<QuickGeluTable<A>, A>(v); }, [=] { return far<T, A>(x); });
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Numbers<T, A>) {
    return dy * simd::near_or_far<QuickGeluSlopeTable<A>>(
                    x, [](auto v) { return simd::even_pieces<QuickGeluSlopeTable<A>, A>(v); },
                    [=] { return far_slope<T, A>(x); });
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> far(Vec<T, A> x) {
    const Vec<T, A> c = Silu::clamp<T, A>(x);
    return simd::times_sigmoid(c, x < simd::set<T, A>(0), decay<T, A>(c));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> far_slope(Vec<T, A> x) {
    const Vec<T, A> high = simd::set<T, A>(T(1e4)), low = Silu::clamp<T, A>(x);
    const Vec<T, A> c = simd::select(high < low, high, low);
    return GeluTanh::gate_derivative<T, A>(x < simd::set<T, A>(0), scaled<T, A>(c), decay<T, A>(c));
  }
  /// exp(-|u|)
  template <class T, class A>
  TILEWRIGHT_INLINE simd::ScaledExp<T, A> decay(Vec<T, A> x) {
    const Vec<T, A> zero = simd::set<T, A>(0), end = simd::set<T, A>(0 - Constants<T>::kExpLow);
    const Vec<T, A> a = simd::abs(x);
    const simd::Pair<T, A> u = scaled<T, A>(simd::select(end < a, end, a));
    return simd::scaled_exp(zero - u.high, simd::select(u.high < end, zero - u.low, zero));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE simd::Pair<T, A> scaled(Vec<T, A> x) {
    const simd::Pair<T, A> factor{simd::set<T, A>(T(kFactor)),
                                  simd::set<T, A>(T(kFactor - double(T(kFactor)) + kFactorRest))};
    return simd::times({x, simd::set<T, A>(0)}, factor);
  }
};

/// f' = 1/6 for -3 < x < 3
struct Hardsigmoid {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A>) {
    const Vec<T, A> six = simd::set<T, A>(6);
    return simd::div(detail::clip<T, A>(x + simd::set<T, A>(3), simd::set<T, A>(0), six), six);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Numbers<T, A>) {
    const Vec<T, A> three = simd::set<T, A>(3);
    return detail::pass_between<T, A>(x, simd::set<T, A>(0) - three, three, dy * simd::set<T, A>(T(1.0 / 6)));
  }
};

/// f' = (2 x + 3) / 6 for -3 < x < 3, then 1
struct Hardswish {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A>) {
    const Vec<T, A> six = simd::set<T, A>(6), three = simd::set<T, A>(3), zero = simd::set<T, A>(0);
    const Vec<T, A> inside = simd::div(x * detail::clip<T, A>(x + three, zero, six), six);
    return simd::select(three <= x, x, simd::select(x <= zero - three, zero, inside));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Numbers<T, A>) {
    const Vec<T, A> three = simd::set<T, A>(3), zero = simd::set<T, A>(0);
    const Vec<T, A> slope = simd::div(simd::fma(simd::set<T, A>(2), x, three), simd::set<T, A>(6));
    return simd::select(three <= x, dy, simd::select(x <= zero - three, zero, dy * slope));
  }
};

/// f' = tanh(x)^2
struct Tanhshrink {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A>) {
    return simd::tanhshrink(x);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Numbers<T, A>) {
    const simd::Pair<T, A> t = simd::tanh_of_abs(x);
    return dy * simd::fma(t.high, t.high, (t.high + t.high) * t.low);
  }
};

/// f' = |x| > a
struct Softshrink {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A> p) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    const Vec<T, A> below = simd::select(x < zero - p.a, x + p.a, simd::select(x == x, zero, x));
    return simd::select(p.a < x, x - p.a, below);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Numbers<T, A> p) {
    const Vec<T, A> small = simd::select(x == x, simd::set<T, A>(0), x);
    return simd::select(p.a < simd::abs(x), dy, small);
  }
};

/// f' = x > a
struct Threshold {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Numbers<T, A> p) {
    return simd::select(x <= p.a, p.b, x);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Numbers<T, A> p) {
    return simd::select(x <= p.a, simd::set<T, A>(0), simd::select(x == x, dy, x));
  }
};

/// In the order of ActivationKind.
template <class... F>
struct FormulaList {};
using FusedFormulas = FormulaList<Identity, Relu>;
using Formulas = FormulaList<Identity, Relu, LeakyRelu, Sigmoid, Tanh, Gelu, GeluTanh, Silu, Relu6, Elu, Selu, Celu,
                             Softplus, LogSigmoid, Mish, Softsign, QuickGelu, Hardsigmoid, Hardswish, Hardtanh,
                             Tanhshrink, Softshrink, Threshold>;

}  // namespace tilewright::detail
