// SPDX-License-Identifier: MIT
// Squares of registers, transposed by shuffles.
#pragma once

#include "kernels/simd/simd.hpp"

namespace tilewright::detail::simd {

/// One butterfly of a transposition: a and b exchange the elements whose index has bit D set in a and clear in b.
template <int D, class T, class A, std::size_t... J>
TILEWRIGHT_INLINE void exchange(Vec<T, A>& a, Vec<T, A>& b, std::index_sequence<J...>) {
  constexpr int n = static_cast<int>(sizeof...(J));
  typedef T Native __attribute__((vector_size(sizeof...(J) * sizeof(T))));
  const Native x = (Native)a.data;
  const Native y = (Native)b.data;
  const Native low =
      __builtin_shufflevector(x, y, (static_cast<int>(J) & D ? n + static_cast<int>(J) - D : static_cast<int>(J))...);
  const Native high =
      __builtin_shufflevector(x, y, (static_cast<int>(J) & D ? n + static_cast<int>(J) : static_cast<int>(J) + D)...);
  a = Vec<T, A>((typename Vec<T, A>::register_type)low);
  b = Vec<T, A>((typename Vec<T, A>::register_type)high);
}

template <int D, class T, class A>
TILEWRIGHT_INLINE void transpose_stages(Vec<T, A>* rows) {
  constexpr int n = kLanes<T, A>;
  if constexpr (D < n) {
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i)
      if (!(i & D)) simd::exchange<D, T, A>(rows[i], rows[i + D], std::make_index_sequence<n>());
    simd::transpose_stages<D * 2, T, A>(rows);
  }
}

/// rows[i][j] <-> rows[j][i] for a square of registers, in log2(lanes) rounds of two-operand shuffles.
template <class T, class A>
TILEWRIGHT_INLINE void transpose(Vec<T, A>* rows) {
  simd::transpose_stages<1, T, A>(rows);
}

/// In each group of four lanes: the halves `High` of x and y, element by element in turn (kTurns) or one after the
/// other.
template <bool kTurns, bool kHigh, class T, class A, std::size_t... J>
TILEWRIGHT_INLINE Vec<T, A> merge_halves(Vec<T, A> x, Vec<T, A> y, std::index_sequence<J...>) {
  constexpr int n = static_cast<int>(sizeof...(J)), half = kHigh ? 2 : 0;
  typedef T Native __attribute__((vector_size(sizeof...(J) * sizeof(T))));
  const auto from = [](int j) constexpr {
    const int group = j / 4 * 4, w = j % 4;
    return group + half + (kTurns ? w / 2 + (w % 2) * n : w % 2 + (w / 2) * n);
  };
  return Vec<T, A>((typename Vec<T, A>::register_type)__builtin_shufflevector((Native)x.data, (Native)y.data,
                                                                              (from(static_cast<int>(J)))...));
}

/// Transposes the square in each group of four lanes of four registers, with one shuffle for each register and round.
template <class T, class A>
TILEWRIGHT_INLINE void transpose_groups(Vec<T, A> (&r)[4]) {
  constexpr auto lanes = std::make_index_sequence<kLanes<T, A>>();
  const Vec<T, A> low01 = simd::merge_halves<true, false, T, A>(r[0], r[1], lanes);
  const Vec<T, A> high01 = simd::merge_halves<true, true, T, A>(r[0], r[1], lanes);
  const Vec<T, A> low23 = simd::merge_halves<true, false, T, A>(r[2], r[3], lanes);
  const Vec<T, A> high23 = simd::merge_halves<true, true, T, A>(r[2], r[3], lanes);
  r[0] = simd::merge_halves<false, false, T, A>(low01, low23, lanes);
  r[1] = simd::merge_halves<false, true, T, A>(low01, low23, lanes);
  r[2] = simd::merge_halves<false, false, T, A>(high01, high23, lanes);
  r[3] = simd::merge_halves<false, true, T, A>(high01, high23, lanes);
}

}  // namespace tilewright::detail::simd
