// SPDX-License-Identifier: MIT
// Sums and maxima over a run of elements in one fixed order, whatever the vector width.
//
// The numerics: 64 virtual lanes. Of the first n - n % 64 elements, element i is added to lane i % 64 in ascending i,
// from zero; lanes l and l + 32, then l and l + 16, are added; the remaining n % 64 elements are added to lanes i % 16
// in ascending i; then lanes l and l + 8, l + 4, l + 2, l + 1 are added. On AVX-512 16 floats are one register, on NEON
// four: the additions are the same.
#pragma once

#include "kernels/simd/simd.hpp"

namespace tilewright::detail {

inline constexpr int kFoldLanes = 16;
inline constexpr int kSumLanes = 64;

/// 16 virtual lanes.
template <class T, class A>
struct Fold {
  static constexpr int kVectors = kFoldLanes / kLanes<T, A>;
  Vec<T, A> v[kVectors];
};

struct Add {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> of(Vec<T, A> a, Vec<T, A> b) {
    return a + b;
  }
  template <class T, class A>
  TILEWRIGHT_INLINE T of_scalars(T a, T b) {
    return a + b;
  }
};

/// The larger one; NaN when either is NaN.
struct Max {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> of(Vec<T, A> a, Vec<T, A> b) {
    return simd::select(a < b, b, simd::select(b <= a, a, a + b));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE T of_scalars(T a, T b) {
    return a < b ? b : b <= a ? a : a + b;
  }
};

/// Combines term(i) over 0 <= i < n in the order above, starting from `zero`. Term is called with an offset and either
/// nothing or the lanes to take; it returns a register whose lanes outside the choice do not matter.
template <class Op, class T, class A, class Term>
TILEWRIGHT_INLINE T reduce(Index n, T zero, Term term) {
  using F = Fold<T, A>;
  constexpr int lanes = kLanes<T, A>;
  F fold;
#pragma GCC unroll 8
  for (int v = 0; v < F::kVectors; ++v) fold.v[v] = simd::set<T, A>(zero);
  Index i = 0;
  if (n >= kSumLanes) {
    F wide[4];
#pragma GCC unroll 4
    for (int f = 0; f < 4; ++f)
#pragma GCC unroll 8
      for (int v = 0; v < F::kVectors; ++v) wide[f].v[v] = simd::set<T, A>(zero);
    for (; i + kSumLanes <= n; i += kSumLanes)
#pragma GCC unroll 4
      for (int f = 0; f < 4; ++f)
#pragma GCC unroll 8
        for (int v = 0; v < F::kVectors; ++v)
          wide[f].v[v] = Op::template of<T, A>(wide[f].v[v], term(i + f * kFoldLanes + v * lanes));
#pragma GCC unroll 8
    for (int v = 0; v < F::kVectors; ++v)
      fold.v[v] = Op::template of<T, A>(Op::template of<T, A>(wide[0].v[v], wide[2].v[v]),
                                        Op::template of<T, A>(wide[1].v[v], wide[3].v[v]));
  }
  const Vec<T, A> neutral = simd::set<T, A>(zero);
  for (; i < n; i += kFoldLanes)
#pragma GCC unroll 8
    for (int v = 0; v < F::kVectors; ++v) {
      const Index at = i + v * lanes;
      if (at + lanes <= n)
        fold.v[v] = Op::template of<T, A>(fold.v[v], term(at));
      else if (at < n)
        fold.v[v] =
            Op::template of<T, A>(fold.v[v], simd::keep(term(at, simd::first_lanes<T, A>(n - at)), neutral, n - at));
    }
  T lane[kFoldLanes];
#pragma GCC unroll 8
  for (int v = 0; v < F::kVectors; ++v) simd::store(lane + v * lanes, fold.v[v]);
#pragma GCC unroll 4
  for (int half = kFoldLanes / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lane[l] = Op::template of_scalars<T, A>(lane[l], lane[l + half]);
  return lane[0];
}

/// Elements that one sum in the working precision covers; part of the numerics.
inline constexpr Index kSumBlockElements = 4096;

/// The sum of term(i): blocks in the order above, added in double.
template <class T, class A, class Term>
TILEWRIGHT_INLINE double sum_in_blocks(Index n, Term term) {
  if (n <= kSumBlockElements) return static_cast<double>(reduce<Add, T, A>(n, T(0), term));
  double sum = 0;
  for (Index first = 0; first < n; first += kSumBlockElements) {
    const Index count = n - first < kSumBlockElements ? n - first : kSumBlockElements;
    sum += static_cast<double>(reduce<Add, T, A>(
        count, T(0), [&](Index i, auto... some) __attribute__((always_inline)) { return term(first + i, some...); }));
  }
  return sum;
}

}  // namespace tilewright::detail
