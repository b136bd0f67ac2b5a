// SPDX-License-Identifier: MIT
// sin and cos of float batches, over the full range.
#pragma once

#include "kernels/simd/elementary.hpp"
#include "kernels/simd/piecewise.hpp"

namespace tilewright::detail {
namespace simd {

/// x = n pi/2 + rest, |rest| <= pi/4 and a little, to about its last bit; the low two bits of n.
template <class A>
struct Reduced {
  Vec<float, A> rest;
  Vec<std::int32_t, A> n;
};

/// Up to here three pieces of pi/2 and fused multiply-adds reduce an argument; beyond integers do.
inline constexpr float kNearEnd = 32768;

/// One argument of any size: its 24 bits times those bits of 2/pi that decide (Payne and Hanek).
template <class A>
[[gnu::noinline]] void reduce_far(float x, float& rest, std::int32_t& n) {
  // 2/pi = 0. ... in words of 32 bits, one word of zeros in front.
  constexpr std::uint32_t kWords[] = {0,          0xA2F9836E, 0x4E441529, 0xFC2757D1,
                                      0xF534DDC0, 0xDB629599, 0x3C439041, 0xFE5163AB};
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  const int exponent = static_cast<int>(bits >> 23 & 255) - 150;  // |x| = mantissa * 2^exponent
  const std::uint64_t mantissa = (bits & 0x7fffff) | 0x800000;
  if (exponent == 105) {  // infinity, NaN
    rest = x - x;
    n = 0;
    return;
  }
  // Bits of 2/pi before 2^-(exponent - 2) only make multiples of four: take 96 from there on.
  const int first = 30 + exponent, word = first / 32, shift = first % 32;
  const auto take = [&](int w) {
    const std::uint64_t two = static_cast<std::uint64_t>(kWords[w]) << 32 | kWords[w + 1];
    return two << shift >> 32;
  };
  const std::uint64_t top = take(word) << 32 | take(word + 1), below = take(word + 2);
  // The product's integer part ends 2 bits below the top of 64.
  std::uint64_t product = mantissa * top + (mantissa * below >> 32);
  std::int32_t quadrant = static_cast<std::int32_t>(product >> 62);
  product <<= 2;
  std::int64_t fraction = static_cast<std::int64_t>(product);  // of a quarter turn, / 2^64; the upper half is negative
  if (fraction < 0) ++quadrant;
  double r = static_cast<double>(fraction) * (1.57079632679489661923 * 0x1p-64);
  if (bits >> 31) {
    r = -r;
    quadrant = -quadrant;
  }
  rest = static_cast<float>(r);
  n = quadrant;
}

template <class A>
TILEWRIGHT_INLINE Reduced<A> reduce_near(Vec<float, A> x) {
  using V = Vec<float, A>;
  const V round = simd::set<float, A>(Constants<float>::kRound);
  const V shifted = simd::multiply_add(x, simd::set<float, A>(0x1.45f306p-1F), round), n = shifted - round;
  // pi/2 in three pieces, all above 0, so that -0 is kept.
  const V first = simd::fma(n, simd::set<float, A>(-0x1.921fb4p0F), x);  // exact
  const V second = simd::fma(n, simd::set<float, A>(-0x1.4442dp-24F), first);
  return {simd::multiply_add(n, simd::set<float, A>(-0x1.84698ap-48F), second), simd::to_bits(shifted)};
}

template <class A>
TILEWRIGHT_INLINE xsimd::batch_bool<float, A> is_odd(Vec<std::int32_t, A> n) {
  const Vec<std::int32_t, A> one(1);
#if defined(__AVX512F__)
  if constexpr (kIsAvx512<A>) return xsimd::batch_bool<float, A>(_mm512_test_epi32_mask(n.data, one.data));
#endif
  if constexpr (!kIsAvx512<A>)  // 0 or a normal number
    return simd::set<float, A>(0) < simd::from_bits<float, A>(simd::to_exponent<float, A>(n & one));
}

/// v, negated where the highest bit is set.
template <class A>
TILEWRIGHT_INLINE Vec<float, A> with_sign_changed(Vec<float, A> v, Vec<std::int32_t, A> bits) {
  const Vec<std::int32_t, A> sign(INT32_MIN);
#if defined(__AVX512F__)
  if constexpr (kIsAvx512<A>)  // a ^ (b & c) at once
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_castps_si512(v.data), bits.data, sign.data, 0x78));
#endif
  if constexpr (!kIsAvx512<A>) return simd::from_bits<float, A>(simd::to_bits(v) ^ (bits & sign));
}

/// sin(x + turn pi/2): the sine of the rest, r + r z p(z) with z = r^2, or its cosine, 1 + z p(z). The coefficients are
/// chosen, and one polynomial computed: multiply-adds are what others wait for.
template <int kTurn, class A>
TILEWRIGHT_INLINE Vec<float, A> sine_of(const Reduced<A>& x) {
  using V = Vec<float, A>;
  using K = Coefficients<float>;
  static_assert(std::size(K::kSin) == 3 && std::size(K::kCos) == 3);
  const Vec<std::int32_t, A> n = x.n + Vec<std::int32_t, A>(kTurn);
  const auto odd = simd::is_odd<A>(n);
  const auto chosen = [odd](int i) __attribute__((always_inline)) {
    return simd::select(odd, simd::set<float, A>(K::kCos[i]), simd::set<float, A>(K::kSin[i]));
  };
  const V z = x.rest * x.rest, scale = simd::select(odd, z, x.rest * z);
  const V p = simd::multiply_add(z, simd::multiply_add(z, chosen(2), chosen(1)), chosen(0));
  const V first = simd::select(odd, simd::set<float, A>(1), x.rest), sum = simd::fma(scale, p, first);
  return simd::with_sign_changed(kTurn == 0 ? simd::with_sign(sum, first) : sum, n << 30);  // -0 is kept
}

/// The same of any x, one lane after the other. Not inlined, or loops would lose their constants to it.
template <int kTurn, class A>
[[gnu::noinline, gnu::cold]] Vec<float, A> sine_of_any(Vec<float, A> x) {
  const Reduced<A> near = simd::reduce_near<A>(x);
  float arguments[kLanes<float, A>], rests[kLanes<float, A>];
  std::int32_t turns[kLanes<float, A>];
  simd::store(arguments, x);
  simd::store(rests, near.rest);
  near.n.store_unaligned(turns);
  for (int i = 0; i < kLanes<float, A>; ++i)
    if (!(__builtin_fabsf(arguments[i]) < kNearEnd)) simd::reduce_far<A>(arguments[i], rests[i], turns[i]);
  return simd::sine_of<kTurn, A>({simd::load<float, A>(rests), Vec<std::int32_t, A>::load_unaligned(turns)});
}

/// sin(x + turn pi/2). Float only. p: see common_or_rare.
template <int kTurn, class A, class Numbers>
TILEWRIGHT_INLINE Vec<float, A> sine(Vec<float, A> x, const Numbers& p) {
  return simd::common_or_rare(
      simd::abs(x) < simd::set<float, A>(kNearEnd),
      p, [=]() __attribute__((always_inline)) { return simd::sine_of<kTurn, A>(simd::reduce_near<A>(x)); },
      [=] { return simd::sine_of_any<kTurn, A>(x); });
}

}  // namespace simd
}  // namespace tilewright::detail
