// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>

#include "kernels/core/table.hpp"
#include "tests/support.hpp"

namespace tilewright {
namespace {

/// The known answers that come with the paper's reference implementation.
TEST(Philox, KnownAnswers) {
  using Counter = std::array<std::uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const std::uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}),
            (Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, FillsAgreeWithSingleNumbers) {
  const RandomStream stream{7, 9};
  std::vector<float> values(1003);
  fill_uniform(values, stream);
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], stream.uniform(i)) << i;
  EXPECT_GE(*std::ranges::min_element(values), 0);
  EXPECT_LT(*std::ranges::max_element(values), 1);
  EXPECT_NE(stream.bits(0), (RandomStream{7, 10}.bits(0)));
  EXPECT_NE(stream.bits(0), (RandomStream{8, 9}.bits(0)));
}

/// Every bit of seed, stream and index counts, and a number below a bound is made of 64 bits of its own.
TEST(Random, SeedsStreamsAndIndicesOf64Bits) {
  const std::uint64_t seed = 0x0123456789abcdef, number = 0xfedcba9876543210, block = 0x100000005;
  const RandomStream stream{seed, number};
  const auto words = philox4x32({0x5, 0x1, 0x76543210, 0xfedcba98}, {0x89abcdef, 0x01234567});
  for (std::uint64_t i = 0; i < 4; ++i) EXPECT_EQ(stream.bits(4 * block + i), words[i]);
  const std::uint64_t bound = std::uint64_t{1} << 63;  // below: the upper 63 of 64 bits
  EXPECT_EQ(stream.below(2 * block, bound), ((std::uint64_t{words[1]} << 32) | words[0]) >> 1);
  EXPECT_EQ(stream.below(2 * block + 1, bound), ((std::uint64_t{words[3]} << 32) | words[2]) >> 1);
  std::vector<float> values(70);
  fill_uniform(values, stream);
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], stream.uniform(i)) << i;
}

/// Counters beyond 32 bits, where the kernel's low halves wrap inside of a call.
TEST(Random, KernelsCountBeyond32Bits) {
  std::uint32_t words[4 * detail::kPhiloxUnit];
  const std::uint64_t first = 0x7fffffff8;
  detail::active_table().random.philox_blocks({5, 6}, first, detail::kPhiloxUnit, words);
  for (std::uint64_t b = 0; b < static_cast<std::uint64_t>(detail::kPhiloxUnit); ++b) {
    const auto want = philox4x32(
        {static_cast<std::uint32_t>(first + b), static_cast<std::uint32_t>((first + b) >> 32), 6, 0}, {5, 0});
    for (std::size_t i = 0; i < 4; ++i) ASSERT_EQ(words[4 * b + i], want[i]) << b << " " << i;
  }
}

TEST(Random, NormalHasItsMoments) {
  std::vector<float> values(1 << 18);
  fill_normal(values, {1, 2}, 3, 2);
  const auto n = static_cast<double>(values.size());
  double mean = 0, variance = 0, fourth = 0;
  for (const float v : values) mean += v / n;
  for (const float v : values) {
    const double z = (v - mean) / 2;
    variance += z * z / n;
    fourth += z * z * z * z / n;
  }
  // Four standard errors of each.
  EXPECT_NEAR(mean, 3, 4 * 2 / std::sqrt(n));
  EXPECT_NEAR(variance, 1, 4 * std::sqrt(2 / n));
  EXPECT_NEAR(fourth, 3, 4 * std::sqrt(96 / n));
}

TEST(Random, PermutationHasEveryNumberOnce) {
  std::vector<Index> order(1000), sorted(1000);
  fill_permutation(order, {5, 5});
  for (Index i = 0; i < 1000; ++i) sorted[static_cast<std::size_t>(i)] = i;
  EXPECT_NE(order, sorted);
  std::ranges::sort(order);
  EXPECT_EQ(order, sorted);
}

/// The same on every machine: no function of the C library takes part.
TEST(Random, BitsAreFixed) {
  std::vector<float> values(5000);
  test::Hash hash;
  fill_normal(values, {11, 3});
  hash.add(values);
  fill_uniform(values, {11, 4}, -2, 3);
  EXPECT_EQ(hash.add(values).value(), 3997154793090704899U);
}

}  // namespace
}  // namespace tilewright
