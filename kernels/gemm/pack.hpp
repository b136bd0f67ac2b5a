// SPDX-License-Identifier: MIT
// Packing: operands are copied into the order in which the micro-kernel reads them. A keeps its orientation (the
// micro-kernel reads both), so packing it is a plain copy; B becomes panels of tile_cols columns, one step of k after
// the other.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/simd/transpose.hpp"

namespace tilewright::detail {

/// to[i * to_stride + j] = source[i * stride + j] for i < rows, j < cols.
template <class T, class A>
void copy_rows(const T* source, Index stride, Index rows, Index cols, T* to, Index to_stride) noexcept {
  for (Index i = 0; i < rows; ++i)
    simd::for_registers<T, A>(
        cols,
        [ from = source + i * stride, row = to + i * to_stride ](Index j, auto... some)
            __attribute__((always_inline)) { simd::store(row + j, simd::load<T, A>(from + j, some...), some...); });
}

/// Rows of neighbours into panels: panel j / W holds to[j / W * W * k + p * W + j % W] = source[p * stride + j] for
/// j < cols and p < k, W = tile_cols; zeros fill the last panel.
template <class T, class A>
void pack_rows(const T* source, Index stride, Index cols, Index k, T* to) noexcept {
  constexpr int lanes = kLanes<T, A>;
  constexpr Index width = Index{kTileVectors} * lanes;
  // Four panels at once, because pages of memory are met row by row; more would write to more places at the same
  // distance than the first-level cache has ways.
  constexpr Index together = 4;
  // A row is asked for this many steps before its turn.
  constexpr Index ahead = 8;
  for (Index j = 0; j < cols; j += together * width) {
    const Index end = j + together * width < cols ? j + together * width : cols;
    for (Index p = 0; p < k; ++p) {
      const T* from = source + p * stride;
      const T* soon = from + (p + ahead < k ? ahead * stride : 0);
      for (Index i = j; i < end; i += width) {
        T* panel = to + i * k + p * width;
#pragma GCC unroll 2
        for (int v = 0; v < kTileVectors; ++v) {
          const Index left = end - i - v * lanes;
          if (left >= lanes) {
            __builtin_prefetch(soon + i + v * lanes);
            simd::store(panel + v * lanes, simd::load<T, A>(from + i + v * lanes));
          } else {
            simd::store(panel + v * lanes, left <= 0
                                               ? simd::set<T, A>(0)
                                               : simd::load<T, A>(from + i + v * lanes, simd::first_lanes<T, A>(left)));
          }
        }
      }
    }
  }
}

/// Columns of neighbours into one panel: panel[p * W + j] = source[j * stride + p] for j < cols <= W, p < k; zeros in
/// the other columns. Squares of registers are transposed.
template <class T, class A>
void pack_columns(const T* source, Index stride, Index cols, Index k, T* panel) noexcept {
  constexpr int lanes = kLanes<T, A>;
  constexpr Index width = Index{kTileVectors} * lanes;
  for (Index first = 0; first < width; first += lanes) {
    const T* from = source + first * stride;
    T* to = panel + first;
    Index p = 0;
    Vec<T, A> square[lanes];
    if (first + lanes <= cols) {
      for (; p + lanes <= k; p += lanes) {
#pragma GCC unroll 16
        for (int i = 0; i < lanes; ++i) square[i] = simd::load<T, A>(from + i * stride + p);
        simd::transpose<T, A>(square);
#pragma GCC unroll 16
        for (int i = 0; i < lanes; ++i) simd::store(to + (p + i) * width, square[i]);
      }
    }
    for (; p < k; p += lanes) {
      const Index steps = k - p < lanes ? k - p : lanes;
      const auto some = simd::first_lanes<T, A>(steps);
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i)
        square[i] = first + i < cols ? simd::load<T, A>(from + i * stride + p, some) : simd::set<T, A>(0);
      simd::transpose<T, A>(square);
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i)
        if (i < steps) simd::store(to + (p + i) * width, square[i]);
    }
  }
}

}  // namespace tilewright::detail
