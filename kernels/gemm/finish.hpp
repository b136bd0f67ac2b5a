// SPDX-License-Identifier: MIT
// The epilogue of gemm: bias and activation on a part of C that is still in the cache. The formula objects are those of
// map/formulas.hpp.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/map/formulas.hpp"

namespace tilewright::detail {

template <class F, class T, class A>
void gemm_finish(const Finish<T>& t) noexcept {
  const Vec<T, A> parameter = simd::set<T, A>(t.parameter);
  for (Index i = 0; i < t.rows; ++i) {
    T* c = t.c + i * t.c_row_stride;
    T* pre = t.pre == nullptr ? nullptr : t.pre + i * t.pre_row_stride;
    const T* bias = t.bias_per_row ? nullptr : t.bias;
    const bool add_row_bias = t.bias != nullptr && t.bias_per_row;
    const Vec<T, A> row_bias = simd::set<T, A>(add_row_bias ? t.bias[i] : T(0));
    simd::for_registers<T, A>(
        t.cols, [=](Index j, auto... some) __attribute__((always_inline)) {
          Vec<T, A> v = simd::load<T, A>(c + j, some...);
          if (bias != nullptr) v = v + simd::load<T, A>(bias + j, some...);
          if (add_row_bias) v = v + row_bias;
          if (pre != nullptr) simd::store(pre + j, v, some...);
          simd::store(c + j, F::template forward<T, A>(v, parameter), some...);
        });
  }
}

}  // namespace tilewright::detail
