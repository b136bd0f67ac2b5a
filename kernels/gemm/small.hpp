// SPDX-License-Identifier: MIT
// Products of a few tiles, on one thread or in parts that are such products themselves.
#pragma once

#include "kernels/gemm/product.hpp"

namespace tilewright::detail {

/// Up to this many multiply-adds a product counts as small. Beyond, what SmallProduct leaves out pays.
inline constexpr Index kSmallWork = 100 * 100 * 100;

/// The longest k for which SmallProduct packs b, on the stack.
inline constexpr Index kSmallPanel = 128;

/// Up to this many rows a tiny product is less than two threads would share: see small_threads().
inline constexpr Index kMostTinyRows = 512;

/// The kernel of tiny.hpp that computes all of a product without c's old values, or null.
template <class T>
[[gnu::always_inline]] inline TinyKernel<T> tiny_for(const GemmKernels<T>& kernels, bool along, Index rows, Index cols,
                                                     Index k) {
  const bool fits = k <= kTinySteps && cols <= kernels.lanes && rows >= kTinyRows;
  return fits ? kernels.tiny[along][2 * cols <= kernels.lanes][k - 1] : nullptr;
}

/// A product for one thread that fits(): tile after tile and nothing else, because for a few tiles everything else
/// would take longer than they do.
template <class T>
struct SmallProduct {
  using Micro = typename GemmKernels<T>::Micro;
  const GemmKernels<T>* kernels;
  Tile<T> tile;  // everything but the addresses
  Index rows, cols;
  bool packs_b;
  TinyKernel<T> tiny;  // for all of it, or null
  bool one_column;     // of c, and rows of a that few_rows_along can transpose
  EvenParts tiles;
  Micro whole[2], last[2];  // for a panel of full width and for the last one; for taller and other tiles
  Index wide_from;          // the column from which on tiles of three registers serve, or cols

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
        wide_from(c.cols),
        b_stride_(b.col_stride) {
    const bool along = a.col_stride == 1;
    if (packs_b) tile.b_k_stride = k.tile_cols;
    const bool b_in_registers = k.lanes * Index{sizeof(T)} == 64;  // tiny.hpp; else one column has a better way
    one_column = cols == 1 && rows >= k.lanes && c.row_stride == 1 && along && b.row_stride == 1 && alpha == T(1) &&
                 beta == T(0);
    if (beta == T(0) && (b_in_registers || !one_column)) {
      tiny = tiny_for(k, along, rows, cols, a.cols);
      one_column &= tiny == nullptr;
    }
    if (tiny != nullptr || one_column) return;
    // An odd register would load as often as it multiplies. Rows left over are computed twice, if they are few.
    const Index padded = (cols + k.lanes - 1) & -k.lanes;
    if (k.wide != nullptr && (padded & k.lanes) != 0 && padded > k.lanes && along && !packs_b && beta == T(0) &&
        (rows % kWideRows == 0 || rows > 5 * kWideRows))
      wide_from = padded - 3 * k.lanes;
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
  [[gnu::always_inline]] void operator()(const T* a, const T* b, T* c) const noexcept {
    if (tiny != nullptr && !packs_b) return compute_tiny(a, b, c);
    compute_copied(a, b, c);
  }

 private:
  [[gnu::always_inline]] void compute_tiny(const T* a, const T* b, T* c) const noexcept {
    tiny(a, tile.a_k_stride == 1 ? tile.a_row_stride : tile.a_k_stride, b, tile.b_k_stride, cols,
         {c, tile.c_row_stride, rows, tile.k, tile.alpha});
  }
  /// Apart from tiny products, which need none of its frame.
  [[gnu::noinline]] void compute_copied(const T* a, const T* b, T* c) const noexcept {
    Tile<T> t = tile;
    compute(t, a, b, c);
  }
  [[gnu::always_inline]] void compute(Tile<T>& t, const T* a, const T* b, T* c) const noexcept {
    if (one_column) return kernels->few_rows_along[0]({b, a, t.a_row_stride, t.k, rows, c, rows, a, t.k});
    T panel[kSmallPanel * kMaxTileCols];
    if (tiny != nullptr) {
      if (packs_b) kernels->pack_columns(b, b_stride_, cols, t.k, panel);
      return compute_tiny(a, packs_b ? panel : b, c);
    }
    for (Index j = 0; j < wide_from; j += kernels->tile_cols) {
      const bool is_last = j + kernels->tile_cols >= cols;
      t.cols = is_last ? cols - j : kernels->tile_cols;
      t.b = packs_b ? panel : b + j;
      if (packs_b) kernels->pack_columns(b + j * b_stride_, b_stride_, t.cols, t.k, panel);
      t.a = a;
      t.c = c + j;
      const Micro* micro = is_last ? last : whole;
      for (Index part = 0; part < tiles.parts; ++part) {
        const bool tall = part < tiles.more;
        micro[tall ? 0 : 1](t);
        const Index height = tiles.each + (tall ? 1 : 0);
        t.a += height * t.a_row_stride;
        t.c += height * t.c_row_stride;
      }
    }
    if (wide_from == cols) return;
    t.cols = cols - wide_from;
    t.b = b + wide_from;
    for (Index i = 0; i < rows; i += kWideRows) {
      const Index row = std::min(i, rows - kWideRows);
      t.a = a + row * t.a_row_stride;
      t.c = c + wide_from + row * t.c_row_stride;
      kernels->wide(t);
    }
  }

  Index b_stride_;
};

/// Multiply-adds as work_of() counts them.
template <class T>
double padded_work(const GemmKernels<T>& kernels, const MatrixView<const T>& a, const MatrixView<T>& c) {
  const Index lanes = kernels.lanes;
  return static_cast<double>(c.rows * ((c.cols + lanes - 1) & -lanes) * a.cols);
}
/// Whether one thread needs so long at least. Without a division, for which a tiny product would wait.
template <class T>
bool takes_at_least(const GemmKernels<T>& kernels, const MatrixView<const T>& a, const MatrixView<T>& c,
                    double nanoseconds) {
  return padded_work(kernels, a, c) >= nanoseconds * rate_of(kernels);
}

/// Whether a SmallProduct and one epilogue over all of c will do: below what a second thread would be asked for.
template <class T>
bool is_small(const GemmKernels<T>& kernels, const MatrixView<const T>& a, const MatrixView<T>& c,
              const GemmOptions<T>& o) {
  // Each extent first, so that their product does not overflow.
  if (a.cols > kSumBlock || a.cols == 0 || c.rows > kSmallWork || c.cols > kSmallWork) return false;
  const Index work = c.rows * c.cols * a.cols;
  const bool alone = o.num_threads == 1 || !takes_at_least(kernels, a, c, 2 * kThreadWork) || num_threads() == 1;
  return work > 0 && work <= kSmallWork && alone && o.residual.col_stride == 1 && o.saved.col_stride == 1 &&
         o.pre_activation.col_stride == 1;
}

/// Threads for a product that is_small().
template <class T>
int small_threads(const GemmKernels<T>& kernels, const MatrixView<const T>& a, const MatrixView<T>& c,
                  const GemmOptions<T>& o) {
  if (!takes_at_least(kernels, a, c, 2 * kReadyThreadWork) || o.a_row_sums.data() != nullptr ||
      o.b_column_sums.data() != nullptr)
    return 1;
  return plan_threads(o.num_threads, padded_work(kernels, a, c) / rate_of(kernels));
}

/// A small product in parts: panels of b, or tiles of a where there are too few.
template <class T>
[[gnu::noinline]] void share_small(const GemmKernels<T>& kernels, const MatrixView<const T>& a,
                                   const MatrixView<const T>& b, const MatrixView<T>& c, const GemmOptions<T>& o,
                                   int parts) {
  const bool across = c.cols >= parts * kernels.tile_cols;
  const bool finishes = has_epilogue(o);
  parallel(parts, [&o, kernels = &kernels, a, b, c, alpha = o.alpha, beta = o.beta, across, finishes](Member member) {
    const Range all_rows{0, c.rows}, all_cols{0, c.cols};
    const auto [i0, i1] = across ? all_rows : member.share(c.rows, kernels->tile_rows);
    const auto [j0, j1] = across ? member.share(c.cols, kernels->tile_cols) : all_cols;
    if (i0 == i1 || j0 == j1) return;
    const MatrixView<const T> a_part{a.data + i0 * a.row_stride, i1 - i0, a.cols, a.row_stride, a.col_stride};
    const MatrixView<const T> b_part{b.data + j0 * b.col_stride, b.rows, j1 - j0, b.row_stride, b.col_stride};
    const MatrixView<T> c_part{&c(i0, j0), i1 - i0, j1 - j0, c.row_stride, c.col_stride};
    SmallProduct<T>(*kernels, a_part, b_part, c_part, alpha, beta).compute(a_part.data, b_part.data, c_part.data);
    if (finishes) finish(*kernels, Epilogue<T>::of(o), c_part.data, c.row_stride, i0, j0, c_part.rows, c_part.cols);
  });
}

}  // namespace tilewright::detail
