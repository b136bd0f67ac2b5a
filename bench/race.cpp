// SPDX-License-Identifier: MIT
#include "bench/race.hpp"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "bench/roof.hpp"

namespace tilewright::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_of(const Call& call, long repetitions) {
  const auto start = Clock::now();
  for (long i = 0; i < repetitions; ++i) call();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Calls that take about `seconds`.
long calibrate(const Call& call, double seconds) {
  long n = 1;
  for (;;) {
    const double t = seconds_of(call, n);
    if (t >= seconds / 2 || n > (1L << 40))
      return std::max(1L, static_cast<long>(static_cast<double>(n) * seconds / std::max(t, 1e-9)));
    n = t < seconds / 100 ? n * 16 : n * 2;
  }
}

std::size_t registrations = 0;
std::string error;

constexpr double kSample = 2e-3;
constexpr int kLeastSamples = 7, kFewestSamples = 3;
constexpr double kLongBudget = 1.5;  // seconds; beyond, kFewestSamples must do
/// Before each sample, untimed calls for this long: waiting threads may sleep by now.
constexpr double kWarm = 2e-4;
constexpr double kBudget = 0.12;  // seconds of samples of ours; long calls get kLeastSamples

/// Waiting threads of an OpenMP runtime or of a BLAS spin for a while (OpenBLAS: 2^26 cycles); the next competitor must
/// not run against them.
void settle(int threads, bool own_threads) {
  if (threads > 1) std::this_thread::sleep_for(std::chrono::milliseconds(own_threads ? 50 : 3));
}

void warm(const Call& call, int threads) {
  if (threads == 1) return;
  const auto start = Clock::now();
  while (std::chrono::duration<double>(Clock::now() - start).count() < kWarm) call();
}

void run(benchmark::State& state, const Case& c, const std::function<Race()>& prepare) {
  set_isa(c.isa);
  set_num_threads(c.threads);
  omp_set_num_threads(c.threads);  // what a BLAS built with OpenMP listens to
  Race race = prepare();
  if (!race.error.empty()) {
    error = race.error;
    return state.SkipWithError(error.c_str());
  }
  const long ours_n = calibrate(race.ours, kSample);
  std::vector<long> peer_n;
  for (const Peer& peer : race.peers) peer_n.push_back(calibrate(peer.call, kSample));
  std::vector<double> peers(race.peers.size(), 1e300);
  double ours = 1e300, roof = 1e300;
  for (auto _ : state) {
    double total = 0;
    int samples = 0;
    while (samples < kFewestSamples || (total < kLongBudget && samples < kLeastSamples) ||
           (total < kBudget && samples < 40)) {
      settle(c.threads, false);
      warm(race.ours, c.threads);
      const double t = seconds_of(race.ours, ours_n);
      total += t;
      ++samples;
      ours = std::min(ours, t / static_cast<double>(ours_n));
      settle(c.threads, false);
      if (race.roof_seconds) roof = std::min(roof, race.roof_seconds());
      for (std::size_t i = 0; i < peers.size(); ++i) {
        settle(c.threads, false);
        warm(race.peers[i].call, c.threads);
        peers[i] = std::min(peers[i], seconds_of(race.peers[i].call, peer_n[i]) / static_cast<double>(peer_n[i]));
        settle(c.threads, race.peers[i].name.starts_with("openblas"));
      }
    }
    state.SetIterationTime(ours);
  }
  double peer = race.peer_seconds;
  for (std::size_t i = 0; i < peers.size(); ++i) {
    state.counters["vs_peer " + race.peers[i].name] = peers[i] / ours;
    if (peer > 0 && peers[i] >= peer) continue;
    peer = peers[i];
    race.peer_name = race.peers[i].name;
  }
  if (c.flops > 0)
    state.counters["FLOPS"] =
        benchmark::Counter(c.flops / ours, benchmark::Counter::kDefaults, benchmark::Counter::kIs1000);
  if (c.bytes > 0)
    state.counters["bytes_per_second"] =
        benchmark::Counter(c.bytes / ours, benchmark::Counter::kDefaults, benchmark::Counter::kIs1000);
  if (race.roof_seconds) state.counters["roof"] = roof / ours;
  if (!race.peer_name.empty()) {
    state.counters["vs_peer"] = peer / ours;
    state.SetLabel(race.peer_name);
  }
}

}  // namespace

const std::string& last_error() { return error; }

std::size_t registered() { return registrations; }

void add(const Case& c, std::function<Race()> prepare) {
  ++registrations;
  const std::string name =
      c.suite + "/" + std::string(to_string(c.isa)) + "/" + c.name + "/thr:" + std::to_string(c.threads);
  benchmark::RegisterBenchmark(name.c_str(), [c, prepare](benchmark::State& state) { run(state, c, prepare); })
      ->UseManualTime()
      ->Iterations(1)
      ->Unit(benchmark::kMicrosecond);
}

std::function<double()> compute_roof(const Case& c, double flops, int bytes) {
  return [c, flops, bytes] {
    double operations = 0;
    const double t = seconds_of([&] { operations += fma_burst(c.isa, bytes, c.threads); }, 4);
    return flops / operations * t;
  };
}

std::function<double()> stream_roof(const Case& c, int reads, int writes, Index n, bool in_place) {
  // A small array is moved faster by one thread than by a team, so both are tried.
  std::vector<std::pair<Call, long>> calls{{stream(reads, writes, n, 1, in_place), 0}};
  if (c.threads > 1) calls.push_back({stream(reads, writes, n, c.threads, in_place), 0});
  for (auto& [call, repetitions] : calls) repetitions = calibrate(call, kSample);
  return [calls] {
    double best = 1e300;
    for (const auto& [call, repetitions] : calls)
      best = std::min(best, seconds_of(call, repetitions) / static_cast<double>(repetitions));
    return best;
  };
}

std::vector<int>& thread_counts() {
  static std::vector<int> counts{1};
  return counts;
}

}  // namespace tilewright::bench
