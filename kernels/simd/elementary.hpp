// SPDX-License-Identifier: MIT
// Elementary functions on batches, for float and double from one text. The polynomials are in coefficients.hpp, with
// the script that fits them. Only exact and correctly rounded operations are used, so avx2, avx512 and neon agree to
// the bit. They assume the rounding mode that C++ programs start with (to nearest).
#pragma once

#include <limits>

#include "kernels/simd/coefficients.hpp"
#include "kernels/simd/fma.hpp"

namespace tilewright::detail {

template <class T>
struct Constants;

template <>
struct Constants<float> {
  static constexpr float kRound = 0x1.8p23F;  // adding it rounds to an integer, which then stands in the low bits
  static constexpr float kLog2e = 0x1.715476p0F;
  static constexpr float kLn2High = 0x1.62e4p-1F;  // 15 bits: its product with any exponent is exact
  static constexpr float kLn2Low = 0x1.7f7d1cp-20F;
  static constexpr float kExpHigh = 89;   // exp overflows from 88.73
  static constexpr float kExpLow = -120;  // silu needs exp(x) * x down to x = -108
  static constexpr int kMantissaBits = 23;
  static constexpr int kBias = 127;
};

template <>
struct Constants<double> {
  static constexpr double kRound = 0x1.8p52;
  static constexpr double kLog2e = 0x1.71547652b82fep0;
  static constexpr double kLn2High = 0x1.62e42fee00000p-1;
  static constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  static constexpr double kExpHigh = 710;  // exp overflows from 709.79
  static constexpr double kExpLow = -760;
  static constexpr int kMantissaBits = 52;
  static constexpr int kBias = 1023;
};

namespace simd {

/// sum of c[i] x^(i - kFirst) from i = kFirst.
template <int kFirst, class T, class A, int N>
TILEWRIGHT_INLINE Vec<T, A> polynomial_from(Vec<T, A> x, const T (&c)[N]) {
  Vec<T, A> sum = simd::set<T, A>(c[N - 1]);
#pragma GCC unroll 32
  for (int i = N - 2; i >= kFirst; --i) sum = simd::multiply_add(sum, x, simd::set<T, A>(c[i]));
  return sum;
}

/// sum of c[i] x^i, Horner.
template <class T, class A, int N>
TILEWRIGHT_INLINE Vec<T, A> polynomial(Vec<T, A> x, const T (&c)[N]) {
  return simd::polynomial_from<0, T, A>(x, c);
}

/// a * b; exact but for the product of the low parts.
template <class T, class A>
TILEWRIGHT_INLINE Pair<T, A> times(Pair<T, A> a, Pair<T, A> b) {
  const Vec<T, A> product = a.high * b.high;
  const Vec<T, A> rest = simd::product_low(a.high, b.high, product);
  return {product, simd::multiply_add(a.low, b.high, simd::multiply_add(a.high, b.low, rest))};
}

/// a / b
template <class T, class A>
TILEWRIGHT_INLINE Pair<T, A> quotient(Pair<T, A> a, Pair<T, A> b) {
  const Vec<T, A> q = simd::div(a.high, b.high), minus = simd::set<T, A>(0) - q;
  const Vec<T, A> rest = simd::fma(minus, b.high, a.high) + simd::multiply_add(minus, b.low, a.low);
  return {q, simd::div(rest, b.high)};
}

/// The lanes of a where the condition holds, else b's.
template <class T, class A>
TILEWRIGHT_INLINE Pair<T, A> select(xsimd::batch_bool<T, A> condition, Pair<T, A> a, Pair<T, A> b) {
  return {simd::select(condition, a.high, b.high), simd::select(condition, a.low, b.low)};
}

/// exp(x) = (value + error) * scale: value in [0.7, 1.42), error what its rounding lost, scale a power of two.
/// Multiplying something else by value first and by the scale last rounds a subnormal result once. value - 1 is
/// above_one + low, to more digits.
template <class T, class A>
struct ScaledExp {
  Vec<T, A> value, error;
  PowerOfTwo<T, A> scale;
  Vec<T, A> above_one, low;
  [[gnu::always_inline]] Vec<T, A> rounded() const { return scale.times(value); }
};

/// x, or x + correction for |correction| far below 1, as n ln2 + r with |r| <= ln2/2, in two pieces of ln2 (Cody and
/// Waite). Beyond the range where exp is neither 0 nor infinity x is clamped; NaN goes through.
template <class T, class A>
struct ExpArgument {
  Vec<T, A> n, r;
};
template <class T, class A, class... Correction>
TILEWRIGHT_INLINE ExpArgument<T, A> exp_argument_of_clamped(Vec<T, A> clamped, Correction... correction) {
  using V = Vec<T, A>;
  using K = Constants<T>;
  const V round = simd::set<T, A>(K::kRound);
  const V n = simd::multiply_add(clamped, simd::set<T, A>(K::kLog2e), round) - round;
  const V r = simd::multiply_add(n, simd::set<T, A>(-K::kLn2High), clamped);
  return {n, (simd::multiply_add(n, simd::set<T, A>(-K::kLn2Low), r) + ... + correction)};
}
template <class T, class A, class... Correction>
TILEWRIGHT_INLINE ExpArgument<T, A> exp_argument(Vec<T, A> x, Correction... correction) {
  using K = Constants<T>;
  const Vec<T, A> clamped = simd::at_least(simd::at_most(x, K::kExpHigh), K::kExpLow);
  return simd::exp_argument_of_clamped<T, A>(clamped, correction...);
}
/// Of x that is at most 0, or NaN.
template <class T, class A>
TILEWRIGHT_INLINE ExpArgument<T, A> exp_argument_of_negative(Vec<T, A> x) {
  return simd::exp_argument_of_clamped<T, A>(simd::at_least(x, Constants<T>::kExpLow));
}

/// exp of it: 1 + r + r^2 p(r).
template <class T, class A>
TILEWRIGHT_INLINE ScaledExp<T, A> scaled_exp(ExpArgument<T, A> x) {
  using V = Vec<T, A>;
  using K = Constants<T>;
  const V r = x.r, bend = simd::polynomial(r, Coefficients<T>::kExp);
  const V above_one = simd::multiply_add(r * r, bend, r), lost = simd::fma(r * r, bend, r - above_one);
  const V value = simd::set<T, A>(1) + above_one;
  const V error = above_one - (value - simd::set<T, A>(1));
  return {value, error, simd::power_of_two<T, A>(x.n, K::kRound, K::kBias), above_one, lost};
}

template <class T, class A, class... Correction>
TILEWRIGHT_INLINE ScaledExp<T, A> scaled_exp(Vec<T, A> x, Correction... correction) {
  return simd::scaled_exp(simd::exp_argument<T, A>(x, correction...));
}

template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> exp(ExpArgument<T, A> x) {
  return simd::scaled_exp(x).rounded();
}
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> exp(Vec<T, A> x) {
  return simd::exp(simd::exp_argument(x));
}
/// exp(x) for x that is at most 0, or NaN.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> exp_of_negative(Vec<T, A> x) {
  return simd::exp(simd::exp_argument_of_negative(x));
}

/// e - 1: with e = 2^n (1 + m), 2^n finite, it is 2^n m + (2^n - 1).
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> expm1_scaled(ScaledExp<T, A> e) {
  using V = Vec<T, A>;
  const V one = simd::set<T, A>(1);
  const V scale = e.scale.times(one), whole = scale - one;
  const V sum = simd::multiply_add(scale, e.above_one, whole),
          lost = simd::multiply_add(scale, e.above_one, whole - sum);
  const V rest = lost + ((scale - whole) - one);
  return sum + simd::multiply_add(scale, e.low, rest);
}

/// Where 2^n is infinite.
template <class T, class A>
TILEWRIGHT_INLINE xsimd::batch_bool<T, A> power_overflows(ExpArgument<T, A> x) {
  return simd::set<T, A>(T(Constants<T>::kBias)) < x.n;
}
/// exp(x) - 1 elsewhere.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> expm1(Vec<T, A> x, ExpArgument<T, A> same) {
  return simd::with_sign(simd::expm1_scaled(simd::scaled_exp(same)), x);  // -0 is kept
}
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> expm1(Vec<T, A> x) {
  const ExpArgument<T, A> same = simd::exp_argument(x);
  const Vec<T, A> n = simd::at_most(same.n, T(Constants<T>::kBias));
  const Vec<T, A> y = simd::expm1(x, ExpArgument<T, A>{n, same.r});
  return simd::select(simd::power_overflows(same), y + y, y);  // twice what half of 2^n gives: there 1 is nothing
}

template <class T, class A>
TILEWRIGHT_INLINE xsimd::batch_bool<T, A> is_normal_and_positive(Vec<T, A> x) {
#if defined(__AVX512F__)
  if constexpr (kIsAvx512<A> && sizeof(T) == 4) return !xsimd::batch_bool<T, A>(_mm512_fpclass_ps_mask(x.data, 0xFF));
#endif
  return (simd::set<T, A>(std::numeric_limits<T>::min()) <= x) &
         (x < simd::set<T, A>(std::numeric_limits<T>::infinity()));
}

/// 1 / sqrt(x) for normal positive x, in float: a guess y from half the exponent, and (x y^2)^(-1/2) - 1 of it more. A
/// root and a division take twice as long.
template <class A>
TILEWRIGHT_INLINE Vec<float, A> rsqrt_of_usual(Vec<float, A> x) {
  using V = Vec<float, A>;
  const V guess = simd::from_bits<float, A>(Vec<std::int32_t, A>(0x5F370000) - (simd::to_bits(x) >> 1));
  const V w = simd::fma(x * guess, guess, simd::set<float, A>(-1));
  return simd::multiply_add(guess, w * simd::polynomial(w, Coefficients<float>::kRsqrt), guess);
}

/// factor * sigmoid(u), given e = exp(-|u|): factor / (1 + e) where u >= 0, factor * e / (1 + e) where u < 0. Neither
/// overflows nor cancels; the quotient gets one step of correction with what the roundings of e, of 1 + e and of the
/// product lost, so half a unit of the division is most of the error.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> times_sigmoid(Vec<T, A> factor, xsimd::batch_bool<T, A> negative, ScaledExp<T, A> e) {
  using V = Vec<T, A>;
  const V one = simd::set<T, A>(1), zero = simd::set<T, A>(0);
  const V small = e.rounded();
  const V denominator = one + small;
  const V denominator_low = small - (denominator - one);
  const V product = factor * e.value;
  const V product_low = simd::multiply_add(factor, e.error, simd::product_low(factor, e.value, product));
  const V numerator = simd::select(negative, product, factor);
  const V numerator_low = simd::select(negative, product_low, zero);
  const V quotient = simd::div(numerator, denominator);
  const V minus_quotient = zero - quotient;
  const V rest = simd::fma(minus_quotient, denominator, numerator) +
                 simd::multiply_add(minus_quotient, denominator_low, numerator_low);
  // 1 / denominator to an eighth, which is plenty for a correction.
  const V inverse = simd::multiply_add(simd::set<T, A>(T(-0.5)), denominator, simd::set<T, A>(T(1.5)));
  const V corrected = simd::multiply_add(rest, inverse, quotient);
  const V result = simd::select(rest == rest, corrected, quotient);  // an infinite factor has no rest
  return simd::select(negative, e.scale.times(result), result);
}

template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> sigmoid(Vec<T, A> x) {
  const Vec<T, A> zero = simd::set<T, A>(0);
  return simd::times_sigmoid(simd::set<T, A>(1), x < zero, simd::scaled_exp(zero - simd::abs(x)));
}

/// Odd polynomial up to 5/8, then 1 - q, q = 2 / (E + 1), E = exp(2|x|), q corrected by what the roundings of E, of E +
/// 1 and of the division lost. tanh(|x|), and what the last rounding lost.
template <class T, class A>
TILEWRIGHT_INLINE Pair<T, A> tanh_of_abs(Vec<T, A> x) {
  using V = Vec<T, A>;
  const V a = simd::abs(x), one = simd::set<T, A>(1), limit = simd::set<T, A>(20);  // tanh is 1 from there on
  const V z = x * x;
  const V bend = simd::polynomial(z, Coefficients<T>::kTanh);
  const V small = simd::multiply_add(a * z, bend, a);
  const V bounded = simd::select(limit < a, limit, a);
  const ScaledExp<T, A> e = simd::scaled_exp(bounded + bounded);
  const V power = e.rounded();
  const V denominator = power + one;
  const V lost = (one - (denominator - power)) + e.scale.times(e.error);
  const V two = simd::set<T, A>(2), q = simd::div(two, denominator);
  const V rest = simd::subtract_product(two, q, denominator) - q * lost;
  const V rough = one - q, low = ((one - rough) - q) - rest * (q * simd::set<T, A>(T(0.5)));
  const V large = rough + low;
  return simd::select(a < simd::set<T, A>(T(0.625)), Pair<T, A>{small, simd::multiply_add(a * z, bend, a - small)},
                      Pair<T, A>{large, (rough - large) + low});
}

template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> tanh(Vec<T, A> x) {
  return simd::with_sign(simd::tanh_of_abs(x).high, x);
}

/// x - tanh(x): the same polynomial without its first term up to 5/8, then (|x| - 1) + q with q in two pieces.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> tanhshrink(Vec<T, A> x) {
  using V = Vec<T, A>;
  const V a = simd::abs(x), one = simd::set<T, A>(1), limit = simd::set<T, A>(20), zero = simd::set<T, A>(0);
  // z (c0 + z p(z)) with c0 = -1/3 in two pieces, and what its roundings lost.
  const V z = x * x, z_low = simd::product_low(x, x, z);
  constexpr T c0 = Coefficients<T>::kTanh[0];
  constexpr double kThirdRest = -1.850371707708594e-17;  // of -1/3
  const V first = simd::set<T, A>(c0), first_low = simd::set<T, A>(T((-1.0 / 3 - double(c0)) + kThirdRest));
  const V p = simd::polynomial_from<1, T, A>(z, Coefficients<T>::kTanh);
  const V sum = simd::multiply_add(z, p, first), sum_low = simd::multiply_add(z, p, first - sum) + first_low;
  const V product = z * sum,
          product_low = simd::product_low(z, sum, product) + simd::multiply_add(z, sum_low, z_low * sum);
  const V small = zero - simd::multiply_add(a, product, a * product_low);
  const V bounded = simd::select(limit < a, limit, a);
  const ScaledExp<T, A> e = simd::scaled_exp(bounded + bounded);
  const V power = e.rounded();
  const V denominator = power + one;
  const V lost = (one - (denominator - power)) + e.scale.times(e.error);
  const V q = simd::div(simd::set<T, A>(2), denominator);
  const V rest = simd::subtract_product(simd::set<T, A>(2), q, denominator) - q * lost;
  const V large = ((a - one) + q) + rest * q * simd::set<T, A>(T(0.5));
  return simd::with_sign(simd::select(a < simd::set<T, A>(T(0.625)), small, large), x);
}

/// The normal distribution at x: density exp(-x^2/2)/sqrt(2 pi) and both tails, each with full relative accuracy.
/// tail = upper * scale is the probability beyond |x|; density and upper have their low parts.
template <class T, class A>
struct NormalTail {
  Pair<T, A> upper, density;
  PowerOfTwo<T, A> scale;
};

template <class T, class A>
TILEWRIGHT_INLINE NormalTail<T, A> normal_tail(Vec<T, A> x) {
  using V = Vec<T, A>;
  // Beyond `end` both density and tail, even times x, are zero in T; clamping keeps infinity out of x^2.
  const V end = simd::set<T, A>(sizeof(T) == 4 ? T(16) : T(40));
  const V a = simd::abs(x);
  const V c = simd::select(end < a, end, a);
  const V zero = simd::set<T, A>(0);
  const V square = c * c;
  const V square_error = simd::product_low(c, c, square);
  const V half = simd::set<T, A>(T(-0.5));
  const ScaledExp<T, A> e = simd::scaled_exp(square * half, square_error * half);
  // Mills' ratio R = Q(t) / (a + 4), t = (a - 4) / (a + 4) = 1 - 8 / (a + 4). The rounded d stands for another place, a
  // - shift; R' = a R - 1/sqrt(2 pi) brings the value back.
  const V one = simd::set<T, A>(1), four = simd::set<T, A>(4);
  const V denominator = c + four;
  const V part = denominator - c;
  const V denominator_low = (c - (denominator - part)) + (four - part);
  const V d = simd::div(one, denominator);
  const V shift = simd::multiply_add(zero - denominator, simd::subtract_product(one, d, denominator), denominator_low);
  const V t = simd::multiply_add(simd::set<T, A>(-8), d, one);
  constexpr double kDensity = 0x1.9884533d43651p-2, kDensityRest = -2.4923272022777435e-17;  // 1 / sqrt(2 pi)
  const Pair<T, A> density{simd::set<T, A>(T(kDensity)),
                           simd::set<T, A>(T(kDensity - double(T(kDensity)) + kDensityRest))};
  // The last two steps of Horner with their low parts.
  const V second = simd::set<T, A>(Coefficients<T>::kMills[1]), first = simd::set<T, A>(Coefficients<T>::kMills[0]);
  const V tail = simd::polynomial_from<2, T, A>(t, Coefficients<T>::kMills);
  const V rest = simd::multiply_add(t, tail, second), rest_low = simd::fma(t, tail, second - rest);
  const V mills = simd::multiply_add(t, rest, first);
  const V mills_low =
      simd::multiply_add(t, rest_low, simd::fma(t, rest, first - mills) + simd::set<T, A>(Coefficients<T>::kMillsRest));
  const Pair<T, A> rough = simd::times<T, A>({mills, mills_low}, {d, zero});
  const Pair<T, A> ratio{rough.high,
                         simd::multiply_add(shift, simd::fma(c, rough.high, zero - density.high), rough.low)};
  const Pair<T, A> power{e.value, e.error};
  return {simd::times(power, ratio), simd::times(power, density), e.scale};
}

}  // namespace simd
}  // namespace tilewright::detail
