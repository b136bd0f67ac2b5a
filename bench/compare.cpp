// SPDX-License-Identifier: MIT
#include "bench/compare.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/quiet.hpp"
#include "bench/u_test.hpp"

namespace tilewright::bench {
namespace {

/// A difference counts when it is larger than this, and so unlikely by chance. What is measured in the core's own
/// caches repeats within 3 % as a rule; what lives in the cache that all cores and other guests of the machine share
/// does not: products of such size differed by up to 12 % between runs of one program, streams by up to 33 %.
constexpr double kLeastChange = 0.07, kLeastChangeOfProducts = 0.15, kLeastChangeOfStreams = 0.35;
constexpr double kMostChance = 0.02;
/// What looks this much slower at first is measured so many times more, and all measurements count together.
constexpr double kSuspicious = 0.03;
constexpr int kMoreMeasurements = 4;
/// Less than measurements on so many different pieces of memory, on quiet cores, are no judgement.
constexpr std::size_t kLeastMemories = 2;
/// New processes that must all say so, too.
constexpr int kMoreProcesses = 3;

/// Operands fill at most half of the cores' own caches: fuller, it depends on which pages they got.
bool is_in_own_caches(const Case& c) {
  return c.bytes_read + c.bytes_written <= static_cast<double>(machine().l2_bytes) * c.threads / 2;
}

double least_change(const Case& c) {
  return is_in_own_caches(c) ? kLeastChange : c.flops > 0 ? kLeastChangeOfProducts : kLeastChangeOfStreams;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/// All samples of a run, and its shortest probe.
struct Samples {
  const std::vector<Sample>& all;
  double probe_seconds;
};

/// Of each few repetitions on the same memory, as far as the cores were quiet, the best time: over the run's shortest
/// probe, which knows the clock, or beyond the core's own caches over the best time of the roof.
std::vector<double> normalised(const Case& c, const Samples& samples) {
  std::vector<double> result;
  for (std::size_t first = 0; first < samples.all.size(); first += kRepetitionsPerMemory) {
    double seconds = INFINITY, roof_seconds = INFINITY;
    for (std::size_t i = first; i < std::min(first + kRepetitionsPerMemory, samples.all.size()); ++i) {
      const Sample& s = samples.all[i];
      if (!quiet().is_quiet(s.probe_seconds)) continue;
      seconds = std::min(seconds, s.seconds);
      roof_seconds = std::min(roof_seconds, s.roof_seconds);
    }
    if (seconds < INFINITY) result.push_back(seconds / (is_in_own_caches(c) ? samples.probe_seconds : roof_seconds));
  }
  return result;
}

Verdict judge(const Case& c, const std::vector<double>& before, const std::vector<double>& now) {
  Verdict v{c.full_name()};
  if (now.size() < kLeastMemories || before.size() < kLeastMemories) {
    v.busy = true;
    return v;
  }
  v.ratio = median(now) / median(before);
  v.p = v.ratio >= 1 ? u_test(before, now) : u_test(now, before);
  const double least = 1 + least_change(c);
  v.slower = v.p < kMostChance && v.ratio > least;
  v.faster = v.p < kMostChance && v.ratio < 1 / least;
  return v;
}

/// This program with other arguments, in silence; its exit status, or -1.
int run_again(std::vector<std::string> arguments) {
  std::vector<char*> argv;
  for (std::string& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t quietly;
  posix_spawn_file_actions_init(&quietly);
  for (const int stream : {STDOUT_FILENO, STDERR_FILENO})
    posix_spawn_file_actions_addopen(&quietly, stream, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int failed = posix_spawn(&child, "/proc/self/exe", &quietly, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&quietly);
  int status = 0;
  if (failed != 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

}  // namespace

Baseline read_baseline(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw FileError("bench: " + path + ": cannot be read");
  Baseline all;
  try {
    const auto data = nlohmann::json::parse(file);
    for (const auto& b : data.at("benchmarks")) {
      if (b.at("run_type") != "iteration" || !b.contains("roof")) continue;
      const std::string name = b.at("name");
      const auto at = name.find("/thr:");
      if (at == std::string::npos) continue;
      const auto end = name.find('/', at + 1);
      constexpr double kNanosecond = 1e-9;
      const double time = kNanosecond * b.at("real_time").get<double>(),
                   probe = kNanosecond * b.at("probe_ns").get<double>();
      all.samples[name.substr(0, end)].push_back({time, time * b.at("roof").get<double>(), probe});
      all.probe_seconds = std::min(all.probe_seconds, probe);
    }
  } catch (const nlohmann::json::exception& error) {
    throw FileError("bench: " + path + ": " + error.what());
  }
  if (all.samples.empty()) throw FileError("bench: " + path + ": no benchmarks of this program");
  quiet().expect(all.probe_seconds);
  return all;
}

std::vector<Verdict> compare(const Baseline& before) {
  std::vector<Verdict> verdicts;
  double probe = INFINITY;
  for (const Result& r : results())
    for (const Sample& s : r.samples) probe = std::min(probe, s.probe_seconds);
  for (const Result& r : results()) {
    const auto then = before.samples.find(r.of.full_name());
    if (then == before.samples.end() || !r.error.empty()) continue;
    std::vector<double> now = normalised(r.of, {r.samples, probe});
    const std::vector<double> before_that = normalised(r.of, {then->second, before.probe_seconds});
    Verdict v = judge(r.of, before_that, now);
    if (v.ratio > 1 + kSuspicious || v.busy) {
      std::fprintf(stderr, v.busy ? "%s met busy cores: measured again\n" : "%s looks %.0f %% slower: measured again\n",
                   v.name.c_str(), 100 * (v.ratio - 1));
      const auto entry = std::ranges::find_if(entries(), [&](const Entry& e) { return e.of.full_name() == v.name; });
      for (int i = 0; i < kMoreMeasurements; ++i) {
        Measurement again(entry->of, entry->prepare);
        for (int k = 0; k < entry->repetitions(); ++k) again.repeat();
        const std::vector<double> more = normalised(r.of, {again.result().samples, probe});
        now.insert(now.end(), more.begin(), more.end());
      }
      v = judge(r.of, before_that, now);
    }
    verdicts.push_back(v);
  }
  return verdicts;
}

void ask_again(std::vector<Verdict>& verdicts, const std::vector<std::string>& arguments) {
  for (Verdict& v : verdicts) {
    std::vector<std::string> all = arguments;
    all.insert(all.end(), {"--benchmark_filter=^" + v.name + "/", "--out", "", "--once"});
    for (int i = 0; v.slower && i < kMoreProcesses; ++i) {
      std::fprintf(stderr, "%s looks %.0f %% slower: asking a new process\n", v.name.c_str(), 100 * (v.ratio - 1));
      v.slower = run_again(all) != 0;
    }
  }
}

std::size_t print(const std::vector<Verdict>& verdicts) {
  std::size_t slower = 0, faster = 0, busy = 0;
  for (const Verdict& v : verdicts) {
    slower += v.slower;
    faster += v.faster;
    busy += v.busy;
    if (v.slower || v.faster)
      std::printf("%-64s %s by %.1f %% (p = %.2g)\n", v.name.c_str(), v.slower ? "SLOWER" : "faster",
                  100 * std::fabs(v.ratio - 1), v.p);
  }
  std::printf("\n%zu cases compared: %zu slower, %zu faster, the others alike as far as can be told\n",
              verdicts.size() - busy, slower, faster);
  if (busy > 0) std::printf("%zu cases not compared: somebody else was on the cores, now or then\n", busy);
  return slower;
}

}  // namespace tilewright::bench
