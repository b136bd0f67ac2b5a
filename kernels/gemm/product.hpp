// SPDX-License-Identifier: MIT
// The ways through a checked product. docs/gemm.md has the picture of the loops.
//
//   SmallProduct                a few tiles, one thread, or more while they are awake (small.hpp)
//   run -> long_product         few outputs, long k: threads share k
//       -> few_rows_product     up to eight rows: b is read once, where it is
//       -> shared_product       threads pack b together
//       -> blocked_product      everything else: five loops, each operand packed or read where it is
//          -> compute_tile      one micro-kernel call, and the epilogue after the last block of k
#pragma once

#include "kernels/core/parallel.hpp"
#include "kernels/core/profile.hpp"
#include "kernels/gemm/operands.hpp"

namespace tilewright::detail {

/// For the profiler: m x n x k, each operand met once.
template <class T>
CallInfo product_info(const char* operation, const MatrixView<T>& c, Index k, T beta) {
  const double m = static_cast<double>(c.rows), n = static_cast<double>(c.cols), depth = static_cast<double>(k);
  return {operation,         "",
          sizeof(T),         {c.rows, c.cols, k},
          2 * m * n * depth, (m * depth + depth * n + (beta == T(0) ? 0 : m * n)) * sizeof(T),
          m * n * sizeof(T)};
}

/// The k range [0, k) in the blocks of the numerics: body(first, length, factor on c, whether it is the last).
template <class T, class Body>
void for_blocks_of_k(Index k, T beta, Body&& body) {
  for (Index p = 0; p < k; p += kSumBlock) {
    const Index length = std::min(kSumBlock, k - p);
    body(p, length, p == 0 ? beta : T(1), p + length == k);
  }
}

/// The block's panels of b that are the member's to pack.
template <class T>
void pack_share(const Problem<T>& p, const Plan<T>& plan, Member member, const Block<T>& block, T* packed_b) {
  const Index nr = p.kernels->tile_cols;
  const auto [first, end] = member.share(block.nc, nr);
  if (first < end)
    pack_panels(*p.kernels, p.b, plan.b_layout, block.k0, block.kc, block.j0 + first, end - first, nr,
                packed_b + first * block.kc);
}

/// Tiles below each other, nothing but them: `tile` is the first one, with its c; a is `panel` elements further for
/// each, or where its rows are; what each fetches is next_step further, or nothing until the last one fetches `at_end`.
template <class T>
void compute_tiles(const Problem<T>& p, Tile<T>& tile, bool along, const EvenParts& tiles, Range range, Index panel,
                   Index next_step, const Stream<T>& at_end) {
  if (next_step == 0) tile.next = {};
  for (Index t = range.first; t < range.end;) {
    const Index height = tiles.size(t), end = t < tiles.more ? std::min(tiles.more, range.end) : range.end;
    const auto micro = micro_for(*p.kernels, along, height, tile.cols);
    const Index a_step = panel != 0 ? panel : height * tile.a_row_stride, c_step = height * tile.c_row_stride;
    for (; t < end; ++t) {
      if (next_step == 0 && t + 1 == range.end) tile.next = at_end;
      micro(tile);
      tile.a += a_step;
      tile.c += c_step;
      tile.next.data += next_step;
    }
  }
}

/// Whether a panel of b is packed by the first tile that reads it, of the given rows and columns.
template <class T>
bool packing_tile(const Problem<T>& p, const Plan<T>& plan, Index rows, Index cols) {
  return p.kernels->packing[0][cols < p.kernels->tile_cols] != nullptr && plan.b_layout == Layout::lanes_adjacent &&
         rows == p.kernels->tile_rows && cols > p.kernels->lanes;
}

/// Up to so many rows are multiplied by a panel of b on AVX-512 in less time than memory takes for the next one.
inline Index rows_below_memory() { return is_wide_core() ? 1 : 5; }

/// The member's share of a block: the inner three of five loops. Members form a grid over its rows and its panels, and
/// each packs its rows of a for itself, when they are first met; so it does with the panels of b, when they are its own
/// (otherwise they have been packed). Of c the columns up to `columns_end` are computed in all.
template <class T>
void multiply_share(const Problem<T>& p, const Plan<T>& plan, Member member, Index columns_end, const Block<T>& block,
                    T* packed_b, T* a) {
  const auto& [j0, nc, k0, kc, keep, last] = block;
  const GemmKernels<T>& kernels = *p.kernels;
  const Index mr = kernels.tile_rows, nr = kernels.tile_cols;
  const Grid grid = gemm_grid(member.size, ceil_div(p.c.rows, mr), ceil_div(nc, nr), mr, nr);
  if (member.rank >= grid.rows * grid.cols) return;
  const Range rows = Member{member.rank / grid.cols, grid.rows}.share(p.c.rows);
  const Range cols = Member{member.rank % grid.cols, grid.cols}.share(nc, nr);
  // Sums in passing, by the members on the edges of the grid.
  if (p.b_sums != nullptr && member.rank / grid.cols == 0 && cols.first < cols.end)
    kernels.add_column_sums(p.b.data + k0 * p.b.row_stride + j0 + cols.first, p.b.row_stride, kc, cols.end - cols.first,
                            p.b_sums + j0 + cols.first);
  if (p.a_sums != nullptr && j0 == 0 && member.rank % grid.cols == 0 && rows.first < rows.end)
    kernels.add_column_sums(p.a.data + rows.first + k0 * p.a.col_stride, p.a.col_stride, kc, rows.end - rows.first,
                            p.a_sums + rows.first);

  const BlockOfB<T> b = block_of_b(p, plan, block, packed_b);
  // Panels that follow each other in memory come faster when nobody asks for them, while memory is what few rows wait
  // for (Zen 4, x 4096 x 4096: 1 row 25 and 42 GB/s, 4 rows 24 and 36, 5 about the same at best, 8 26 and 25; Zen 5:
  // 2 to 5 rows 39 to 44 and 37 to 41).
  const bool by_hardware = p.packed_b != nullptr && b.step == nr && p.c.rows <= rows_below_memory();
  // One tile each on a wide core: what is 16 KiB further is asked for instead of the next panel (Zen 5, x 4096 x 4096:
  // 4 rows 1.57 and 1.64 ms, 8 rows 1.35 and 1.61).
  const bool soon = p.packed_b != nullptr && b.step == nr && p.c.rows <= plan.height && is_wide_core();
  const EvenParts tiles(rows.end - rows.first, plan.height), blocks(tiles.parts, ceil_div(plan.mc, plan.height));
  // Steps of a tile that fetch what is needed next: not those that fetch c, nor the last four.
  const Index steps = std::max(ceil_div(kc, 2), kc - plan.height - 4);
  const auto rows_of = [&](Index i) {
    return Range{rows.first + tiles.first(blocks.first(i)), rows.first + tiles.first(blocks.first(i + 1))};
  };
  for (Index i = 0; i < blocks.parts; ++i) {             // third loop: a block of a, second-level cache
    for (Index j = cols.first; j < cols.end; j += nr) {  // second loop: a panel of b
      const Index width = std::min(nr, cols.end - j);
      const bool last_panel = j + nr >= cols.end, last_block = i + 1 == blocks.parts;
      // Packed by itself, or by the first tile.
      T* const panel = plan.own_b && i == 0 ? packed_b + (plan.one_panel ? 0 : j * kc) : nullptr;
      const bool by_tile = panel != nullptr && packing_tile(p, plan, tiles.size(0), width);
      if (panel != nullptr && !by_tile) pack_panels(kernels, p.b, plan.b_layout, k0, kc, j0 + j, width, nr, panel);
      // While the tiles of this panel are computed, what is needed next is fetched: by the first tile the next panel,
      // by the others, on the last panel, the next rows of a.
      Stream<T> next_b;
      if (last_panel && last_block) {
        const Index j_after = last ? j0 + nc : j0 + cols.first;
        if ((plan.own_b || !plan.pack_b) && j_after < columns_end)
          next_b = next_panel_of_b(p, plan, j_after, last ? 0 : k0 + kc);
      } else if (soon && !last_panel) {
        next_b = {b.at(j, kc) + (16 << 10) / sizeof(T), nr, kc, 0};
      } else if (plan.pack_b && (i > 0 || last_panel || !plan.own_b)) {
        next_b = {b.at(last_panel ? cols.first : j + nr, kc), nr, kc, 0};
      } else {
        next_b = next_panel_of_b(p, plan, j0 + (last_panel ? cols.first : j + nr), k0);
      }
      if (by_hardware) next_b = {};
      const Index first_tile = blocks.first(i), count = blocks.size(i),
                  first_row = rows.first + tiles.first(first_tile);
      const bool packs_a = plan.pack_a && j == cols.first, fetches_a = last_panel && !(last && last_block);
      // What comes next of the caller's b is fetched by all tiles of the panel: asked for by the first one alone, it
      // comes in a burst that memory cannot follow. Rows, each while some steps pass, or columns, each slowly.
      Index next_step = 0;
      if (plan.spreads && !last_panel && next_b.data != nullptr && count > 1) {
        if (next_b.step == p.b.row_stride || p.packed_b != nullptr) {
          const Index each = ceil_div(kc, count);
          next_step = each * next_b.step;
          next_b = {next_b.data, 0, std::max<Index>(1, steps / each), next_b.step};
        } else if (plan.b_layout == Layout::steps_adjacent && plan.own_b && i == 0) {
          const Index each = ceil_div(nr, count), step = ceil_div(each * kc, steps), run = ceil_div(kc, step);
          next_step = each * p.b.col_stride;
          next_b = {next_b.data, step, run, p.b.col_stride - run * step};
        }
      }
      // Rows of b that nothing else would fetch leave no time for c, so the last tile fetches it for the next panel's
      // first one.
      const bool all_steps = next_b.data != nullptr && next_b.step == p.b.row_stride;
      Tile<T> tile{nullptr,        0,     0,       b.at(j, kc), b.step, kc,        nullptr,
                   p.c.row_stride, width, p.alpha, keep,        next_b, !all_steps};
      const Stream<T> next_c =
          last_panel ? Stream<T>{} : stream_of_c(p, first_row, j0 + j + nr, tiles.size(first_tile));
      Index row = first_row;
      for (Index place = 0; place < count; ++place) {  // first loop: rows of a
        const Index height = tiles.size(first_tile + place);
        const RowsOfA<T> ra = rows_of_a(p, plan, row, height, k0, kc, a + place * plan.a_panel(mr), packs_a);
        tile.a = ra.data;
        tile.a_row_stride = ra.row_stride;
        tile.a_k_stride = ra.k_stride;
        if (place > 0 && !packs_a && !fetches_a && p.c.col_stride == 1 && !(last && p.finishes)) {
          tile.c = &p.c(row, j0 + j);
          compute_tiles(p, tile, ra.along, tiles, Range{first_tile + place, first_tile + count},
                        plan.pack_a ? plan.a_panel(mr) : 0, next_step, next_c);
          break;
        }
        if (place > 0 && fetches_a)
          tile.next = next_rows_of_a(p, plan, rows_of(last_block ? 0 : i + 1), last_block ? k0 + kc : k0, place - 1,
                                     count - 1, steps);
        else if (place > 0 && place + 1 == count && next_step == 0)
          tile.next = next_c;
        if (by_tile && place == 0) {
          Tile<T> packs = tile;
          packs.b = &p.b(k0, j0 + j);
          packs.b_k_stride = p.b.row_stride;
          packs.panel = panel;
          compute_tile(p, kernels.packing[ra.along][width < nr], packs, row, j0 + j, height, last);
        } else {
          compute_tile(p, micro_for(kernels, ra.along, height, width), tile, row, j0 + j, height, last);
        }
        row += height;
        tile.next.data = next_step != 0 ? tile.next.data + next_step : nullptr;
        tile.fetches_c = true;
      }
    }
  }
}

/// The outer two of five loops, columns of c by nc and k by kc: body(block).
template <class T, class Body>
void for_blocks(const Problem<T>& p, const Plan<T>& plan, Range columns, Body&& body) {
  const Index block_cols = plan.pack_b ? plan.nc : columns.end - columns.first;
  for (Index j0 = columns.first; j0 < columns.end; j0 += block_cols)                // fifth loop: third-level cache
    for_blocks_of_k(p.a.cols, p.beta, [&](Index k0, Index kc, T keep, bool last) {  // fourth loop
      body(Block<T>{j0, std::min(block_cols, columns.end - j0), k0, kc, keep, last});
    });
}

/// A member's share of a product in which nobody needs what another packs: it is alone with these columns, or b is read
/// in place. `buffer` is the member's.
template <class T>
void blocked_product(const Problem<T>& p, const Plan<T>& plan, Member member, Range columns, T* buffer) {
  for_blocks(p, plan, columns, [&](const Block<T>& block) {
    multiply_share(p, plan, member, columns.end, block, buffer, buffer + plan.b_buffer);
  });
}

/// The whole product: each block of b is packed by all members for all of them.
template <class T>
void shared_product(const Problem<T>& p, const Plan<T>& plan, int parts, T* buffer) {
  for_blocks(p, plan, Range{0, p.c.cols}, [&](const Block<T>& block) {
    parallel(parts, [&](Member member) { pack_share(p, plan, member, block, buffer); });
    parallel(parts, [&](Member member) {
      multiply_share(p, plan, member, p.c.cols, block, buffer, buffer + plan.b_buffer + member.rank * plan.a_buffer);
    });
  });
}

/// Few outputs and long k: members compute the sums of some blocks of k each, a whole matrix for every block, and the
/// sums are added in ascending order; `rounds_of` blocks at a time.
template <class T>
void long_product(const Problem<T>& p, const Plan<T>& plan, int parts, T* buffer, Index rounds_of) {
  const Index m = p.c.rows, n = p.c.cols, k = p.a.cols;
  T* sums = buffer + parts * plan.elements(1);
  const Index blocks = ceil_div(k, kSumBlock);
  // Rows of c without gaps are one.
  const bool dense = p.c.row_stride == n && !p.finishes;
  const Index lines = dense ? 1 : m, length = dense ? m * n : n;
  for (Index first = 0; first < blocks; first += rounds_of) {
    const Index round = std::min(rounds_of, blocks - first);
    parallel(parts, [&](Member member) {
      const Range own = member.share(round);
      if (own.first == own.end) return;
      const Index k0 = (first + own.first) * kSumBlock, kc = std::min((own.end - own.first) * kSumBlock, k - k0);
      T* const memory = buffer + member.rank * plan.elements(1);
      Problem<T> part = p;
      part.a = {p.a.data + k0 * p.a.col_stride, m, kc, p.a.row_stride, p.a.col_stride};
      part.b = {p.b.data + k0 * p.b.row_stride, kc, n, p.b.row_stride, p.b.col_stride};
      if (p.packed_b != nullptr) part.packed_b = p.packed_b + k0 * round_up(n, PackedMatrix<T>::kPanel);
      part.finishes = false;
      for_blocks(part, plan, Range{0, n}, [&](Block<T> block) {
        part.c = {sums + (own.first + block.k0 / kSumBlock) * m * n, m, n};
        block.keep = 0;
        multiply_share(part, plan, Member{0, 1}, n, block, memory, memory + plan.b_buffer);
      });
    });
    parallel(parts, [&](Member member) {
      const Range rows = dense ? Range{0, 1} : member.share(m);
      const Range cols = dense ? member.share(length, kLineOf<T>) : Range{0, n};
      for (Index i = rows.first; i < rows.end && cols.first < cols.end; ++i) {
        for (Index block = 0; block < round; ++block)
          p.kernels->accumulate(sums + (block * lines + i) * length + cols.first, &p.c(i, 0) + cols.first,
                                cols.end - cols.first, T(1), first + block == 0 ? p.beta : T(1));
        if (!p.finishes || first + round < blocks) continue;
        for (Index j = 0; j < n; j += kMaxTileCols)
          finish(*p.kernels, p.epilogue, &p.c(i, j), p.c.row_stride, i, j, 1, std::min<Index>(kMaxTileCols, n - j));
      }
    });
  }
}

template <class T>
Index bytes_of_b(const Problem<T>& p) {
  return p.a.cols * p.c.cols * Index{sizeof(T)};
}

/// The kernel for p's rows: of those for 1, 2, 4, 8. With b from memory a wide core is faster with the last one from
/// three rows on (Zen 5, 4 x 4096 x 4096: 1.85 instead of 2.0 ms; 4 x 3072 x 3072, which the caches hold nearly: 1.0
/// instead of 0.7): the more it has to do with a line, it seems, the less its loads of what is still on the way keep
/// requests for more from leaving.
template <class T>
int few_rows_kernel(const Problem<T>& p) {
  const Index m = p.c.rows;
  const bool from_memory = bytes_of_b(p) >= 2 * cache_sizes().l3_bytes;
  if (m > 4 || (m > 2 && from_memory && is_wide_core() && p.kernels->lanes * sizeof(T) == 64)) return 3;
  return m > 2 ? 2 : static_cast<int>(m) - 1;
}

/// Whether few_rows_product is faster than tiles: while reading b takes longer than what is done with it.
template <class T>
bool few_rows_fit(const Problem<T>& p, Layout b) {
  if (p.c.rows > kFewRows || p.kernels->few_rows_across[few_rows_kernel(p)] == nullptr) return false;
  // Rows of b can be read by tiles, too, whose sums need not wait in memory: that pays until the caches are too slow,
  // and with AVX-512's tall tiles from three rows on, unless b's rows crowd into a few sets of the caches: multiples of
  // 64 KiB apart (Zen 4). On a wide core from five rows on, unless they are multiples of 4 KiB apart (Zen 5).
  const Index bytes = bytes_of_b(p), stride = p.b.row_stride * Index{sizeof(T)};
  const bool crowded =
      is_wide_core() ? p.c.rows <= 4 || stride % 4096 == 0 : is_near_multiple(stride, 64 << 10, 1 << 10);
  const bool tall = p.c.rows > 2 && p.kernels->tile_rows == kMaxTileRows && !crowded;
  if (b == Layout::lanes_adjacent &&
      (tall || bytes <= (p.c.rows > 4 ? cache_sizes().l3_bytes * 5 / 4 : cache_sizes().l2_bytes)))
    return false;
  return b != Layout::strided && p.c.cols >= 4 * p.kernels->tile_cols && p.c.col_stride == 1 && p.packed_b == nullptr &&
         p.a_sums == nullptr && p.b_sums == nullptr;
}

/// A few rows of a, one step of k after the other, in the memory given (rows of the kernel x k); rows that are missing
/// are zeros.
template <class T>
const T* steps_of_a(const MatrixView<const T>& a, Index rows, T* to) {
  if (rows == 1 && a.col_stride == 1) return a.data;
  for (Index k = 0; k < a.cols; ++k)
    for (Index i = 0; i < rows; ++i) to[k * rows + i] = i < a.rows ? a(i, k) : T(0);
  return to;
}

/// A few rows of c and some of its columns, b in place.
template <class T>
void few_rows_product(const Problem<T>& p, const T* steps, Layout layout, Range columns) {
  const GemmKernels<T>& kernels = *p.kernels;
  const Index m = p.c.rows;
  const bool along = layout == Layout::steps_adjacent;
  const int kernel = few_rows_kernel(p);
  // Rows of b: the sums of so many columns share the first-level cache with eight pieces of rows and what of them comes
  // next. The rows of the sums do not meet in one place of the cache. Columns are followed through all of k.
  constexpr Index kRun = 4096 / Index{sizeof(T)}, kApart = 192 / Index{sizeof(T)};
  const Index run = kernel < 2 ? 4 * kRun >> kernel : is_wide_core() ? kRun : kRun / 4;
  // Columns that come from memory: by squares of 16 up to four rows ask for them a kibibyte ahead. Otherwise, where two
  // groups of them fit into the second-level cache, all of the next group comes while one is computed, column by
  // column: one long run of memory.
  const Index group = p.a.cols * kernels.lanes * Index{sizeof(T)};
  const bool from_memory = along && bytes_of_b(p) > cache_sizes().l3_bytes;
  const bool ahead = from_memory && kernel <= 2 && kernels.lanes == 16;
  const bool whole = from_memory && !ahead && 2 * group <= cache_sizes().l2_bytes * 3 / 4;
  const Index chunk = whole || ahead ? kernels.lanes : along ? kernels.tile_cols : run;
  const Index sums_stride = chunk + kApart;
  alignas(64) T sums[kFewRows * (kRun + kApart)];
  const auto block = [&](Index j, Index k0, Index kc, T keep, bool last) {
    const Index n = std::min(chunk, columns.end - j);
    const T* b = p.b.data + k0 * p.b.row_stride + j * p.b.col_stride;
    // What comes next: further columns, or more of these.
    const bool sideways = along ? last : j + chunk < columns.end;
    const T* next = sideways ? b + chunk * p.b.col_stride - (along ? k0 * p.b.row_stride : 0) : b + kc * p.b.row_stride;
    if (whole) next = p.b.data + (j + chunk + chunk * k0 / p.a.cols) * p.b.col_stride;
    const Index stride = along ? p.b.col_stride : p.b.row_stride;
    const Index asked = ahead ? 0 : whole ? p.a.cols : along ? kc : std::min(run, kRun * 3 / 8);
    const FewRows<T> t{steps + (k0 << kernel), b, stride, kc, n, sums, sums_stride, next, asked};
    (along ? kernels.few_rows_along[kernel] : kernels.few_rows_across[kernel])(t);
    for (Index i = 0; i < m; ++i) kernels.accumulate(sums + i * sums_stride, &p.c(i, j), n, p.alpha, keep);
    if (!p.finishes || !last) return;
    for (Index s = 0; s < n; s += kMaxTileCols)
      finish(*p.kernels, p.epilogue, &p.c(0, j + s), p.c.row_stride, 0, j + s, m, std::min<Index>(kMaxTileCols, n - s));
  };
  if (along) {
    for (Index j = columns.first; j < columns.end; j += chunk)
      for_blocks_of_k(p.a.cols, p.beta, [&](Index k0, Index kc, T keep, bool last) { block(j, k0, kc, keep, last); });
    return;
  }
  for_blocks_of_k(p.a.cols, p.beta, [&](Index k0, Index kc, T keep, bool last) {
    for (Index j = columns.first; j < columns.end; j += chunk) block(j, k0, kc, keep, last);
  });
}

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

/// How a product is computed, and the elements of scratch memory that it wants.
template <class T>
struct Way {
  enum Kind { long_k, few_rows, blocked } kind;
  int threads;
  Plan<T> plan;
  Index elements;
  Index round = 0;  // long_k: blocks of k whose sums are kept at a time
};

template <class T>
Way<T> way_of(const Problem<T>& p, int requested) {
  const int threads = most_threads(requested, work_of(p));
  // With fewer than 16 tiles each, what remains when the others have finished is much of a thread's time; k is shared
  // in rounds of eight blocks each, so that the sums kept meanwhile stay small.
  const Index tiles = ceil_div(p.c.rows, p.kernels->tile_rows) * ceil_div(p.c.cols, p.kernels->tile_cols);
  const Index blocks = ceil_div(p.a.cols, kSumBlock);
  if (threads > 1 && tiles < 16 * threads && blocks >= 4 * threads && p.c.col_stride == 1 && p.a_sums == nullptr &&
      p.b_sums == nullptr) {
    const Index round = 8 * threads;
    const Plan<T> alone(p, p.a.cols, 1);
    return {Way<T>::long_k, threads, alone, threads * alone.elements(1) + round * p.c.size(), round};
  }
  const Plan<T> plan(p, p.a.cols, threads);
  if (few_rows_fit(p, plan.b_layout)) return {Way<T>::few_rows, threads, plan, p.a.cols << few_rows_kernel(p)};
  return {Way<T>::blocked, threads, plan, plan.pack_a || plan.pack_b ? plan.elements(threads) : 0};
}

template <class T>
void run(const Problem<T>& p, int requested) {
  const Way<T> way = way_of(p, requested);
  const Plan<T>& plan = way.plan;
  T* buffer = way.elements > 0 ? scratch<T>(way.elements) : nullptr;
  // From here on nothing fails.
  const int threads = ready_threads(way.threads, work_of(p));
  if (way.kind == Way<T>::long_k) return long_product(p, plan, threads, buffer, way.round);
  if (way.kind == Way<T>::few_rows) {
    const T* steps = steps_of_a(p.a, Index{1} << few_rows_kernel(p), buffer);
    return parallel(threads, [&](Member member) {
      few_rows_product(p, steps, plan.b_layout, member.share(p.c.cols, p.kernels->tile_cols));
    });
  }
  if (p.beta == T(0)) {
    if (p.a_sums != nullptr) std::fill_n(p.a_sums, p.a.rows, T(0));
    if (p.b_sums != nullptr) std::fill_n(p.b_sums, p.b.cols, T(0));
  }
  if (plan.pack_b && !plan.own_b) return shared_product(p, plan, threads, buffer);
  parallel(threads, [&](Member member) {
    T* own = buffer + member.rank * plan.elements(1);
    if (plan.own_b)
      blocked_product(p, plan, Member{0, 1}, member.share(p.c.cols, PackedMatrix<T>::kPanel), own);
    else
      blocked_product(p, plan, member, Range{0, p.c.cols}, own);
  });
}

}  // namespace tilewright::detail
