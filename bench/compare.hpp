// SPDX-License-Identifier: MIT
// The regression guard: what got slower since another run's JSON was written.
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "bench/race.hpp"

namespace tilewright::bench {

/// Another run: the samples of every case by full name, and the shortest probe (quiet.hpp).
struct Baseline {
  std::map<std::string, std::vector<Sample>> samples;
  double probe_seconds = INFINITY;
};

/// From Google Benchmark's JSON. Tells quiet() how long its probe took then. Throws FileError naming the file.
Baseline read_baseline(const std::string& path);

struct Verdict {
  std::string name;
  bool busy = false;  // too few measurements on quiet cores: not compared
  double ratio = 1;   // median of now over median of then; above 1 is slower
  double p = 1;       // of a difference this clear by chance alone, in the direction of `ratio`
  bool slower = false, faster = false;
};

/// Compares results() with the baseline. Whatever looks slower is measured some more, on operands in other memory.
std::vector<Verdict> compare(const Baseline& before);

/// Asks new processes about what is called slower: this program again with `arguments`, a filter of Google Benchmark's,
/// and "--once". One that does not call it slower clears it: times of tiny calls differ from process to process.
void ask_again(std::vector<Verdict>& verdicts, const std::vector<std::string>& arguments);

/// Prints the verdicts; returns how many are slower.
std::size_t print(const std::vector<Verdict>& verdicts);

}  // namespace tilewright::bench
