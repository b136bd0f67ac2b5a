// SPDX-License-Identifier: MIT
// Numbers that each lane chooses from a small table.
#pragma once

#include "kernels/simd/simd.hpp"

namespace tilewright::detail::simd {

/// table[row % N] for N = 8 or 16, lane by lane.
template <class A, int N>
TILEWRIGHT_INLINE Vec<float, A> lookup(const float (&table)[N], Vec<std::int32_t, A> row) {
#if defined(__AVX512F__)
  if constexpr (kIsAvx512<A>)
    return _mm512_permutexvar_ps(row.data,
                                 N == 16 ? _mm512_load_ps(table) : _mm512_broadcast_f32x8(_mm256_load_ps(table)));
#endif
#if defined(__AVX2__)
  if constexpr (kIsAvx2<A>) {
    const __m256 first = _mm256_permutevar8x32_ps(_mm256_load_ps(table), row.data);
    if constexpr (N == 8) return first;
    // Two tables of eight, chosen by the next bit: gathers took three times as long (Zen 5).
    return _mm256_blendv_ps(first, _mm256_permutevar8x32_ps(_mm256_load_ps(table + N - 8), row.data),
                            _mm256_castsi256_ps(_mm256_slli_epi32(row.data, 28)));
  }
#endif
#if defined(__aarch64__)
  if constexpr (kIsNeon<A>) {  // by bytes
    const uint32x4_t number = vreinterpretq_u32_s32((row & Vec<std::int32_t, A>(N - 1)).data);
    const auto bytes = vreinterpretq_u8_u32(vmlaq_n_u32(vdupq_n_u32(0x03020100), number, 0x04040404));
    const auto* from = reinterpret_cast<const std::uint8_t*>(table);
    if constexpr (N == 8) return vreinterpretq_f32_u8(vqtbl2q_u8(vld1q_u8_x2(from), bytes));
    if constexpr (N == 16) return vreinterpretq_f32_u8(vqtbl4q_u8(vld1q_u8_x4(from), bytes));
  }
#endif
  if constexpr (std::is_same_v<A, xsimd::sse2>) {
    std::int32_t rows[4];
    (row & Vec<std::int32_t, A>(N - 1)).store_unaligned(rows);
    typedef float Native [[gnu::vector_size(16)]];
    const Native chosen{table[rows[0]], table[rows[1]], table[rows[2]], table[rows[3]]};
    return Vec<float, A>((typename Vec<float, A>::register_type)chosen);
  }
}

}  // namespace tilewright::detail::simd
