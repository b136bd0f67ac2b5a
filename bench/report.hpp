// SPDX-License-Identifier: MIT
// What a run has seen, for people: one HTML file that needs no network, and Markdown.
#pragma once

#include <string>
#include <vector>

#include "bench/race.hpp"

namespace tilewright::bench {

/// What else went on, from construction to seen().
class Noise {
 public:
  Noise();
  struct Seen {
    double others = 0, steal = 0;  // shares of all processors
    double load = 0;               // before
    double busy_samples = 0;       // taken while somebody else was on our cores (quiet.hpp), as a share
    std::string governor, verdict;
  };
  Seen seen() const;

 private:
  struct Ticks {
    double all = 0, busy = 0, steal = 0, own = 0;
  };
  static Ticks now();
  Ticks before_;
  double load_ = 0;
};

/// Handing `threads` parts to the pool and waiting for them.
struct SectionCost {
  int threads;
  double hot, cold;  // seconds: threads awake; asleep
};

struct MachineReport {
  std::vector<Roofs> roofs;  // of every ISA that is measured and every number of threads
  std::vector<SectionCost> sections;
};

/// Takes some 0.3 s for each ISA and number of threads.
MachineReport measure_machine(const std::vector<Isa>& isas);

/// "compute", "L1" ... "memory", or "latency".
std::string bound_of(const Result& r, const std::vector<Roofs>& roofs);

/// Seconds that a case takes on `threads` threads, from its time on one: see kModel.
double predicted_seconds(const Result& one, int threads, const MachineReport& machine);
extern const char* const kModel;

/// Writes BASE.html and BASE.md.
void write_report(const std::string& base, const std::vector<Result>& results, const MachineReport& machine,
                  const Noise::Seen& noise);

}  // namespace tilewright::bench
