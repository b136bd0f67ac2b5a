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

#include "kernels/map/formulas.hpp"

namespace tilewright::detail {

template <class F, class T, class A>
concept HasTable = sizeof(T) == 4 &&
                   (kIsAvx512<A> || kIsAvx2<A>)&&requires(Vec<float, A> x, const Numbers<float, A>& p) {
  F::template rows<A>(x, p);
};
template <class F, class T, class A>
concept HasSlopeTable = sizeof(T) == 4 &&
                        (kIsAvx512<A> || kIsAvx2<A>)&&requires(Vec<float, A> x, const Numbers<float, A>& p) {
  F::template slope_rows<A>(x, p);
};

/// Lanes that a table does not serve: kOperands operands of each, and the registers where their results belong. Only
/// AVX-512 has the instructions; elsewhere formulas serve such lanes where they are met, and nothing is added.
template <class A, int kOperands>
struct FarLanes {
  struct Chosen {};
  TILEWRIGHT_MEMBER static void note(Numbers<float, A>&, Chosen&) {}
  template <class... V>
  TILEWRIGHT_MEMBER bool add(Chosen, float*, V...) {
    return false;
  }
  TILEWRIGHT_MEMBER bool any() const { return false; }
  template <class Formula>
  TILEWRIGHT_MEMBER void finish(Formula) {}
};
#if defined(__AVX512F__)
template <int kOperands>
struct FarLanes<xsimd::avx512bw, kOperands> {
  using A = xsimd::avx512bw;
  static constexpr Index kRoom = 8 * kLanes<float, A>;
  using Chosen = xsimd::batch_bool<float, A>;
  Index lanes = 0, registers = 0;
  float* to[kRoom];
  __mmask16 chosen[kRoom];
  float operands[kOperands][kRoom + kLanes<float, A>];

  /// Formulas of these numbers tell which lanes are far, and leave them.
  TILEWRIGHT_MEMBER static void note(Numbers<float, A>& p, Chosen& far) { p.far = &far; }
  /// Of a register of v whose result is at `at`. True when there is no room for another.
  template <class... V>
  TILEWRIGHT_MEMBER bool add(Chosen far, float* at, V... v) {
    const __mmask16 mask = far.data;
    if (mask == 0) [[likely]]
      return false;
    int i = 0;
    (simd::compress<A>(mask, v, operands[i++] + lanes), ...);
    to[registers] = at;
    chosen[registers++] = mask;
    lanes += __builtin_popcount(mask);
    return lanes > kRoom - kLanes<float, A>;
  }
  TILEWRIGHT_MEMBER bool any() const { return lanes > 0; }
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
      simd::store(to[r], simd::expand<A>(simd::load<float, A>(to[r]), chosen[r], from));
      from += __builtin_popcount(chosen[r]);
    }
    lanes = registers = 0;
  }
};
#endif

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

/// body(i, rows) for whole registers of n elements; rows: where found(i), the rows of these lanes, stand, or null.
template <class A, class Found, class Body>
TILEWRIGHT_INLINE void for_table_registers(Index n, [[maybe_unused]] Found found, Body body) {
  constexpr Index lanes = kLanes<float, A>, block = 32 * lanes;
  if constexpr (kIsAvx2<A>) {
    alignas(32) std::int32_t rows[block];
    for (Index first = 0; first < n; first += block) {
      const Index count = n - first < block ? n - first : block;
      for (Index i = 0; i < count; i += lanes) simd::store_rows<A>(found(first + i), rows + i);
      for (Index i = 0; i < count; i += lanes) body(first + i, rows + i);
    }
  } else {
    for (Index i = 0; i < n; i += lanes) body(i, nullptr);
  }
}

/// Row i of r. Lanes that the table does not serve may be left for `far`, that is until finish_forward().
template <class F, class A>
TILEWRIGHT_INLINE void forward_by_table(const ForwardRows<float>& r, Index row, Numbers<float, A>& p,
                                        FarLanes<A, 1>& far, const ActivationNumbers<float>& numbers) {
  constexpr Index lanes = kLanes<float, A>;
  const float* x = r.x + row * r.x_stride;
  const float* bias = r.bias;
  float* y = r.y + row * r.y_stride;
  float* pre = r.pre == nullptr ? nullptr : r.pre + row * r.pre_stride;
  // The partial register goes through memory, and not through another copy of the formula.
  const Index whole = r.n / lanes * lanes;
  const auto some = simd::first_lanes<float, A>(r.n - whole);
  float rest[lanes];
  const float* from = x;
  float* to = y;
  for (Index count = whole;; count = lanes) {
    detail::for_table_registers<A>(
        count,
        [&](Index j) __attribute__((always_inline)) { return F::template rows<A>(simd::load<float, A>(from + j), p); },
        [&](Index j, const std::int32_t* found) __attribute__((always_inline)) {
          p.rows = found;
          typename FarLanes<A, 1>::Chosen beyond;
          far.note(p, beyond);
          Vec<float, A> v = simd::load<float, A>(from + j);
          if constexpr (kIsAvx512<A>) {
            if (bias != nullptr) v = v + simd::load<float, A>(bias + j);
            if (pre != nullptr) simd::store(pre + j, v);
          }
          simd::store(to + j, F::template forward<float, A>(v, p));
          if (far.add(beyond, to + j, v)) detail::finish_forward<F, A>(far, numbers);
        });
    if (whole == r.n) return;
    if (from == rest) break;
    Vec<float, A> v = simd::load<float, A>(x + whole, some);
    if constexpr (kIsAvx512<A>) {
      if (bias != nullptr) v = v + simd::load<float, A>(bias + whole, some);
      if (pre != nullptr) simd::store(pre + whole, v, some);
      bias = nullptr;
      pre = nullptr;
    }
    simd::store(rest, v);
    from = to = rest;
  }
  if (far.any()) detail::finish_forward<F, A>(far, numbers);
  simd::store(y + whole, simd::load<float, A>(rest), some);
}

/// dx[i] = dy[i] * f'(saved[i]); dx may be dy or saved. As forward_by_table().
template <class F, class A>
TILEWRIGHT_INLINE void backward_by_table(const float* saved, const float* dy, float* dx, Index n, Numbers<float, A>& p,
                                         FarLanes<A, 2>& far, const ActivationNumbers<float>& numbers) {
  constexpr Index lanes = kLanes<float, A>;
  const Index whole = n / lanes * lanes;
  const auto some = simd::first_lanes<float, A>(n - whole);
  float rest[lanes], rest_dy[lanes];
  const float *from = saved, *up = dy;
  float* to = dx;
  for (Index count = whole;; count = lanes) {
    detail::for_table_registers<A>(
        count,
        [&](Index i)
            __attribute__((always_inline)) { return F::template slope_rows<A>(simd::load<float, A>(from + i), p); },
        [&](Index i, const std::int32_t* rows) __attribute__((always_inline)) {
          p.rows = rows;
          typename FarLanes<A, 2>::Chosen beyond;
          far.note(p, beyond);
          const Vec<float, A> v = simd::load<float, A>(from + i), d = simd::load<float, A>(up + i);
          simd::store(to + i, F::template backward<float, A>(v, d, p));
          if (far.add(beyond, to + i, v, d)) detail::finish_backward<F, A>(far, numbers);
        });
    if (whole == n) return;
    if (from == rest) break;
    simd::store(rest, simd::load<float, A>(saved + whole, some));
    simd::store(rest_dy, simd::load<float, A>(dy + whole, some));
    from = to = rest;
    up = rest_dy;
  }
  if (far.any()) detail::finish_backward<F, A>(far, numbers);
  simd::store(dx + whole, simd::load<float, A>(rest), some);
}

template <class F, class A>
[[gnu::noinline]] void map_forward_rows(const ForwardRows<float>& r, const ActivationNumbers<float>& numbers) noexcept {
  Numbers<float, A> p(numbers);
  FarLanes<A, 1> far;
  for (Index i = 0; i < r.rows; ++i) detail::forward_by_table<F, A>(r, i, p, far, numbers);
  if (far.any()) detail::finish_forward<F, A>(far, numbers);
}

/// dx(i, j) = dy(i, j) * f'(saved(i, j)) for `rows` rows of n elements; dx may be dy or saved.
template <class F, class A>
[[gnu::noinline]] void map_backward_rows(const float* saved, Index saved_stride, const float* dy, Index dy_stride,
                                         float* dx, Index dx_stride, Index rows, Index n,
                                         const ActivationNumbers<float>& numbers) noexcept {
  Numbers<float, A> p(numbers);
  FarLanes<A, 2> far;
  for (Index i = 0; i < rows; ++i)
    detail::backward_by_table<F, A>(saved + i * saved_stride, dy + i * dy_stride, dx + i * dx_stride, n, p, far,
                                    numbers);
  if (far.any()) detail::finish_backward<F, A>(far, numbers);
}

/// y[i] = f(x[i]); y may be x.
template <class F, class T, class A>
void map_forward(const T* x, T* y, Index n, const ActivationNumbers<T>& numbers) noexcept {
  if constexpr (HasTable<F, T, A> && kIsAvx512<A>) {
    detail::map_forward_rows<F, A>({x, 0, y, 0, 1, n}, numbers);
  } else if constexpr (HasTable<F, T, A>) {
    Numbers<T, A> p(numbers);
    FarLanes<A, 1> none;
    detail::forward_by_table<F, A>({x, 0, y, 0, 1, n}, 0, p, none, numbers);
  } else {
    const Numbers<T, A> p(numbers);
    simd::for_registers<T, A>(
        n, [=](Index i, auto... some) __attribute__((always_inline)) {
          simd::store(y + i, F::template forward<T, A>(simd::load<T, A>(x + i, some...), p), some...);
        });
  }
}

/// dx[i] = dy[i] * f'(saved[i]); dx may be dy or saved.
template <class F, class T, class A>
void map_backward(const T* saved, const T* dy, T* dx, Index n, const ActivationNumbers<T>& numbers) noexcept {
  if constexpr (HasSlopeTable<F, T, A> && kIsAvx512<A>) {
    detail::map_backward_rows<F, A>(saved, 0, dy, 0, dx, 0, 1, n, numbers);
  } else if constexpr (HasSlopeTable<F, T, A>) {
    Numbers<T, A> p(numbers);
    FarLanes<A, 2> none;
    detail::backward_by_table<F, A>(saved, dy, dx, n, p, none, numbers);
  } else {
    const Numbers<T, A> p(numbers);
    simd::for_registers<T, A>(
        n, [=](Index i, auto... some) __attribute__((always_inline)) {
          const Vec<T, A> d =
              F::template backward<T, A>(simd::load<T, A>(saved + i, some...), simd::load<T, A>(dy + i, some...), p);
          simd::store(dx + i, d, some...);
        });
  }
}

}  // namespace tilewright::detail
