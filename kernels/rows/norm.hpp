// SPDX-License-Identifier: MIT
// Normalisation: of a row by its own mean and deviation (layer, group and rms norm), of columns by theirs (batch norm),
// and prelu, whose slopes belong to columns, too. What belongs to a column is summed over a block of rows, ascending;
// rows.cpp adds the blocks.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/rows/narrow.hpp"
#include "kernels/rows/softmax.hpp"

namespace tilewright::detail {

/// What a row is normalised with, out of the reach of stores to y.
template <class A>
struct NormNumbers {
  const float *x, *gamma, *beta;
  float* y;
  Vec<float, A> mean, rstd;
};

/// y = (x - mean) rstd gamma + beta for some elements of a row.
template <class A, class... Some>
TILEWRIGHT_INLINE void write_normed(const NormNumbers<A>& r, Index i, Some... some) {
  using T = float;
  const Vec<T, A> h = (simd::load<T, A>(r.x + i, some...) - r.mean) * r.rstd;
  simd::store(r.y + i,
              simd::multiply_add(h, simd::load<T, A>(r.gamma + i, some...), simd::load<T, A>(r.beta + i, some...)),
              some...);
}

/// How many rows of n elements are read before any is written, so that nothing waits for their numbers: those that hold
/// `elements`, 1 to `most`.
TILEWRIGHT_INLINE Index rows_together(Index n, Index elements, Index most) {
  const Index fit = elements / (n > 0 ? n : 1);
  return fit < 1 ? 1 : fit < most ? fit : most;
}

/// Writes a row, and returns the sum of term(element) over `next`, each element of which is read before that store:
/// where rows are a multiple of a page apart the store would look like what the load wants.
template <class A, class F>
TILEWRIGHT_INLINE double write_normed_and_sum(const NormNumbers<A>& row, const float* next, Index n, F term) {
  return sum_in_blocks<float, A, Term::is_long>(
      n, [&](Index i, auto... some) __attribute__((always_inline)) {
        const Vec<float, A> v = simd::load<float, A>(next + i, some...);
        detail::write_normed(row, i, some...);
        return term(v);
      });
}

/// mean and rstd of each row, and y = (x - mean) rstd gamma + beta.
template <class A>
void norm_rows(const NormRows& all) noexcept {
  using T = float;
  using V = Vec<T, A>;
  const NormRows t = all;
  const double elements = static_cast<double>(t.n);
  const auto mean_of = [=](double sum) { return t.centered ? static_cast<T>(sum / elements) : 0; };
  const auto first_sum = [=](const T* x) { return t.centered ? row_sum<T, A>(x, t.n) : row_squares<T, A>(x, t.n, 0); };
  const auto numbers_of = [=](Index i, T mean, double squares) {
    const T rstd = static_cast<T>(1 / __builtin_sqrt(squares / elements + t.eps));
    if (t.mean != nullptr) t.mean[i * t.step] = mean;
    if (t.rstd != nullptr) t.rstd[i * t.step] = rstd;
    return NormNumbers<A>{t.x + i * t.x_stride, t.gamma, t.beta, t.y + i * t.y_stride, simd::set<T, A>(mean),
                          simd::set<T, A>(rstd)};
  };
  const auto write = [=](const NormNumbers<A> row) __attribute__((always_inline)) {
    simd::for_registers<T, A>(
        t.n, [&](Index e, auto... some) __attribute__((always_inline)) { detail::write_normed(row, e, some...); });
  };

  // One row at a time, or several short ones: on Zen 4 two of 256 take a tenth less, two of 512 more.
  if (t.ahead == Ahead::no) {
    constexpr Index kMost = 4;
    const Index together = rows_together(t.n, 512, kMost);
    for (Index i = 0; i < t.rows;) {
      NormNumbers<A> rows[kMost];
      Index count = 0;
      for (; count < together && i < t.rows; ++count, ++i) {
        const T* x = t.x + i * t.x_stride;
        const double sum = first_sum(x);
        const T mean = mean_of(sum);
        rows[count] = numbers_of(i, mean, t.centered ? row_squares<T, A>(x, t.n, mean) : sum);
      }
      for (Index k = 0; k < count; ++k) write(rows[k]);
    }
    return;
  }

  // Of the row that comes: its sum, or what is its only one, the sum of its squares.
  double sum = t.rows > 0 ? first_sum(t.x) : 0;
  for (Index i = 0; i < t.rows; ++i) {
    const T *x = t.x + i * t.x_stride, *next = i + 1 < t.rows ? x + t.x_stride : nullptr;
    const T mean = mean_of(sum);
    double squares = sum;
    if (t.ahead == Ahead::with_squares && next != nullptr) {
      const V center = simd::set<T, A>(mean);
      const Sums sums = add_two<T, A>(
          t.n, [=](Index e, auto... some) __attribute__((always_inline)) {
            const V d = simd::load<T, A>(x + e, some...) - center;
            return Terms<T, A>{{d, d}, simd::load<T, A>(next + e, some...)};
          });
      squares = sums.first, sum = sums.second;
    } else if (t.centered) {
      squares = row_squares<T, A>(x, t.n, mean);
    }
    const NormNumbers<A> row = numbers_of(i, mean, squares);
    if (t.ahead == Ahead::with_squares || next == nullptr)
      write(row);
    else if (t.centered)
      sum = detail::write_normed_and_sum(
          row, next, t.n, [](V v) __attribute__((always_inline)) { return v; });
    else
      sum = detail::write_normed_and_sum(
          row, next, t.n, [](V v) __attribute__((always_inline)) {
            return Product<T, A>{v, v};
          });
  }
}

// With h = (x - mean) rstd and g = dy gamma: dx = rstd (g - sum(g) / n - h sum(g h) / n), without the middle term
// unless `centered`; dgamma += dy h, dbeta += dy. Up to kNormRows rows of the same length, gamma, dgamma and dbeta.

/// slope = -sum(g h) / n and offset = sum(g) / n or 0.
template <class A>
void norm_slopes(NormRow* rows, Index count) noexcept {
  using T = float;
  using V = Vec<T, A>;
  if constexpr (kHasNarrow<A>)
    if (rows->n >= 1 && rows->n <= kNarrow && count >= kLanes<T, A> / 2) return narrow_slopes<A>(rows, count);
  const double n = static_cast<double>(rows->n);
  for (NormRow* r = rows; r < rows + count; ++r) {
    const T *x = r->x, *dy = r->dy, *gamma = r->gamma;
    const V mean = simd::set<T, A>(r->mean), rstd = simd::set<T, A>(r->rstd);
    const auto h = [=](Index i, auto... some) __attribute__((always_inline)) {
      return (simd::load<T, A>(x + i, some...) - mean) * rstd;
    };
    const auto g = [=](Index i, auto... some) __attribute__((always_inline)) {
      return simd::load<T, A>(dy + i, some...) * simd::load<T, A>(gamma + i, some...);
    };
    Sums sums{0, 0};
    if (r->centered)
      sums = two_sums_in_blocks<T, A>(
          r->n, [=](Index i, auto... some) __attribute__((always_inline)) {
            const V own = g(i, some...);
            return Terms<T, A>{{own, h(i, some...)}, own};
          });
    else
      sums.first = sum_in_blocks<T, A, Term::is_long>(
          r->n, [=](Index i, auto... some) __attribute__((always_inline)) {
            return Product<T, A>{g(i, some...), h(i, some...)};
          });
    r->slope = static_cast<T>(-sums.first / n);
    r->offset = static_cast<T>(sums.second / n);
  }
}

/// dx for some elements of kRows rows, given their slopes, and what they add to dgamma and dbeta, if kSums, which are
/// loaded once for them. All rows are read before any is written: where rows are a multiple of a page apart, each store
/// would look like what the next row loads.
template <int kRows, bool kSums, class A, class... Some>
TILEWRIGHT_INLINE void write_gradients(const NormRow* rows, Index i, Some... some) {
  using T = float;
  using V = Vec<T, A>;
  const V gamma = simd::load<T, A>(rows->gamma + i, some...);
  V dg = gamma, db = gamma, h[kRows], g[kRows];
  if constexpr (kSums) {
    dg = simd::load<T, A>(rows->dgamma + i, some...);
    db = simd::load<T, A>(rows->dbeta + i, some...);
  }
#pragma GCC unroll 4
  for (int k = 0; k < kRows; ++k) {
    const NormRow& r = rows[k];
    const V dy = simd::load<T, A>(r.dy + i, some...);
    h[k] = (simd::load<T, A>(r.x + i, some...) - simd::set<T, A>(r.mean)) * simd::set<T, A>(r.rstd);
    g[k] = dy * gamma;
    dg = simd::multiply_add(dy, h[k], dg);
    db = db + dy;
  }
#pragma GCC unroll 4
  for (int k = 0; k < kRows; ++k) {
    const NormRow& r = rows[k];
    const V inner = simd::multiply_add(h[k], simd::set<T, A>(r.slope), g[k] - simd::set<T, A>(r.offset));
    simd::store(r.y + i, simd::set<T, A>(r.rstd) * inner, some...);
  }
  if constexpr (kSums) {
    simd::store(rows->dgamma + i, dg, some...);
    simd::store(rows->dbeta + i, db, some...);
  }
}

template <int kRows, bool kSums, class A>
TILEWRIGHT_INLINE void write_rows_of_gradients(const NormRow* rows) {
  NormRow own[kRows];  // out of the reach of stores
  for (int k = 0; k < kRows; ++k) own[k] = rows[k];
  simd::for_registers<float, A>(
      rows->n, [&](Index i, auto... some)
                   __attribute__((always_inline)) { detail::write_gradients<kRows, kSums, A>(own, i, some...); });
}

/// dx of whole rows, whose slopes are found, too, or of the same columns of each, given those; with what norm_sums()
/// does, if kSums.
template <class A, bool kSums>
void norm_rows_backward(NormRow* rows, Index count, bool given) noexcept {
  constexpr int most = kSums ? 4 : 1;
  const Index fit = rows_together(rows->n, 4096, kNormRows);
  // From 1,024 elements on more than one is slower from memory.
  const Index group = !kSums ? rows_together(rows->n, 2047, 8) : fit > most ? fit / most * most : fit;
  while (count > 0) {
    Index some = group < count ? group : count;
    count -= some;
    if (!given) norm_slopes<A>(rows, some);
    for (; some >= most; rows += most, some -= most) detail::write_rows_of_gradients<most, kSums, A>(rows);
    for (; some > 0; ++rows, --some) detail::write_rows_of_gradients<1, kSums, A>(rows);
  }
}

/// dgamma and dbeta of kRegisters registers of columns.
template <int kRegisters, class A, class... Some>
TILEWRIGHT_INLINE void add_column_gradients(const NormRow* rows, Index count, Index i, Some... some) {
  using T = float;
  using V = Vec<T, A>;
  constexpr int lanes = kLanes<T, A>;
  T *dgamma = rows->dgamma + i, *dbeta = rows->dbeta + i;
  V dg[kRegisters], db[kRegisters];
#pragma GCC unroll 4
  for (int v = 0; v < kRegisters; ++v) {
    dg[v] = simd::load<T, A>(dgamma + v * lanes, some...);
    db[v] = simd::load<T, A>(dbeta + v * lanes, some...);
  }
  for (const NormRow* r = rows; r < rows + count; ++r) {
    const V mean = simd::set<T, A>(r->mean), rstd = simd::set<T, A>(r->rstd);
#pragma GCC unroll 4
    for (int v = 0; v < kRegisters; ++v) {
      const V dy = simd::load<T, A>(r->dy + i + v * lanes, some...);
      dg[v] = simd::multiply_add(dy, (simd::load<T, A>(r->x + i + v * lanes, some...) - mean) * rstd, dg[v]);
      db[v] = db[v] + dy;
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kRegisters; ++v) {
    simd::store(dgamma + v * lanes, dg[v], some...);
    simd::store(dbeta + v * lanes, db[v], some...);
  }
}

/// dgamma += dy h and dbeta += dy, rows ascending. Columns are taken by whole lines of dy: rows that are a multiple of
/// a page apart push each other out of the first-level cache, so a line is not met twice.
template <class A>
void norm_sums(const NormRow* rows, Index count) noexcept {
  constexpr Index lanes = kLanes<float, A>, wide = 4 * lanes;
  const Index n = rows->n, beyond = static_cast<Index>(reinterpret_cast<std::uintptr_t>(rows->dy) / sizeof(float)) % 16;
  Index i = 0;
  const auto narrow = [&](Index end) {
    for (; i + lanes <= end; i += lanes) detail::add_column_gradients<1, A>(rows, count, i);
    if (i < end) detail::add_column_gradients<1, A>(rows, count, i, simd::first_lanes<float, A>(end - i)), i = end;
  };
  if (beyond != 0) narrow(n < 16 - beyond ? n : 16 - beyond);
  for (; i + wide <= n; i += wide) detail::add_column_gradients<4, A>(rows, count, i);
  narrow(n);
}

/// sums += (x - mean)^2, element by element of a row.
template <class A>
void add_squares(const float* x, const float* mean, Index n, float* sums) noexcept {
  using T = float;
  simd::for_registers<T, A>(
      n, [=](Index i, auto... some) __attribute__((always_inline)) {
        const Vec<T, A> d = simd::load<T, A>(x + i, some...) - simd::load<T, A>(mean + i, some...);
        simd::store(sums + i, simd::multiply_add(d, d, simd::load<T, A>(sums + i, some...)), some...);
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
        simd::store(
            r.y + i,
            simd::multiply_add(d, simd::load<T, A>(r.factor + i, some...), simd::load<T, A>(r.shift + i, some...)),
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
        simd::store(products + i, simd::multiply_add(d, dy, simd::load<T, A>(products + i, some...)), some...);
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
        simd::store(r.y + i,
                    simd::load<T, A>(r.factor + i, some...) *
                        simd::multiply_add(d, simd::load<T, A>(r.slope + i, some...), rest),
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
