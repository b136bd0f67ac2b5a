// SPDX-License-Identifier: MIT
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "kernels/core/table.hpp"
#include "tests/support.hpp"

namespace tilewright {
namespace {

using test::message_of;

/// Registers of 16, 32, 64 and 16 bytes: what only code compiled for the ISA can have.
int lanes_of(Isa isa) { return isa == Isa::avx512 ? 16 : isa == Isa::avx2 ? 8 : 4; }

/// Before any test has called set_isa.
const std::string kReasonAtStart = isa_reason();

TEST(Isa, ForcedOneRuns) {
  const char* wish = std::getenv("TILEWRIGHT_ISA");
  const Isa expected = wish == nullptr ? available_isas().back() : isa_from_string(wish).value();
  EXPECT_EQ(active_isa(), expected);
  EXPECT_EQ(detail::active_table().gemm_f32->lanes, lanes_of(expected));
  EXPECT_EQ(kReasonAtStart, wish == nullptr ? "best of this CPU" : "TILEWRIGHT_ISA=" + std::string(wish));
  // One fused step: (1 + 2^-23)^2 - 1 keeps its last bit only when the product is not rounded.
  const float a = 1 + 0x1p-23F;
  Matrix<float> x(1, 2), y(2, 1), z(1, 1);
  x(0, 0) = -1, x(0, 1) = a, y(0, 0) = 1, y(1, 0) = a;
  gemm(x, y, z);
  EXPECT_EQ(z(0, 0), expected == Isa::sse2 ? 0x1p-22F : 0x1p-22F + 0x1p-46F);
}

/// As the suite itself says where it is asked for such an ISA (main.cpp).
TEST(Isa, OneThatIsMissingIsSaid) {
  if (test::kEmulated) GTEST_SKIP() << "starts this program again";
  const std::string missing = available_isas().back() == Isa::neon ? "avx2" : "neon";
  const std::string program = std::filesystem::read_symlink("/proc/self/exe");
  std::FILE* said = popen(("TILEWRIGHT_ISA=" + missing + " '" + program + "'").c_str(), "r");
  ASSERT_NE(said, nullptr);
  char line[200] = "";
  EXPECT_NE(std::fgets(line, sizeof line, said), nullptr);
  pclose(said);
  EXPECT_EQ(line, "TILEWRIGHT_ISA=" + missing + " is not available here: skipped\n");
}

/// Run by ./dev test on emulated CPUs, whose best ISA is known.
TEST(Isa, BestOfThisCpu) {
  const char* expected = std::getenv("TILEWRIGHT_EXPECT_ISA");
  if (expected == nullptr) GTEST_SKIP() << "TILEWRIGHT_EXPECT_ISA is not set";
  EXPECT_EQ(to_string(available_isas().back()), expected);
  EXPECT_EQ(to_string(active_isa()), expected);
}

TEST(Isa, SetAndNames) {
  const Isa before = active_isa();
  for (const Isa isa : available_isas()) {
    set_isa(isa);
    EXPECT_EQ(active_isa(), isa);
    EXPECT_EQ(detail::active_table().gemm_f32->lanes, lanes_of(isa));
    EXPECT_EQ(isa_from_string(to_string(isa)), isa);
    EXPECT_EQ(isa_reason(), "set_isa");
  }
  EXPECT_EQ(isa_from_string("avx1024"), std::nullopt);
#if defined(__x86_64__)
  EXPECT_EQ(message_of<ValueError>([] { set_isa(Isa::neon); }), "set_isa: neon is not available here");
#else
  EXPECT_EQ(message_of<ValueError>([] { set_isa(Isa::avx2); }), "set_isa: avx2 is not available here");
#endif
  set_isa(before);
}

TEST(Threads, CountIsCheckedAndKept) {
  const int before = num_threads();
  EXPECT_GE(before, 1);
  set_num_threads(3);
  EXPECT_EQ(num_threads(), 3);
  set_num_threads(0);
  EXPECT_EQ(num_threads(), before);
  EXPECT_EQ(message_of<ValueError>([] { set_num_threads(-1); }),
            "set_num_threads: num_threads is -1, expected 0..1024");
  EXPECT_EQ(message_of<ValueError>([] { set_num_threads(1025); }),
            "set_num_threads: num_threads is 1025, expected 0..1024");
}

}  // namespace
}  // namespace tilewright
