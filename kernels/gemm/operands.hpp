// SPDX-License-Identifier: MIT
// Where the operands of a blocked product lie, in place or packed, and what is fetched of them next.
#pragma once

#include "kernels/core/memory.hpp"
#include "kernels/gemm/blocking.hpp"
#include "kernels/gemm/problem.hpp"

namespace tilewright::detail {

template <class T>
Operand lanes_of(Index lane_stride, Index k_stride, Index lanes, Index k) {
  constexpr Index bytes = sizeof(T);
  if (lane_stride == 1 || lanes == 1) return {Layout::lanes_adjacent, k_stride * bytes};
  if (k_stride == 1 || k == 1) return {Layout::steps_adjacent, lane_stride * bytes};
  return {Layout::strided, 0};
}

/// Buffers of blocked_product, in elements.
template <class T>
struct Plan : Blocking {
  Layout a_layout, b_layout;
  Index b_buffer, a_buffer;  // the team's, or each member's when it packs b for itself; each member's

  Plan(const Problem<T>& p, Index k, int threads) {
    const GemmKernels<T>& kernels = *p.kernels;
    const Operand a = lanes_of<T>(p.a.row_stride, p.a.col_stride, p.a.rows, k);
    const Operand b = lanes_of<T>(p.b.col_stride, p.b.row_stride, p.b.cols, k);
    const TileShape tile{kernels.tile_rows, kernels.tile_cols, sizeof(T), kernels.packing[0][0] != nullptr};
    static_cast<Blocking&>(*this) = gemm_blocking(p.c.rows, p.c.cols, k, threads, a, b, tile, cache_sizes());
    if (p.packed_b != nullptr) pack_b = own_b = one_panel = false;
    a_layout = a.layout;
    b_layout = b.layout;
    b_buffer = pack_b ? whole_lines<T>(kc * (one_panel ? kernels.tile_cols : nc)) : 0;
    a_buffer = pack_a ? whole_lines<T>(a_row() * (mc + kernels.tile_rows) + kMaxTileRows * kc) : 0;
  }

  Index elements(int members) const { return (own_b ? members : 1) * b_buffer + members * a_buffer; }
  /// A packed row of A takes this much, whichever way it lies. One line more than a power of two, so that rows do not
  /// meet in one set of the cache.
  Index a_row() const { return kc + kLineOf<T>; }
  /// A packed tile of A.
  Index a_panel(Index rows) const { return rows * (a_layout == Layout::steps_adjacent ? a_row() : kc); }
};

/// Rows of a in one block of k: where they are, or packed in their orientation.
template <class T>
struct RowsOfA {
  const T* data;
  Index row_stride, k_stride;
  bool along;
};

/// Rows [i, i + rows) of columns [k0, k0 + kc) of a. `to`: where they are packed, if they are; `now`: not done yet.
template <class T>
RowsOfA<T> rows_of_a(const Problem<T>& p, const Plan<T>& plan, Index i, Index rows, Index k0, Index kc, T* to,
                     bool now) {
  const T* from = p.a.data + i * p.a.row_stride + k0 * p.a.col_stride;
  const bool along = plan.a_layout == Layout::steps_adjacent;
  if (!plan.pack_a) return {from, along ? p.a.row_stride : 1, along ? 1 : p.a.col_stride, along};
  const Index step = p.kernels->tile_rows;
  if (now && along) {
    p.kernels->copy_rows(from, p.a.row_stride, rows, kc, to, plan.a_row());
  } else if (now && plan.a_layout == Layout::lanes_adjacent) {
    p.kernels->copy_rows(from, p.a.col_stride, kc, rows, to, step);
  } else if (now) {
    for (Index k = 0; k < kc; ++k)
      for (Index r = 0; r < rows; ++r) to[k * step + r] = from[r * p.a.row_stride + k * p.a.col_stride];
  }
  return along ? RowsOfA<T>{to, plan.a_row(), 1, true} : RowsOfA<T>{to, 1, step, false};
}

/// Columns [j, j + cols) of rows [k0, k0 + kc) of b into panels of `width` columns, zeros up to whole panels.
template <class T>
void pack_panels(const GemmKernels<T>& kernels, const MatrixView<const T>& b, Layout layout, Index k0, Index kc,
                 Index j, Index cols, Index width, T* to) {
  const T* from = b.data + k0 * b.row_stride + j * b.col_stride;
  if (layout == Layout::lanes_adjacent && width == kernels.tile_cols)
    return kernels.pack_rows(from, b.row_stride, cols, kc, to);
  for (Index s = 0; s < cols; s += width) {
    const T* source = from + s * b.col_stride;
    T* panel = to + s * kc;
    const Index some = std::min(width, cols - s);
    if (layout == Layout::steps_adjacent && width == kernels.tile_cols) {
      kernels.pack_columns(source, b.col_stride, some, kc, panel);
      continue;
    }
    for (Index k = 0; k < kc; ++k)
      for (Index w = 0; w < width; ++w)
        panel[k * width + w] = w < some ? source[k * b.row_stride + w * b.col_stride] : T(0);
  }
}

/// kc rows of b from k0 and its columns from j0: in place, or in panels of `width` columns.
template <class T>
struct BlockOfB {
  const T* data;
  Index width;             // 0: in place
  Index step;              // from one k to the next
  bool one_panel = false;  // the only one there is at a time

  const T* at(Index j, Index kc) const {
    return width == 0 ? data + j : one_panel ? data : data + j / width * width * kc + j % width;
  }
};

/// Columns [j0, j0 + nc) of c and the k of one block.
template <class T>
struct Block {
  Index j0, nc, k0, kc;
  T keep;
  bool last;
};

/// Where the block's b lies.
template <class T>
BlockOfB<T> block_of_b(const Problem<T>& p, const Plan<T>& plan, const Block<T>& block, const T* packed_b) {
  if (p.packed_b != nullptr) {
    const Index width = PackedMatrix<T>::kPanel;
    return {p.packed_b + block.k0 * round_up(p.c.cols, width) + block.j0 * block.kc, width, width};
  }
  if (!plan.pack_b) return {p.b.data + block.k0 * p.b.row_stride + block.j0, 0, p.b.row_stride};
  return {packed_b, p.kernels->tile_cols, p.kernels->tile_cols, plan.one_panel};
}

/// The last element of a line is asked for: where rows are not aligned, the first one shares its line with what lies
/// before.
template <class T>
inline constexpr Index kLastOfLine = kLineOf<T> - 1;

/// To be fetched: a panel of b from column j in the block of k that begins at k0, where the caller has it.
template <class T>
Stream<T> next_panel_of_b(const Problem<T>& p, const Plan<T>& plan, Index j, Index k0) {
  const Index kc = std::min(kSumBlock, p.a.cols - k0), nr = p.kernels->tile_cols;
  if (p.packed_b != nullptr) {
    const BlockOfB<T> b = block_of_b(p, plan, Block<T>{0, 0, k0, kc, T(0), false}, static_cast<const T*>(nullptr));
    return {b.at(j, kc), b.step, kc, 0};
  }
  const T* from = p.b.data + k0 * p.b.row_stride + j * p.b.col_stride;
  if (plan.b_layout == Layout::lanes_adjacent) return {from + kLastOfLine<T>, p.b.row_stride, kc, 0};
  if (plan.b_layout == Layout::strided) return {};
  // One column after the other, because memory answers slowly when they take turns.
  const Index step = std::max(kLineOf<T>, nr), run = ceil_div(kc, step);
  return {from, step, run, p.b.col_stride - run * step};
}

/// To be fetched: so many rows of a tile of c, again and again.
template <class T>
Stream<T> stream_of_c(const Problem<T>& p, Index i, Index j, Index rows) {
  return {&p.c(i, j) + kLastOfLine<T>, p.c.row_stride, rows, -rows * p.c.row_stride};
}

/// To be fetched in so many steps: the given rows of a in the block of k that begins at k0, part `part` of `parts`.
template <class T>
Stream<T> next_rows_of_a(const Problem<T>& p, const Plan<T>& plan, Range rows, Index k0, Index part, Index parts,
                         Index steps) {
  if (plan.a_layout == Layout::strided) return {};
  const bool along = plan.a_layout == Layout::steps_adjacent;
  const Index height = rows.end - rows.first, kc = std::min(kSumBlock, p.a.cols - k0);
  // Rows of memory, and elements of each.
  const Index count = along ? height : kc, length = along ? kc : height;
  const Index stride = along ? p.a.row_stride : p.a.col_stride;
  const EvenParts shares(count, ceil_div(count, parts));
  if (part >= shares.parts) return {};
  // Evenly, because bursts wait for memory; and not beyond the share, which might be the end of a.
  const Index most = std::max(kLineOf<T>, Index{p.kernels->tile_cols});
  const Index step = std::min(most, ceil_div(shares.size(part) * length, steps)), run = ceil_div(length, step);
  return {p.a.data + rows.first * p.a.row_stride + k0 * p.a.col_stride + shares.first(part) * stride, step, run,
          stride - run * step};
}

}  // namespace tilewright::detail
