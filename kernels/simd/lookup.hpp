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
  if constexpr (!kIsAvx512<A> && !kIsAvx2<A>) {
    constexpr int lanes = kLanes<float, A>;
    std::int32_t rows[lanes];
    float values[lanes];
    row.store_unaligned(rows);
    for (int i = 0; i < lanes; ++i) values[i] = table[rows[i] & (N - 1)];
    return simd::load<float, A>(values);
  }
}

}  // namespace tilewright::detail::simd
