// SPDX-License-Identifier: MIT
// Every operation of the catalogue: what it reads and writes, and what it says to mistakes.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <thread>

#include "tests/calls.hpp"
#include "tests/support.hpp"

namespace tilewright::test {
namespace {

using Pages = std::vector<std::unique_ptr<FencedPages>>;

/// How many calls: TILEWRIGHT_CALLS, or a number for everyday.
std::uint64_t calls(std::uint64_t everyday) {
  const char* text = std::getenv("TILEWRIGHT_CALLS");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : kEmulated ? everyday / 10 : everyday;
}

const CatalogueEntry& entry_of(std::uint64_t seed) { return catalogue()[seed % catalogue().size()]; }

std::string title(std::uint64_t seed, const Operands& operands) {
  std::string text = std::string(entry_of(seed).name) + ", seed " + std::to_string(seed) + ":";
  for (const Operand& o : operands.operands())
    text += " " + o.name + " " + std::to_string(o.rows) + "x" + std::to_string(o.cols) + " (" +
            std::to_string(o.row_stride) + ", " + std::to_string(o.col_stride) + ")";
  return text;
}

TEST(Calls, TouchOnlyTheirOperandsAndDependOnNothingElse) {
  Pages pages;
  const std::uint64_t count = calls(20000);
  for (std::uint64_t seed = 0; seed < count; ++seed) {
    Operands plain(seed, Operands::Placement::tight, pages);
    entry_of(seed).make(plain);
    const std::uint64_t want = plain.hash();
    Operands scattered(seed, Operands::Placement::scattered, pages);
    scattered.set_threads(seed % 3 == 0 ? 3 : 1);
    entry_of(seed).make(scattered);
    ASSERT_EQ(scattered.damage(), "") << title(seed, scattered);
    ASSERT_EQ(scattered.hash(), want) << title(seed, scattered);
  }
}

}  // namespace
}  // namespace tilewright::test
