// SPDX-License-Identifier: MIT
// Rows of at most kNarrow elements, as many at a time as a register has lanes: turned, so that a register holds a
// column of them. What a row alone computes by shuffles and one division at a time is then done for all of them at
// once. The additions are those of reduce.hpp: the bits are the same.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/rows/reduce.hpp"
#include "kernels/simd/logarithm.hpp"
#include "kernels/simd/transpose.hpp"

namespace tilewright::detail {

/// sse2 goes without: its four lanes gain little.
template <class A>
inline constexpr bool kHasNarrow = !std::is_same_v<A, xsimd::sse2>;

/// n columns of `rows` rows, 1 to as many as there are lanes; row(k) is where one begins. The last one stands in for
/// those that are missing.
template <class T, class A, class Row>
TILEWRIGHT_INLINE void load_columns(Index rows, Index n, Vec<T, A>* columns, Row row) {
  constexpr int lanes = kLanes<T, A>;
  for (Index s = 0; s < n; s += lanes) {
    const auto some = simd::first_lanes<T, A>(n - s < lanes ? n - s : lanes);
    Vec<T, A> square[lanes];
#pragma GCC unroll 16
    for (int k = 0; k < lanes; ++k) square[k] = simd::load<T, A>(row(k < rows ? k : rows - 1) + s, some);
    simd::transpose<T, A>(square);
#pragma GCC unroll 16
    for (int k = 0; k < lanes; ++k) columns[s + k] = square[k];
  }
}

/// The same for rows `stride` apart.
template <class T, class A>
TILEWRIGHT_INLINE void load_columns(const T* x, Index stride, Index rows, Index n, Vec<T, A>* columns) {
  load_columns<T, A>(
      rows, n, columns, [=](Index k) __attribute__((always_inline)) { return x + k * stride; });
}

/// The other way.
template <class T, class A>
TILEWRIGHT_INLINE void store_columns(const Vec<T, A>* columns, Index rows, Index n, T* y, Index stride) {
  constexpr int lanes = kLanes<T, A>;
  for (Index s = 0; s < n; s += lanes) {
    const auto some = simd::first_lanes<T, A>(n - s < lanes ? n - s : lanes);
    Vec<T, A> square[lanes];
#pragma GCC unroll 16
    for (int k = 0; k < lanes; ++k) square[k] = columns[s + k];
    simd::transpose<T, A>(square);
#pragma GCC unroll 16
    for (int k = 0; k < lanes; ++k)
      if (k < rows) simd::store(y + k * stride + s, square[k], some);
  }
}

/// What reduce() makes of each row's n terms.
template <class Op, class T, class A, class F>
TILEWRIGHT_INLINE Vec<T, A> reduce_columns(Index n, T zero, F term) {
  Vec<T, A> fold[kFoldLanes];
  const Vec<T, A> neutral = simd::set<T, A>(zero);
  for (Index j = 0; j < n; ++j) fold[j] = Op::template of<T, A>(neutral, term(j));
  // Lanes without an element hold what changes nothing.
  for (Index half = kFoldLanes / 2; half >= 1; half /= 2) {
    for (Index j = 0; j + half < n; ++j) fold[j] = Op::template of<T, A>(fold[j], fold[j + half]);
    if (n > half) n = half;
  }
  return fold[0];
}

/// As row_max() with MaxOfNumbers.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> largest_of_columns(Index n, const Vec<T, A>* columns) {
  return reduce_columns<MaxOfNumbers, T, A>(
      n, -std::numeric_limits<T>::infinity(), [&](Index j) __attribute__((always_inline)) { return columns[j]; });
}

/// As softmax_rows(), of 1 to kNarrow elements each.
template <class T, class A, bool kLog>
void softmax_narrow(const RowBlock& all) noexcept {
  using V = Vec<T, A>;
  constexpr int lanes = kLanes<T, A>;
  const RowBlock t = all;
  for (Index i = 0; i < t.rows; i += lanes) {
    const Index rows = t.rows - i < lanes ? t.rows - i : lanes;
    V columns[kNarrow];
    load_columns<T, A>(t.x + i * t.x_stride, t.x_stride, rows, t.n, columns);
    const V largest = largest_of_columns<T, A>(t.n, columns);
    const V sum = reduce_columns<Add, T, A>(
        t.n, T(0), [&](Index j) __attribute__((always_inline)) {
          const V x = columns[j] - largest, e = simd::exp_of_negative(x);
          columns[j] = kLog ? x : e;
          return e;
        });
    const V last = kLog ? simd::log_normal(sum) : simd::div(simd::set<T, A>(1), sum);
    for (Index j = 0; j < t.n; ++j) columns[j] = kLog ? columns[j] - last : columns[j] * last;
    store_columns<T, A>(columns, rows, t.n, t.y + i * t.y_stride, t.y_stride);
  }
}

/// As cross_entropy_row().
template <class A>
void cross_entropy_narrow(const NarrowLosses& all) noexcept {
  using T = float;
  using V = Vec<T, A>;
  constexpr int lanes = kLanes<T, A>;
  const NarrowLosses t = all;
  for (Index i = 0; i < t.rows; i += lanes) {
    const Index rows = t.rows - i < lanes ? t.rows - i : lanes;
    V columns[kNarrow];
    load_columns<T, A>(t.x + i * t.x_stride, t.x_stride, rows, t.n, columns);
    T picked[lanes] = {}, scales[lanes] = {}, losses[lanes];
    for (Index k = 0; k < rows; ++k) {
      picked[k] = t.x[(i + k) * t.x_stride + t.targets[i + k]];
      scales[k] = t.scales[i + k];
    }
    const V largest = largest_of_columns<T, A>(t.n, columns);
    const V sum = reduce_columns<Add, T, A>(
        t.n, T(0), [&](Index j) __attribute__((always_inline)) {
          columns[j] = simd::exp_of_negative(columns[j] - largest);
          return columns[j];
        });
    simd::store(losses, simd::log_normal(sum) + (largest - simd::load<T, A>(picked)));
    for (Index k = 0; k < rows; ++k) t.losses[i + k] = losses[k];
    if (t.dx == nullptr) continue;
    const V factor = simd::div(simd::load<T, A>(scales), sum);
    for (Index j = 0; j < t.n; ++j) columns[j] = columns[j] * factor;
    store_columns<T, A>(columns, rows, t.n, t.dx + i * t.dx_stride, t.dx_stride);
    for (Index k = 0; k < rows; ++k) t.dx[(i + k) * t.dx_stride + t.targets[i + k]] -= scales[k];
  }
}

/// As norm_rows(), any number of rows.
template <class A>
void norm_narrow(const NormRows& all) noexcept {
  using T = float;
  using V = Vec<T, A>;
  constexpr int lanes = kLanes<T, A>;
  const NormRows t = all;
  const Vec<double, A> elements = simd::set<double, A>(static_cast<double>(t.n)), eps = simd::set<double, A>(t.eps);
  for (Index i = 0; i < t.rows; i += lanes) {
    const Index rows = t.rows - i < lanes ? t.rows - i : lanes;
    V columns[kNarrow];
    load_columns<T, A>(t.x + i * t.x_stride, t.x_stride, rows, t.n, columns);
    V mean = simd::set<T, A>(0);
    if (t.centered)
      mean = simd::in_double<A>(
          reduce_columns<Add, T, A>(
              t.n, T(0), [&](Index j) __attribute__((always_inline)) { return columns[j]; }),
          [&](Vec<double, A> sum) __attribute__((always_inline)) { return simd::div(sum, elements); });
    const V squares = reduce_columns<Add, T, A>(
        t.n, T(0), [&](Index j) __attribute__((always_inline)) {
          columns[j] = columns[j] - mean;
          return Product<T, A>{columns[j], columns[j]};
        });
    const V rstd = simd::in_double<A>(
        squares, [&](Vec<double, A> sum) __attribute__((always_inline)) {
          return simd::div(simd::set<double, A>(1), simd::sqrt(simd::div(sum, elements) + eps));
        });
    for (Index j = 0; j < t.n; ++j)
      columns[j] = simd::multiply_add(columns[j] * rstd, simd::set<T, A>(t.gamma[j]), simd::set<T, A>(t.beta[j]));
    store_columns<T, A>(columns, rows, t.n, t.y + i * t.y_stride, t.y_stride);
    T numbers[2][lanes];
    simd::store(numbers[0], mean);
    simd::store(numbers[1], rstd);
    for (Index k = 0; k < rows; ++k) {
      if (t.mean != nullptr) t.mean[(i + k) * t.step] = numbers[0][k];
      if (t.rstd != nullptr) t.rstd[(i + k) * t.step] = numbers[1][k];
    }
  }
}

/// norm_slopes() of short rows.
template <class A>
TILEWRIGHT_INLINE void narrow_slopes(NormRow* all, Index count) {
  using T = float;
  using V = Vec<T, A>;
  constexpr int lanes = kLanes<T, A>;
  const Index n = all->n;
  const T* gamma = all->gamma;
  const Vec<double, A> elements = simd::set<double, A>(static_cast<double>(n)),
                       minus = simd::set<double, A>(-static_cast<double>(n));
  for (Index first = 0; first < count; first += lanes) {
    NormRow* rows = all + first;
    const Index some = count - first < lanes ? count - first : lanes;
    V g[kNarrow], h[kNarrow];
    load_columns<T, A>(
        some, n, g, [&](Index k) __attribute__((always_inline)) { return rows[k].dy; });
    load_columns<T, A>(
        some, n, h, [&](Index k) __attribute__((always_inline)) { return rows[k].x; });
    T means[lanes], rstds[lanes];
    for (Index k = 0; k < lanes; ++k) {
      const NormRow& r = rows[k < some ? k : some - 1];
      means[k] = r.mean;
      rstds[k] = r.rstd;
    }
    const V mean = simd::load<T, A>(means), rstd = simd::load<T, A>(rstds);
    for (Index j = 0; j < n; ++j) g[j] = g[j] * simd::set<T, A>(gamma[j]);
    const V along = reduce_columns<Add, T, A>(
        n, T(0), [&](Index j) __attribute__((always_inline)) {
          return Product<T, A>{g[j], (h[j] - mean) * rstd};
        });
    const V sum = reduce_columns<Add, T, A>(
        n, T(0), [&](Index j) __attribute__((always_inline)) { return g[j]; });
    T numbers[2][lanes];
    simd::store(numbers[0],
                simd::in_double<A>(
                    along, [&](Vec<double, A> v) __attribute__((always_inline)) { return simd::div(v, minus); }));
    simd::store(numbers[1],
                simd::in_double<A>(
                    sum, [&](Vec<double, A> v) __attribute__((always_inline)) { return simd::div(v, elements); }));
    for (Index k = 0; k < some; ++k) {
      rows[k].slope = numbers[0][k];
      rows[k].offset = rows[k].centered ? numbers[1][k] : 0;
    }
  }
}

}  // namespace tilewright::detail
