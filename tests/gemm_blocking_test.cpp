// SPDX-License-Identifier: MIT
// How a product is cut: pure functions of the shape, the strides, the tile and the caches.
#include <algorithm>

#include "kernels/gemm/blocking.hpp"
#include "tests/support.hpp"

namespace tilewright {
namespace {

TEST(GemmBlocking, FitsTheCachesAndCoversTheShape) {
  using detail::gemm_blocking;
  const detail::CacheSizes caches{32 << 10, 1 << 20, 32 << 20};
  for (const Index m : {1, 14, 15, 100, 281, 1000, 5000})
    for (const Index n : {1, 32, 33, 4096, 50257})
      for (const Index k : {1, 512, 513, 4096}) {
        const detail::Operand in_place{detail::Layout::lanes_adjacent, 4 * n};
        const auto b = gemm_blocking(m, n, k, 1, in_place, in_place, {14, 32, 4, true}, caches);
        EXPECT_EQ(b.kc, std::min(k, kSumBlock));
        EXPECT_EQ(b.mc % 14, 0);
        EXPECT_EQ(b.nc % 32, 0);
        EXPECT_GT(b.mc, 0);
        EXPECT_GT(b.nc, 0);
        EXPECT_LE(b.mc * kSumBlock * 4, caches.l2_bytes / 2);
        EXPECT_LE(b.nc * kSumBlock * 4, caches.l3_bytes / 8);
      }
}

/// What is packed: operands that lie the wrong way or crowd into few sets of the caches, when enough rows share it.
TEST(GemmBlocking, PacksWhatPays) {
  const detail::CacheSizes caches{32 << 10, 1 << 20, 32 << 20};
  const detail::Operand good{detail::Layout::lanes_adjacent, 4000}, page{detail::Layout::lanes_adjacent, 8192},
      along{detail::Layout::steps_adjacent, 4000}, strided{detail::Layout::strided, 0};
  const auto blocking = [&](Index m, Index n, detail::Operand a, detail::Operand b, int threads = 2) {
    return detail::gemm_blocking(m, n, 1000, threads, a, b, {14, 32, 4, true}, caches);
  };
  EXPECT_FALSE(blocking(100, 1000, good, good).pack_a);
  EXPECT_FALSE(blocking(100, 1000, along, good).pack_a);
  EXPECT_TRUE(blocking(100, 1000, strided, good).pack_a);
  EXPECT_TRUE(blocking(100, 1000, page, good).pack_a);
  EXPECT_FALSE(blocking(7, 1000, page, good).pack_a);
  EXPECT_FALSE(blocking(100, 128, page, good).pack_a);
  const detail::Operand page_along{detail::Layout::steps_adjacent, 8192};
  EXPECT_EQ(blocking(100, 128, page, good).height, 14);
  EXPECT_EQ(blocking(100, 128, along, good).height, 14);
  EXPECT_EQ(blocking(100, 128, page_along, good).height, 8);    // rows in place that crowd into one set of eight ways
  EXPECT_EQ(blocking(100, 1000, page_along, good).height, 14);  // packed
  EXPECT_FALSE(blocking(48 * 14, 1000, good, good).pack_b);
  EXPECT_TRUE(blocking(48 * 14 + 1, 1000, good, good).pack_b);
  EXPECT_FALSE(blocking(12 * 14, 1000, good, page).pack_b);
  EXPECT_TRUE(blocking(12 * 14 + 1, 1000, good, page).pack_b);
  EXPECT_TRUE(detail::gemm_blocking(49, 1000, 1000, 1, good, page, {12, 8, 4, false}, caches).pack_b);
  EXPECT_FALSE(detail::gemm_blocking(48, 1000, 1000, 1, good, page, {12, 8, 4, false}, caches).pack_b);
  EXPECT_TRUE(blocking(1, 1000, good, along).pack_b);
  // Where tiles pack in passing, b from a few rows of tiles on, and long columns of a for many panels.
  const detail::Operand half_page{detail::Layout::lanes_adjacent, 2048};
  const auto passing = [&](Index m, Index n, Index k, detail::Operand a, detail::Operand b) {
    return detail::gemm_blocking(m, n, k, 1, a, b, {6, 16, 4, true}, caches);
  };
  EXPECT_FALSE(passing(2 * 6, 1000, 1000, good, page).pack_b);
  EXPECT_TRUE(passing(2 * 6 + 1, 1000, 1000, good, page).pack_b);
  EXPECT_FALSE(passing(3 * 6, 1000, 1000, good, half_page).pack_b);
  EXPECT_TRUE(passing(3 * 6 + 1, 1000, 1000, good, half_page).pack_b);
  EXPECT_FALSE(passing(7 * 6, 1000, 1000, good, good).pack_b);
  EXPECT_TRUE(passing(7 * 6 + 1, 1000, 1000, good, good).pack_b);
  EXPECT_FALSE(passing(100, 15 * 16, 1000, good, good).pack_a);
  EXPECT_TRUE(passing(100, 16 * 16, 1000, good, good).pack_a);
  EXPECT_FALSE(passing(100, 31 * 16, 256, good, good).pack_a);
  EXPECT_TRUE(passing(100, 32 * 16, 256, good, good).pack_a);
  EXPECT_TRUE(passing(100, 16 * 16, 128, half_page, good).pack_a);
  EXPECT_FALSE(passing(100, 16 * 16, 128, good, good).pack_a);
  EXPECT_FALSE(passing(100, 1000, 1000, along, good).pack_a);
  // One panel at a time when all of A fits: into its block, or into half of the second-level cache when threads can
  // share out the panels. At most 32 panels of columns are followed through all of k.
  const auto one = blocking(90, 5000, good, along);
  EXPECT_TRUE(one.own_b && one.one_panel);
  EXPECT_EQ(one.nc, 864);  // a third of 79 panels
  EXPECT_EQ(blocking(90, 2048, good, along).nc, 1024);
  EXPECT_EQ(blocking(90, 2048 + 64, good, along).nc, 544);
  EXPECT_TRUE(blocking(256, 64, good, along).one_panel);
  EXPECT_FALSE(blocking(257, 64, good, along).one_panel);
  EXPECT_FALSE(blocking(256, 96, good, along).own_b);
  EXPECT_TRUE(blocking(98, 96, good, along).own_b);
  // Otherwise each thread packs its own columns while there are enough of them, and one thread always.
  EXPECT_TRUE(blocking(1000, 512, good, along).own_b);
  EXPECT_FALSE(blocking(1000, 512, good, along).one_panel);
  EXPECT_EQ(blocking(1000, 512, good, along).nc, 256);
  EXPECT_FALSE(blocking(1000, 512, good, along, 4).own_b);
  EXPECT_EQ(blocking(1000, 512, good, along, 4).nc, 512);
  EXPECT_TRUE(blocking(1000, 64, good, along, 1).own_b);
  EXPECT_FALSE(blocking(100, 5000, good, good).own_b);
}

/// The decisions for many shapes, all in one number: a change of any of them must be meant, and measured.
TEST(GemmBlocking, IsAsItWasMeasured) {
  test::Hash blockings, grids;
  const detail::TileShape tiles[] = {
      {14, 32, 4, true}, {14, 16, 8, false}, {6, 16, 4, true}, {12, 8, 4, false}, {5, 4, 8, false}};
  for (const auto& tile : tiles) {
    const Index mr = tile.rows, nr = tile.cols;
    std::vector<detail::Operand> operands{{detail::Layout::strided, 0}};
    for (const auto layout : {detail::Layout::lanes_adjacent, detail::Layout::steps_adjacent})
      for (const Index stride : {1000, 2048, 4096 - 64, 4096 - 63, 8192, 4096 + 63, 4096 + 64, -4096})
        operands.push_back({layout, stride});
    for (const detail::CacheSizes caches : {detail::CacheSizes{48 << 10, 1 << 20, 32 << 20}, {32 << 10, 256 << 10, 0}})
      for (const Index m : {Index{1}, mr / 2, mr / 2 + 1, 2 * mr, 2 * mr + 1, 3 * mr, 3 * mr + 1, 4 * mr, 4 * mr + 1,
                            7 * mr, 7 * mr + 1, 12 * mr, 12 * mr + 1, 48 * mr, 48 * mr + 1})
        for (const Index n : {Index{1}, nr, 4 * nr, 4 * nr + 1, 8 * nr, 16 * nr, 17 * nr + 1, 50000 * nr})
          for (const int threads : {1, 2, 3, 16})
            for (const auto& a : operands)
              for (const auto& b : operands) {
                const auto d = detail::gemm_blocking(m, n, m % 2 == 0 ? 1000 : 100, threads, a, b, tile, caches);
                for (const Index v :
                     {d.mc, d.nc, d.kc, Index{d.pack_a}, Index{d.pack_b}, Index{d.own_b}, Index{d.one_panel}})
                  blockings.add(static_cast<double>(v));
              }
    for (const Index m : {0, 1, 2, 3, 7, 16, 74})
      for (const Index n : {0, 1, 2, 5, 16, 31, 74})
        for (const int threads : {1, 2, 3, 4, 7, 12, 64}) {
          const auto grid = detail::gemm_grid(threads, m, n, mr, nr);
          grids.add(static_cast<double>(grid.rows)).add(static_cast<double>(grid.cols));
        }
  }
  EXPECT_EQ(blockings.value(), 17679684174778679396U);
  EXPECT_EQ(grids.value(), 14497872247947009361U);
}

TEST(GemmEvenParts, CoverEverythingEvenly) {
  for (const Index count : {1, 13, 14, 15, 16, 512, 1023})
    for (const Index most : {1, 6, 14}) {
      const detail::EvenParts parts(count, most);
      EXPECT_EQ(parts.parts, (count + most - 1) / most);
      EXPECT_EQ(parts.first(0), 0);
      EXPECT_EQ(parts.first(parts.parts), count);
      for (Index i = 0; i < parts.parts; ++i) {
        EXPECT_LE(parts.size(i), most);
        EXPECT_GE(parts.size(i), count / parts.parts);
      }
    }
  EXPECT_EQ(detail::EvenParts(0, 14).parts, 0);
}

TEST(GemmGrid, UsesThreadsAndReadsLittle) {
  using detail::gemm_grid;
  const auto grid = [](int threads, Index m, Index n) {
    const auto g = gemm_grid(threads, m, n, 14, 32);
    return std::array<int, 2>{g.rows, g.cols};
  };
  EXPECT_EQ(grid(2, 80, 32), (std::array<int, 2>{2, 1}));
  EXPECT_EQ(grid(2, 74, 32), (std::array<int, 2>{2, 1}));
  // b is read once, not by both.
  EXPECT_EQ(grid(2, 2, 128), (std::array<int, 2>{1, 2}));
  EXPECT_EQ(grid(2, 1, 80), (std::array<int, 2>{1, 2}));
  EXPECT_EQ(grid(4, 2, 80), (std::array<int, 2>{1, 4}));
  // A tile more of a hundred is better than rows of c that are halved; of five it is not.
  EXPECT_EQ(grid(2, 293, 2), (std::array<int, 2>{2, 1}));
  EXPECT_EQ(grid(2, 5, 2), (std::array<int, 2>{1, 2}));
  EXPECT_EQ(grid(1, 5, 5), (std::array<int, 2>{1, 1}));
  EXPECT_EQ(grid(64, 1, 1), (std::array<int, 2>{1, 1}));
}

}  // namespace
}  // namespace tilewright
