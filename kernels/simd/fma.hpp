// SPDX-License-Identifier: MIT
// Fused multiply-adds for formulas that need them fused: where what a product's rounding lost is wanted, or where a
// sum's rounding is to be the only one. Sums of many products and most of a polynomial take multiply_add.
#pragma once

#include "kernels/simd/simd.hpp"

namespace tilewright::detail::simd {

/// high + low, low a small correction.
template <class T, class A>
struct Pair {
  Vec<T, A> high, low;
};

/// a + b exactly (Knuth's TwoSum).
template <class T, class A>
TILEWRIGHT_INLINE Pair<T, A> two_sum(Vec<T, A> a, Vec<T, A> b) {
  const Vec<T, A> sum = a + b, part = sum - a;
  return {sum, (a - (sum - part)) + (b - part)};
}

/// Dekker: exact products of halves. Where some would be subnormal what was lost is taken for nothing. Not inlined: the
/// library would be 1 % larger.
template <class T, class A>
[[gnu::noinline]] static Vec<T, A> software_product_low(Vec<T, A> a, Vec<T, A> b, Vec<T, A> product) {
  using V = Vec<T, A>;
  constexpr bool is_float = sizeof(T) == 4;
  const Vec<Bits<T>, A> upper(Bits<T>(-1) << (is_float ? 12 : 27));
  const V a_high = simd::from_bits<T, A>(simd::to_bits(a) & upper), a_low = a - a_high;
  const V b_high = simd::from_bits<T, A>(simd::to_bits(b) & upper), b_low = b - b_high;
  const V low = (((a_high * b_high - product) + a_high * b_low) + a_low * b_high) + a_low * b_low;
  const V least = simd::set<T, A>(is_float ? T(0x1p-100) : T(0x1p-960));
  return simd::select(least < simd::abs(product), low, simd::set<T, A>(0));
}

/// a * b - product, product being a * b rounded.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> product_low(Vec<T, A> a, Vec<T, A> b, Vec<T, A> product) {
#if defined(__AVX512F__)
  if constexpr (kIsAvx512<A> && sizeof(T) == 4) return _mm512_fmsub_ps(a.data, b.data, product.data);
  if constexpr (kIsAvx512<A> && sizeof(T) == 8) return _mm512_fmsub_pd(a.data, b.data, product.data);
#endif
#if defined(__AVX2__)
  if constexpr (kIsAvx2<A>) return xsimd::fms(a, b, product);
#endif
  if constexpr (std::is_same_v<A, xsimd::sse2>) return simd::software_product_low<T, A>(a, b, product);
  return simd::multiply_add(a, b, -product);
}

/// The product and the sum in two parts each. Of an infinite sum there is no rest; -0 is kept.
template <class T, class A>
[[gnu::noinline]] static Vec<T, A> software_fma(Vec<T, A> a, Vec<T, A> b, Vec<T, A> c) {
  const Vec<T, A> product = a * b;
  const Pair<T, A> sum = simd::two_sum(product, c);
  const Vec<T, A> rest = sum.low + simd::software_product_low<T, A>(a, b, product);
  return simd::select(simd::set<T, A>(0) < simd::abs(rest), sum.high + rest, sum.high);
}

/// a * b + c, rounded once; on sse2 within a millionth of a unit of that.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> fma(Vec<T, A> a, Vec<T, A> b, Vec<T, A> c) {
  if constexpr (std::is_same_v<A, xsimd::sse2>)
    return simd::software_fma<T, A>(a, b, c);
  else
    return simd::multiply_add(a, b, c);
}

/// c - a * b, likewise.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> subtract_product(Vec<T, A> c, Vec<T, A> a, Vec<T, A> b) {
#if defined(__AVX512F__)
  if constexpr (kIsAvx512<A> && sizeof(T) == 4) return _mm512_fnmadd_ps(a.data, b.data, c.data);
  if constexpr (kIsAvx512<A> && sizeof(T) == 8) return _mm512_fnmadd_pd(a.data, b.data, c.data);
#endif
#if defined(__AVX2__)
  if constexpr (kIsAvx2<A>) return xsimd::fnma(a, b, c);
#endif
  return simd::fma(-a, b, c);
}

/// fma for a b of few bits (five do).
template <class A>
TILEWRIGHT_INLINE Vec<float, A> fma_of_few_bits(Vec<float, A> a, Vec<float, A> b, Vec<float, A> c) {
  if constexpr (!std::is_same_v<A, xsimd::sse2>) return simd::multiply_add(a, b, c);
  const auto high = simd::from_bits<float, A>(simd::to_bits(a) & Vec<std::int32_t, A>(-1 << 12));
  return (high * b + c) + (a - high) * b;
}

}  // namespace tilewright::detail::simd
