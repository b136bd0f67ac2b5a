// SPDX-License-Identifier: MIT
// AVX-512's instructions on half registers, which the CPU may start twice as often: for products with few columns. Only
// what the micro-kernel needs.
#pragma once

#include "kernels/simd/simd.hpp"

namespace tilewright::detail::simd {

#if defined(__AVX512VL__)

struct Avx512Half {};

template <class T>
struct HalfVec;
template <>
struct HalfVec<float> {
  static constexpr int size = 8;
  __m256 data;
  TILEWRIGHT_MEMBER friend HalfVec operator*(HalfVec a, HalfVec b) { return {_mm256_mul_ps(a.data, b.data)}; }
};
template <>
struct HalfVec<double> {
  static constexpr int size = 4;
  __m256d data;
  TILEWRIGHT_MEMBER friend HalfVec operator*(HalfVec a, HalfVec b) { return {_mm256_mul_pd(a.data, b.data)}; }
};

template <class T>
struct Lanes<T, Avx512Half> {
  __mmask8 mask;
};

template <class T, class A>
concept IsHalf = std::is_same_v<A, Avx512Half>;

template <class T, class A>
requires IsHalf<T, A> TILEWRIGHT_INLINE Lanes<T, A> first_lanes(Index count) {
  return {static_cast<__mmask8>((1U << count) - 1)};
}
template <class T, class A>
requires IsHalf<T, A> TILEWRIGHT_INLINE HalfVec<T> set(T value) {
  if constexpr (sizeof(T) == 4)
    return {_mm256_set1_ps(value)};
  else
    return {_mm256_set1_pd(value)};
}
template <class T, class A>
requires IsHalf<T, A> TILEWRIGHT_INLINE HalfVec<T> load(const T* p) {
  if constexpr (sizeof(T) == 4)
    return {_mm256_loadu_ps(p)};
  else
    return {_mm256_loadu_pd(p)};
}
template <class T, class A>
requires IsHalf<T, A> TILEWRIGHT_INLINE HalfVec<T> load(const T* p, Lanes<T, A> lanes) {
  if constexpr (sizeof(T) == 4)
    return {_mm256_maskz_loadu_ps(lanes.mask, p)};
  else
    return {_mm256_maskz_loadu_pd(lanes.mask, p)};
}
template <class T>
TILEWRIGHT_INLINE void store(T* p, HalfVec<T> v) {
  if constexpr (sizeof(T) == 4)
    _mm256_storeu_ps(p, v.data);
  else
    _mm256_storeu_pd(p, v.data);
}
template <class T>
TILEWRIGHT_INLINE void store(T* p, HalfVec<T> v, Lanes<T, Avx512Half> lanes) {
  if constexpr (sizeof(T) == 4)
    _mm256_mask_storeu_ps(p, lanes.mask, v.data);
  else
    _mm256_mask_storeu_pd(p, lanes.mask, v.data);
}
template <class T>
TILEWRIGHT_INLINE HalfVec<T> multiply_add(HalfVec<T> a, HalfVec<T> b, HalfVec<T> c) {
  if constexpr (sizeof(T) == 4)
    return {_mm256_fmadd_ps(a.data, b.data, c.data)};
  else
    return {_mm256_fmadd_pd(a.data, b.data, c.data)};
}

#endif

}  // namespace tilewright::detail::simd
