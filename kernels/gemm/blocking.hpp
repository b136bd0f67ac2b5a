// SPDX-License-Identifier: MIT
// How a product is cut: a pure function of the shape, the micro-kernel's tile and the cache sizes. Nothing here changes
// results.
//
// Names as in Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008): an mc x kc block of A
// and a kc x nc block of B are packed; an mr x nr tile of C is computed at a time.
#pragma once

#include <algorithm>

#include "kernels/core/cpu.hpp"
#include "tilewright/gemm.hpp"

namespace tilewright::detail {

/// Up to this many elements in a, b and c together, packing costs more than it saves. Measured on Zen 4 with squares,
/// both ways in turn: not packing is 15 % faster at 48, 8 % at 64, 5 % at 80 and even at 96.
inline constexpr Index kSmallElements = 3 * 96 * 96;

/// a / b rounded up. Tiny products call this with a <= b, and a division would be a tenth of their time.
inline Index ceil_div(Index a, Index b) { return a <= b ? (a > 0 ? 1 : 0) : (a + b - 1) / b; }

/// `count` items in as few parts of at most `most` as possible, all of nearly the same size: 16 rows are 8 + 8, not
/// 14 + 2.
struct EvenParts {
  Index count, parts;
  EvenParts(Index items, Index most) : count(items), parts(ceil_div(items, most)) {}
  Index first(Index part) const { return parts <= 1 ? part * count : count * part / parts; }
  Index size(Index part) const { return first(part + 1) - first(part); }
};

struct Blocking {
  Index mc, nc, kc;
};

inline Index round_up(Index value, Index unit) { return (value + unit - 1) / unit * unit; }

inline Blocking gemm_blocking(Index m, Index n, Index k, Index mr, Index nr, Index element_bytes,
                              const CacheSizes& cache) {
  // kc is the block of the numerics: its sums are what may be split off. A tile's share of A and B (kc * (mr + nr)
  // elements, 92 KiB for 14 + 32 floats) streams through the first-level cache from the second, which gives 64 bytes a
  // cycle where a step needs 13.
  const Index kc = std::min(k, kSumBlock);
  // A's block stays in the second-level cache while it meets every panel of B: a little over half of it, the rest is
  // for B and C.
  const Index a_bytes = cache.l2_bytes * 9 / 16;
  const Index most_m = std::max(mr, a_bytes / (kSumBlock * element_bytes) / mr * mr);
  const Index mc = std::min(most_m, round_up(m, mr));
  // B's block stays in the third-level cache while all blocks of A pass: a quarter, since it is shared.
  const Index b_bytes = std::max(cache.l3_bytes / 4, cache.l2_bytes);
  const Index most_n = std::max(nr, b_bytes / (kSumBlock * element_bytes) / nr * nr);
  const Index n_blocks = std::max<Index>(1, (n + most_n - 1) / most_n);
  const Index nc = std::max(nr, round_up((n + n_blocks - 1) / n_blocks, nr));
  return {mc, nc, kc};
}

/// Threads as a grid over C.
struct Grid {
  int rows, cols;
};

/// The grid whose busiest thread has the fewest tiles; among equals the one with more rows, since threads of one row of
/// the grid each pack the same part of A.
inline Grid gemm_grid(int threads, Index m_tiles, Index n_tiles) {
  Grid best{1, 1};
  Index best_cost = m_tiles * n_tiles;
  for (int rows = threads; rows >= 1; --rows) {
    const Index cols = std::min<Index>(threads / rows, std::max<Index>(n_tiles, 1));
    const Index cost = ((m_tiles + rows - 1) / rows) * ((n_tiles + cols - 1) / cols);
    if (cost < best_cost) {
      best_cost = cost;
      best = {rows, static_cast<int>(cols)};
    }
  }
  return best;
}

}  // namespace tilewright::detail
