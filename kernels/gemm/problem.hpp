// SPDX-License-Identifier: MIT
// A product whose arguments have been checked: which way round it is computed, one tile of it, and its epilogue.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/map/parameter.hpp"
#include "tilewright/gemm.hpp"

namespace tilewright::detail {

/// Elements of a cache line.
template <class T>
inline constexpr Index kLineOf = 64 / Index{sizeof(T)};

/// What is added to a product, and what its elements go through.
template <class T>
struct Epilogue {
  const GemmOptions<T>* options;
  bool bias_per_row;
  MatrixView<const T> residual, saved;
  MatrixView<T> pre;

  static Epilogue of(const GemmOptions<T>& o) { return {&o, false, o.residual, o.saved, o.pre_activation}; }
  /// Of the transposed product.
  Epilogue t() const { return {options, !bias_per_row, residual.t(), saved.t(), pre.t()}; }
};

/// A checked product. Turned when that makes the columns of c neighbours, or pays otherwise (worth_turning); then bias
/// runs along the rows.
template <class T>
struct Problem {
  MatrixView<const T> a, b;
  MatrixView<T> c;
  const GemmKernels<T>* kernels;
  T alpha, beta;
  const T* packed_b;  // a PackedMatrix's panels, or null
  T* a_sums;          // of a's rows, or null
  T* b_sums;          // of b's columns, or null
  bool finishes;
  Epilogue<T> epilogue;
};

template <class T>
bool has_epilogue(const GemmOptions<T>& o) {
  return o.bias.data() != nullptr || o.pre_activation.data != nullptr || o.residual.data != nullptr ||
         o.activation.kind != ActivationKind::identity;
}

/// Whether registers should run over the rows of c although its columns are neighbours: when few columns would leave
/// more than a fifth of a register empty, and the rows of a are neighbours, too. Then tiles go through a buffer, which
/// needs a k of some registers to pay (docs/gemm.md).
template <class T>
bool worth_turning(const GemmKernels<T>& kernels, const MatrixView<const T>& a, const MatrixView<T>& c) {
  if (a.row_stride != 1 || a.col_stride == 1 || c.cols >= kernels.lanes || c.rows < 2 * kernels.tile_cols ||
      a.cols < 4 * kernels.lanes)
    return false;
  const bool half = 2 * c.cols <= kernels.lanes && kernels.narrow[0][0] != nullptr;
  return 5 * c.cols < 4 * (half ? kernels.lanes / 2 : kernels.lanes);
}

template <class T>
Problem<T> orient(const MatrixView<const T>& a, const MatrixView<const T>& b, MatrixView<T> c,
                  const GemmOptions<T>& o) {
  // A single row or column has no second stride.
  if (c.cols == 1) c.col_stride = 1;
  if (c.rows == 1) c.row_stride = c.cols;
  Problem<T> p;
  p.kernels = &active_table().template gemm<T>();
  const bool turn =
      (c.row_stride == 1 && (c.col_stride != 1 || c.cols == 1) && c.rows > 1) || worth_turning(*p.kernels, a, c);
  p.alpha = o.alpha;
  p.beta = o.beta;
  p.packed_b = nullptr;
  p.a_sums = turn ? o.b_column_sums.data() : o.a_row_sums.data();
  p.b_sums = turn ? o.a_row_sums.data() : o.b_column_sums.data();
  p.a = turn ? b.t() : a;
  p.b = turn ? a.t() : b;
  p.c = turn ? c.t() : c;
  p.finishes = has_epilogue(o);
  if (p.finishes) p.epilogue = turn ? Epilogue<T>::of(o).t() : Epilogue<T>::of(o);
  return p;
}

/// Points at `view` from (i, j) where its columns are neighbours, otherwise at a copy of rows x cols.
template <class T>
void look_at(const MatrixView<const T>& view, Index i, Index j, Index rows, Index cols, T* buffer, const T*& data,
             Index& row_stride) {
  if (view.data == nullptr) return;
  data = &view(i, j);
  row_stride = view.row_stride;
  if (view.col_stride == 1) return;
  for (Index r = 0; r < rows; ++r)
    for (Index s = 0; s < cols; ++s) buffer[r * cols + s] = view(i + r, j + s);
  data = buffer;
  row_stride = cols;
}

/// c = f(c + bias + residual), f the activation of that kind. The first kFusedKinds run in the epilogue's own loops,
/// the others in those of map/, where a call for all rows may see to the sum as well.
template <class T>
void activate_tile(const GemmKernels<T>& kernels, const Finish<T>& f, int kind) {
  if (kind < kFusedKinds) return kernels.finish[kind](f);
  const MapKernels<T>& map = active_table().template map<T>();
  const bool narrow = f.c_row_stride == f.cols && f.cols < kernels.tile_cols;  // rows follow each other: one long one
  const Index rows = narrow ? 1 : f.rows, cols = narrow ? f.rows * f.cols : f.cols;
  const auto all = map.forward_rows[kind];
  const bool extras = f.bias != nullptr || f.pre != nullptr;
  const bool apart = f.residual != nullptr || (extras && (all == nullptr || narrow || f.bias_per_row));
  if (apart) kernels.finish[0](f);
  if (all != nullptr)
    return all({f.c, f.c_row_stride, f.c, f.c_row_stride, rows, cols, apart ? nullptr : f.bias, apart ? nullptr : f.pre,
                f.pre_row_stride},
               f.numbers);
  for (Index r = 0; r < rows; ++r)
    map.forward[kind](f.c + r * f.c_row_stride, f.c + r * f.c_row_stride, cols, f.numbers);
}

/// c = (c + bias + residual) * f'.
template <class T>
void derive_tile(const GemmKernels<T>& kernels, const Finish<T>& f, int kind) {
  if (kind < kFusedKinds) return kernels.derive[kind](f);
  if (f.bias != nullptr || f.residual != nullptr) kernels.derive[0](f);
  const MapKernels<T>& map = active_table().template map<T>();
  const bool narrow = f.c_row_stride == f.cols && f.saved_row_stride == f.cols && f.cols < kernels.tile_cols;
  const Index rows = narrow ? 1 : f.rows, cols = narrow ? f.rows * f.cols : f.cols;
  if (const auto all = map.backward_rows[kind]; all != nullptr)
    return all(f.saved, f.saved_row_stride, f.c, f.c_row_stride, f.c, f.c_row_stride, rows, cols, f.numbers);
  for (Index r = 0; r < rows; ++r) {
    T* c = f.c + r * f.c_row_stride;
    map.backward[kind](f.saved + r * f.saved_row_stride, c, c, cols, f.numbers);
  }
}

/// The epilogue on rows x cols of c from (i, j), at most a tile.
template <class T>
void finish(const GemmKernels<T>& kernels, const Epilogue<T>& e, T* c, Index c_row_stride, Index i, Index j, Index rows,
            Index cols) {
  T residual[kMaxTileRows * kMaxTileCols], other[kMaxTileRows * kMaxTileCols];
  const GemmOptions<T>& o = *e.options;
  const int kind = formula_of(o.activation);
  Finish<T> f{};
  f.c = c;
  f.c_row_stride = c_row_stride;
  f.rows = rows;
  f.cols = cols;
  f.bias = o.bias.data() == nullptr ? nullptr : o.bias.data() + (e.bias_per_row ? i : j);
  f.bias_per_row = e.bias_per_row;
  f.numbers = numbers_of<T>(o.activation);
  look_at(e.residual, i, j, rows, cols, residual, f.residual, f.residual_row_stride);
  if (e.saved.data != nullptr) {
    look_at(e.saved, i, j, rows, cols, other, f.saved, f.saved_row_stride);
    return derive_tile(kernels, f, kind);
  }
  const bool copy_pre = e.pre.data != nullptr && e.pre.col_stride != 1;
  f.pre = copy_pre ? other : e.pre.data == nullptr ? nullptr : &e.pre(i, j);
  f.pre_row_stride = copy_pre ? cols : e.pre.row_stride;
  activate_tile(kernels, f, kind);
  if (!copy_pre) return;
  for (Index r = 0; r < rows; ++r)
    for (Index s = 0; s < cols; ++s) e.pre(i + r, j + s) = other[r * cols + s];
}

/// Asks for what the epilogue will want of `view` from (i, j), before the sums of the tile, which take longer than
/// memory. Inlined, because GCC takes a function that only fetches for one without effects, and drops the call.
template <class T>
[[gnu::always_inline]] inline void fetch_tile(const MatrixView<T>& view, Index i, Index j, Index rows, Index cols) {
  if (view.data == nullptr || view.col_stride != 1) return;
  for (Index r = 0; r < rows; ++r)
    for (Index s = 0; s < cols; s += kLineOf<T>)
      __builtin_prefetch(&view(i + r, std::min(j + s + kLineOf<T>, j + cols) - 1), 0, 2);
}

/// One tile of c from (i, j): the block's sums, and after the last block the epilogue. tile has its operands set; c of
/// any strides.
template <class T>
void compute_tile(const Problem<T>& p, typename GemmKernels<T>::Micro micro, Tile<T>& tile, Index i, Index j,
                  Index rows, bool last) {
  const GemmKernels<T>& kernels = *p.kernels;
  const Index cols = tile.cols;
  T* const c = &p.c(i, j);
  const bool finishes = last && p.finishes;
  if (finishes) {
    fetch_tile(p.epilogue.saved, i, j, rows, cols);
    fetch_tile(p.epilogue.residual, i, j, rows, cols);
    fetch_tile(p.epilogue.pre, i, j, rows, cols);
  }
  if (p.c.col_stride == 1) {
    tile.c = c;
    tile.c_row_stride = p.c.row_stride;
    micro(tile);
    if (finishes) finish(kernels, p.epilogue, c, p.c.row_stride, i, j, rows, cols);
    return;
  }
  T buffer[kMaxTileRows * kMaxTileCols];
  tile.c = buffer;
  tile.c_row_stride = cols;
  if (p.c.row_stride == 1) {
    const auto transpose = active_table().template elements<T>().transpose;
    if (tile.keep_c != T(0)) transpose(c, p.c.col_stride, cols, rows, buffer, cols);
    micro(tile);
    transpose(buffer, cols, rows, cols, c, p.c.col_stride);
    if (finishes) finish(kernels, p.epilogue.t(), c, p.c.col_stride, j, i, cols, rows);
    return;
  }
  if (tile.keep_c != T(0))
    for (Index r = 0; r < rows; ++r)
      for (Index s = 0; s < cols; ++s) buffer[r * cols + s] = p.c(i + r, j + s);
  micro(tile);
  if (finishes) finish(kernels, p.epilogue, buffer, cols, i, j, rows, cols);
  for (Index s = 0; s < cols; ++s)
    for (Index r = 0; r < rows; ++r) p.c(i + r, j + s) = buffer[r * cols + s];
}

template <class T>
typename GemmKernels<T>::Micro micro_for(const GemmKernels<T>& kernels, bool along, Index rows, Index cols) {
  if (2 * cols <= kernels.lanes && kernels.narrow[along][rows - 1] != nullptr) return kernels.narrow[along][rows - 1];
  const int wide = cols > kernels.lanes;
  const bool ragged = cols != (wide + 1) * kernels.lanes;
  return kernels.micro[along][ragged][wide][rows - 1];
}

/// c = f(beta * c + bias + residual), the product being empty.
template <class T>
void empty_product(const Problem<T>& p) {
  const Index step = p.kernels->lanes;
  for (Index i = 0; i < p.c.rows; ++i)
    for (Index j = 0; j < p.c.cols; j += step) {
      T row[kMaxTileCols];
      const Index cols = std::min(step, p.c.cols - j);
      for (Index s = 0; s < cols; ++s) row[s] = p.beta == T(0) ? T(0) : p.beta * p.c(i, j + s);
      if (p.finishes) finish(*p.kernels, p.epilogue, row, cols, i, j, 1, cols);
      for (Index s = 0; s < cols; ++s) p.c(i, j + s) = row[s];
    }
}

}  // namespace tilewright::detail
