// SPDX-License-Identifier: MIT
// How a product is cut, and which operands are packed: pure functions of the shape, the strides, the micro-kernel's
// tile and the cache sizes. Nothing here changes results. docs/gemm.md has the measurements behind the constants.
//
// Names as in Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008): an mc x kc block of A
// and a kc x nc block of B are packed; an mr x nr tile of C is computed at a time.
#pragma once

#include <algorithm>

#include "kernels/core/cpu.hpp"
#include "tilewright/gemm.hpp"

namespace tilewright::detail {

/// a / b rounded up. Tiny products call this with a <= b, and a division would be a tenth of their time.
inline Index ceil_div(Index a, Index b) { return a <= b ? (a > 0 ? 1 : 0) : (a + b - 1) / b; }
inline Index round_up(Index value, Index unit) { return ceil_div(value, unit) * unit; }

/// `count` items in as few parts of at most `most` as possible, all of nearly the same size: 16 rows are 8 + 8, not
/// 14 + 2.
struct EvenParts {
  Index count, parts, each, more;  // the first `more` parts have one item more
  EvenParts(Index items, Index most)
      : count(items),
        parts(ceil_div(items, most)),
        each(parts <= 1 ? items : items / parts),
        more(parts <= 1 ? 0 : items % parts) {}
  Index first(Index part) const { return part * each + std::min(part, more); }
  Index size(Index part) const { return first(part + 1) - first(part); }
};

/// How an operand lies in memory. The "lanes" of A are its rows, those of B its columns.
enum class Layout {
  lanes_adjacent,  // neighbours in a step of k
  steps_adjacent,  // neighbours along k
  strided,
};

struct Operand {
  Layout layout;
  Index stride;  // in bytes, in the direction that is not adjacent
};

/// The micro-kernel's tile.
struct TileShape {
  Index rows, cols, element_bytes;
  bool packs;  // the first tile of a panel of B packs it in passing
};

/// The block of A may take so much, where the second-level cache is large enough.
inline constexpr Index kLeastBlockOfA = 192 << 10;

/// With so many panels of B for each thread, packing all of A once for every thread costs next to nothing.
inline constexpr Index kOwnPanels = 8;

/// So many panels are followed through all of k: A, when it is packed, is packed again for the next ones.
inline constexpr Index kFollowedPanels = 32;

/// Rows of a tile whose rows of A crowd into one set of the first-level cache: its ways.
inline constexpr Index kCrowdedRows = 8;

struct Blocking {
  Index mc, nc, kc;
  Index height;  // of a tile, at most
  bool pack_a, pack_b;
  /// Each thread packs the columns of b that it needs and nobody else's; one panel at a time into the same place.
  bool own_b, one_panel;
  bool spreads;  // what comes next of b is fetched by all tiles of a panel
};

/// Whether a stride is `unit` bytes or a multiple of it, less than `within` more or less.
inline bool is_near_multiple(Index stride, Index unit, Index within) {
  const Index size = stride < 0 ? -stride : stride, rest = size % unit;
  return size > unit - within && (rest < within || rest > unit - within);
}

/// An operand in place is met at addresses one stride apart. Strides near multiples of a page send them to the same few
/// sets of the caches, which then hold a fraction of what they could.
inline bool is_bad_stride(Index bytes) { return is_near_multiple(bytes, 4096, 64); }

inline Blocking gemm_blocking(Index m, Index n, Index k, int threads, Operand a, Operand b, const TileShape& tile,
                              const CacheSizes& cache) {
  Blocking out{};
  const auto& [mr, nr, element_bytes, packs] = tile;
  // kc is the block of the numerics: its sums are what may be split off. A tile's share of A and B (kc * (mr + nr)
  // elements, 92 KiB for 14 + 32 floats) streams through the first-level cache from the second, which gives 64 bytes a
  // cycle where a step needs 13.
  out.kc = std::min(k, kSumBlock);
  // A's block stays in the second-level cache while it meets every panel of B: a fifth of it, because the next block is
  // fetched meanwhile, and tiles of C whose rows are a power of two apart crowd into few sets (docs/gemm.md); a third
  // of a small one, because few rows of tiles would share a panel. Half of it where that is all of A: B is then met
  // once and need not be kept.
  const Index a_bytes = std::min(cache.l2_bytes / 3, std::max(cache.l2_bytes / 5, kLeastBlockOfA));
  const Index most_m = std::max(mr, a_bytes / (kSumBlock * element_bytes) / mr * mr);
  const Index panels = ceil_div(n, nr), share = ceil_div(panels, threads);
  const bool even = share * threads <= panels + panels / 16;  // threads can share the panels out
  const Index whole_m = even ? cache.l2_bytes / 2 / (kSumBlock * element_bytes) : 0;
  out.mc = m <= std::max(most_m, whole_m) ? round_up(m, mr) : most_m;
  // B's block stays in the third-level cache while all blocks of A pass: an eighth, since others share it.
  const Index b_bytes = std::max(cache.l3_bytes / 8, cache.l2_bytes);
  const Index most_n = std::max(nr, b_bytes / (kSumBlock * element_bytes) / nr * nr);
  // Operands that can be read where they are stay there while packing would not pay. Rows of A cost the same from both
  // places unless they crowd into few sets; then lower tiles, whose rows a set of eight ways holds, are better
  // than packing for a few panels.
  out.pack_a = a.layout == Layout::strided || (is_bad_stride(a.stride) && m > mr / 2 && n > 4 * nr);
  const bool crowded = !out.pack_a && a.layout == Layout::steps_adjacent && is_bad_stride(a.stride);
  out.height = crowded ? std::min<Index>(mr, kCrowdedRows) : mr;
  // Packing B is shared by the rows of tiles. In place, rows of B that crowd come from the third level for every tile;
  // a panel of one line is then read in less time than that takes.
  const bool one_line = nr * element_bytes <= 64;
  Index rows_in_place = !is_bad_stride(b.stride) ? 48 : one_line ? 4 : 12;
  out.spreads = packs;
  if (packs && one_line) {
    // The first tile of a panel packs it for next to nothing; and columns of A, of which a step touches one line each,
    // cost more the longer they are. (So it does where a row of a panel is two lines, and there it pays no earlier.)
    rows_in_place = is_bad_stride(b.stride) ? 2 : is_bad_stride(2 * b.stride) ? 3 : 7;
    const Index pays = is_bad_stride(2 * a.stride) ? 2048 : 8192;
    out.pack_a |= a.layout == Layout::lanes_adjacent && panels >= 16 && out.kc * panels >= pays;
  }
  out.pack_b = b.layout != Layout::lanes_adjacent || m > rows_in_place * mr;
  // Where there are enough columns for every thread, each packs those that it needs and waits for nobody; a panel is
  // packed when it is first met. When all of A fits, it is also met for the last time then, and one panel is kept;
  // columns of neighbours are then followed through all of k, some panels at a time.
  out.one_panel = out.pack_b && m <= out.mc;
  out.own_b = out.pack_b && (threads == 1 || out.one_panel || (share >= kOwnPanels && even));
  const Index all = std::max(nr, out.own_b ? share * nr : n);
  const Index limit = !out.own_b                           ? most_n
                      : !out.one_panel                     ? std::max(nr, most_n / threads / nr * nr)
                      : b.layout != Layout::steps_adjacent ? all
                                                           : kFollowedPanels * nr;
  out.nc = all <= limit ? round_up(all, nr) : round_up(ceil_div(all, ceil_div(all, limit)), nr);
  return out;
}

/// Threads as a grid over C.
struct Grid {
  int rows, cols;
};

/// The grid whose threads read the least, of those whose busiest one has hardly more tiles of mr x nr than it must: a
/// sixteenth, because threads that share rows of c meet in its lines. Among equals the one with more rows, since
/// threads of one row of the grid each pack the same part of A.
inline Grid gemm_grid(int threads, Index m_tiles, Index n_tiles, Index mr, Index nr) {
  const Grid one{1, 1};
  Grid best = one;
  const Index all_tiles = m_tiles * n_tiles;
  Index least_tiles = all_tiles, least_read = -1;
  const auto for_grids = [&](auto&& body) {
    body(one, all_tiles, m_tiles * mr + n_tiles * nr);
    for (int rows = threads; rows >= 1; --rows) {
      const Index cols = std::min<Index>(threads / rows, std::max<Index>(n_tiles, 1));
      const Index high = ceil_div(m_tiles, rows), wide = ceil_div(n_tiles, cols);
      body(Grid{rows, static_cast<int>(cols)}, high * wide, high * mr + wide * nr);
    }
  };
  for_grids([&](Grid, Index tiles, Index) { least_tiles = std::min(least_tiles, tiles); });
  for_grids([&](Grid grid, Index tiles, Index read) {
    if (16 * tiles > 17 * least_tiles || (least_read >= 0 && read >= least_read)) return;
    least_read = read;
    best = grid;
  });
  return best;
}

}  // namespace tilewright::detail
