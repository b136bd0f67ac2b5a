// SPDX-License-Identifier: MIT
// The epilogue of gemm: bias, residual and activation, or an activation's derivative, on a part of C that is still in
// the cache. The formula objects are those of map/formulas.hpp.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/map/formulas.hpp"

namespace tilewright::detail {

/// Calls body(i, j, v) for every register v = c + bias of row i, column j of a full tile without a residual.
template <class T, class A, class Body>
TILEWRIGHT_INLINE void for_full_rows(const Finish<T>& t, Body body) {
  constexpr Index lanes = kLanes<T, A>;
  const T* c = t.c;
  const Index stride = t.c_row_stride, rows = t.rows;
  static_assert(kTileVectors == 2);
  if (t.bias == nullptr) {
    for (Index i = 0; i < rows; ++i, c += stride) {
      body(i, 0, simd::load<T, A>(c));
      body(i, lanes, simd::load<T, A>(c + lanes));
    }
    return;
  }
  const Vec<T, A> left = simd::load<T, A>(t.bias), right = simd::load<T, A>(t.bias + lanes);
  for (Index i = 0; i < rows; ++i, c += stride) {
    body(i, 0, simd::load<T, A>(c) + left);
    body(i, lanes, simd::load<T, A>(c + lanes) + right);
  }
}

/// Calls body(i, j, v, some...) for every register v = c + bias + residual of row i, column j.
template <class T, class A, class Body>
TILEWRIGHT_INLINE void for_rows(const Finish<T>& t, Body body) {
  const bool add_row_bias = t.bias != nullptr && t.bias_per_row;
  if (t.cols == kTileVectors * kLanes<T, A> && t.residual == nullptr && !add_row_bias)
    return detail::for_full_rows<T, A>(t, body);
  for (Index i = 0; i < t.rows; ++i) {
    const T* c = t.c + i * t.c_row_stride;
    const T* bias = t.bias_per_row ? nullptr : t.bias;
    const T* residual = t.residual == nullptr ? nullptr : t.residual + i * t.residual_row_stride;
    const Vec<T, A> row_bias = simd::set<T, A>(add_row_bias ? t.bias[i] : T(0));
    simd::for_registers<T, A>(
        t.cols, [&](Index j, auto... some) __attribute__((always_inline)) {
          Vec<T, A> v = simd::load<T, A>(c + j, some...);
          if (bias != nullptr) v = v + simd::load<T, A>(bias + j, some...);
          if (add_row_bias) v = v + row_bias;
          if (residual != nullptr) v = v + simd::load<T, A>(residual + j, some...);
          body(i, j, v, some...);
        });
  }
}

/// The same for narrow rows that follow each other without gaps: one long row, whose bias comes around again. Row by
/// row, registers would be nearly empty, and each load would wait for the partial store before it.
template <class T, class A, class Body>
TILEWRIGHT_INLINE void for_narrow_rows(const Finish<T>& t, Body body) {
  constexpr Index lanes = kLanes<T, A>;
  const Index period = t.cols * lanes, all = t.rows * t.cols;  // `period` elements are whole rows and whole registers
  T bias[kMaxTileCols * lanes];
  if (t.bias != nullptr)
    for (Index r = 0; r < period && r < all; r += t.cols)
      for (Index j = 0; j < t.cols; ++j) bias[r + j] = t.bias[j];
  for (Index start = 0; start < all; start += period)
    simd::for_registers<T, A>(
        all - start < period ? all - start : period, [&](Index j, auto... some) __attribute__((always_inline)) {
          Vec<T, A> v = simd::load<T, A>(t.c + start + j, some...);
          if (t.bias != nullptr) v = v + simd::load<T, A>(bias + j, some...);
          if (t.residual != nullptr) v = v + simd::load<T, A>(t.residual + start + j, some...);
          body(0, start + j, v, some...);
        });
}

template <class T, class A, class Body>
TILEWRIGHT_INLINE void for_sums(const Finish<T>& t, Body body) {
  const bool dense = t.c_row_stride == t.cols && (t.residual == nullptr || t.residual_row_stride == t.cols) &&
                     (t.pre == nullptr || t.pre_row_stride == t.cols) &&
                     (t.saved == nullptr || t.saved_row_stride == t.cols);
  if (dense && t.cols <= kMaxTileCols && t.rows > 1 && !(t.bias_per_row && t.bias != nullptr))
    for_narrow_rows<T, A>(t, body);
  else
    for_rows<T, A>(t, body);
}

template <class F, class T, class A>
void gemm_finish(const Finish<T>& given) noexcept {
  const Finish<T> t = given;  // nothing that is stored can change it
  const Numbers<T, A> numbers(t.numbers);
  for_sums<T, A>(
      t, [&](Index i, Index j, Vec<T, A> v, auto... some) __attribute__((always_inline)) {
        if (t.pre != nullptr) simd::store(t.pre + i * t.pre_row_stride + j, v, some...);
        simd::store(t.c + i * t.c_row_stride + j, F::template forward<T, A>(v, numbers), some...);
      });
}

template <class F, class T, class A>
void gemm_derive(const Finish<T>& given) noexcept {
  const Finish<T> t = given;  // nothing that is stored can change it
  const Numbers<T, A> numbers(t.numbers);
  for_sums<T, A>(
      t, [&](Index i, Index j, Vec<T, A> v, auto... some) __attribute__((always_inline)) {
        const Vec<T, A> saved = simd::load<T, A>(t.saved + i * t.saved_row_stride + j, some...);
        simd::store(t.c + i * t.c_row_stride + j, F::template backward<T, A>(saved, v, numbers), some...);
      });
}

/// c = keep_c * c + alpha * x; keep_c 0: c is not read.
template <class T, class A>
void accumulate(const T* x, T* c, Index n, T alpha, T keep_c) noexcept {
  const Vec<T, A> factor = simd::set<T, A>(alpha);
  const Vec<T, A> keep = simd::set<T, A>(keep_c);
  const bool read_c = keep_c != T(0);
  simd::for_registers<T, A>(
      n, [=](Index j, auto... some) __attribute__((always_inline)) {
        Vec<T, A> v = simd::load<T, A>(x + j, some...) * factor;
        if (read_c) v = simd::multiply_add(keep, simd::load<T, A>(c + j, some...), v);
        simd::store(c + j, v, some...);
      });
}

}  // namespace tilewright::detail
