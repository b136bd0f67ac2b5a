// SPDX-License-Identifier: MIT
// The regression guard: what got slower since another run's JSON was written.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bench/race.hpp"

namespace tilewright::bench {

/// The samples of every case by full name; only quotients of their times count.
using Baseline = std::map<std::string, std::vector<Sample>>;

/// From Google Benchmark's JSON. Throws FileError naming the file.
Baseline read_baseline(const std::string& path);

struct Verdict {
  std::string name;
  double ratio = 1;  // median of now over median of then; above 1 is slower
  double p = 1;      // of a difference this clear by chance alone, in the direction of `ratio`
  bool slower = false, faster = false;
};

/// Compares results() with the baseline. Whatever looks slower is measured some more, on operands in other memory.
std::vector<Verdict> compare(const Baseline& before);

/// Prints the verdicts; returns how many are slower.
std::size_t print(const std::vector<Verdict>& verdicts);

}  // namespace tilewright::bench
