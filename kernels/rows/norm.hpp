// SPDX-License-Identifier: MIT
// Normalisation: of a row by its own mean and deviation (layer, group and rms norm), of columns by theirs (batch norm),
// and prelu, whose slopes belong to columns, too. What belongs to a column is summed over a block of rows, ascending;
// rows.cpp adds the blocks.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/rows/narrow.hpp"
#include "kernels/rows/softmax.hpp"

namespace tilewright::detail {

/// mean and rstd of each row, which are stored in it, and y = (x - mean) rstd gamma + beta; gamma and beta may be null.
/// The first sum of a row comes before the last step of the one before, so that nothing waits for a division.
template <class A>
void norm_rows(NormRow* rows, Index count) noexcept {
  using T = float;
  using V = Vec<T, A>;
  const Index n = rows->n;
  const bool centered = rows->centered;
  const double elements = static_cast<double>(n);
  const auto find_mean = [=](NormRow* r) { r->mean = static_cast<T>(row_sum<T, A>(r->x, n) / elements); };
  const auto find_rstd = [=](NormRow* r) {
    r->rstd = static_cast<T>(1 / __builtin_sqrt(row_squares<T, A>(r->x, n, r->mean) / elements + r->eps));
  };
  centered ? find_mean(rows) : find_rstd(rows);
  for (NormRow* r = rows; r < rows + count; ++r) {
    if (centered) find_rstd(r);
    if (r + 1 < rows + count) centered ? find_mean(r + 1) : find_rstd(r + 1);
    // One by one: stores to y might change what r points at.
    const T *x = r->x, *gamma = r->gamma, *beta = r->beta;
    T* y = r->y;
    const V mean = simd::set<T, A>(r->mean), rstd = simd::set<T, A>(r->rstd);
    simd::for_registers<T, A>(
        n, [=](Index i, auto... some) __attribute__((always_inline)) {
          V v = (simd::load<T, A>(x + i, some...) - mean) * rstd;
          if (gamma != nullptr && beta != nullptr)
            v = simd::fma(v, simd::load<T, A>(gamma + i, some...), simd::load<T, A>(beta + i, some...));
          else if (gamma != nullptr)
            v = v * simd::load<T, A>(gamma + i, some...);
          else if (beta != nullptr)
            v = v + simd::load<T, A>(beta + i, some...);
          simd::store(y + i, v, some...);
        });
  }
}

// With h = (x - mean) rstd and g = dy gamma: dx = rstd (g - sum(g) / n - h sum(g h) / n), without the middle term
// unless `centered`; dgamma += dy h, dbeta += dy. Up to kNormRows rows of the same length, gamma, dgamma and dbeta.

/// slope = -sum(g h) / n and offset = sum(g) / n or 0. gamma may be null.
template <class A>
void norm_slopes(NormRow* rows, Index count) noexcept {
  using T = float;
  using V = Vec<T, A>;
  const Index n = rows->n;
  const T* gamma = rows->gamma;
  if constexpr (kHasNarrow<A>)
    if (n >= 1 && n <= kNarrow && count >= kLanes<T, A> / 2) return narrow_slopes<A>(rows, count);
  for (NormRow* r = rows; r < rows + count; ++r) {
    const V mean = simd::set<T, A>(r->mean), rstd = simd::set<T, A>(r->rstd);
    const auto gradient = [&](Index i, auto... some) __attribute__((always_inline)) {
      const V dy = simd::load<T, A>(r->dy + i, some...);
      return gamma == nullptr ? dy : dy * simd::load<T, A>(gamma + i, some...);
    };
    const double along = sum_in_blocks<T, A, Term::is_long>(
        n, [&](Index i, auto... some) __attribute__((always_inline)) {
          return gradient(i, some...) * ((simd::load<T, A>(r->x + i, some...) - mean) * rstd);
        });
    r->slope = static_cast<T>(-along / static_cast<double>(n));
    r->offset = 0;
    if (r->centered)
      r->offset = static_cast<T>(sum_in_blocks<T, A, Term::is_long>(n, gradient) / static_cast<double>(n));
  }
}

/// The rest for kRows rows, given those. All rows are read before any is written: where rows are a multiple of a page
/// apart, each store would look like what the next row loads, which took half as long again.
template <int kRows, class A>
TILEWRIGHT_INLINE void norm_some_rows_backward(const NormRow* rows, Index n) {
  using T = float;
  using V = Vec<T, A>;
  const T* gamma = rows->gamma;
  T *dgamma = rows->dgamma, *dbeta = rows->dbeta;
  simd::for_registers<T, A>(
      n, [&](Index i, auto... some) __attribute__((always_inline)) {
        V factor = simd::set<T, A>(1), dg = factor, db = factor, h[kRows], g[kRows];
        if (gamma != nullptr) factor = simd::load<T, A>(gamma + i, some...);
        if (dgamma != nullptr) dg = simd::load<T, A>(dgamma + i, some...);
        if (dbeta != nullptr) db = simd::load<T, A>(dbeta + i, some...);
#pragma GCC unroll 4
        for (int k = 0; k < kRows; ++k) {
          const NormRow& r = rows[k];
          const V dy = simd::load<T, A>(r.dy + i, some...);
          h[k] = (simd::load<T, A>(r.x + i, some...) - simd::set<T, A>(r.mean)) * simd::set<T, A>(r.rstd);
          dg = simd::fma(dy, h[k], dg);
          db = db + dy;
          g[k] = gamma == nullptr ? dy : dy * factor;
        }
        if (rows->y != nullptr) {
#pragma GCC unroll 4
          for (int k = 0; k < kRows; ++k) {
            const NormRow& r = rows[k];
            const V inner = simd::fma(h[k], simd::set<T, A>(r.slope), g[k] - simd::set<T, A>(r.offset));
            simd::store(r.y + i, simd::set<T, A>(r.rstd) * inner, some...);
          }
        }
        if (dgamma != nullptr) simd::store(dgamma + i, dg, some...);
        if (dbeta != nullptr) simd::store(dbeta + i, db, some...);
      });
}

/// Of whole rows or of the same columns of each. What belongs to columns is loaded once for four rows. dx, gamma,
/// dgamma and dbeta may be null.
template <class A>
void norm_rows_backward(const NormRow* rows, Index count) noexcept {
  const Index n = rows->n;
  for (; count >= 4; rows += 4, count -= 4) detail::norm_some_rows_backward<4, A>(rows, n);
  for (; count >= 2; rows += 2, count -= 2) detail::norm_some_rows_backward<2, A>(rows, n);
  for (; count > 0; ++rows, --count) detail::norm_some_rows_backward<1, A>(rows, n);
}

/// sums += (x - mean)^2, element by element of a row.
template <class A>
void add_squares(const float* x, const float* mean, Index n, float* sums) noexcept {
  using T = float;
  simd::for_registers<T, A>(
      n, [=](Index i, auto... some) __attribute__((always_inline)) {
        const Vec<T, A> d = simd::load<T, A>(x + i, some...) - simd::load<T, A>(mean + i, some...);
        simd::store(sums + i, simd::fma(d, d, simd::load<T, A>(sums + i, some...)), some...);
      });
}

/// y = (x - mean) factor + shift with a number of each per column.
template <class A>
void scale_columns(const ColumnsRow& row) noexcept {
  const ColumnsRow r = row;
  using T = float;
  simd::for_registers<T, A>(
      r.n, [&](Index i, auto... some) __attribute__((always_inline)) {
        const Vec<T, A> d = simd::load<T, A>(r.x + i, some...) - simd::load<T, A>(r.mean + i, some...);
        simd::store(r.y + i,
                    simd::fma(d, simd::load<T, A>(r.factor + i, some...), simd::load<T, A>(r.shift + i, some...)),
                    some...);
      });
}

/// products += (x - mean) dy and sums += dy.
template <class A>
void add_products(const ColumnsRow& row, float* products, float* sums) noexcept {
  const ColumnsRow r = row;
  using T = float;
  using V = Vec<T, A>;
  simd::for_registers<T, A>(
      r.n, [&](Index i, auto... some) __attribute__((always_inline)) {
        const V d = simd::load<T, A>(r.x + i, some...) - simd::load<T, A>(r.mean + i, some...);
        const V dy = simd::load<T, A>(r.dy + i, some...);
        simd::store(products + i, simd::fma(d, dy, simd::load<T, A>(products + i, some...)), some...);
        simd::store(sums + i, simd::load<T, A>(sums + i, some...) + dy, some...);
      });
}

/// y = factor (dy - shift - (x - mean) slope)
template <class A>
void scale_columns_backward(const ColumnsRow& row) noexcept {
  const ColumnsRow r = row;
  using T = float;
  using V = Vec<T, A>;
  simd::for_registers<T, A>(
      r.n, [&](Index i, auto... some) __attribute__((always_inline)) {
        const V d = simd::load<T, A>(r.mean + i, some...) - simd::load<T, A>(r.x + i, some...);
        const V rest = simd::load<T, A>(r.dy + i, some...) - simd::load<T, A>(r.shift + i, some...);
        simd::store(
            r.y + i,
            simd::load<T, A>(r.factor + i, some...) * simd::fma(d, simd::load<T, A>(r.slope + i, some...), rest),
            some...);
      });
}

/// y = x > 0 ? x : slope x
template <class A>
void prelu_row(const ColumnsRow& row) noexcept {
  const ColumnsRow r = row;
  using T = float;
  simd::for_registers<T, A>(
      r.n, [&](Index i, auto... some) __attribute__((always_inline)) {
        const Vec<T, A> x = simd::load<T, A>(r.x + i, some...);
        const Vec<T, A> scaled = x * simd::load<T, A>(r.slope + i, some...);
        simd::store(r.y + i, simd::select(simd::set<T, A>(0) < x, x, scaled), some...);
      });
}

/// y = dy times 1 or slope; slopes += x <= 0 ? x dy : 0.
template <class A>
void prelu_row_backward(const ColumnsRow& row, float*, float* slopes) noexcept {
  const ColumnsRow r = row;
  using T = float;
  using V = Vec<T, A>;
  const V zero = simd::set<T, A>(0);
  simd::for_registers<T, A>(
      r.n, [&](Index i, auto... some) __attribute__((always_inline)) {
        const V x = simd::load<T, A>(r.x + i, some...), dy = simd::load<T, A>(r.dy + i, some...);
        const V below = dy * simd::load<T, A>(r.slope + i, some...);
        const V here = simd::select(zero < x, zero, x * dy);
        simd::store(slopes + i, simd::load<T, A>(slopes + i, some...) + here, some...);
        if (r.y != nullptr)
          simd::store(r.y + i, simd::select(zero < x, dy, simd::select(x <= zero, below, x)), some...);
      });
}

}  // namespace tilewright::detail
