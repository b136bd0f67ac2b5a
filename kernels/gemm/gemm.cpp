// SPDX-License-Identifier: MIT
// gemm: check, plan, split over threads, and call micro-kernels through the table. docs/design.md has the picture of
// the loops.
//
//   gemm -> run -> small_product    reads A and B where they are; for products that fit into the second-level cache
//               -> packed_product   five loops over packed panels
//        both  -> compute_tile      one micro-kernel call, and the epilogue after the last block of k
#include "tilewright/gemm.hpp"

#include "kernels/core/check.hpp"
#include "kernels/core/memory.hpp"
#include "kernels/core/parallel.hpp"
#include "kernels/core/table.hpp"
#include "kernels/gemm/blocking.hpp"
#include "kernels/map/parameter.hpp"

namespace tilewright {
namespace detail {
namespace {

/// A checked product. Transposed when that makes the columns of c neighbours; then bias runs along the rows.
template <class T>
struct Problem {
  MatrixView<const T> a, b;
  MatrixView<T> c, pre;
  T alpha, beta;
  const T* bias;
  bool bias_per_row;
  ActivationKind activation;
  T parameter;
  const GemmKernels<T>* kernels;

  bool finishes() const { return bias != nullptr || pre.data != nullptr || activation != ActivationKind::identity; }
};

template <class T>
void check(const MatrixView<const T>& a, const MatrixView<const T>& b, const MatrixView<T>& c,
           const GemmOptions<T>& o) {
  check_view("gemm", "a", a);
  check_view("gemm", "b", b);
  check_output("gemm", "c", c);
  if (a.cols != b.rows) throw ShapeError("gemm: a is " + shape_of(a) + " but b is " + shape_of(b));
  if (c.rows != a.rows || c.cols != b.cols)
    throw ShapeError("gemm: c is " + shape_of(c) + " but a * b is " + shape_of(a.rows, b.cols));
  if (o.bias.data() != nullptr && static_cast<Index>(o.bias.size()) != c.cols)
    throw ShapeError("gemm: bias has " + std::to_string(o.bias.size()) + " elements but c is " + shape_of(c));
  if (o.pre_activation.data != nullptr) {
    check_same("gemm", "pre_activation", o.pre_activation, "c", c);
    check_output("gemm", "pre_activation", o.pre_activation);
  }
  check_activation("gemm", o.activation);
  check_thread_count("gemm", o.num_threads);
}

template <class T>
Problem<T> orient(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, const GemmOptions<T>& o) {
  // A single row or column has no second stride.
  if (c.cols == 1) c.col_stride = 1;
  if (c.rows == 1) c.row_stride = c.cols;
  const bool turn = c.row_stride == 1 && (c.col_stride != 1 || c.cols == 1) && c.rows > 1;
  const T parameter = static_cast<T>(o.activation.slope);
  const GemmKernels<T>* kernels = &active_table().gemm<T>();
  if (turn)
    return {b.t(),     a.t(),  c.t(), o.pre_activation.t(), o.alpha, o.beta, o.bias.data(), true, o.activation.kind,
            parameter, kernels};
  return {a, b, c, o.pre_activation, o.alpha, o.beta, o.bias.data(), false, o.activation.kind, parameter, kernels};
}

/// Bias and activation on rows x cols of c from (i, j).
template <class T>
void finish(const Problem<T>& p, T* c, Index c_row_stride, Index i, Index j, Index rows, Index cols) {
  Finish<T> f{c, c_row_stride, rows, cols, nullptr, p.bias_per_row, nullptr, p.pre.row_stride, p.parameter};
  if (p.bias != nullptr) f.bias = p.bias + (p.bias_per_row ? i : j);
  const auto call = p.kernels->finish[static_cast<int>(p.activation)];
  if (p.pre.data == nullptr || p.pre.col_stride == 1) {
    if (p.pre.data != nullptr) f.pre = &p.pre(i, j);
    return call(f);
  }
  T buffer[kMaxTileRows * kMaxTileCols];
  f.pre = buffer;
  f.pre_row_stride = cols;
  call(f);
  for (Index r = 0; r < rows; ++r)
    for (Index s = 0; s < cols; ++s) p.pre(i + r, j + s) = buffer[r * cols + s];
}

/// One tile of c from (i, j): the block's sums, and after the last block the epilogue. tile has its operands set; c of
/// any strides.
template <class T>
void compute_tile(const Problem<T>& p, typename GemmKernels<T>::Micro micro, Tile<T>& tile, Index i, Index j,
                  Index rows, bool last) {
  if (p.c.col_stride == 1) {
    tile.c = &p.c(i, j);
    tile.c_row_stride = p.c.row_stride;
    micro(tile);
    if (last && p.finishes()) finish(p, tile.c, tile.c_row_stride, i, j, rows, tile.cols);
    return;
  }
  T buffer[kMaxTileRows * kMaxTileCols];
  tile.c = buffer;
  tile.c_row_stride = tile.cols;
  if (tile.keep_c != T(0))
    for (Index r = 0; r < rows; ++r)
      for (Index s = 0; s < tile.cols; ++s) buffer[r * tile.cols + s] = p.c(i + r, j + s);
  micro(tile);
  if (last && p.finishes()) finish(p, buffer, tile.cols, i, j, rows, tile.cols);
  for (Index r = 0; r < rows; ++r)
    for (Index s = 0; s < tile.cols; ++s) p.c(i + r, j + s) = buffer[r * tile.cols + s];
}

/// The k range [0, k) in the blocks of the numerics: body(first, length, factor on c, whether it is the last).
template <class T, class Body>
void for_blocks_of_k(Index k, T beta, Body&& body) {
  for (Index p = 0; p < k; p += kSumBlock) {
    const Index length = std::min(kSumBlock, k - p);
    body(p, length, p == 0 ? beta : T(1), p + length == k);
  }
}

/// The tile grid of c, columns of tiles first, cut into `member.size` runs of tiles.
template <class T>
void small_product(const Problem<T>& p, Member member) {
  const GemmKernels<T>& kernels = *p.kernels;
  const Index n = p.c.cols;
  const EvenParts row_tiles(p.c.rows, kernels.tile_rows);
  const Range tiles = member.share(row_tiles.parts * ceil_div(n, kernels.tile_cols));
  const Index first_row = tiles.first == 0 ? 0 : tiles.first % row_tiles.parts;
  const Index first_col = tiles.first == 0 ? 0 : tiles.first / row_tiles.parts * kernels.tile_cols;
  for_blocks_of_k(p.a.cols, p.beta, [&](Index k0, Index length, T keep, bool last) {
    Index row_tile = first_row, j = first_col;
    for (Index t = tiles.first; t < tiles.end; ++t) {
      const Index i = row_tiles.first(row_tile), rows = row_tiles.size(row_tile);
      const Index cols = std::min<Index>(kernels.tile_cols, n - j);
      const int vectors = cols > kernels.lanes ? 2 : 1;
      const auto& table = cols == vectors * kernels.lanes ? kernels.direct : kernels.direct_ragged;
      const T* a = p.a.data + i * p.a.row_stride + k0 * p.a.col_stride;
      const T* b = p.b.data + k0 * p.b.row_stride + j;
      Tile<T> tile{a, p.a.row_stride, p.a.col_stride, b, p.b.row_stride, length, nullptr, 0, cols, p.alpha, keep};
      compute_tile(p, table[vectors - 1][rows - 1], tile, i, j, rows, last);
      if (++row_tile == row_tiles.parts) row_tile = 0, j += kernels.tile_cols;
    }
  });
}

/// Buffers of packed_product, in elements.
struct PackedBuffers {
  Index b, a_each;
};

template <class T>
PackedBuffers packed_buffers(const Problem<T>& p, const Blocking& block) {
  return {whole_lines<T>(block.kc * block.nc), whole_lines<T>(block.kc * round_up(block.mc, p.kernels->tile_rows))};
}

/// Packs columns [j0, j0 + nc) of rows [k0, k0 + kc) of b: this member's share of the panels.
template <class T>
void pack_b_share(const Problem<T>& p, Member member, Index k0, Index kc, Index j0, Index nc, T* to) {
  const Index nr = p.kernels->tile_cols;
  const auto [first, end] = member.share(nc, nr);
  for (Index j = first; j < end; j += nr)
    p.kernels->pack_b(p.b.data + k0 * p.b.row_stride + (j0 + j) * p.b.col_stride, p.b.col_stride, p.b.row_stride,
                      std::min(nr, nc - j), kc, to + j * kc);
}

/// The third loop's body: packs `rows` of a, and the macro-kernel multiplies them by `columns` of the packed block of
/// b.
template <class T>
void multiply_block(const Problem<T>& p, Range rows, Index j0, Range columns, Index k0, Index kc, T* a, const T* b,
                    T keep, bool last) {
  const GemmKernels<T>& kernels = *p.kernels;
  const EvenParts tiles(rows.end - rows.first, kernels.tile_rows);
  const Index panel = kernels.tile_rows * kc;
  for (Index t = 0; t < tiles.parts; ++t) {
    const Index i = rows.first + tiles.first(t);
    kernels.pack_a(p.a.data + i * p.a.row_stride + k0 * p.a.col_stride, p.a.row_stride, p.a.col_stride, tiles.size(t),
                   kc, a + t * panel);
  }
  for (Index j = columns.first; j < columns.end; j += kernels.tile_cols) {  // second loop: a panel of b
    const Index cols = std::min<Index>(kernels.tile_cols, columns.end - j);
    for (Index t = 0; t < tiles.parts; ++t) {  // first loop: a panel of a
      const Index height = tiles.size(t);
      Tile<T> tile{a + t * panel, 1,   kernels.tile_rows, b + j * kc, kernels.tile_cols, kc, nullptr, 0, cols,
                   p.alpha,       keep};
      compute_tile(p, kernels.packed[(cols - 1) / kernels.lanes][height - 1], tile, rows.first + tiles.first(t), j0 + j,
                   height, last);
    }
  }
}

/// Five loops: columns of c by nc, k by kc (b packed by the whole team), rows by mc (a packed by each member for
/// itself), and the two of multiply_block. Members form a grid over the rows and the panels of the block.
template <class T>
void packed_product(const Problem<T>& p, Member member, const Blocking& block, const PackedBuffers& sizes, T* buffer) {
  const Index mr = p.kernels->tile_rows, nr = p.kernels->tile_cols;
  const Index m = p.c.rows, n = p.c.cols;
  T* b = buffer;
  T* a = buffer + sizes.b + member.rank * sizes.a_each;
  for (Index j0 = 0; j0 < n; j0 += block.nc) {  // fifth loop: third-level cache
    const Index nc = std::min(block.nc, n - j0);
    const Grid grid = gemm_grid(member.size, (m + mr - 1) / mr, (nc + nr - 1) / nr);
    const bool works = member.rank < grid.rows * grid.cols;
    const Range rows = Member{member.rank / grid.cols, grid.rows, true}.share(works ? m : 0);
    const Range cols = Member{member.rank % grid.cols, grid.cols, true}.share(works ? nc : 0, nr);
    const EvenParts blocks(rows.end - rows.first, block.mc);
    for_blocks_of_k(p.a.cols, p.beta, [&](Index k0, Index kc, T keep, bool last) {  // fourth loop
      member.barrier();  // nobody reads the previous block any more
      pack_b_share(p, member, k0, kc, j0, nc, b);
      member.barrier();
      for (Index i = 0; i < blocks.parts; ++i) {  // third loop: second-level cache
        const Range part{rows.first + blocks.first(i), rows.first + blocks.first(i + 1)};
        multiply_block(p, part, j0, cols, k0, kc, a, b, keep, last);
      }
    });
  }
}

/// c = f(beta * c + bias), the product being empty.
template <class T>
void empty_product(const Problem<T>& p) {
  const Index step = p.kernels->lanes;
  for (Index i = 0; i < p.c.rows; ++i)
    for (Index j = 0; j < p.c.cols; j += step) {
      T row[kMaxTileCols];
      const Index cols = std::min(step, p.c.cols - j);
      for (Index s = 0; s < cols; ++s) row[s] = p.beta == T(0) ? T(0) : p.beta * p.c(i, j + s);
      if (p.finishes()) finish(p, row, cols, i, j, 1, cols);
      for (Index s = 0; s < cols; ++s) p.c(i, j + s) = row[s];
    }
}

/// Whether to read the operands where they are. b's columns must be neighbours. With up to one tile of rows nothing of
/// b is used twice, so packing cannot pay; otherwise see kSmallElements.
template <class T>
bool is_small(const Problem<T>& p) {
  if (p.b.col_stride != 1 && p.b.cols > 1) return false;
  const Index m = p.c.rows, n = p.c.cols, k = p.a.cols;
  if (m <= p.kernels->tile_rows) return true;
  const Index elements = m * k + k * n + m * n;
  return elements <= kSmallElements;
}

template <class T>
void run(const Problem<T>& p, int requested) {
  const double flops =
      2.0 * static_cast<double>(p.c.rows) * static_cast<double>(p.c.cols) * static_cast<double>(p.a.cols);
  // Per nanosecond and thread: a fused multiply-add on every lane of one register in a cycle of 3 GHz.
  const double rate = 2.0 * p.kernels->lanes * 3.0;
  const Threads threads = plan_threads(requested, flops / rate);
  if (is_small(p)) return parallel(threads, [&](Member member) { small_product(p, member); });
  const Blocking block =
      gemm_blocking(p.c.rows, p.c.cols, p.a.cols, p.kernels->tile_rows, p.kernels->tile_cols, sizeof(T), cache_sizes());
  const PackedBuffers sizes = packed_buffers(p, block);
  T* buffer = scratch<T>(sizes.b + threads.working * sizes.a_each);
  parallel(threads, [&](Member member) { packed_product(p, member, block, sizes, buffer); });
}

template <class T>
void gemm_any(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, const GemmOptions<T>& options) {
  check(a, b, c, options);
  if (c.empty()) return;
  const Problem<T> p = orient(a, b, c, options);
  if (a.cols == 0) return empty_product(p);
  run(p, options.num_threads);
}

template <class T>
void column_sums_any(MatrixView<const T> x, std::span<T> sums, bool accumulate, int requested) {
  check_view("column_sums", "x", x);
  check_thread_count("column_sums", requested);
  if (static_cast<Index>(sums.size()) != x.cols)
    throw ShapeError("column_sums: x is " + shape_of(x) + " but sums has " + std::to_string(sums.size()) + " elements");
  if (x.cols > 1 && x.col_stride != 1) throw ShapeError("column_sums: columns of x must be neighbours (col_stride 1)");
  if (!accumulate) std::fill(sums.begin(), sums.end(), T(0));
  const GemmKernels<T>& kernels = active_table().gemm<T>();
  // One thread reads some 20 bytes a nanosecond.
  const double work = static_cast<double>(x.size()) * sizeof(T) / 20;
  parallel(plan_threads(requested, work), [&](Member member) {
    const auto [first, end] = member.share(x.cols, 4 * kernels.lanes);
    for (Index i = 0; i < x.rows; i += kSumBlock)
      kernels.add_column_sums(x.data + i * x.row_stride + first, x.row_stride, std::min(kSumBlock, x.rows - i),
                              end - first, sums.data() + first);
  });
}

}  // namespace
}  // namespace detail

void gemm(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
          const GemmOptions<float>& options) {
  detail::gemm_any(a, b, c, options);
}
void gemm(MatrixView<const double> a, MatrixView<const double> b, MatrixView<double> c,
          const GemmOptions<double>& options) {
  detail::gemm_any(a, b, c, options);
}
void column_sums(MatrixView<const float> x, std::span<float> sums, bool accumulate, int num_threads) {
  detail::column_sums_any(x, sums, accumulate, num_threads);
}
void column_sums(MatrixView<const double> x, std::span<double> sums, bool accumulate, int num_threads) {
  detail::column_sums_any(x, sums, accumulate, num_threads);
}

}  // namespace tilewright
