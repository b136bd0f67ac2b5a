// SPDX-License-Identifier: MIT
// The element-wise loops, one formula object each. Whole registers first, then one partial register through the same
// formula.
//
// Where a table serves, the few lanes beyond it are collected on AVX-512, and the long formula is computed for
// registers full of them: where they are met, one lane costs as much as a whole register.
//
// On AVX2 the rows that lanes choose in a table are looked for a block ahead. From an argument to its row, from there
// through memory to the addresses, the columns and the polynomial it is a long way, and the CPU can follow few
// registers at a time on it: 27 cycles for each (sigmoid, Zen 3). In two loops it is 20.
#pragma once

#include "kernels/core/float_state.hpp"
#include "kernels/map/formulas.hpp"

namespace tilewright::detail {

template <class F, class T, class A>
concept HasTable = sizeof(T) == 4 && requires(Vec<float, A> x, const Numbers<float, A>& p) {
  F::template place<A>(x, p);
};
template <class F, class T, class A>
concept HasSlopeTable = sizeof(T) == 4 && requires(Vec<float, A> x, const Numbers<float, A>& p) {
  F::template slope_place<A>(x, p);
};
template <class F, class A>
concept CollectsFar = HasTable<F, float, A> && kIsAvx512<A> && !requires {
  F::kFarIsRare;
};
template <class F, class A>
concept CollectsFarSlopes = HasSlopeTable<F, float, A> && kIsAvx512<A> && !requires {
  F::kFarIsRare;
};

/// y(i, j) = f(x(i, j) + bias[j]), where a table serves; on AVX-512.
template <class F, class A>
void map_forward_rows(const ForwardRows<float>& r, const ActivationNumbers<float>& numbers) noexcept;
/// dx(i, j) = dy(i, j) * f'(saved(i, j)) for `rows` rows of n elements, where a table serves; dx may be dy or saved. On
/// AVX-512.
template <class F, class A>
void map_backward_rows(const float* saved, Index saved_stride, const float* dy, Index dy_stride, float* dx,
                       Index dx_stride, Index rows, Index n, const ActivationNumbers<float>& numbers) noexcept;

#if defined(__AVX512F__)
/// Lanes that a table does not serve: kOperands operands of each, and the registers where their results belong.
template <class A, int kOperands>
struct FarLanes {
  static constexpr Index kRoom = 8 * kLanes<float, A>;
  Index lanes = 0, registers = 0;
  float* to[kRoom];
  __mmask16 chosen[kRoom];
  float operands[kOperands][kRoom + kLanes<float, A>];

  /// The lanes `mask` of a register of v whose result is at `at`. True when there is no room for another.
  template <class... V>
  TILEWRIGHT_MEMBER bool add(__mmask16 mask, float* at, V... v) {
    if (mask == 0) [[likely]]
      return false;
    int i = 0;
    (simd::compress<A>(mask, v, operands[i++] + lanes), ...);
    to[registers] = at;
    chosen[registers++] = mask;
    lanes += __builtin_popcount(mask);
    return lanes > kRoom - kLanes<float, A>;
  }
  /// Puts formula(operands...) where it belongs.
  template <class Formula>
  TILEWRIGHT_MEMBER void finish(Formula formula) {
    for (Index i = 0; i < lanes; i += kLanes<float, A>) {
      const Index left = lanes - i;
      const auto some = simd::first_lanes<float, A>(left < kLanes<float, A> ? left : kLanes<float, A>);
      const Vec<float, A> first = simd::load<float, A>(operands[0] + i, some);
      simd::store(operands[0] + i, formula(first, simd::load<float, A>(operands[kOperands - 1] + i, some)));
    }
    const float* from = operands[0];
    for (Index r = 0; r < registers; ++r) {
      simd::expand<A>(from, chosen[r], to[r]);
      from += __builtin_popcount(chosen[r]);
    }
    lanes = registers = 0;
  }
};

template <class F, class A>
[[gnu::noinline]] void finish_forward(FarLanes<A, 1>& far, const ActivationNumbers<float>& numbers) {
  Numbers<float, A> p(numbers);
  p.all_far = true;
  far.finish([&](auto x, auto) __attribute__((always_inline)) { return F::template forward<float, A>(x, p); });
}
template <class F, class A>
[[gnu::noinline]] void finish_backward(FarLanes<A, 2>& far, const ActivationNumbers<float>& numbers) {
  Numbers<float, A> p(numbers);
  p.all_far = true;
  far.finish([&](auto x, auto dy) __attribute__((always_inline)) { return F::template backward<float, A>(x, dy, p); });
}

/// Lanes of a register, without a mask where they are all of them: Zen 5 fetches nothing ahead of masked loads and
/// stores (sigmoid of 16 M floats 0.65 and 0.18 ns an element; in the caches 5 to 12 % less).
template <class A>
TILEWRIGHT_INLINE Vec<float, A> load_lanes(const float* p, simd::Lanes<float, A> some) {
  if (some.mask == 0xffff) [[likely]]
    return simd::load<float, A>(p);
  return simd::load<float, A>(p, some);
}
template <class A>
TILEWRIGHT_INLINE void store_lanes(float* p, Vec<float, A> v, simd::Lanes<float, A> some) {
  if (some.mask == 0xffff) [[likely]]
    return simd::store(p, v);
  simd::store(p, v, some);
}

/// body(j, lanes) for every register from column j of each row, with next_row() between rows; in one loop: with one for
/// each row constants would be loaded again and again.
template <class A, class Body, class NextRow>
TILEWRIGHT_INLINE void for_registers_of_rows(Index rows, Index n, Body body, NextRow next_row) {
  constexpr Index lanes = kLanes<float, A>;
  if (rows == 0 || n == 0) return;
  const Index before_last = (n - 1) / lanes * lanes;
  const auto all = simd::first_lanes<float, A>(lanes), last = simd::first_lanes<float, A>(n - before_last);
  auto some = before_last == 0 ? last : all;
  for (Index j = 0;;) {
    body(j, some);
    j += lanes;
    if (j < before_last) [[likely]]
      continue;
    some = last;
    if (j == before_last) continue;
    if (--rows == 0) return;
    next_row();
    j = 0;
    if (before_last > 0) some = all;
  }
}

template <class F, class A>
[[gnu::noinline]] void map_forward_rows(const ForwardRows<float>& r, const ActivationNumbers<float>& numbers) noexcept {
  const Numbers<float, A> p(numbers);
  FarLanes<A, 1> far;
  const float *x = r.x, *bias = r.bias;
  float *y = r.y, *pre = r.pre;
  const Index x_stride = r.x_stride, y_stride = r.y_stride, pre_stride = r.pre_stride;
  detail::for_registers_of_rows<A>(
      r.rows, r.n,
      [&](Index j, auto some) __attribute__((always_inline)) {
        xsimd::batch_bool<float, A> beyond;
        Numbers<float, A> q = p;
        q.far = &beyond;
        Vec<float, A> v = detail::load_lanes<A>(x + j, some);
        if (bias != nullptr) v = v + simd::load<float, A>(bias + j, some);
        if (pre != nullptr) simd::store(pre + j, v, some);
        detail::store_lanes<A>(y + j, F::template forward<float, A>(v, q), some);
        if (far.add(beyond.data & some.mask, y + j, v)) detail::finish_forward<F, A>(far, numbers);
      },
      [&]() __attribute__((always_inline)) {
        x += x_stride;
        y += y_stride;
        if (pre != nullptr) pre += pre_stride;
      });
  if (far.lanes > 0) detail::finish_forward<F, A>(far, numbers);
}

template <class F, class A>
[[gnu::noinline]] void map_backward_rows(const float* saved, Index saved_stride, const float* dy, Index dy_stride,
                                         float* dx, Index dx_stride, Index rows, Index n,
                                         const ActivationNumbers<float>& numbers) noexcept {
  const Numbers<float, A> p(numbers);
  FarLanes<A, 2> far;
  detail::for_registers_of_rows<A>(
      rows, n,
      [&](Index j, auto some) __attribute__((always_inline)) {
        xsimd::batch_bool<float, A> beyond;
        Numbers<float, A> q = p;
        q.far = &beyond;
        const Vec<float, A> v = detail::load_lanes<A>(saved + j, some), d = detail::load_lanes<A>(dy + j, some);
        detail::store_lanes<A>(dx + j, F::template backward<float, A>(v, d, q), some);
        if (far.add(beyond.data & some.mask, dx + j, v, d)) detail::finish_backward<F, A>(far, numbers);
      },
      [&]() __attribute__((always_inline)) {
        saved += saved_stride;
        dy += dy_stride;
        dx += dx_stride;
      });
  if (far.lanes > 0) detail::finish_backward<F, A>(far, numbers);
}
#endif

/// F::kMixed registers are computed at once where their steps wait for each other for longer than the CPU looks ahead
/// (Zen 5, cycles a register one by one and mixed: expm1 18 and 13, exp 7.2 and 6.4). Branches would keep them apart,
/// so rare lanes end the loop.
template <class F, class T, class A>
concept Mixed = sizeof(T) == 4 && kIsAvx512<A>&& requires {
  F::kMixed;
};

/// y[i] = f(x[i]) for as many elements of n as fill F::kMixed registers at a time, up to rare lanes; returns how many.
/// On AVX-512.
template <class F, class A>
TILEWRIGHT_MIXING Index map_forward_mixed(const float* x, float* y, Index n,
                                          const ActivationNumbers<float>& numbers) noexcept;

#if defined(__AVX512F__)
/// Elements from a load to what is fetched with it: 2 KiB.
inline constexpr Index kFetchedAhead = 512;

/// Whether the size of a lane of a or b is not below `end`, or both are NaN.
TILEWRIGHT_INLINE bool reaches(__m512 a, __m512 b, float end) {
  const __m512 larger = _mm512_range_ps(a, b, 0b1011);  // without its sign
  return _mm512_cmp_ps_mask(larger, _mm512_set1_ps(end), _CMP_NLT_UQ) != 0;
}

/// map_forward_mixed where a table serves. While the polynomials of some registers are computed the places of the next
/// ones are found: otherwise all steps of a register, of which most wait for others, fill what the CPU looks ahead in.
/// One comparison for all registers, because comparisons take the ports that lookups need.
template <class F, class A>
TILEWRIGHT_INLINE Index map_forward_by_table(const float* x, float* y, Index n, const Numbers<float, A>& p) {
  constexpr Index lanes = kLanes<float, A>, together = F::kMixed, step = together * lanes;
  static_assert(together == 2);
  using Place = decltype(F::template place<A>(Vec<float, A>(), p));
  // Not an array of places, which GCC would keep in memory.
  Vec<float, A> next[together], next_x[together], next_distance[together];
  Vec<std::int32_t, A> next_row[together];
  // Whether one of the lanes is far. NaN beside a number is not; it goes through the polynomial.
  const auto find = [&](Index from) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (Index u = 0; u < together; ++u) {
      next[u] = simd::load<float, A>(x + from + u * lanes);
      // Zen 5 fetches nothing ahead of some of these loops, for no reason that was found.
      __builtin_prefetch(x + from + u * lanes + kFetchedAhead);
      const Place place = F::template place<A>(next[u], p);
      next_row[u] = place.row, next_distance[u] = place.distance, next_x[u] = place.x;
    }
    if constexpr (requires { F::kNeverFar; }) return false;
    return detail::reaches(next_x[0].data, next_x[1].data, Place::kEnd);
  };
  if (n < step) return 0;
  bool far = find(0);
  Index i = 0;
  for (; i + step <= n; i += step) {
    if (far) [[unlikely]]
      break;
    Vec<float, A> v[together], distance[together], at[together];
    Vec<std::int32_t, A> row[together];
#pragma GCC unroll 4
    for (Index u = 0; u < together; ++u)
      v[u] = next[u], row[u] = next_row[u], distance[u] = next_distance[u], at[u] = next_x[u];
    far = find(i + 2 * step <= n ? i + step : i);
#pragma GCC unroll 4
    for (Index u = 0; u < together; ++u) {
      Numbers<float, A> q = p;
      q.ahead = {nullptr, &row[u], &distance[u], &at[u]};
      v[u] = F::template forward<float, A>(v[u], q);
    }
#pragma GCC unroll 4
    for (Index u = 0; u < together; ++u) simd::store(y + i + u * lanes, v[u]);
  }
  return i;
}

/// map_forward_mixed for functions in two steps: rare lanes = begin(x, s, t), and where x reaches F::kEnd; f(x) =
/// end(x, s, t). The next registers are begun while those before them are ended.
template <class F, class A>
TILEWRIGHT_INLINE Index map_forward_in_steps(const float* x, float* y, Index n) {
  using V = Vec<float, A>;
  constexpr Index lanes = kLanes<float, A>, step = F::kMixed * lanes;
  static_assert(F::kMixed == 2 || F::kMixed == 3);
  constexpr bool three = F::kMixed == 3;
  V s0, t0, s1, t1, s2{}, t2{};  // not arrays, which GCC would keep in memory
  const auto load = [=](Index at) __attribute__((always_inline)) { return simd::load<float, A>(x + at); };
  const auto begin = [&](Index at) __attribute__((always_inline)) {
    auto rare = F::template begin<A>(load(at), s0, t0) | F::template begin<A>(load(at + lanes), s1, t1);
    if constexpr (three) rare = rare | F::template begin<A>(load(at + 2 * lanes), s2, t2);
    if constexpr (requires { F::kEnd; }) return detail::reaches(load(at).data, load(at + lanes).data, F::kEnd);
    return xsimd::any(rare);
  };
  if (n < step) return 0;
  bool rare = begin(0);
  Index i = 0;
  for (; i + step <= n; i += step) {
    if (rare) [[unlikely]]
      break;
    const V s3 = s0, t3 = t0, s4 = s1, t4 = t1, s5 = s2, t5 = t2;
    rare = begin(i + 2 * step <= n ? i + step : i);
    const V y0 = F::template end<A>(load(i), s3, t3), y1 = F::template end<A>(load(i + lanes), s4, t4);
    if constexpr (three) simd::store(y + i + 2 * lanes, F::template end<A>(load(i + 2 * lanes), s5, t5));
    simd::store(y + i, y0);
    simd::store(y + i + lanes, y1);
  }
  return i;
}

template <class F, class A>
TILEWRIGHT_MIXING Index map_forward_mixed(const float* x, float* y, Index n,
                                          const ActivationNumbers<float>& numbers) noexcept {
  constexpr Index lanes = kLanes<float, A>, together = F::kMixed, step = together * lanes;
  const Numbers<float, A> p(numbers);
  if constexpr (HasTable<F, float, A>) return detail::map_forward_by_table<F, A>(x, y, n, p);
  if constexpr (requires(Vec<float, A> & s) { F::template begin<A>(s, s, s); })
    return detail::map_forward_in_steps<F, A>(x, y, n);
  Index i = 0;
  for (; i + step <= n; i += step) {
    Vec<float, A> v[together];
    unsigned rare = 0;
#pragma GCC unroll 4
    for (Index u = 0; u < together; ++u) {
      xsimd::batch_bool<float, A> far(__mmask16{0});
      Numbers<float, A> q = p;
      q.far = &far;
      v[u] = F::template forward<float, A>(simd::load<float, A>(x + i + u * lanes), q);
      rare |= far.data;
    }
    if (rare != 0) [[unlikely]]
      break;
#pragma GCC unroll 4
    for (Index u = 0; u < together; ++u) simd::store(y + i + u * lanes, v[u]);
  }
  return i;
}
#endif

/// body(i, rows) for whole registers of n elements; rows: where found(i), the rows of these lanes, stand.
template <class A, class Found, class Body>
TILEWRIGHT_INLINE void rows_ahead(Index n, Found found, Body body) {
  constexpr Index lanes = kLanes<float, A>, block = 32 * lanes;
  alignas(32) std::int32_t rows[block];
  for (Index first = 0; first < n; first += block) {
    const Index count = n - first < block ? n - first : block;
    for (Index i = 0; i < count; i += lanes) simd::store_rows<A>(found(first + i), rows + i);
    for (Index i = 0; i < count; i += lanes) body(first + i, rows + i);
  }
}

/// Formulas of a few operations, whose loops wait for stores.
template <class F, class T, class A>
concept Light = sizeof(T) == 4 && kIsAvx512<A> && !Mixed<F, T, A> && !requires {
  F::kLong;
};

/// y[i] = f(x[i]) for as many elements of n as fill eight registers at a time; returns how many. All eight are loaded
/// before one is stored: a load after a store to the same place of another page waits for it, and of two arrays some
/// are always in such places (Zen 5: 1,024 elements of relu in 20 or 15.5 ns). From memory that is up to a third slower
/// (16 M floats), perhaps because every load sees each eighth register only.
template <class F, class A>
TILEWRIGHT_INLINE Index map_forward_loads_first(const float* x, float* y, Index n, const Numbers<float, A>& p) {
  constexpr Index lanes = kLanes<float, A>, together = 8, step = together * lanes;
  Index i = 0;
  for (; i + step <= n; i += step) {
    Vec<float, A> v[together];
#pragma GCC unroll 8
    for (Index u = 0; u < together; ++u) v[u] = simd::load<float, A>(x + i + u * lanes);
#pragma GCC unroll 8
    for (Index u = 0; u < together; ++u) {
      // What has a second way to the same bits takes it for some registers, while others wait for a division.
      if constexpr (requires { F::template forward_by_products<A>(v[u], p); })
        if (u % 4 == 3) {
          simd::store(y + i + u * lanes, F::template forward_by_products<A>(v[u], p));
          continue;
        }
      simd::store(y + i + u * lanes, F::template forward<float, A>(v[u], p));
    }
  }
  return i;
}

/// y[i] = f(x[i]), one register after the other, whatever is in it.
template <class F, class T, class A>
TILEWRIGHT_INLINE void map_forward_singly(const T* x, T* y, Index n, const ActivationNumbers<T>& numbers) {
  if constexpr (sizeof(T) == 4 && CollectsFar<F, A>) {
    detail::map_forward_rows<F, A>({x, 0, y, 0, 1, n}, numbers);
  } else {
    const Numbers<T, A> p(numbers);
    Index done = 0;
    if constexpr (Light<F, T, A>)
      if (!numbers.from_memory) done = detail::map_forward_loads_first<F, A>(x, y, n, p);
    x += done, y += done;
    simd::for_registers<T, A>(
        n - done, [&](Index i, auto... some) __attribute__((always_inline)) {
          simd::store(y + i, F::template forward<T, A>(simd::load<T, A>(x + i, some...), p), some...);
        });
  }
}

/// Formulas whose loop of floats is called with any floating-point control register: reading it waits for all
/// arithmetic before, which is a tenth of 1,024 elements. On AVX-512 they are comparisons without exceptions, for which
/// only matters whether subnormal numbers are taken for zero, and that such a comparison finds out, too.
template <class F, class T>
concept SeesToState = sizeof(T) == 4 && F::kSeesToState;

/// y[i] = f(x[i]); y may be x.
template <class F, class T, class A>
void map_forward(const T* x, T* y, Index n, const ActivationNumbers<T>& numbers) noexcept {
  if constexpr (HasTable<F, T, A> && kIsAvx2<A>) {
    Numbers<T, A> p(numbers);
    // The partial register goes through memory, and not through another copy of the formula.
    const Index whole = n / kLanes<T, A> * kLanes<T, A>;
    const auto some = simd::first_lanes<T, A>(n - whole);
    T rest[kLanes<T, A>];
    const T* from = x;
    T* to = y;
    for (Index count = whole;; count = kLanes<T, A>) {
      detail::rows_ahead<A>(
          count,
          [&](Index i)
              __attribute__((always_inline)) { return F::template place<A>(simd::load<T, A>(from + i), p).row; },
          [&](Index i, const std::int32_t* rows) __attribute__((always_inline)) {
            p.ahead.rows = rows;
            simd::store(to + i, F::template forward<T, A>(simd::load<T, A>(from + i), p));
          });
      if (whole == n || from == rest) break;
      simd::store(rest, simd::load<T, A>(x + whole, some));
      from = to = rest;
    }
    if (whole < n) simd::store(y + whole, simd::load<T, A>(rest), some);
  } else {
    if constexpr (Mixed<F, T, A>) {
      // Where far lanes are collected they are many, as a rule, once there are some: mixing is not tried again soon.
      constexpr Index step = (CollectsFar<F, A> ? 512 : F::kMixed) * kLanes<T, A>;
      for (Index first = 0, count; first < n; first += count) {
        first += detail::map_forward_mixed<F, A>(x + first, y + first, n - first, numbers);
        if (first == n) return;
        count = n - first < step ? n - first : step;  // there are rare lanes, or too few for all registers
        detail::map_forward_singly<F, T, A>(x + first, y + first, count, numbers);
      }
    } else {
      if constexpr (SeesToState<F, T>) {
#if defined(__AVX512F__)
        __m512 least = _mm512_castsi512_ps(_mm512_set1_epi32(1));
        asm("" : "+v"(least));  // no compiler is to compare it beforehand
        if (_mm512_cmp_round_ps_mask(least, _mm512_setzero_ps(), _CMP_EQ_OQ, _MM_FROUND_NO_EXC) != 0) [[unlikely]] {
          const DefaultFloatState state;
          return detail::map_forward<F, T, A>(x, y, n, numbers);
        }
#else
        const DefaultFloatState state;
        return detail::map_forward_singly<F, T, A>(x, y, n, numbers);
#endif
      }
      detail::map_forward_singly<F, T, A>(x, y, n, numbers);
    }
  }
}

/// dx[i] = dy[i] * f'(saved[i]); dx may be dy or saved.
template <class F, class T, class A>
void map_backward(const T* saved, const T* dy, T* dx, Index n, const ActivationNumbers<T>& numbers) noexcept {
  if constexpr (sizeof(T) == 4 && CollectsFarSlopes<F, A>) {
    detail::map_backward_rows<F, A>(saved, 0, dy, 0, dx, 0, 1, n, numbers);
  } else if constexpr (HasSlopeTable<F, T, A> && kIsAvx2<A>) {
    Numbers<T, A> p(numbers);
    const Index whole = n / kLanes<T, A> * kLanes<T, A>;
    const auto some = simd::first_lanes<T, A>(n - whole);
    T rest[kLanes<T, A>], rest_dy[kLanes<T, A>];
    const T *from = saved, *up = dy;
    T* to = dx;
    for (Index count = whole;; count = kLanes<T, A>) {
      detail::rows_ahead<A>(
          count,
          [&](Index i)
              __attribute__((always_inline)) { return F::template slope_place<A>(simd::load<T, A>(from + i), p).row; },
          [&](Index i, const std::int32_t* rows) __attribute__((always_inline)) {
            p.ahead.rows = rows;
            simd::store(to + i, F::template backward<T, A>(simd::load<T, A>(from + i), simd::load<T, A>(up + i), p));
          });
      if (whole == n || from == rest) break;
      simd::store(rest, simd::load<T, A>(saved + whole, some));
      simd::store(rest_dy, simd::load<T, A>(dy + whole, some));
      from = to = rest;
      up = rest_dy;
    }
    if (whole < n) simd::store(dx + whole, simd::load<T, A>(rest), some);
  } else {
    const Numbers<T, A> p(numbers);
    simd::for_registers<T, A>(
        n, [&](Index i, auto... some) __attribute__((always_inline)) {
          const Vec<T, A> v = simd::load<T, A>(saved + i, some...),
                          d = simd::in_register(simd::load<T, A>(dy + i, some...));
          simd::store(dx + i, F::template backward<T, A>(v, d, p), some...);
        });
  }
}

}  // namespace tilewright::detail
