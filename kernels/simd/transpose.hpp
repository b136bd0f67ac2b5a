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

}  // namespace tilewright::detail::simd
