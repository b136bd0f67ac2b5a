// SPDX-License-Identifier: MIT
// gemm: check, plan, split over threads, and call micro-kernels through the table. docs/gemm.md has the picture of the
// loops.
//
//   gemm -> small_product           a few tiles, one thread
//        -> run -> long_product     few outputs, long k: threads share k
//               -> blocked_product  everything else: five loops, each operand packed or read where it is
//                  -> compute_tile  one micro-kernel call, and the epilogue after the last block of k
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
  MatrixView<T> c;
  const GemmKernels<T>* kernels;
  T alpha, beta;
  const T* packed_b;  // a PackedMatrix's panels, or null
  T* a_sums;          // of a's rows, or null
  T* b_sums;          // of b's columns, or null
  bool finishes;
  // Of the epilogue, when finishes.
  bool bias_per_row;
  const GemmOptions<T>* options;
  MatrixView<const T> residual, saved;
  MatrixView<T> pre;
};

/// Throws what check() found.
template <class T>
[[noreturn, gnu::cold, gnu::noinline]] void explain(const MatrixView<const T>& a, Index b_rows, Index b_cols,
                                                    const MatrixView<T>& c, const GemmOptions<T>& o) {
  check_view("gemm", "a", a);
  check_output("gemm", "c", c);
  if (a.cols != b_rows) throw ShapeError("gemm: a is " + shape_of(a) + " but b is " + shape_of(b_rows, b_cols));
  if (c.rows != a.rows || c.cols != b_cols)
    throw ShapeError("gemm: c is " + shape_of(c) + " but a * b is " + shape_of(a.rows, b_cols));
  if (o.bias.data() != nullptr && static_cast<Index>(o.bias.size()) != c.cols)
    throw ShapeError("gemm: bias has " + std::to_string(o.bias.size()) + " elements but c is " + shape_of(c));
  if (o.pre_activation.data != nullptr) {
    check_same("gemm", "pre_activation", o.pre_activation, "c", c);
    check_output("gemm", "pre_activation", o.pre_activation);
  }
  if (o.residual.data != nullptr) check_same("gemm", "residual", o.residual, "c", c);
  if (o.saved.data != nullptr) {
    check_same("gemm", "saved", o.saved, "c", c);
    if (o.pre_activation.data != nullptr)
      throw ValueError("gemm: pre_activation is of the forward pass, saved of the backward pass: give one of them");
  }
  if (o.a_row_sums.data() != nullptr && static_cast<Index>(o.a_row_sums.size()) != a.rows)
    throw ShapeError("gemm: a_row_sums has " + std::to_string(o.a_row_sums.size()) + " elements but a is " +
                     shape_of(a));
  if (o.b_column_sums.data() != nullptr && static_cast<Index>(o.b_column_sums.size()) != b_cols)
    throw ShapeError("gemm: b_column_sums has " + std::to_string(o.b_column_sums.size()) + " elements but b is " +
                     shape_of(b_rows, b_cols));
  check_activation("gemm", o.activation);
  check_thread_count("gemm", o.num_threads);
  throw ValueError("gemm: bad arguments");
}

/// Plain matrices with default options pass by a few comparisons; the rest is looked at in order.
template <class T>
void check(const MatrixView<const T>& a, Index b_rows, Index b_cols, const MatrixView<T>& c, const GemmOptions<T>& o) {
  const bool shapes_fit = a.cols == b_rows && c.rows == a.rows && c.cols == b_cols && (a.rows | a.cols | b_cols) >= 0;
  const bool memory = (a.data != nullptr || a.empty()) && (c.data != nullptr || c.empty());
  const bool apart = (c.col_stride == 1 && c.row_stride >= c.cols) || (c.row_stride == 1 && c.col_stride >= c.rows);
  const bool plain = o.bias.data() == nullptr && o.pre_activation.data == nullptr && o.residual.data == nullptr &&
                     o.saved.data == nullptr && o.a_row_sums.data() == nullptr && o.b_column_sums.data() == nullptr &&
                     o.activation.kind == ActivationKind::identity && o.activation.slope == 0 && o.num_threads >= 0 &&
                     o.num_threads <= kMaxThreads;
  if (shapes_fit && memory && apart && plain) [[likely]]
    return;
  const auto same = [&c](const auto& view) { return view.rows == c.rows && view.cols == c.cols; };
  if (!shapes_fit || !memory) explain(a, b_rows, b_cols, c, o);
  check_output("gemm", "c", c);
  if ((o.bias.data() != nullptr && static_cast<Index>(o.bias.size()) != c.cols) ||
      (o.residual.data != nullptr && !same(o.residual)) ||
      (o.saved.data != nullptr && (!same(o.saved) || o.pre_activation.data != nullptr)) ||
      (o.pre_activation.data != nullptr && !same(o.pre_activation)) ||
      (o.a_row_sums.data() != nullptr && static_cast<Index>(o.a_row_sums.size()) != a.rows) ||
      (o.b_column_sums.data() != nullptr && static_cast<Index>(o.b_column_sums.size()) != b_cols))
    explain(a, b_rows, b_cols, c, o);
  if (o.pre_activation.data != nullptr) check_output("gemm", "pre_activation", o.pre_activation);
  check_activation("gemm", o.activation);
  check_thread_count("gemm", o.num_threads);
}

template <class T>
void set_epilogue(Problem<T>& p, const GemmOptions<T>& o, bool turn) {
  p.bias_per_row = turn;
  p.options = &o;
  p.residual = turn ? o.residual.t() : o.residual;
  p.saved = turn ? o.saved.t() : o.saved;
  p.pre = turn ? o.pre_activation.t() : o.pre_activation;
}

template <class T>
bool has_epilogue(const GemmOptions<T>& o) {
  return o.bias.data() != nullptr || o.pre_activation.data != nullptr || o.residual.data != nullptr ||
         o.activation.kind != ActivationKind::identity;
}

/// Whether registers should run over the rows of c although its columns are neighbours: when few columns would leave
/// most of a register empty, and the rows of a are neighbours, too. Then tiles go through a buffer.
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
  if (p.finishes) set_epilogue(p, o, turn);
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

/// The epilogue on rows x cols of c from (i, j), at most a tile.
template <class T>
void finish(const Problem<T>& p, T* c, Index c_row_stride, Index i, Index j, Index rows, Index cols) {
  T residual[kMaxTileRows * kMaxTileCols], other[kMaxTileRows * kMaxTileCols];
  const GemmOptions<T>& o = *p.options;
  Finish<T> f{};
  f.c = c;
  f.c_row_stride = c_row_stride;
  f.rows = rows;
  f.cols = cols;
  f.bias = o.bias.data() == nullptr ? nullptr : o.bias.data() + (p.bias_per_row ? i : j);
  f.bias_per_row = p.bias_per_row;
  f.parameter = static_cast<T>(o.activation.slope);
  look_at(p.residual, i, j, rows, cols, residual, f.residual, f.residual_row_stride);
  const auto kind = static_cast<int>(o.activation.kind);
  if (p.saved.data != nullptr) {
    look_at(p.saved, i, j, rows, cols, other, f.saved, f.saved_row_stride);
    return p.kernels->derive[kind](f);
  }
  const bool copy_pre = p.pre.data != nullptr && p.pre.col_stride != 1;
  f.pre = copy_pre ? other : p.pre.data == nullptr ? nullptr : &p.pre(i, j);
  f.pre_row_stride = copy_pre ? cols : p.pre.row_stride;
  p.kernels->finish[kind](f);
  if (!copy_pre) return;
  for (Index r = 0; r < rows; ++r)
    for (Index s = 0; s < cols; ++s) p.pre(i + r, j + s) = other[r * cols + s];
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
    if (last && p.finishes) finish(p, tile.c, tile.c_row_stride, i, j, rows, tile.cols);
    return;
  }
  T buffer[kMaxTileRows * kMaxTileCols];
  tile.c = buffer;
  tile.c_row_stride = tile.cols;
  if (tile.keep_c != T(0))
    for (Index r = 0; r < rows; ++r)
      for (Index s = 0; s < tile.cols; ++s) buffer[r * tile.cols + s] = p.c(i + r, j + s);
  micro(tile);
  if (last && p.finishes) finish(p, buffer, tile.cols, i, j, rows, tile.cols);
  for (Index s = 0; s < tile.cols; ++s)
    for (Index r = 0; r < rows; ++r) p.c(i + r, j + s) = buffer[r * tile.cols + s];
}

template <class T>
typename GemmKernels<T>::Micro micro_for(const GemmKernels<T>& kernels, bool along, Index rows, Index cols) {
  if (2 * cols <= kernels.lanes && kernels.narrow[along][rows - 1] != nullptr) return kernels.narrow[along][rows - 1];
  const int wide = cols > kernels.lanes;
  const bool ragged = cols != (wide + 1) * kernels.lanes;
  return kernels.micro[along][ragged][wide][rows - 1];
}

/// The k range [0, k) in the blocks of the numerics: body(first, length, factor on c, whether it is the last).
template <class T, class Body>
void for_blocks_of_k(Index k, T beta, Body&& body) {
  for (Index p = 0; p < k; p += kSumBlock) {
    const Index length = std::min(kSumBlock, k - p);
    body(p, length, p == 0 ? beta : T(1), p + length == k);
  }
}

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
  Index b_buffer, a_buffer;  // the team's, each member's

  Plan(const Problem<T>& p, Index k) {
    const GemmKernels<T>& kernels = *p.kernels;
    const Operand a = lanes_of<T>(p.a.row_stride, p.a.col_stride, p.a.rows, k);
    const Operand b = lanes_of<T>(p.b.col_stride, p.b.row_stride, p.b.cols, k);
    static_cast<Blocking&>(*this) =
        gemm_blocking(p.c.rows, p.c.cols, k, a, b, kernels.tile_rows, kernels.tile_cols, sizeof(T), cache_sizes());
    if (p.packed_b != nullptr) pack_b = false;
    a_layout = a.layout;
    b_layout = b.layout;
    b_buffer = pack_b ? whole_lines<T>(kc * nc) : 0;
    a_buffer = pack_a ? whole_lines<T>(a_row() * (mc + kernels.tile_rows) + kMaxTileRows * kc) : 0;
  }

  Index elements(int members) const { return (own_b ? members : 1) * b_buffer + members * a_buffer; }
  /// A packed row of A takes this much, whichever way it lies. One line more than a power of two, so that rows do not
  /// meet in one set of the cache.
  Index a_row() const { return kc + 64 / Index{sizeof(T)}; }
};

/// Rows [i, i + rows) of columns [k0, k0 + kc) of a: packed to `to` in their orientation, or where they are.
template <class T>
struct RowsOfA {
  const T* data;
  Index row_stride, k_stride;
  bool along;
};

template <class T>
RowsOfA<T> rows_of_a(const Problem<T>& p, const Plan<T>& plan, Index i, Index rows, Index k0, Index kc, T* to) {
  const T* from = p.a.data + i * p.a.row_stride + k0 * p.a.col_stride;
  const bool along = plan.a_layout == Layout::steps_adjacent;
  if (!plan.pack_a) return {from, along ? p.a.row_stride : 1, along ? 1 : p.a.col_stride, along};
  if (along) {
    p.kernels->copy_rows(from, p.a.row_stride, rows, kc, to, plan.a_row());
    return {to, plan.a_row(), 1, true};
  }
  const Index step = p.kernels->tile_rows;
  if (plan.a_layout == Layout::lanes_adjacent) {
    p.kernels->copy_rows(from, p.a.col_stride, kc, rows, to, step);
  } else {
    for (Index k = 0; k < kc; ++k)
      for (Index r = 0; r < rows; ++r) to[k * step + r] = from[r * p.a.row_stride + k * p.a.col_stride];
  }
  return {to, 1, step, false};
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
      // The same columns in the next block of k, unless there are more columns of this one.
      const bool more = s + width < cols, deeper = k0 + kc < b.rows;
      const T* next = more ? source + width * b.col_stride : deeper ? from + kc : b.data + (j + cols) * b.col_stride;
      kernels.pack_columns(source, b.col_stride, some, kc, panel, next);
      continue;
    }
    for (Index k = 0; k < kc; ++k)
      for (Index w = 0; w < width; ++w)
        panel[k * width + w] = w < some ? source[k * b.row_stride + w * b.col_stride] : T(0);
  }
}

/// Elements of a cache line.
template <class T>
inline constexpr Index kLineOf = 64 / Index{sizeof(T)};

/// kc rows of b from k0 and its columns from j0: in place, or in panels of `width` columns.
template <class T>
struct BlockOfB {
  const T* data;
  Index width;  // 0: in place
  Index step;   // from one k to the next
  // What is needed after this block, where that is known, in the order of Tile::next.
  const T* after = nullptr;
  Index after_step = 0, after_run = 0, after_jump = 0;

  const T* at(Index j, Index kc) const { return width == 0 ? data + j : data + j / width * width * kc + j % width; }
};

/// What tile t of a panel fetches. The first: the next panel, or what comes after the block; the last element of each
/// line, because where rows are not aligned the first ones share a line with this panel. The others, on the last panel:
/// their share of the rows of a that the next block of k, from next_k0, needs.
template <class T>
void fetch_next(const Problem<T>& p, const BlockOfB<T>& b, Tile<T>& tile, const T* next_panel, Range rows,
                Index next_k0, Index t, Index tiles) {
  constexpr Index kLine = kLineOf<T>;
  if (t == 0) {
    if (next_panel != nullptr) {
      tile.next = next_panel + (kLine - 1);
      tile.next_step = tile.b_k_stride;
      tile.next_run = tile.k;
    } else if (b.after != nullptr) {
      tile.next = b.after + (kLine - 1);
      tile.next_step = b.after_step;
      tile.next_run = b.after_run;
      tile.next_jump = b.after_jump;
    }
  } else if (rows.first < rows.end) {
    const EvenParts shares(rows.end - rows.first, ceil_div(rows.end - rows.first, tiles - 1));
    if (t - 1 >= shares.parts) return;
    const Index lanes = p.kernels->lanes, width = tile.cols > lanes ? 2 * lanes : lanes;
    tile.next = p.a.data + (rows.first + shares.first(t - 1)) * p.a.row_stride + next_k0;
    tile.next_step = std::max(kLine, width);
    tile.next_run = ceil_div(std::min(kSumBlock, p.a.cols - next_k0), tile.next_step);
    tile.next_jump = p.a.row_stride - tile.next_run * tile.next_step;
  }
}

/// The third loop's body: `rows` of c by `columns` of the block of b that begins at column j0. next_rows: see
/// fetch_next.
template <class T>
void multiply_block(const Problem<T>& p, const Plan<T>& plan, Range rows, Index j0, Range columns, Index k0, Index kc,
                    T* a, const BlockOfB<T>& b, Range next_rows, T keep, bool last) {
  const GemmKernels<T>& kernels = *p.kernels;
  const EvenParts tiles(rows.end - rows.first, kernels.tile_rows);
  const Index panel =
      plan.a_layout == Layout::steps_adjacent ? kernels.tile_rows * plan.a_row() : kernels.tile_rows * kc;
  for (Index j = columns.first; j < columns.end; j += kernels.tile_cols) {  // second loop: a panel of b
    const Index cols = std::min<Index>(kernels.tile_cols, columns.end - j);
    const T* panel_of_b = b.at(j, kc);
    const T* next_panel = j + kernels.tile_cols < columns.end ? b.at(j + kernels.tile_cols, kc) : nullptr;
    for (Index t = 0; t < tiles.parts; ++t) {  // first loop: a few rows of a
      const Index i = rows.first + tiles.first(t), height = tiles.size(t);
      T* packed = a + t * panel;
      const bool first_use = j == columns.first;
      const RowsOfA<T> ra = !plan.pack_a || first_use ? rows_of_a(p, plan, i, height, k0, kc, packed)
                                                      : (plan.a_layout == Layout::steps_adjacent
                                                             ? RowsOfA<T>{packed, plan.a_row(), 1, true}
                                                             : RowsOfA<T>{packed, 1, kernels.tile_rows, false});
      Tile<T> tile{ra.data, ra.row_stride, ra.k_stride, panel_of_b, b.step, kc, nullptr, 0, cols, p.alpha, keep};
      fetch_next(p, b, tile, next_panel, j + kernels.tile_cols >= columns.end ? next_rows : Range{0, 0}, k0 + kc, t,
                 tiles.parts);
      compute_tile(p, micro_for(kernels, ra.along, height, cols), tile, i, j0 + j, height, last);
    }
  }
}

/// Five loops: columns of c by nc, k by kc (b packed by the whole team), rows by mc (a packed by each member for
/// itself), and the two of multiply_block. Members form a grid over the rows and the panels of the block.
template <class T>
void blocked_product(const Problem<T>& p, const Plan<T>& plan, Member member, Range columns, T* buffer) {
  const Index mr = p.kernels->tile_rows, nr = p.kernels->tile_cols;
  const Index m = p.c.rows;
  T* packed_b = buffer;
  T* a = buffer + plan.b_buffer + member.rank * plan.a_buffer;
  const Index block_cols = plan.pack_b ? plan.nc : columns.end - columns.first;
  for (Index j0 = columns.first; j0 < columns.end; j0 += block_cols) {  // fifth loop: third-level cache
    const Index nc = std::min(block_cols, columns.end - j0);
    const Grid grid = gemm_grid(member.size, ceil_div(m, mr), ceil_div(nc, nr));
    const bool works = member.rank < grid.rows * grid.cols;
    const Range rows = Member{member.rank / grid.cols, grid.rows, true}.share(works ? m : 0);
    const Range cols = Member{member.rank % grid.cols, grid.cols, true}.share(works ? nc : 0, nr);
    const EvenParts blocks(rows.end - rows.first, plan.mc);
    for_blocks_of_k(p.a.cols, p.beta, [&](Index k0, Index kc, T keep, bool last) {  // fourth loop
      BlockOfB<T> b{p.b.data + k0 * p.b.row_stride + j0, 0, p.b.row_stride};
      if (!last) {
        b.after = b.data + kc * p.b.row_stride + cols.first;
        b.after_step = p.b.row_stride;
        b.after_run = kc;
      }
      if (p.packed_b != nullptr) {
        const Index width = PackedMatrix<T>::kPanel;
        b = {p.packed_b + k0 * round_up(p.c.cols, width) + j0 * kc, width, width};
      } else if (plan.pack_b) {
        member.barrier();  // nobody reads the previous block any more
        const auto [first, end] = member.share(nc, nr);
        if (first < end)
          pack_panels(*p.kernels, p.b, plan.b_layout, k0, kc, j0 + first, end - first, nr, packed_b + first * kc);
        member.barrier();
        b = {packed_b, nr, nr};
        if (plan.own_b && plan.b_layout == Layout::steps_adjacent) {
          // The columns of the next panel, one after the other.
          b.after = p.b.data + (last ? j0 + nc : j0) * p.b.col_stride + (last ? 0 : k0 + kc);
          b.after_step = 2 * kLineOf<T>;
          b.after_run = ceil_div(last ? std::min(kSumBlock, p.a.cols) : kc, b.after_step);
          b.after_jump = p.b.col_stride - b.after_run * b.after_step;
        }
      }
      // Sums in passing, by the members on the edges of the grid.
      if (p.b_sums != nullptr && member.rank / grid.cols == 0 && cols.first < cols.end)
        p.kernels->add_column_sums(p.b.data + k0 * p.b.row_stride + j0 + cols.first, p.b.row_stride, kc,
                                   cols.end - cols.first, p.b_sums + j0 + cols.first);
      if (p.a_sums != nullptr && j0 == columns.first && columns.first == 0 && member.rank % grid.cols == 0 &&
          rows.first < rows.end)
        p.kernels->add_column_sums(p.a.data + rows.first + k0 * p.a.col_stride, p.a.col_stride, kc,
                                   rows.end - rows.first, p.a_sums + rows.first);
      // Rows of a that are met for the first time in the next block.
      const bool fresh = !last && blocks.parts == 1 && plan.a_layout == Layout::steps_adjacent;
      const Range next_rows = fresh ? rows : Range{0, 0};
      for (Index i = 0; i < blocks.parts; ++i) {  // third loop: second-level cache
        const Range part{rows.first + blocks.first(i), rows.first + blocks.first(i + 1)};
        multiply_block(p, plan, part, j0, cols, k0, kc, a, b, next_rows, keep, last);
      }
    });
  }
}

/// Few outputs and long k: members compute the sums of different blocks of k, each a whole matrix, and the sums are
/// added in ascending order.
template <class T>
void long_product(const Problem<T>& p, const Plan<T>& plan, Member member, T* buffer, Index rounds_of) {
  const Index m = p.c.rows, n = p.c.cols, k = p.a.cols;
  T* sums = buffer + member.size * plan.elements(1);
  T* own = buffer + member.rank * plan.elements(1);
  const Index blocks = ceil_div(k, kSumBlock);
  const Range rows = member.share(m);
  for (Index first = 0; first < blocks; first += rounds_of) {
    const Index round = std::min(rounds_of, blocks - first);
    for (Index block = member.rank; block < round && member.rank < member.size; block += member.size) {
      const Index k0 = (first + block) * kSumBlock, kc = std::min(kSumBlock, k - k0);
      Problem<T> part = p;
      part.a = {p.a.data + k0 * p.a.col_stride, m, kc, p.a.row_stride, p.a.col_stride};
      part.b = {p.b.data + k0 * p.b.row_stride, kc, n, p.b.row_stride, p.b.col_stride};
      if (p.packed_b != nullptr) part.packed_b = p.packed_b + k0 * round_up(n, PackedMatrix<T>::kPanel);
      part.c = {sums + block * m * n, m, n};
      part.beta = 0;
      part.finishes = false;
      blocked_product(part, plan, Member{0, 1, true}, Range{0, n}, own);
    }
    member.barrier();
    for (Index i = rows.first; i < rows.end; ++i)
      for (Index block = 0; block < round; ++block)
        p.kernels->accumulate(sums + (block * m + i) * n, &p.c(i, 0), n, first + block == 0 ? p.beta : T(1));
    member.barrier();
  }
  if (!p.finishes) return;
  for (Index i = rows.first; i < rows.end; ++i)
    for (Index j = 0; j < n; j += kMaxTileCols)
      finish(p, &p.c(i, j), p.c.row_stride, i, j, 1, std::min<Index>(kMaxTileCols, n - j));
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
      if (p.finishes) finish(p, row, cols, i, j, 1, cols);
      for (Index s = 0; s < cols; ++s) p.c(i, j + s) = row[s];
    }
}

/// The longest k for which small_product packs b, on the stack.
inline constexpr Index kSmallPanel = 128;

/// A product for one thread whose operands can be read in place and whose k is one block: tile after tile and nothing
/// else, because for a few tiles everything else would take longer than they do.
template <class T>
bool small_product(const GemmKernels<T>& kernels, const MatrixView<const T>& a, const MatrixView<const T>& b,
                   const MatrixView<T>& c, T alpha, T beta) {
  const bool along = a.col_stride == 1, across = b.col_stride == 1 || b.cols == 1;
  if ((c.col_stride != 1 && c.cols != 1) || !(along || a.row_stride == 1) || worth_turning(kernels, a, c) ||
      !(across || (b.row_stride == 1 && a.cols <= kSmallPanel)))
    return false;
  Tile<T> tile{a.data, a.row_stride, a.col_stride, b.data, b.row_stride, a.cols, c.data, c.row_stride, 0, alpha, beta};
  T panel[kSmallPanel * kMaxTileCols];
  if (!across) {
    tile.b = panel;
    tile.b_k_stride = kernels.tile_cols;
  }
  const EvenParts tiles(c.rows, kernels.tile_rows);
  for (Index j = 0; j < c.cols; j += kernels.tile_cols) {
    tile.cols = std::min<Index>(kernels.tile_cols, c.cols - j);
    if (across)
      tile.b = b.data + j;
    else
      kernels.pack_columns(b.data + j * b.col_stride, b.col_stride, tile.cols, a.cols, panel, b.data);
    for (Index t = 0; t < tiles.parts; ++t) {
      const Index i = tiles.first(t);
      tile.a = a.data + i * a.row_stride;
      tile.c = c.data + i * c.row_stride + j;
      micro_for(kernels, along, tiles.size(t), tile.cols)(tile);
    }
  }
  return true;
}

/// Up to this many multiply-adds a product counts as small. Beyond, what small_product leaves out pays.
inline constexpr Index kSmallWork = 100 * 100 * 100;

/// Multiply-adds of one thread in a nanosecond: one register in a cycle of 3 GHz.
template <class T>
double rate_of(const GemmKernels<T>& kernels) {
  return 3.0 * kernels.lanes;
}

/// Nanoseconds that one thread needs. The last register across counts as full.
template <class T>
double work_of(const Problem<T>& p) {
  const Index cols = round_up(p.c.cols, p.kernels->lanes);
  return static_cast<double>(p.c.rows) * static_cast<double>(cols) * static_cast<double>(p.a.cols) /
         rate_of(*p.kernels);
}

template <class T>
void run(const Problem<T>& p, int requested) {
  const Threads threads = plan_threads(requested, work_of(p));
  const Plan<T> plan(p, p.a.cols);
  // Not enough tiles for every thread to be busy, and k long enough to share.
  const Index tiles = ceil_div(p.c.rows, p.kernels->tile_rows) * ceil_div(p.c.cols, p.kernels->tile_cols);
  const Index blocks = ceil_div(p.a.cols, kSumBlock);
  if (threads.working > 1 && tiles < 16 * threads.working && blocks >= 4 * threads.working && p.c.col_stride == 1 &&
      p.a_sums == nullptr && p.b_sums == nullptr) {
    const Index round = 4 * threads.working;
    T* buffer = scratch<T>(threads.working * plan.elements(1) + round * p.c.size());
    return parallel(threads, [&](Member member) { long_product(p, plan, member, buffer, round); });
  }
  T* buffer = plan.pack_a || plan.pack_b ? scratch<T>(plan.elements(threads.working)) : nullptr;
  parallel(threads, [&](Member member) {
    if (!plan.own_b) return blocked_product(p, plan, member, Range{0, p.c.cols}, buffer);
    blocked_product(p, plan, Member{0, 1, true}, member.share(p.c.cols, PackedMatrix<T>::kPanel),
                    buffer + member.rank * plan.elements(1));
  });
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

/// Checks a request for the sums of x's columns and clears what will be added to.
template <class T>
void prepare_sums(std::span<T> sums, const char* name, const MatrixView<const T>& x, const GemmOptions<T>& o) {
  if (sums.data() == nullptr) return;
  if (x.cols > 1 && x.col_stride != 1)
    throw ShapeError(std::string("gemm: ") + name + ": what is summed side by side must lie side by side (stride 1)");
  if (o.beta == T(0)) std::fill(sums.begin(), sums.end(), T(0));
}

/// Whether small_product and one epilogue over all of c will do: below what a second thread would be asked for.
template <class T>
bool is_small(const GemmKernels<T>& kernels, const MatrixView<const T>& a, const MatrixView<T>& c,
              const GemmOptions<T>& o) {
  // Each extent first, so that their product does not overflow.
  if (a.cols > kSumBlock || a.cols == 0 || c.rows > kSmallWork || c.cols > kSmallWork) return false;
  const Index work = c.rows * c.cols * a.cols;
  const bool alone =
      o.num_threads == 1 || static_cast<double>(work) < kThreadWork * rate_of(kernels) || num_threads() == 1;
  return work > 0 && work <= kSmallWork && alone && o.residual.col_stride == 1 && o.saved.col_stride == 1 &&
         o.pre_activation.col_stride == 1;
}

template <class T>
void gemm_any(const MatrixView<const T>& a, const MatrixView<const T>& b, const MatrixView<T>& c,
              const GemmOptions<T>& o) {
  if (b.data == nullptr && !b.empty()) check_view("gemm", "b", b);
  check(a, b.rows, b.cols, c, o);
  prepare_sums(o.a_row_sums, "a_row_sums", a.t(), o);
  prepare_sums(o.b_column_sums, "b_column_sums", b, o);
  const GemmKernels<T>& kernels = active_table().template gemm<T>();
  if (is_small(kernels, a, c, o) && small_product(kernels, a, b, c, o.alpha, o.beta)) {
    if (o.a_row_sums.data() != nullptr)
      kernels.add_column_sums(a.data, a.col_stride, a.cols, a.rows, o.a_row_sums.data());
    if (o.b_column_sums.data() != nullptr)
      kernels.add_column_sums(b.data, b.row_stride, b.rows, b.cols, o.b_column_sums.data());
    if (has_epilogue(o)) {
      Problem<T> p;
      p.kernels = &kernels;
      set_epilogue(p, o, false);
      finish(p, c.data, c.row_stride, 0, 0, c.rows, c.cols);
    }
    return;
  }
  const Problem<T> p = orient(a, b, c, o);
  if (c.empty() || a.cols == 0) {
    if (o.a_row_sums.data() != nullptr) column_sums_any(a.t(), o.a_row_sums, true, o.num_threads);
    if (o.b_column_sums.data() != nullptr) column_sums_any(b, o.b_column_sums, true, o.num_threads);
    return c.empty() ? void() : empty_product(p);
  }
  run(p, o.num_threads);
}

template <class T>
void gemm_any(const MatrixView<const T>& a, const PackedMatrix<T>& b, const MatrixView<T>& c, const GemmOptions<T>& o) {
  check(a, b.rows(), b.cols(), c, o);
  if (o.b_column_sums.data() != nullptr) throw ValueError("gemm: b_column_sums needs b itself, not a PackedMatrix");
  prepare_sums(o.a_row_sums, "a_row_sums", a.t(), o);
  if (c.empty()) return;
  // Not turned around: only the right operand can be arranged beforehand.
  Problem<T> p;
  p.a = a;
  p.b = MatrixView<const T>(b.data(), b.rows(), b.cols(), b.padded_cols());
  p.c = c;
  if (c.cols == 1) p.c.col_stride = 1;
  p.kernels = &active_table().template gemm<T>();
  p.alpha = o.alpha;
  p.beta = o.beta;
  p.packed_b = b.data();
  p.a_sums = o.a_row_sums.data();
  p.b_sums = nullptr;
  p.finishes = has_epilogue(o);
  if (p.finishes) set_epilogue(p, o, false);
  if (a.cols == 0) return empty_product(p);
  run(p, o.num_threads);
}

/// A product of a batch.
template <class T>
struct Item {
  MatrixView<const T> a, b;
  MatrixView<T> c;
};

/// Refuses what cannot be meant for every product of a batch.
template <class T>
void check_batch_options(const char* operation, const GemmOptions<T>& o) {
  if (o.pre_activation.data != nullptr || o.residual.data != nullptr || o.saved.data != nullptr ||
      o.a_row_sums.data() != nullptr || o.b_column_sums.data() != nullptr)
    throw ValueError(std::string(operation) + ": of the options only alpha, beta, bias, activation and num_threads " +
                     "apply to every product");
}

/// Computes item(i) for every i < count: shared among threads when there are enough, else one after the other.
template <class T, class Make>
void batch_any(Index count, const GemmOptions<T>& o, Make&& item) {
  const GemmKernels<T>& kernels = active_table().template gemm<T>();
  const auto alone = [&](const Item<T>& i) {
    return !has_epilogue(o) && is_small(kernels, i.a, i.c, o) && small_product(kernels, i.a, i.b, i.c, o.alpha, o.beta);
  };
  double work = 0;
  Index elements = 1;
  for (Index i = 0; i < count; ++i) {
    const Item<T> it = item(i);
    if (it.c.empty() || it.a.cols == 0) continue;
    const Problem<T> p = orient(it.a, it.b, it.c, o);
    work += work_of(p);
    if (has_epilogue(o) || !is_small(kernels, it.a, it.c, o))
      elements = std::max(elements, Plan<T>(p, p.a.cols).elements(1));
  }
  const Threads threads = plan_threads(o.num_threads, work);
  const bool shared = threads.working > 1 && count >= 2 * threads.working;
  T* buffer = shared ? scratch<T>(elements * threads.working) : nullptr;
  const auto compute = [&](Range range, T* own) {
    for (Index i = range.first; i < range.end; ++i) {
      const Item<T> it = item(i);
      if (alone(it) || it.c.empty()) continue;
      const Problem<T> p = orient(it.a, it.b, it.c, o);
      if (p.a.cols == 0)
        empty_product(p);
      else if (own == nullptr)
        run(p, o.num_threads);
      else
        blocked_product(p, Plan<T>(p, p.a.cols), Member{0, 1, true}, Range{0, p.c.cols}, own);
    }
  };
  if (!shared) return compute({0, count}, nullptr);
  parallel(threads, [&](Member member) { compute(member.share(count), buffer + member.rank * elements); });
}

template <class T>
void gemm_batched_any(std::span<const MatrixView<const T>> a, std::span<const MatrixView<const T>> b,
                      std::span<const MatrixView<T>> c, const GemmOptions<T>& o) {
  if (a.size() != b.size() || a.size() != c.size())
    throw ShapeError("gemm_batched: " + std::to_string(a.size()) + " a, " + std::to_string(b.size()) + " b and " +
                     std::to_string(c.size()) + " c");
  check_batch_options("gemm_batched", o);
  for (std::size_t i = 0; i < a.size(); ++i) {
    try {
      check_view("gemm", "b", b[i]);
      check(a[i], b[i].rows, b[i].cols, c[i], o);
    } catch (const ShapeError& e) {
      throw ShapeError("gemm_batched: product " + std::to_string(i) + ": " + e.what());
    }
  }
  batch_any<T>(static_cast<Index>(a.size()), o, [&](Index i) {
    const auto at = static_cast<std::size_t>(i);
    return Item<T>{a[at], b[at], c[at]};
  });
}

template <class T>
void gemm_strided_any(Index count, MatrixView<const T> a, Index a_step, MatrixView<const T> b, Index b_step,
                      MatrixView<T> c, Index c_step, const GemmOptions<T>& o) {
  if (count < 0) throw ValueError("gemm_strided_batched: count is " + std::to_string(count));
  check_view("gemm_strided_batched", "b", b);
  check(a, b.rows, b.cols, c, o);
  check_batch_options("gemm_strided_batched", o);
  if (count > 1 && c_step == 0) throw ShapeError("gemm_strided_batched: c_step is 0: the products would overlap");
  batch_any<T>(count, o, [&](Index i) {
    Item<T> it{a, b, c};
    it.a.data += i * a_step;
    it.b.data += i * b_step;
    it.c.data += i * c_step;
    return it;
  });
}

template <class T>
void gemv_any(MatrixView<const T> a, std::span<const T> x, std::span<T> y, T alpha, T beta, int threads) {
  if (static_cast<Index>(x.size()) != a.cols || static_cast<Index>(y.size()) != a.rows)
    throw ShapeError("gemv: a is " + shape_of(a) + " but x has " + std::to_string(x.size()) + " and y " +
                     std::to_string(y.size()) + " elements");
  GemmOptions<T> o;
  o.alpha = alpha;
  o.beta = beta;
  o.num_threads = threads;
  gemm_any<T>(a, MatrixView<const T>(x.data(), a.cols, 1), MatrixView<T>(y.data(), a.rows, 1), o);
}

template <class T>
void ger_any(std::span<const T> x, std::span<const T> y, MatrixView<T> a, T alpha, int threads) {
  if (static_cast<Index>(x.size()) != a.rows || static_cast<Index>(y.size()) != a.cols)
    throw ShapeError("ger: a is " + shape_of(a) + " but x has " + std::to_string(x.size()) + " and y " +
                     std::to_string(y.size()) + " elements");
  GemmOptions<T> o;
  o.alpha = alpha;
  o.beta = 1;
  o.num_threads = threads;
  gemm_any<T>(MatrixView<const T>(x.data(), a.rows, 1), MatrixView<const T>(y.data(), 1, a.cols), a, o);
}

}  // namespace
}  // namespace detail

template <class T>
PackedMatrix<T>::PackedMatrix(MatrixView<const T> b) : rows_(b.rows), cols_(b.cols) {
  detail::check_view("PackedMatrix", "b", b);
  if (b.empty()) return;
  data_.reset(static_cast<T*>(allocate_aligned(bytes())));
  const auto& kernels = detail::active_table().gemm<T>();
  const detail::Operand operand = detail::lanes_of<T>(b.col_stride, b.row_stride, b.cols, b.rows);
  for (Index k0 = 0; k0 < rows_; k0 += kSumBlock)
    detail::pack_panels(kernels, b, operand.layout, k0, std::min(kSumBlock, rows_ - k0), 0, cols_, kPanel,
                        data_.get() + k0 * padded_cols());
}

template class PackedMatrix<float>;
template class PackedMatrix<double>;

void gemm(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
          const GemmOptions<float>& options) {
  detail::gemm_any(a, b, c, options);
}
void gemm(MatrixView<const double> a, MatrixView<const double> b, MatrixView<double> c,
          const GemmOptions<double>& options) {
  detail::gemm_any(a, b, c, options);
}
void gemm(MatrixView<const float> a, const PackedMatrix<float>& b, MatrixView<float> c,
          const GemmOptions<float>& options) {
  detail::gemm_any(a, b, c, options);
}
void gemm(MatrixView<const double> a, const PackedMatrix<double>& b, MatrixView<double> c,
          const GemmOptions<double>& options) {
  detail::gemm_any(a, b, c, options);
}
void gemm_batched(std::span<const MatrixView<const float>> a, std::span<const MatrixView<const float>> b,
                  std::span<const MatrixView<float>> c, const GemmOptions<float>& options) {
  detail::gemm_batched_any(a, b, c, options);
}
void gemm_batched(std::span<const MatrixView<const double>> a, std::span<const MatrixView<const double>> b,
                  std::span<const MatrixView<double>> c, const GemmOptions<double>& options) {
  detail::gemm_batched_any(a, b, c, options);
}
void gemm_strided_batched(Index count, MatrixView<const float> a, Index a_step, MatrixView<const float> b, Index b_step,
                          MatrixView<float> c, Index c_step, const GemmOptions<float>& options) {
  detail::gemm_strided_any(count, a, a_step, b, b_step, c, c_step, options);
}
void gemm_strided_batched(Index count, MatrixView<const double> a, Index a_step, MatrixView<const double> b,
                          Index b_step, MatrixView<double> c, Index c_step, const GemmOptions<double>& options) {
  detail::gemm_strided_any(count, a, a_step, b, b_step, c, c_step, options);
}
void gemv(MatrixView<const float> a, std::span<const float> x, std::span<float> y, float alpha, float beta,
          int num_threads) {
  detail::gemv_any(a, x, y, alpha, beta, num_threads);
}
void gemv(MatrixView<const double> a, std::span<const double> x, std::span<double> y, double alpha, double beta,
          int num_threads) {
  detail::gemv_any(a, x, y, alpha, beta, num_threads);
}
void ger(std::span<const float> x, std::span<const float> y, MatrixView<float> a, float alpha, int num_threads) {
  detail::ger_any(x, y, a, alpha, num_threads);
}
void ger(std::span<const double> x, std::span<const double> y, MatrixView<double> a, double alpha, int num_threads) {
  detail::ger_any(x, y, a, alpha, num_threads);
}
void column_sums(MatrixView<const float> x, std::span<float> sums, bool accumulate, int num_threads) {
  detail::column_sums_any(x, sums, accumulate, num_threads);
}
void column_sums(MatrixView<const double> x, std::span<double> sums, bool accumulate, int num_threads) {
  detail::column_sums_any(x, sums, accumulate, num_threads);
}

}  // namespace tilewright
