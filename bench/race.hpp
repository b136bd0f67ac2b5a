// SPDX-License-Identifier: MIT
// How a benchmark is timed. Ours, the roof and the peer run in turn, so that whatever disturbs the machine disturbs all
// of them; the best of many samples counts. A time alone means nothing on a shared machine: the counters are ratios
// within one race.
#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <string>
#include <vector>

#include "tilewright/tilewright.hpp"

namespace tilewright::bench {

using Call = std::function<void()>;

struct Case {
  std::string suite;  // gemm, map, rows, loss, update, train
  std::string name;   // "f32/nn/m:64/n:64/k:64"
  Isa isa;
  int threads;
  double flops = 0;  // per call; 0 when bytes tell the rate
  double bytes = 0;
};

/// The same work by somebody else.
struct Peer {
  std::string name;
  Call call;
};

/// What stands against each other. Everything is set up, and its answer checked, by the time a Race exists.
struct Race {
  Call ours;
  /// Runs the bounding resource for a while and says what one call of ours would need at that speed.
  std::function<double()> roof_seconds;
  /// Calls to race against; the best of them counts.
  std::vector<Peer> peers;
  /// Or the time of a peer that runs in a program of its own.
  double peer_seconds = 0;
  std::string peer_name;
  /// Set instead when the operands are wrong, or the answer is.
  std::string error;
};

/// Registers a benchmark that sets `case.isa`, prepares and runs the race. Counters: FLOPS or bytes_per_second, roof
/// (the bounding roof's time over ours), vs_peer (the peer's time over ours) with the peer's name as label.
void add(const Case& c, std::function<Race()> prepare);

/// Why the last race that did not run did not.
const std::string& last_error();

/// How many benchmarks add() has registered.
std::size_t registered();

/// The roof of `flops` operations on elements of `bytes` bytes.
std::function<double()> compute_roof(const Case& c, double flops, int bytes);
/// The roof of a call that reads and writes so many arrays of n floats.
std::function<double()> stream_roof(const Case& c, int reads, int writes, Index n, bool in_place = false);

/// 1, 2, 4 ... up to the limit, which is set before the suites are added.
std::vector<int>& thread_counts();

/// full: every shape of the yardstick instead of a selection.
void add_gemm(bool full);
void add_map(bool full);
void add_rows(bool full);
void add_loss(bool full);
void add_update(bool full);
void add_train(bool full);

}  // namespace tilewright::bench
