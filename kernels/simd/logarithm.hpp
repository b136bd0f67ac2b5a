// SPDX-License-Identifier: MIT
// log(x) and log(1 + x) on batches. Float finds the piece of the mantissa among eight and has a polynomial for what is
// left of it; double has one for all of the mantissa.
#pragma once

#include <limits>

#include "kernels/simd/elementary.hpp"
#include "kernels/simd/lookup.hpp"

namespace tilewright::detail::simd {

/// log(1 + u + low) for -0.3 < u <= 1 and a low part far below it: 2 atanh(s) with 2 s = 2 u / (2 + u), and what the
/// roundings of 2 s lost.
template <class T, class A>
TILEWRIGHT_INLINE Pair<T, A> log1p_near(Vec<T, A> u, Vec<T, A> low) {
  using V = Vec<T, A>;
  const V two = simd::set<T, A>(2), zero = simd::set<T, A>(0);
  const V denominator = two + u;
  const V denominator_low = u - (denominator - two);
  const V twice = simd::div(u + u, denominator);
  const V rest =
      simd::fma(zero - twice, denominator, u + u) + simd::multiply_add(zero - twice, denominator_low, low + low);
  // 1 / denominator to a fiftieth, which is plenty for a correction.
  const V inverse = simd::multiply_add(simd::set<T, A>(T(-1.0 / 6)), denominator, simd::set<T, A>(T(5.0 / 6)));
  const V z = twice * twice * simd::set<T, A>(T(0.25));
  return {twice, simd::multiply_add(twice * z, simd::polynomial(z, Coefficients<T>::kLog1p), rest * inverse)};
}

/// log(1 + u) for 0 <= u <= 1.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> log1p_unit(Vec<T, A> u) {
  const Pair<T, A> log = simd::log1p_near(u, simd::set<T, A>(0));
  return log.low + log.high;
}

/// Float: x = 2^n m, and of the piece that m is in c, about 1 / m, and -log(c) in two parts. n stands in the exponent's
/// place, as a float in units of kUnit.
template <class A>
struct LogPiece {
  static constexpr float kUnit = 0x1p-23F;
  Vec<std::int32_t, A> n;
  Vec<float, A> c, high, low;
};

/// Of normal positive x; others give nonsense.
template <class A>
TILEWRIGHT_INLINE LogPiece<A> log_piece(Vec<float, A> x) {
  using I = Vec<std::int32_t, A>;
  using P = LogPieces<A>;
  constexpr int exponent = INT32_MIN >> 8;
  const I shifted = simd::to_bits(x) - I(P::kFirst), row = shifted >> P::kShift;
  return {shifted & I(exponent), simd::lookup<A>(P::kInverse, row), simd::lookup<A>(P::kHigh, row),
          simd::lookup<A>(P::kLow, row)};
}

/// c m - 1, exactly.
template <class A>
TILEWRIGHT_INLINE Vec<float, A> log_argument(Vec<float, A> x, const LogPiece<A>& piece) {
  const auto m = simd::from_bits<float, A>(simd::to_bits(x) - piece.n);
  return simd::fma_of_few_bits(m, piece.c, simd::set<float, A>(-1));
}

/// (n + more) log(2) - log(c) + log(1 + u)
template <class A, class... Powers>
TILEWRIGHT_INLINE Vec<float, A> log_of_piece(const LogPiece<A>& piece, Vec<float, A> u, Powers... more) {
  using V = Vec<float, A>;
  using K = Constants<float>;
  constexpr float unit = LogPiece<A>::kUnit;
  const V n = xsimd::to_float((piece.n + ... + more));
  const V whole = simd::multiply_add(n, simd::set<float, A>(K::kLn2High * unit), piece.high);  // exact
  const V sum = whole + u, lost = u - (sum - whole);
  const V rest = simd::multiply_add(n, simd::set<float, A>(K::kLn2Low * unit), piece.low) + lost;
  return sum + simd::multiply_add(u * u, simd::polynomial(u, Coefficients<float>::kLogNear), rest);
}

/// Double: x = 2^n (1 + u) with sqrt(1/2) <= 1 + u < sqrt(2), and 2^-n where that is not too small.
template <class A>
struct LogParts {
  Vec<double, A> n, u, scale;
};

/// Of normal positive x; others give nonsense.
template <class A>
TILEWRIGHT_INLINE LogParts<A> reduce_for_log(Vec<double, A> x) {
  using V = Vec<double, A>;
  using K = Constants<double>;
  using I = Vec<std::int64_t, A>;
  const I bits = simd::to_bits(x);
  const V round = simd::set<double, A>(K::kRound), one = simd::set<double, A>(1), half = simd::set<double, A>(0.5);
  constexpr std::int64_t mantissa = (std::int64_t{1} << K::kMantissaBits) - 1;
  const I exponent_of_one(std::int64_t{K::kBias} << K::kMantissaBits);
  const I field = simd::from_exponent<double, A>(bits & I(~kSignBit<double>));
  const V n = simd::from_bits<double, A>(field | simd::to_bits(round)) - round - simd::set<double, A>(K::kBias);
  const V m = simd::from_bits<double, A>((bits & I(mantissa)) | exponent_of_one);
  const auto large = simd::set<double, A>(1.41421356237309504880) < m;
  const V scale = simd::from_bits<double, A>(exponent_of_one + exponent_of_one - simd::to_exponent<double, A>(field));
  return {simd::select(large, n + one, n), simd::select(large, m * half, m) - one,
          simd::select(large, scale * half, scale)};
}

/// n log(2) + log_m
template <class A>
TILEWRIGHT_INLINE Vec<double, A> plus_powers(Vec<double, A> n, Pair<double, A> log_m) {
  using K = Constants<double>;
  const auto sum = simd::multiply_add(n, simd::set<double, A>(K::kLn2High), log_m.high);  // the product is exact
  const auto lost = log_m.high - simd::multiply_add(n, simd::set<double, A>(-K::kLn2High), sum);
  return sum + simd::multiply_add(n, simd::set<double, A>(K::kLn2Low), lost + log_m.low);
}

/// log(x) + k log(2) for normal positive x; k a whole number, in float an integer in the exponent's place.
template <class T, class A, class... Powers>
TILEWRIGHT_INLINE Vec<T, A> log_of_usual(Vec<T, A> x, Powers... k) {
  if constexpr (sizeof(T) == 4) {
    const LogPiece<A> p = simd::log_piece(x);
    return simd::log_of_piece(p, simd::log_argument(x, p), k...);
  } else {
    const LogParts<A> r = simd::reduce_for_log(x);
    return simd::plus_powers((r.n + ... + k), simd::log1p_near(r.u, simd::set<T, A>(0)));
  }
}

/// log(x) for normal positive x; infinity and NaN go through.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> log_normal(Vec<T, A> x) {
  return simd::select(x < simd::set<T, A>(std::numeric_limits<T>::infinity()), simd::log_of_usual(x), x);
}

/// result where x > 0; -infinity at 0, NaN below, infinity and NaN as they are.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> with_limits_of_log(Vec<T, A> x, Vec<T, A> result) {
  const Vec<T, A> zero = simd::set<T, A>(0), infinity = simd::set<T, A>(std::numeric_limits<T>::infinity());
  const Vec<T, A> finite = simd::select(x < infinity, result, x);
  const Vec<T, A> nan = infinity - infinity;
  return simd::select(zero < x, finite, simd::select(x == zero, zero - infinity, simd::select(x < zero, nan, x)));
}

/// Of any x; subnormals are scaled up.
template <class T, class A>
[[gnu::noinline, gnu::cold]] Vec<T, A> log_of_any(Vec<T, A> x) {
  constexpr int mantissa = Constants<T>::kMantissaBits, k = mantissa + 1;
  const auto small = x < simd::set<T, A>(std::numeric_limits<T>::min());
  const Vec<T, A> scaled = simd::select(small, x * simd::set<T, A>(T(Bits<T>(1) << k)), x), zero = simd::set<T, A>(0);
  if constexpr (sizeof(T) == 4) {
    const Vec<T, A> power = simd::select(small, simd::from_bits<T, A>(Vec<std::int32_t, A>(-k << mantissa)), zero);
    return simd::with_limits_of_log(x, simd::log_of_usual(scaled, simd::to_bits(power)));
  } else {
    return simd::with_limits_of_log(x, simd::log_of_usual(scaled, simd::select(small, simd::set<T, A>(-k), zero)));
  }
}
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> log(Vec<T, A> x) {
  if (xsimd::all(simd::is_normal_and_positive(x))) return simd::log_of_usual(x);
  return simd::log_of_any(x);
}

/// -1 < x < 1e30, beyond which the 1 is nothing.
template <class T, class A>
TILEWRIGHT_INLINE xsimd::batch_bool<T, A> is_usual_for_log1p(Vec<T, A> x) {
#if defined(__AVX512F__)
  if constexpr (kIsAvx512<A> && sizeof(T) == 4) {  // 1 + x is from 2^-24 to 1e30, by its bits
    constexpr int kLeast = 0x33800000, kMost = 0x7149F2CA;
    const __m512i above = _mm512_sub_epi32(_mm512_castps_si512(simd::set<T, A>(1) + x), _mm512_set1_epi32(kLeast));
    return !xsimd::batch_bool<T, A>(_mm512_cmpge_epu32_mask(above, _mm512_set1_epi32(kMost - kLeast)));
  }
#endif
  return (simd::set<T, A>(-1) < x) & (x < simd::set<T, A>(T(1e30)));
}
/// Float: (1 + x) 2^-n c - 1 without rounding 1 + x, by which the piece is found. Double: of 1 + x and what its
/// rounding lost. kAny: also from 1e30 on.
template <bool kAny, class T, class A>
TILEWRIGHT_INLINE Vec<T, A> log1p_inside(Vec<T, A> x) {
  using V = Vec<T, A>;
  const V one = simd::set<T, A>(1), sum = one + x, end = simd::set<T, A>(T(1e30));
  if constexpr (sizeof(T) == 4) {
    const LogPiece<A> p = simd::log_piece(sum);
    const V factor = simd::from_bits<T, A>(simd::to_bits(p.c) - p.n);
    V u = simd::fma_of_few_bits(x, factor, factor - one);
    if constexpr (kAny) u = simd::select(end <= x, simd::log_argument(sum, p), u);
    return simd::with_sign(simd::log_of_piece(p, u), x);  // -0 is kept
  } else {
    const LogParts<A> r = simd::reduce_for_log(sum);
    V low = (x - (sum - one)) * r.scale;
    if constexpr (kAny) low = simd::select(end <= x, simd::set<T, A>(0), low);
    return simd::with_sign(simd::plus_powers(r.n, simd::log1p_near(r.u, low)), x);
  }
}
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> log1p_of_usual(Vec<T, A> x) {
  return simd::log1p_inside<false, T, A>(x);
}
template <class T, class A>
[[gnu::noinline, gnu::cold]] Vec<T, A> log1p_of_any(Vec<T, A> x) {
  return simd::with_limits_of_log(simd::set<T, A>(1) + x, simd::log1p_inside<true, T, A>(x));
}
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> log1p(Vec<T, A> x) {
  if (xsimd::all(simd::is_usual_for_log1p(x))) return simd::log1p_of_usual(x);
  return simd::log1p_of_any(x);
}

}  // namespace tilewright::detail::simd
