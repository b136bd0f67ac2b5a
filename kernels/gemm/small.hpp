// SPDX-License-Identifier: MIT
// Products of a few tiles on one thread.
#pragma once

#include "kernels/gemm/blocking.hpp"
#include "kernels/gemm/problem.hpp"

namespace tilewright::detail {

/// Up to this many multiply-adds a product counts as small. Beyond, what SmallProduct leaves out pays.
inline constexpr Index kSmallWork = 100 * 100 * 100;

/// The longest k for which SmallProduct packs b, on the stack.
inline constexpr Index kSmallPanel = 128;

/// A product for one thread that fits(): tile after tile and nothing else, because for a few tiles everything else
/// would take longer than they do.
template <class T>
struct SmallProduct {
  using Micro = typename GemmKernels<T>::Micro;
  const GemmKernels<T>* kernels;
  Tile<T> tile;  // everything but the addresses
  Index rows, cols;
  bool packs_b;
  void (*tiny)(const Tile<T>&, Index rows) noexcept;  // for all of it, or null
  bool one_column;                                    // of c, and rows of a that few_rows_along can transpose
  EvenParts tiles;
  Micro whole[2], last[2];  // for a panel of full width and for the last one; for taller and other tiles

  /// Whether k is one block, and operands can be read in place.
  static bool fits(const GemmKernels<T>& kernels, const MatrixView<const T>& a, const MatrixView<const T>& b,
                   const MatrixView<T>& c) {
    return (c.col_stride == 1 || c.cols == 1) && (a.col_stride == 1 || a.row_stride == 1) &&
           (b.col_stride == 1 || b.cols == 1 || (b.row_stride == 1 && a.cols <= kSmallPanel)) &&
           !worth_turning(kernels, a, c);
  }

  SmallProduct(const GemmKernels<T>& k, const MatrixView<const T>& a, const MatrixView<const T>& b,
               const MatrixView<T>& c, T alpha, T beta)
      : kernels(&k),
        tile{nullptr, a.row_stride, a.col_stride, nullptr, b.row_stride, a.cols,
             nullptr, c.row_stride, c.cols,       alpha,   beta},
        rows(c.rows),
        cols(c.cols),
        packs_b(b.col_stride != 1 && b.cols != 1),
        tiny(nullptr),
        one_column(false),
        tiles(0, 1),
        b_stride_(b.col_stride) {
    const bool along = a.col_stride == 1;
    if (packs_b) tile.b_k_stride = k.tile_cols;
    const bool b_in_registers = k.lanes * Index{sizeof(T)} == 64;  // tiny.hpp; else one column has a better way
    one_column = cols == 1 && rows >= k.lanes && c.row_stride == 1 && along && b.row_stride == 1 && alpha == T(1) &&
                 beta == T(0);
    if (a.cols <= kTinySteps && cols <= k.lanes && rows >= kTinyRows && beta == T(0) &&
        (b_in_registers || !one_column)) {
      tiny = k.tiny[along][2 * cols <= k.lanes][a.cols - 1];
      one_column &= tiny == nullptr;
    }
    if (tiny != nullptr || one_column) return;
    tiles = EvenParts(rows, k.tile_rows);
    const Index tall = tiles.each + (tiles.more > 0 ? 1 : 0), rest = cols % k.tile_cols;
    const Index width = rest == 0 ? k.tile_cols : rest;
    last[0] = micro_for(k, along, tall, width);
    last[1] = micro_for(k, along, tiles.each, width);
    if (cols <= k.tile_cols) return;
    whole[0] = micro_for(k, along, tall, k.tile_cols);
    whole[1] = micro_for(k, along, tiles.each, k.tile_cols);
  }

  /// Uses up this object's tile.
  [[gnu::always_inline]] void compute(const T* a, const T* b, T* c) noexcept { compute(tile, a, b, c); }
  void operator()(const T* a, const T* b, T* c) const noexcept {
    Tile<T> t = tile;
    compute(t, a, b, c);
  }

 private:
  [[gnu::always_inline]] void compute(Tile<T>& t, const T* a, const T* b, T* c) const noexcept {
    if (one_column) return kernels->few_rows_along[0]({b, a, t.a_row_stride, t.k, rows, c, rows, a});
    T panel[kSmallPanel * kMaxTileCols];
    for (Index j = 0; j < cols; j += kernels->tile_cols) {
      const bool is_last = j + kernels->tile_cols >= cols;
      t.cols = is_last ? cols - j : kernels->tile_cols;
      t.b = packs_b ? panel : b + j;
      if (packs_b) kernels->pack_columns(b + j * b_stride_, b_stride_, t.cols, t.k, panel);
      t.a = a;
      t.c = c + j;
      if (tiny != nullptr) return tiny(t, rows);
      const Micro* micro = is_last ? last : whole;
      for (Index part = 0; part < tiles.parts; ++part) {
        const bool tall = part < tiles.more;
        micro[tall ? 0 : 1](t);
        const Index height = tiles.each + (tall ? 1 : 0);
        t.a += height * t.a_row_stride;
        t.c += height * t.c_row_stride;
      }
    }
  }

  Index b_stride_;
};

}  // namespace tilewright::detail
