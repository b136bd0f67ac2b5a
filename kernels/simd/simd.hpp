// SPDX-License-Identifier: MIT
// The shim: this folder alone includes xsimd or an intrinsic. Everything above it is written in this vocabulary, for
// any element type T (float, double) and architecture tag A.
//
// Why not plain xsimd: Debian 12 has version 8.1, Debian 13 has 13.2, and they differ where results depend on it.
//   - fma on AVX-512 is a multiply and an add in 8.1: the intrinsic is called instead.
//   - float division and square root on neon64 are estimates in every version: the exact instructions are called.
//   - the argument of bitwise_cast is the batch type in 8.1 and the element type since 11.
//   - masked loads and stores exist since 14 only.
// Every operation here is exact or correctly rounded (IEEE 754), so the FMA architectures agree to the bit. sse2 has no
// fused multiply-add: multiply_add is two operations there, fma (fma.hpp) two dozen.
//
// Everything is a template on A and inlined always: see the ODR contract in docs/design.md.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>
#include <xsimd/xsimd.hpp>

#define TILEWRIGHT_INLINE [[gnu::always_inline]] static inline
#define TILEWRIGHT_MEMBER [[gnu::always_inline]] inline
/// For functions whose loops compute several registers at once, each in a chain of steps that is longer than the CPU
/// looks ahead: the compiler is to mix them. Without 32 registers there is no room for that.
#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__)
#define TILEWRIGHT_MIXING [[gnu::noinline, gnu::optimize("schedule-insns")]]
#else
#define TILEWRIGHT_MIXING [[gnu::noinline]]
#endif

namespace tilewright::detail {

using Index = std::int64_t;

template <class T, class A>
using Vec = xsimd::batch<T, A>;

/// The integer that has T's size.
template <class T>
using Bits = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;

template <class T, class A>
inline constexpr int kLanes = static_cast<int>(Vec<T, A>::size);

template <class A>
inline constexpr bool kIsAvx512 = std::is_same_v<A, xsimd::avx512bw>;
template <class A>
inline constexpr bool kIsAvx2 = std::is_same_v<A, xsimd::fma3<xsimd::avx2>>;
template <class A>
inline constexpr bool kIsNeon = std::is_same_v<A, xsimd::neon64>;

// Called by qualified name, simd::fma(a, b, c): an unqualified call would find xsimd's functions, too.
namespace simd {

// ---- memory

template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> set(T value) {
  return Vec<T, A>(value);
}

template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> load(const T* p) {
  return Vec<T, A>::load_unaligned(p);
}

template <class T, class A>
TILEWRIGHT_INLINE void store(T* p, Vec<T, A> v) {
  v.store_unaligned(p);
}

#if defined(__x86_64__)
/// p is aligned to the register.
template <class A>
TILEWRIGHT_INLINE void store_past_caches(float* p, Vec<float, A> v) {
#if defined(__AVX512F__)
  if constexpr (kIsAvx512<A>) _mm512_stream_ps(p, v.data);
#endif
#if defined(__AVX__)
  if constexpr (kIsAvx2<A>) _mm256_stream_ps(p, v.data);
#endif
  if constexpr (!kIsAvx512<A> && !kIsAvx2<A>) _mm_stream_ps(p, v.data);
}
#endif

/// Chooses the first `count` lanes, 0 <= count <= lanes. Nothing outside them is touched in memory.
template <class T, class A>
struct Lanes {
  Index count;
};

#if defined(__AVX512F__)
template <class T>
struct Lanes<T, xsimd::avx512bw> {
  std::conditional_t<sizeof(T) == 4, __mmask16, __mmask8> mask;
};
#endif
#if defined(__AVX2__)
template <class T>
struct Lanes<T, xsimd::fma3<xsimd::avx2>> {
  __m256i mask;
  Index count;
};
#endif

template <class T, class A>
TILEWRIGHT_INLINE Lanes<T, A> first_lanes(Index count) {
#if defined(__AVX512F__)
  if constexpr (kIsAvx512<A>) return {static_cast<decltype(Lanes<T, A>::mask)>((1U << count) - 1)};
#endif
#if defined(__AVX2__)
  if constexpr (kIsAvx2<A>) {
    if constexpr (sizeof(T) == 4)
      return {_mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
              count};
    else
      return {_mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3)), count};
  }
#endif
  if constexpr (!kIsAvx512<A> && !kIsAvx2<A>) return {count};
}

/// Where the ISA has no masks: element by element. Called, because inlined they would be half of the library.
template <class T, class A>
[[gnu::noinline]] Vec<T, A> load_some(const T* p, Index count) {
  T buffer[kLanes<T, A>] = {};
  for (Index i = 0; i < count; ++i) buffer[i] = p[i];
  return simd::load<T, A>(buffer);
}
template <class T, class A>
[[gnu::noinline]] void store_some(T* p, Vec<T, A> v, Index count) {
  T buffer[kLanes<T, A>];
  simd::store(buffer, v);
  for (Index i = 0; i < count; ++i) p[i] = buffer[i];
}

#if defined(__AVX2__)
/// 0 <= count <= lanes. Zen 3 needs 13 cycles for a masked store of AVX2, and 3 for these.
TILEWRIGHT_INLINE void store_parts(float* p, __m256 v, Index count) {
  if ((count & 8) != 0) return _mm256_storeu_ps(p, v);
  __m128 part = _mm256_castps256_ps128(v);
  if ((count & 4) != 0) {
    _mm_storeu_ps(p, part);
    part = _mm256_extractf128_ps(v, 1);
    p += 4;
  }
  if ((count & 2) != 0) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), part);
    part = _mm_movehl_ps(part, part);
    p += 2;
  }
  if ((count & 1) != 0) _mm_store_ss(p, part);
}
TILEWRIGHT_INLINE void store_parts(double* p, __m256d v, Index count) {
  if ((count & 4) != 0) return _mm256_storeu_pd(p, v);
  __m128d part = _mm256_castpd256_pd128(v);
  if ((count & 2) != 0) {
    _mm_storeu_pd(p, part);
    part = _mm256_extractf128_pd(v, 1);
    p += 2;
  }
  if ((count & 1) != 0) _mm_store_sd(p, part);
}
#endif

/// Lanes outside the choice are zero.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> load(const T* p, Lanes<T, A> lanes) {
#if defined(__AVX512F__)
  if constexpr (kIsAvx512<A>) {
    if constexpr (sizeof(T) == 4)
      return _mm512_maskz_loadu_ps(lanes.mask, p);
    else
      return _mm512_maskz_loadu_pd(lanes.mask, p);
  }
#endif
#if defined(__AVX2__)
  if constexpr (kIsAvx2<A>) {
    if constexpr (sizeof(T) == 4)
      return _mm256_maskload_ps(p, lanes.mask);
    else
      return _mm256_maskload_pd(p, lanes.mask);
  }
#endif
  if constexpr (!kIsAvx512<A> && !kIsAvx2<A>) return simd::load_some<T, A>(p, lanes.count);
}

template <class T, class A>
TILEWRIGHT_INLINE void store(T* p, Vec<T, A> v, Lanes<T, A> lanes) {
#if defined(__AVX512F__)
  if constexpr (kIsAvx512<A>) {
    if constexpr (sizeof(T) == 4)
      _mm512_mask_storeu_ps(p, lanes.mask, v.data);
    else
      _mm512_mask_storeu_pd(p, lanes.mask, v.data);
  }
#endif
#if defined(__AVX2__)
  if constexpr (kIsAvx2<A>) store_parts(p, v.data, lanes.count);
#endif
  if constexpr (!kIsAvx512<A> && !kIsAvx2<A>) simd::store_some<T, A>(p, v, lanes.count);
}

#if defined(__AVX512F__)
/// The chosen lanes of v, one after the other, at `to`, where there is room for all lanes.
template <class A>
TILEWRIGHT_INLINE void compress(__mmask16 chosen, Vec<float, A> v, float* to) {
  _mm512_storeu_ps(to, _mm512_maskz_compress_ps(chosen, v.data));
}
/// Writes the chosen lanes of the register at `to`: what stands from `from` on, where there is enough for all lanes.
template <class A>
TILEWRIGHT_INLINE void expand(const float* from, __mmask16 chosen, float* to) {
  _mm512_mask_storeu_ps(to, chosen, _mm512_maskz_expand_ps(chosen, _mm512_loadu_ps(from)));
}
#endif

/// A value that is loaded as a whole. Compilers make one masked load of a load and a choice between lanes, and Zen 5
/// fetches nothing ahead of those.
template <class V>
TILEWRIGHT_INLINE V in_register(V v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v.data));
#endif
  return v;
}

/// Calls body(offset) for whole registers and body(offset, lanes) for the rest.
template <class T, class A, class Body>
TILEWRIGHT_INLINE void for_registers(Index n, Body body) {
  constexpr int lanes = kLanes<T, A>;
  Index i = 0;
  for (; i + lanes <= n; i += lanes) body(i);
  if (i < n) body(i, simd::first_lanes<T, A>(n - i));
}

/// Lane i is a's for i < count and b's otherwise.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> keep(Vec<T, A> a, Vec<T, A> b, Index count) {
  alignas(64) static constexpr T kIndices[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return xsimd::select(simd::load<T, A>(kIndices) < simd::set<T, A>(static_cast<T>(count)), a, b);
}

// ---- arithmetic

/// a * b + c, rounded once (sse2: twice). See fma.hpp.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> multiply_add(Vec<T, A> a, Vec<T, A> b, Vec<T, A> c) {
#if defined(__AVX512F__)
  if constexpr (kIsAvx512<A>) {
    if constexpr (sizeof(T) == 4)
      return _mm512_fmadd_ps(a.data, b.data, c.data);
    else
      return _mm512_fmadd_pd(a.data, b.data, c.data);
  }
#endif
  if constexpr (!kIsAvx512<A>) return xsimd::fma(a, b, c);
}

template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> div(Vec<T, A> a, Vec<T, A> b) {
#if defined(__aarch64__)
  if constexpr (kIsNeon<A> && sizeof(T) == 4) return vdivq_f32(a.data, b.data);
#endif
  if constexpr (!(kIsNeon<A> && sizeof(T) == 4)) return a / b;
}

template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> sqrt(Vec<T, A> a) {
#if defined(__aarch64__)
  if constexpr (kIsNeon<A> && sizeof(T) == 4) return vsqrtq_f32(a.data);
#endif
  if constexpr (!(kIsNeon<A> && sizeof(T) == 4)) return xsimd::sqrt(a);
}

/// condition ? yes : no, lane by lane. Conditions come from <, <=, == on batches, false where an operand is NaN.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> select(xsimd::batch_bool<T, A> condition, Vec<T, A> yes, Vec<T, A> no) {
  return xsimd::select(condition, yes, no);
}

/// min(x, limit) and max(x, limit) for limits that are neither zero nor NaN; x may be NaN and stays it: x86 returns the
/// second operand then, NEON the NaN.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> at_most(Vec<T, A> x, T limit) {
  return xsimd::min(simd::set<T, A>(limit), x);
}
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> at_least(Vec<T, A> x, T limit) {
  return xsimd::max(simd::set<T, A>(limit), x);
}

/// -1, 0 or 1; NaN stays.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> sign(Vec<T, A> x) {
  const Vec<T, A> zero = simd::set<T, A>(0), one = simd::set<T, A>(1);
  return simd::select(zero < x, one, simd::select(x < zero, zero - one, x));
}

// ---- bits

template <class T, class A>
TILEWRIGHT_INLINE Vec<Bits<T>, A> to_bits(Vec<T, A> v) {
#if XSIMD_VERSION_MAJOR < 11
  return xsimd::bitwise_cast<Vec<Bits<T>, A>>(v);
#else
  return xsimd::bitwise_cast<Bits<T>>(v);
#endif
}

template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> from_bits(Vec<Bits<T>, A> v) {
#if XSIMD_VERSION_MAJOR < 11
  return xsimd::bitwise_cast<Vec<T, A>>(v);
#else
  return xsimd::bitwise_cast<T>(v);
#endif
}

template <class T>
inline constexpr Bits<T> kSignBit = sizeof(T) == 4 ? Bits<T>(INT32_MIN) : Bits<T>(INT64_MIN);

template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> abs(Vec<T, A> v) {
  return simd::from_bits<T, A>(simd::to_bits(v) & Vec<Bits<T>, A>(static_cast<Bits<T>>(~kSignBit<T>)));
}

/// `magnitude` with the sign of `sign`; where it is negative, `sign` must be, too.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> with_sign(Vec<T, A> magnitude, Vec<T, A> sign) {
#if defined(__AVX512F__)
  if constexpr (kIsAvx512<A> && sizeof(T) == 4)  // a | (b & c) at once, which compilers do not find
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(
        _mm512_castps_si512(magnitude.data), _mm512_castps_si512(sign.data), _mm512_set1_epi32(kSignBit<T>), 0xF8));
#endif
  return simd::from_bits<T, A>(simd::to_bits(magnitude) | (simd::to_bits(sign) & Vec<Bits<T>, A>(kSignBit<T>)));
}

/// v where it is above the limit, else 0.
template <class A>
TILEWRIGHT_INLINE Vec<std::int32_t, A> above_or_zero(Vec<std::int32_t, A> v, std::int32_t limit) {
  Vec<std::int32_t, A> least(limit);
#if defined(__AVX2__)
  if constexpr (kIsAvx2<A>) {
    asm("" : "+x"(v.data), "+x"(least.data));  // GCC would read v twice
    return _mm256_and_si256(v.data, _mm256_cmpgt_epi32(v.data, least.data));
  }
#endif
  if constexpr (!kIsAvx2<A>) return xsimd::select(v > least, v, Vec<std::int32_t, A>(0));
}

/// The bits of v moved left by the size of T's mantissa: turns the low bits of an integer into an exponent.
template <class T, class A>
TILEWRIGHT_INLINE Vec<Bits<T>, A> to_exponent(Vec<Bits<T>, A> v) {
  return v << (sizeof(T) == 4 ? 23 : 52);
}

/// The exponent field of v in the low bits; v must not be negative.
template <class T, class A>
TILEWRIGHT_INLINE Vec<Bits<T>, A> from_exponent(Vec<Bits<T>, A> v) {
  using U = std::make_unsigned_t<Bits<T>>;
#if XSIMD_VERSION_MAJOR < 11
  return xsimd::bitwise_cast<Vec<Bits<T>, A>>(xsimd::bitwise_cast<Vec<U, A>>(v) >> (sizeof(T) == 4 ? 23 : 52));
#else
  return xsimd::bitwise_cast<Bits<T>>(xsimd::bitwise_cast<U>(v) >> (sizeof(T) == 4 ? 23 : 52));
#endif
}

// ---- powers of two

/// 2^n for whole n, |n| at most twice the largest exponent; times(v) is v * 2^n, rounded once if the result is
/// subnormal. AVX-512 has an instruction for it; elsewhere the power is two factors, each a normal number.
template <class T, class A>
struct PowerOfTwo {
  Vec<T, A> first, second;
  TILEWRIGHT_MEMBER Vec<T, A> times(Vec<T, A> v) const { return v * first * second; }
};
#if defined(__AVX512F__)
template <class T>
struct PowerOfTwo<T, xsimd::avx512bw> {
  Vec<T, xsimd::avx512bw> n;
  TILEWRIGHT_MEMBER Vec<T, xsimd::avx512bw> times(Vec<T, xsimd::avx512bw> v) const {
    if constexpr (sizeof(T) == 4)
      return _mm512_scalef_ps(v.data, n.data);
    else
      return _mm512_scalef_pd(v.data, n.data);
  }
};
#endif

/// `round` is 1.5 * 2^mantissa bits: adding it leaves a whole number in the low bits. bias: of the exponent.
template <class T, class A>
TILEWRIGHT_INLINE PowerOfTwo<T, A> power_of_two(Vec<T, A> n, [[maybe_unused]] T round, [[maybe_unused]] int bias) {
  if constexpr (kIsAvx512<A>) {
    return {n};
  } else {
    const Vec<T, A> vround = simd::set<T, A>(round), half = simd::multiply_add(n, simd::set<T, A>(T(0.5)), vround);
    const Vec<T, A> rest = (n - (half - vround)) + vround;
    const Vec<Bits<T>, A> one = simd::to_exponent<T, A>(Vec<Bits<T>, A>(static_cast<Bits<T>>(bias)));
    return {simd::from_bits<T, A>(simd::to_exponent<T, A>(simd::to_bits(half)) + one),
            simd::from_bits<T, A>(simd::to_exponent<T, A>(simd::to_bits(rest)) + one)};
  }
}

// ---- lanes

template <int D, class T, class A, std::size_t... J>
TILEWRIGHT_INLINE Vec<T, A> shift_down(Vec<T, A> v, std::index_sequence<J...>) {
  typedef T Native [[gnu::vector_size(sizeof(T) * sizeof...(J))]];
  const Native x = (Native)v.data;
  return Vec<T, A>(
      (typename Vec<T, A>::register_type)__builtin_shufflevector(x, x, static_cast<int>((J + D) % sizeof...(J))...));
}

/// Lane l of the result is lane l + D; the last ones do not matter.
template <int D, class T, class A>
TILEWRIGHT_INLINE Vec<T, A> shift_down(Vec<T, A> v) {
  return simd::shift_down<D, T, A>(v, std::make_index_sequence<kLanes<T, A>>());
}

template <class T, class A>
TILEWRIGHT_INLINE T first_lane(Vec<T, A> v) {
  typedef T Native [[gnu::vector_size(sizeof(T) * kLanes<T, A>)]];
  return ((Native)v.data)[0];
}

/// f(v) in double, half of the lanes at a time, and rounded once.
template <class A, class F>
TILEWRIGHT_INLINE Vec<float, A> in_double(Vec<float, A> v, F f) {
#if defined(__AVX512F__)
  if constexpr (kIsAvx512<A>) {
    const __m256d bits = _mm512_extractf64x4_pd(_mm512_castps_pd(v.data), 1);
    const auto half = [&](__m256 x) __attribute__((always_inline)) {
      return _mm256_castps_pd(_mm512_cvtpd_ps(f(Vec<double, A>(_mm512_cvtps_pd(x))).data));
    };
    const __m512d low = _mm512_castpd256_pd512(half(_mm512_castps512_ps256(v.data)));
    return Vec<float, A>(_mm512_castpd_ps(_mm512_insertf64x4(low, half(_mm256_castpd_ps(bits)), 1)));
  }
#endif
#if defined(__AVX2__)
  if constexpr (kIsAvx2<A>) {
    const auto half = [&](__m128 x) __attribute__((always_inline)) {
      return _mm256_cvtpd_ps(f(Vec<double, A>(_mm256_cvtps_pd(x))).data);
    };
    const __m128 low = half(_mm256_castps256_ps128(v.data)), high = half(_mm256_extractf128_ps(v.data, 1));
    return Vec<float, A>(_mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1));
  }
#endif
  if constexpr (!kIsAvx512<A> && !kIsAvx2<A>) {
    constexpr int lanes = kLanes<float, A>, half = kLanes<double, A>;
    float single[lanes];
    double wide[lanes];
    simd::store(single, v);
    for (int i = 0; i < lanes; ++i) wide[i] = static_cast<double>(single[i]);
    for (int i = 0; i < lanes; i += half) simd::store(wide + i, f(simd::load<double, A>(wide + i)));
    for (int i = 0; i < lanes; ++i) single[i] = static_cast<float>(wide[i]);
    return simd::load<float, A>(single);
  }
}

}  // namespace simd
}  // namespace tilewright::detail
