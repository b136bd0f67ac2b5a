// SPDX-License-Identifier: MIT
#include "bench/race.hpp"

#include <dlfcn.h>
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
constexpr int kLeastSamples = 7;
constexpr double kBudget = 0.12;  // seconds of samples of ours; long calls get kLeastSamples

/// Waiting threads of an OpenMP runtime or of a BLAS spin for a while (OpenBLAS: 2^26 cycles); the next competitor must
/// not run against them.
void settle(int threads, bool blas) {
  if (threads > 1) std::this_thread::sleep_for(std::chrono::milliseconds(blas ? 30 : 3));
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
  const long peer_n = race.peer ? calibrate(race.peer, kSample) : 0;
  double ours = 1e300, roof = 1e300, peer = race.peer ? 1e300 : race.peer_seconds;
  for (auto _ : state) {
    double total = 0;
    int samples = 0;
    while (samples < kLeastSamples || (total < kBudget && samples < 40)) {
      const double t = seconds_of(race.ours, ours_n);
      total += t;
      ++samples;
      ours = std::min(ours, t / static_cast<double>(ours_n));
      settle(c.threads, false);
      if (race.roof_seconds) roof = std::min(roof, race.roof_seconds());
      if (race.peer) {
        settle(c.threads, false);
        peer = std::min(peer, seconds_of(race.peer, peer_n) / static_cast<double>(peer_n));
        settle(c.threads, true);
      }
    }
    state.SetIterationTime(ours);
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

std::function<double()> stream_roof(const Case& c, int reads, int writes, Index n) {
  // A small array is moved faster by one thread than by a team, so both are tried.
  std::vector<std::pair<Call, long>> calls{{stream(reads, writes, n, 1), 0}};
  if (c.threads > 1) calls.push_back({stream(reads, writes, n, c.threads), 0});
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

const Blas* openblas() {
  static const Blas blas = [] {
    Blas b{};
    void* library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return b;
    b.sgemm = reinterpret_cast<decltype(b.sgemm)>(dlsym(library, "cblas_sgemm"));
    b.dgemm = reinterpret_cast<decltype(b.dgemm)>(dlsym(library, "cblas_dgemm"));
    b.set_threads = reinterpret_cast<decltype(b.set_threads)>(dlsym(library, "openblas_set_num_threads"));
    const auto core = reinterpret_cast<char* (*)()>(dlsym(library, "openblas_get_corename"));
    b.name = std::string("openblas ") + (core != nullptr ? core() : "");
    return b;
  }();
  return blas.sgemm != nullptr && blas.dgemm != nullptr && blas.set_threads != nullptr ? &blas : nullptr;
}

}  // namespace tilewright::bench
