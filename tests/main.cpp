// SPDX-License-Identifier: MIT
// Runs the suite on the ISA that TILEWRIGHT_ISA names. Ends with 77 (skipped) when this machine does not have it, so
// that nobody takes a fallback for a pass. Calls are cut into as many parts as tests ask for, whatever the machine has.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "tests/support.hpp"
#include "tilewright/isa.hpp"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (const char* wish = std::getenv("TILEWRIGHT_ISA")) {
    const auto isa = tilewright::isa_from_string(wish);
    const auto have = tilewright::available_isas();
    if (isa && std::find(have.begin(), have.end(), *isa) == have.end()) {
      std::printf("%s: skipped\n", tilewright::isa_reason().c_str());
      return 77;
    }
  }
  tilewright::test::Uncapped uncapped(tilewright::executor());
  tilewright::set_executor(&uncapped);
  return RUN_ALL_TESTS();
}
