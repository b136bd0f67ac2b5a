// SPDX-License-Identifier: MIT
// The activations of the form x gate(x): gelu, silu, mish and their relatives. Near arguments take the fitted pieces of
// simd/tables.hpp; here stand the formulas for far ones and for double.
#pragma once

#include "kernels/map/numbers.hpp"
#include "kernels/simd/logarithm.hpp"
#include "kernels/simd/piecewise.hpp"

namespace tilewright::detail {

/// max(x, 0); -0 goes through.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> positive_part(Vec<T, A> x) {
  const Vec<T, A> zero = simd::set<T, A>(0);
#if defined(__x86_64__)
  return xsimd::max(zero, x);  // the second one of equals
#endif
  return simd::select(x < zero, zero, x);
}

/// f(x) where f(-x) = 1 - f(x); the table has f(-a).
template <class Table, class A>
TILEWRIGHT_INLINE Vec<float, A> rising_pieces(Vec<float, A> x, const simd::Ahead<A>& ahead) {
  const Vec<float, A> below = simd::pieces<Table, A>(simd::abs(x), ahead), zero = simd::set<float, A>(0);
  return simd::select(zero < x, simd::set<float, A>(1) - below, below);
}

/// Formula has value(x) = f(x) and slope(x) = f'(x); Table and Slope fit them for near arguments in float. kSymmetric:
/// gate(x) + gate(-x) = 1, so f(x) is max(x, 0) plus f(-|x|), and f'(x) + f'(-x) = 1; the tables are for |x|.
/// Formula::kFused, if there: the bound of the error asks for a last step rounded once, which takes sse2 longer.
template <template <class> class Table, template <class> class Slope, class Formula, bool kSymmetric = true>
struct Gated {
  static constexpr int kMixed = 2;
  static constexpr bool kFused = requires { Formula::kFused; };
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    return simd::near_or_far<Table<A>>(
        x, p,
        [p](auto v) __attribute__((always_inline)) {
          const Vec<float, A> piece = simd::pieces<Table<A>, A, kFused>(argument<A>(v), p.ahead);
          if constexpr (kSymmetric) {
            return detail::positive_part<float, A>(v) - piece;
          } else {  // mish; around 0 its piece is what 5/8 x leaves, whose sum is rounded once
            const auto row = simd::row_of<Table<A>, A>(v, p.ahead);
            const auto around_0 = simd::from_bits<float, A>(row) == simd::set<float, A>(simd::kShift);
            return simd::select(around_0, simd::fma_of_few_bits(v, simd::set<float, A>(0.625F), piece), piece);
          }
        },
        [=] { return Formula::template value<T, A>(x); });
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>& p) {
    return dy * simd::near_or_far<Slope<A>>(
                    x, p,
                    [p](auto v) __attribute__((always_inline)) {
                      if constexpr (kSymmetric)
                        return detail::rising_pieces<Slope<A>, A>(v, p.ahead);
                      else
                        return simd::pieces<Slope<A>, A>(v, p.ahead);
                    },
                    [=] { return Formula::template slope<T, A>(x); });
  }
  template <class A>
  TILEWRIGHT_INLINE auto place(Vec<float, A> x, const Numbers<float, A>&) {
    return simd::place_of<Table<A>, A>(argument<A>(x));
  }
  template <class A>
  TILEWRIGHT_INLINE auto slope_place(Vec<float, A> x, const Numbers<float, A>&) {
    return simd::place_of<Slope<A>, A>(argument<A>(x));
  }
  /// Where the tables have x.
  template <class A>
  TILEWRIGHT_INLINE Vec<float, A> argument(Vec<float, A> x) {
    return kSymmetric ? simd::abs(x) : x;
  }
};

/// f = x Phi(x);  f' = Phi(x) + x phi(x), phi(x) = exp(-x^2/2) / sqrt(2 pi). With q the probability beyond |x|, Phi is
/// 1 - q above 0 and q below; x multiplies before the power of two so that the left tail keeps its digits down to the
/// smallest subnormal.
struct GeluFormula {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> value(Vec<T, A> x) {
    const simd::NormalTail<T, A> n = simd::normal_tail(x);
    const auto positive = simd::set<T, A>(0) <= x;
    const Vec<T, A> one = simd::set<T, A>(1), q = n.scale.times(n.upper.high), below_one = one - q;
    const Vec<T, A> rest = ((one - below_one) - q) - n.scale.times(n.upper.low);
    const Vec<T, A> above = simd::multiply_add(x, below_one, bounded_above<T, A>(x) * rest);
    const simd::Pair<T, A> product = simd::times({bounded_below<T, A>(x), simd::set<T, A>(0)}, n.upper);
    const Vec<T, A> below = n.scale.times(product.high + product.low);
    return simd::select(positive, above, below);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> slope(Vec<T, A> x) {
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
struct Gelu : Gated<GeluTable, GeluSlopeTable, GeluFormula> {};

/// s = sigmoid(u), u = 2 sqrt(2/pi) (x + 0.044715 x^3);  f = x s;  f' = s + x s (1 - s) u'.
/// u reaches 100 before f underflows, so its rounding would cost 60 ulp in exp(u): u is formed in two pieces.
struct GeluTanhFormula {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> value(Vec<T, A> x) {
    const Parts<T, A> p = parts<T, A>(x);
    return simd::times_sigmoid(p.x, p.negative, p.e);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> slope(Vec<T, A> x) {
    const Parts<T, A> p = parts<T, A>(x);
    using P = simd::Pair<T, A>;
    const Vec<T, A> zero = simd::set<T, A>(0), square = p.bounded * p.bounded;
    const P cubic{simd::set<T, A>(T(3 * kCubic)), simd::set<T, A>(T(3 * kCubic - double(T(3 * kCubic))))};
    const P bend = simd::times({square, simd::product_low(p.bounded, p.bounded, square)}, cubic);
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
    const V square_low = simd::product_low(b, b, square);
    const V product = square * simd::set<T, A>(cubic);
    const V product_low = simd::product_low(square, simd::set<T, A>(cubic), product);
    const V sum = product + simd::set<T, A>(linear);  // TwoSum (Knuth)
    const V part = sum - product;
    const V sum_low = (product - (sum - part)) + (simd::set<T, A>(linear) - part);
    V low_terms = sum_low + product_low + linear_low;
    low_terms = simd::multiply_add(square_low, simd::set<T, A>(cubic), low_terms);
    low_terms = simd::multiply_add(square, cubic_low, low_terms);
    const V u = b * sum;
    const V u_low = simd::product_low(b, sum, u) + b * low_terms;
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
struct GeluTanh : Gated<GeluTanhTable, GeluTanhSlopeTable, GeluTanhFormula> {};

/// f = x s, s = sigmoid(x);  f' = s + x s (1 - s).
struct SiluFormula {
  static constexpr bool kFused = true;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> value(Vec<T, A> x) {
    const Vec<T, A> c = clamp<T, A>(x);
    return simd::times_sigmoid(c, x < simd::set<T, A>(0), decay<T, A>(c));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> slope(Vec<T, A> x) {
    const Vec<T, A> c = clamp<T, A>(x);
    // x s (1 - s) vanishes long before 1e4; the clamp keeps infinity * 0 out.
    const Vec<T, A> high = simd::set<T, A>(T(1e4));
    const Vec<T, A> w = simd::select(high < c, high, c);
    return GeluTanhFormula::gate_derivative<T, A>(x < simd::set<T, A>(0), {w, simd::set<T, A>(0)}, decay<T, A>(c));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> clamp(Vec<T, A> x) {
    const Vec<T, A> low = simd::set<T, A>(Constants<T>::kExpLow);
    return simd::select(x < low, low, x);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE simd::ScaledExp<T, A> decay(Vec<T, A> x) {
    return simd::scaled_exp(simd::set<T, A>(0) - simd::abs(x));
  }
};
struct Silu : Gated<SiluTable, SiluSlopeTable, SiluFormula> {};

/// u = 1.702 x in two pieces, s = sigmoid(u);  f = x s;  f' = s + u s (1 - s).
struct QuickGeluFormula {
  static constexpr double kFactor = 1.702, kFactorRest = 4.263256414560601e-17;  // to double, and the rest
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> value(Vec<T, A> x) {
    const Vec<T, A> c = SiluFormula::clamp<T, A>(x);
    return simd::times_sigmoid(c, x < simd::set<T, A>(0), decay<T, A>(c));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> slope(Vec<T, A> x) {
    const Vec<T, A> high = simd::set<T, A>(T(1e4)), low = SiluFormula::clamp<T, A>(x);
    const Vec<T, A> c = simd::select(high < low, high, low);
    return GeluTanhFormula::gate_derivative<T, A>(x < simd::set<T, A>(0), scaled<T, A>(c), decay<T, A>(c));
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
struct QuickGelu : Gated<QuickGeluTable, QuickGeluSlopeTable, QuickGeluFormula> {};

/// With e = exp(-|x|): tanh(log(1 + exp(x))) is (1 + 2e) / (1 + 2e + 2e^2) above 0 and e (e + 2) / (e (e + 2) + 2)
/// below; the derivative adds 4 x e^2 (1 + e) / (1 + 2e + 2e^2)^2, or below 4 x e (1 + e) / (e (e + 2) + 2)^2.
struct MishFormula {
  static constexpr bool kFused = true;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> value(Vec<T, A> x) {
    const Vec<T, A> c = SiluFormula::clamp<T, A>(x), zero = simd::set<T, A>(0);
    const Parts<T, A> p = parts<T, A>(c);
    const Pair<T, A> ratio = simd::quotient(p.numerator, p.denominator);
    const Pair<T, A> factor = simd::select(p.negative, simd::times({c, zero}, p.power), Pair<T, A>{c, zero});
    const Pair<T, A> y = simd::times(factor, ratio);
    const Vec<T, A> sum = y.high + y.low;
    const Vec<T, A> finite = simd::select(sum == sum, sum, y.high);  // infinity has no low part
    return simd::select(p.negative, p.e.scale.times(finite), finite);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> slope(Vec<T, A> x) {
    const Vec<T, A> high = simd::set<T, A>(T(1e4)), low = SiluFormula::clamp<T, A>(x), zero = simd::set<T, A>(0);
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
    const simd::ScaledExp<T, A> e = simd::scaled_exp(zero - simd::abs(x));
    const P power{e.value, e.error}, small{e.rounded(), e.scale.times(e.error)};
    // below 0: e + 2 over e (e + 2) + 2; above: 1 + 2e over 1 + 2e + 2e^2
    const P first =
        simd::two_sum(simd::select(negative, two, one), simd::select(negative, small.high, small.high + small.high));
    const P numerator{first.high, simd::multiply_add(simd::select(negative, one, two), small.low, first.low)};
    const P product = simd::times(small, simd::select(negative, numerator, P{small.high + small.high, zero}));
    const P second = simd::two_sum(simd::select(negative, two, numerator.high), product.high);
    const P denominator{second.high, second.low + product.low + simd::select(negative, zero, numerator.low)};
    return {negative, e, power, small, numerator, denominator};
  }
};
struct Mish : Gated<MishTable, MishSlopeTable, MishFormula, false> {
  static constexpr int kMixed = 2;
};

}  // namespace tilewright::detail
