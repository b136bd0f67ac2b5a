// SPDX-License-Identifier: MIT
// The element-wise loops, one formula object each. Whole registers first, then one partial register through the same
// formula.
#pragma once

#include "kernels/map/formulas.hpp"

namespace tilewright::detail {

/// y[i] = f(x[i]); y may be x.
template <class F, class T, class A>
void map_forward(const T* x, T* y, Index n, const ActivationNumbers<T>& numbers) noexcept {
  const Numbers<T, A> p(numbers);
  simd::for_registers<T, A>(
      n, [=](Index i, auto... some) __attribute__((always_inline)) {
        simd::store(y + i, F::template forward<T, A>(simd::load<T, A>(x + i, some...), p), some...);
      });
}

/// dx[i] = dy[i] * f'(saved[i]); dx may be dy or saved.
template <class F, class T, class A>
void map_backward(const T* saved, const T* dy, T* dx, Index n, const ActivationNumbers<T>& numbers) noexcept {
  const Numbers<T, A> p(numbers);
  simd::for_registers<T, A>(
      n, [=](Index i, auto... some) __attribute__((always_inline)) {
        const Vec<T, A> d =
            F::template backward<T, A>(simd::load<T, A>(saved + i, some...), simd::load<T, A>(dy + i, some...), p);
        simd::store(dx + i, d, some...);
      });
}

}  // namespace tilewright::detail
