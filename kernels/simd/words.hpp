// SPDX-License-Identifier: MIT
// Integers of 32 bits, for random numbers.
#pragma once

#include "kernels/simd/simd.hpp"

namespace tilewright::detail::simd {

template <class A>
using Words = Vec<std::uint32_t, A>;

template <class A>
struct WideProduct {
  Words<A> high, low;
};

/// Both halves of a * b.
template <class A>
TILEWRIGHT_INLINE WideProduct<A> multiply_wide(Words<A> a, std::uint32_t b) {
  const Words<A> low = a * Words<A>(b);
#if defined(__AVX512F__)
  if constexpr (kIsAvx512<A>) {
    const __m512i c = _mm512_set1_epi32(static_cast<int>(b));
    const __m512i even = _mm512_mul_epu32(a.data, c), odd = _mm512_mul_epu32(_mm512_srli_epi64(a.data, 32), c);
    return {Words<A>(_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd)), low};
  }
#endif
#if defined(__AVX2__)
  if constexpr (kIsAvx2<A>) {
    const __m256i c = _mm256_set1_epi32(static_cast<int>(b));
    const __m256i even = _mm256_mul_epu32(a.data, c), odd = _mm256_mul_epu32(_mm256_srli_epi64(a.data, 32), c);
    return {Words<A>(_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa)), low};
  }
#endif
#if defined(__SSE2__)
  if constexpr (std::is_same_v<A, xsimd::sse2>) {
    const __m128i c = _mm_set1_epi32(static_cast<int>(b)), upper = _mm_set1_epi64x(-4294967296);
    const __m128i even = _mm_mul_epu32(a.data, c), odd = _mm_mul_epu32(_mm_srli_epi64(a.data, 32), c);
    return {Words<A>(_mm_or_si128(_mm_srli_epi64(even, 32), _mm_and_si128(odd, upper))), low};
  }
#endif
#if defined(__aarch64__)
  if constexpr (kIsNeon<A>) {
    const uint32x4_t low_half = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(a.data), vdup_n_u32(b)));
    const uint32x4_t high_half = vreinterpretq_u32_u64(vmull_high_u32(a.data, vdupq_n_u32(b)));
    return {Words<A>(vuzp2q_u32(low_half, high_half)), low};
  }
#endif
}

/// v >> 8 as floats, exactly.
template <class A>
TILEWRIGHT_INLINE Vec<float, A> upper_24_bits(const std::uint32_t* words) {
  const Words<A> v = Words<A>::load_unaligned(words) >> 8;
#if XSIMD_VERSION_MAJOR < 11
  return xsimd::to_float(xsimd::bitwise_cast<Vec<std::int32_t, A>>(v));
#else
  return xsimd::to_float(xsimd::bitwise_cast<std::int32_t>(v));
#endif
}

}  // namespace tilewright::detail::simd
