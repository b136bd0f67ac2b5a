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
  const V first = simd::fma(n, simd::set<float, A>(-0x1.921fb6p0F), x);  // exact
  const V second = simd::fma(n, simd::set<float, A>(0x1.777a5cp-25F), first);
  return {simd::multiply_add(n, simd::set<float, A>(0x1.ee59dap-50F), second), simd::to_bits(shifted)};
}

/// The same, with n as the float of its bits; the lanes where it is nonsense.
template <class A>
TILEWRIGHT_INLINE xsimd::batch_bool<float, A> begin_sine(Vec<float, A> x, Vec<float, A>& rest, Vec<float, A>& turns) {
  const Reduced<A> r = simd::reduce_near<A>(x);
  rest = r.rest, turns = simd::from_bits<float, A>(r.n);
  return !(simd::abs(x) < simd::set<float, A>(kNearEnd));
}

/// sin(x + turn pi/2)
template <int kTurn, class A>
TILEWRIGHT_INLINE Vec<float, A> sine_of(Vec<float, A> x, const Reduced<A>& r) {
  using V = Vec<float, A>;
  using I = Vec<std::int32_t, A>;
  const V z = r.rest * r.rest;
  const V sin = simd::multiply_add(r.rest * z, simd::polynomial(z, Coefficients<float>::kSin), r.rest);
  const V bend = simd::multiply_add(z, simd::polynomial(z, Coefficients<float>::kCos), simd::set<float, A>(-0.5F));
  const V cos = simd::multiply_add(z, bend, simd::set<float, A>(1));
  const I n = r.n + I(kTurn);
  const V odd = simd::from_bits<float, A>(simd::to_exponent<float, A>(n & I(1)));  // 0 or a normal number
  const V value = simd::select(simd::set<float, A>(0) < odd, cos, sin);
  const V result = simd::from_bits<float, A>(simd::to_bits(value) ^ ((n << 30) & I(INT32_MIN)));
  return kTurn == 0 ? simd::select(x == simd::set<float, A>(0), x, result) : result;  // -0 is kept
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
  return simd::sine_of<kTurn, A>(x, {simd::load<float, A>(rests), Vec<std::int32_t, A>::load_unaligned(turns)});
}

/// sin(x + turn pi/2). Float only. p: see common_or_rare.
template <int kTurn, class A, class Numbers>
TILEWRIGHT_INLINE Vec<float, A> sine(Vec<float, A> x, const Numbers& p) {
  return simd::common_or_rare(
      simd::abs(x) < simd::set<float, A>(kNearEnd),
      p, [=]() __attribute__((always_inline)) { return simd::sine_of<kTurn, A>(x, simd::reduce_near<A>(x)); },
      [=] { return simd::sine_of_any<kTurn, A>(x); });
}

}  // namespace simd
}  // namespace tilewright::detail
