// SPDX-License-Identifier: MIT
#include "bench/race.hpp"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <thread>

#include "bench/quiet.hpp"

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

/// Of every competitor in a repetition.
constexpr double kSample = 2e-3;
constexpr int kRepetitions = 9, kFewRepetitions = 5;
/// A call that takes longer than this is repeated kFewRepetitions times only.
constexpr double kLongCall = 0.05;
/// Operands beyond this are set up once: pages lie everywhere anyway.
constexpr double kLargeBytes = 64e6;
/// Before each sample on several threads, untimed calls for this long: waiting threads may sleep by now, and Linux puts
/// a thread that wakes beside the one that woke it, on a core that is busy, when cores were mostly busy of late. It
/// moves it after some milliseconds.
constexpr double kWarm = 5e-3;

/// Seconds that all threads of this process have run.
double process_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// After a peer: waiting threads of an OpenMP runtime or of a BLAS spin for a while (GCC's some 4 ms, OpenBLAS's 100),
/// and the next competitor must not run against them.
void settle(int threads) {
  constexpr int kMostLooks = 100;
  for (int i = 0; threads > 1 && i < kMostLooks; ++i) {
    const double before = process_seconds();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (process_seconds() - before < 5e-4) return;
  }
}

double sample(const Call& call, long calls, int threads) {
  if (threads > 1)
    for (const auto start = Clock::now(); std::chrono::duration<double>(Clock::now() - start).count() < kWarm;) call();
  return seconds_of(call, calls) / static_cast<double>(calls);
}

/// The call, and then nothing for a share of its time.
Call slowed(Call call, double factor) {
  return [call = std::move(call), factor] {
    const auto start = Clock::now();
    call();
    const auto end = start + (Clock::now() - start) * factor;
    while (Clock::now() < end) {
    }
  };
}

void report(benchmark::State& state, const Result& r, const std::map<std::string, double>& peers) {
  using benchmark::Counter;
  const Case& c = r.of;
  const double seconds = r.samples.back().seconds, bytes = c.bytes_read + c.bytes_written;
  state.SetIterationTime(seconds);
  if (c.flops > 0)
    state.counters["FLOPS"] = Counter(c.flops / seconds, Counter::kDefaults, Counter::kIs1000);
  else
    state.counters["bytes_per_second"] = Counter(bytes / seconds, Counter::kDefaults, Counter::kIs1000);
  if (bytes > 0) state.counters["AI"] = c.operations / bytes;
  state.counters["roof"] = r.samples.back().roof_seconds / seconds;
  state.counters["probe_ns"] = 1e9 * r.samples.back().probe_seconds;
  double best = 0;
  for (const auto& [name, time] : peers) {
    state.counters["vs_peer " + name] = time / seconds;
    if (best != 0 && time >= best) continue;
    best = time;
    state.SetLabel(name);
  }
  if (best > 0) state.counters["vs_peer"] = best / seconds;
}

/// What Google Benchmark calls once for each repetition.
class Benchmark {
 public:
  explicit Benchmark(std::size_t entry) : entry_(entry) {}

  void operator()(benchmark::State& state) {
    const Entry& entry = entries()[entry_];
    if (repetition_++ == 0) measurement_ = std::make_shared<Measurement>(entry.of, entry.prepare);
    const bool last = repetition_ == entry.repetitions();
    const bool right = measurement_->repeat();
    if (!right) state.SkipWithError(measurement_->result().error.c_str());
    for (auto _ : state)
      if (right) report(state, measurement_->result(), measurement_->result().peers);
    if (!last) return;
    results().push_back(measurement_->result());
    measurement_.reset();
    repetition_ = 0;
  }

 private:
  std::size_t entry_;
  int repetition_ = 0;
  std::shared_ptr<Measurement> measurement_;
};

}  // namespace

std::string Case::full_name() const {
  return suite + "/" + std::string(to_string(isa)) + "/" + name + "/thr:" + std::to_string(threads);
}

double Result::seconds() const { return std::ranges::min(samples, {}, &Sample::seconds).seconds; }

double Result::roof_seconds() const { return std::ranges::min(samples, {}, &Sample::roof_seconds).roof_seconds; }

double Result::spread() const { return std::ranges::max(samples, {}, &Sample::seconds).seconds / seconds() - 1; }

std::pair<std::string, double> Result::best_peer() const {
  std::pair<std::string, double> best{"", 0};
  for (const auto& [name, time] : peers)
    if (best.first.empty() || time < best.second) best = {name, time};
  return best;
}

void Measurement::set_up() {
  if (race_.ours) before_.push_back(std::move(race_));
  race_ = prepare_();
  if (!with_peers()) race_.peers.clear();
  result_.error = race_.error;
  if (!race_.error.empty()) return;
  const PlantedSlowdown& planted = planted_slowdown();
  if (planted.factor != 1 && case_.full_name().find(planted.where) != std::string::npos)
    race_.ours = slowed(race_.ours, planted.factor);
  ours_calls_ = calibrate(race_.ours, kSample);
  peer_calls_.clear();
  for (const Peer& peer : race_.peers) {
    peer_calls_.push_back(calibrate(peer.call, kSample));
    settle(case_.threads);
  }
  for (const auto& [name, time] : race_.elsewhere) result_.peers[name] = time;
}

bool Measurement::repeat() {
  set_isa(case_.isa);
  set_num_threads(case_.threads);
  omp_set_num_threads(case_.threads);  // what a BLAS built with OpenMP listens to
  const bool large = case_.bytes_read + case_.bytes_written > kLargeBytes || !race_.elsewhere.empty();
  if (!race_.ours || (!large && result_.samples.size() % kRepetitionsPerMemory == 0)) set_up();
  if (!result_.error.empty()) return false;
  double probe = 0, ignored = 0;
  const auto quietly = [&](const Call& call, long calls, double& seen) {
    return quiet().measured([&] { return sample(call, calls, case_.threads); }, case_.threads, seen);
  };
  const double ours = quietly(race_.ours, ours_calls_, probe);
  result_.samples.push_back({ours, quiet().measured(race_.roof_seconds, case_.threads, ignored), probe});
  for (std::size_t i = 0; i < race_.peers.size(); ++i) {
    const Peer& peer = race_.peers[i];
    const double t = quietly(peer.call, peer_calls_[i], ignored);
    const auto at = result_.peers.find(peer.name);
    if (at == result_.peers.end() || t < at->second) result_.peers[peer.name] = t;
    settle(case_.threads);
  }
  return true;
}

int Entry::repetitions() const {
  // Roughly, for an old core: it only has to tell milliseconds from seconds.
  constexpr double kFlops = 50e9, kBytes = 5e9;
  const double seconds = of.flops / kFlops + (of.flops > 0 ? 0 : (of.bytes_read + of.bytes_written) / kBytes);
  return seconds > kLongCall ? kFewRepetitions : kRepetitions;
}

void add(const Case& c, Prepare prepare) {
  const std::string name = c.full_name();
  if (wanted() && !wanted()(name)) return;
  entries().push_back({c, std::move(prepare)});
  benchmark::RegisterBenchmark(name.c_str(), Benchmark(entries().size() - 1))
      ->UseManualTime()
      ->Iterations(1)
      ->Repetitions(entries().back().repetitions())
      ->Unit(benchmark::kNanosecond);
}

std::vector<Entry>& entries() {
  static std::vector<Entry> all;
  return all;
}

std::function<bool(const std::string&)>& wanted() {
  static std::function<bool(const std::string&)> is_wanted;
  return is_wanted;
}

std::vector<Result>& results() {
  static std::vector<Result> all;
  return all;
}

bool& with_peers() {
  static bool are_wanted = true;
  return are_wanted;
}

PlantedSlowdown& planted_slowdown() {
  static PlantedSlowdown planted;
  return planted;
}

namespace {
/// Seconds of `work` at the best rate of some bursts, each of which says how much it did.
template <class Burst>
double seconds_at_best(double work, const Burst& burst) {
  double best = 0;
  for (int i = 0; i < 10; ++i) {  // some milliseconds
    double done = 0;
    const double t = seconds_of([&] { done = burst(); }, 1);
    best = std::max(best, done / t);
  }
  return work / best;
}
}  // namespace

std::function<double()> compute_roof(const Case& c, double flops, int bytes) {
  return [c, flops, bytes] { return seconds_at_best(flops, [&] { return roof::multiply_add(bytes, c.threads); }); };
}

std::function<double()> divide_roof(const Case& c) {
  return [c] { return seconds_at_best(c.divisions, [&] { return roof::divide(c.roots, c.threads); }); };
}

std::function<double()> stream_roof(const Case& c, int reads, int writes, Index n, bool in_place) {
  // Floats between the beginnings of arrays, relative to their pages: so that a store never looks like one of the
  // loads.
  constexpr Index kShift = 272;
  const auto arrays = std::make_shared<std::vector<Matrix<float>>>();
  for (int i = 0; i < (in_place ? reads : reads + writes); ++i) {
    arrays->emplace_back(1, n + 4 * kShift);
    std::ranges::fill(arrays->back().span(), 0.5F);
  }
  // A small array is moved faster by one thread than by a team, so both are tried.
  std::vector<int> teams{1};
  if (c.threads > 1) teams.push_back(c.threads);
  const auto call = [=](int threads) {
    float* p[4] = {};
    for (std::size_t i = 0; i < arrays->size(); ++i) p[i] = (*arrays)[i].data() + static_cast<Index>(i) * kShift;
    if (in_place && writes == 1) p[reads] = p[0];  // where the loop writes
    roof::stream(reads, writes, p, n, threads);
  };
  std::vector<long> calls;
  for (const int threads : teams) calls.push_back(calibrate([=] { call(threads); }, kSample));
  return [=] {
    double best = 1e300;
    for (std::size_t i = 0; i < teams.size(); ++i)
      best = std::min(best, sample([&] { call(teams[i]); }, calls[i], teams[i]));
    return best;
  };
}

std::span<const Isa> raced_isas() {
  static const std::span<const Isa> raced = [] {
    const auto all = available_isas();
    return all.first(static_cast<std::size_t>(std::ranges::find(all, active_isa()) - all.begin()) + 1);
  }();
  return raced;
}

std::vector<int>& thread_counts() {
  static std::vector<int> counts{1};
  return counts;
}

}  // namespace tilewright::bench
