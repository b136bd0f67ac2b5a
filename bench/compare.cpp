// SPDX-License-Identifier: MIT
#include "bench/compare.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/u_test.hpp"

namespace tilewright::bench {
namespace {

/// A difference counts when it is larger than this, and so unlikely by chance. What is measured in the core's own
/// caches repeats within 3 % as a rule (10 % were seen); what lives in the cache that all cores and other guests of the
/// machine share does not: products of such size differed by up to 12 % between runs of one program, streams by up to
/// 33 %.
constexpr double kLeastChange = 0.07, kLeastChangeOfProducts = 0.15, kLeastChangeOfStreams = 0.35;
constexpr double kMostChance = 0.02;
/// What looks this much slower at first is measured so many times more, and all measurements count together.
constexpr double kSuspicious = 0.03;
constexpr int kMoreMeasurements = 4;

double least_change(const Case& c) {
  const double own = static_cast<double>(machine().l2_bytes) * c.threads;
  if (c.bytes_read + c.bytes_written <= own / 2) return kLeastChange;  // fuller, it depends on which pages it got
  return c.flops > 0 ? kLeastChangeOfProducts : kLeastChangeOfStreams;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/// Of each run of repetitions on the same memory: the best time over the best of the roof's.
std::vector<double> normalised(const std::vector<Sample>& samples) {
  std::vector<double> all;
  for (std::size_t first = 0; first < samples.size(); first += kRepetitionsPerMemory) {
    Sample best = samples[first];
    for (std::size_t i = first; i < std::min(first + kRepetitionsPerMemory, samples.size()); ++i) {
      best.seconds = std::min(best.seconds, samples[i].seconds);
      best.roof_seconds = std::min(best.roof_seconds, samples[i].roof_seconds);
    }
    all.push_back(best.seconds / best.roof_seconds);
  }
  return all;
}

Verdict judge(const Case& c, const std::vector<double>& before, const std::vector<double>& now) {
  Verdict v{c.full_name(), median(now) / median(before), 1};
  v.p = v.ratio >= 1 ? u_test(before, now) : u_test(now, before);
  const double least = 1 + least_change(c);
  v.slower = v.p < kMostChance && v.ratio > least;
  v.faster = v.p < kMostChance && v.ratio < 1 / least;
  return v;
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
      const double time = b.at("real_time");
      all[name.substr(0, end)].push_back({time, time * b.at("roof").get<double>()});
    }
  } catch (const nlohmann::json::exception& error) {
    throw FileError("bench: " + path + ": " + error.what());
  }
  if (all.empty()) throw FileError("bench: " + path + ": no benchmarks of this program");
  return all;
}

std::vector<Verdict> compare(const Baseline& before) {
  std::vector<Verdict> verdicts;
  for (const Result& r : results()) {
    const auto then = before.find(r.of.full_name());
    if (then == before.end() || !r.error.empty()) continue;
    std::vector<double> now = normalised(r.samples);
    const std::vector<double> before_that = normalised(then->second);
    Verdict v = judge(r.of, before_that, now);
    if (v.ratio > 1 + kSuspicious) {
      std::fprintf(stderr, "%s looks %.0f %% slower: measured again\n", v.name.c_str(), 100 * (v.ratio - 1));
      const auto entry = std::ranges::find_if(entries(), [&](const Entry& e) { return e.of.full_name() == v.name; });
      for (int i = 0; i < kMoreMeasurements; ++i) {
        Measurement again(entry->of, entry->prepare);
        for (int k = 0; k < entry->repetitions(); ++k) again.repeat();
        const std::vector<double> more = normalised(again.result().samples);
        now.insert(now.end(), more.begin(), more.end());
      }
      v = judge(r.of, before_that, now);
    }
    verdicts.push_back(v);
  }
  return verdicts;
}

std::size_t print(const std::vector<Verdict>& verdicts) {
  std::size_t slower = 0, faster = 0;
  for (const Verdict& v : verdicts) {
    slower += v.slower;
    faster += v.faster;
    if (v.slower || v.faster)
      std::printf("%-64s %s by %.1f %% (p = %.2g)\n", v.name.c_str(), v.slower ? "SLOWER" : "faster",
                  100 * std::fabs(v.ratio - 1), v.p);
  }
  std::printf("\n%zu cases compared: %zu slower, %zu faster, the others alike as far as can be told\n", verdicts.size(),
              slower, faster);
  return slower;
}

}  // namespace tilewright::bench
