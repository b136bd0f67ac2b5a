// SPDX-License-Identifier: MIT
// How a benchmark is timed. Ours, the roof and the peers run in turn, so that whatever disturbs the machine disturbs
// all of them. A time alone means nothing on a shared machine: what is compared are ratios within one race.
#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <map>
#include <memory>
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
  double flops = 0;                          // per call; 0 when bytes tell the rate
  double bytes_read = 0, bytes_written = 0;  // per call, every operand met once
  double operations = 0;                     // on the roofline: flops, or a nominal count (streaming.hpp)
  int element_bytes = 4;
  double divisions = 0;  // of floats, where they are what counts; each with so many square roots
  int roots = 0;

  /// "gemm/avx512/f32/nn/m:64/n:64/k:64/thr:1"
  std::string full_name() const;
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
  std::vector<Peer> peers;
  /// Seconds of peers that run in programs of their own.
  std::map<std::string, double> elsewhere;
  /// Set instead when the operands are wrong, or the answer is.
  std::string error;
};

using Prepare = std::function<Race()>;

/// Ours and the roof, one right after the other, and the longer one of the probes around ours (quiet.hpp).
struct Sample {
  double seconds, roof_seconds, probe_seconds;
};

/// Repetitions between which operands stay where they are.
inline constexpr std::size_t kRepetitionsPerMemory = 3;

/// All that was seen of a case.
struct Result {
  Case of;
  std::vector<Sample> samples;
  std::map<std::string, double> peers;  // best seconds
  std::string error;

  double seconds() const;       // the best
  double roof_seconds() const;  // the best
  double roof() const { return roof_seconds() / seconds(); }
  double spread() const;  // the worst over the best, less 1
  /// The fastest peer; "" and 0 without peers.
  std::pair<std::string, double> best_peer() const;
  double vs_peer() const { return best_peer().second / seconds(); }
};

/// One case being measured: every few repetitions on operands in other memory, because it matters where pages lie.
class Measurement {
 public:
  Measurement(const Case& c, const Prepare& prepare) : case_(c), prepare_(prepare) { result_.of = c; }
  /// One repetition: every competitor once. False when the answer is wrong.
  bool repeat();
  const Result& result() const { return result_; }

 private:
  void set_up();
  const Case& case_;
  const Prepare& prepare_;
  Race race_;
  std::vector<Race> before_;  // kept, so that the next one gets other memory
  long ours_calls_ = 1;
  std::vector<long> peer_calls_;
  Result result_;
};

/// A case and how to set it up. Longer calls get fewer repetitions.
struct Entry {
  Case of;
  Prepare prepare;
  int repetitions() const;
};

/// Adds a case to entries() and registers it with Google Benchmark, unless it is not wanted. Counters of a repetition:
/// FLOPS or bytes_per_second, roof (the roof's time over ours), AI (operations per byte), probe_ns (quiet.hpp), vs_peer
/// and one for each peer (its time over ours).
void add(const Case& c, Prepare prepare);
std::vector<Entry>& entries();
/// Set before cases are added: whether a full name is wanted.
std::function<bool(const std::string&)>& wanted();
/// Of every case that was measured, in order.
std::vector<Result>& results();

/// Whether peers run, too.
bool& with_peers();

/// Slows ours down by a factor in cases whose name has the text in it: for trying the regression guard.
struct PlantedSlowdown {
  std::string where;
  double factor = 1;
};
PlantedSlowdown& planted_slowdown();

/// The roof of `flops` operations on elements of `bytes` bytes.
std::function<double()> compute_roof(const Case& c, double flops, int bytes);
/// The roof of a call that reads and writes so many arrays of n floats.
std::function<double()> stream_roof(const Case& c, int reads, int writes, Index n, bool in_place = false);

/// The roof of so many divisions of floats with so many square roots each.
std::function<double()> divide_roof(const Case& c);

/// The instruction sets that are measured, slowest first: what the CPU has, up to TILEWRIGHT_ISA.
std::span<const Isa> raced_isas();

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
