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

/// A difference counts when it is larger than this and this unlikely by chance. Nine repetitions against nine that are
/// all slower have p = 2e-5; on an unchanged build, layout and neighbours move medians by 2 to 4 % (docs/profiling.md).
constexpr double kLeastChange = 0.06, kMostChance = 0.005;
/// How often what looks slower is measured again.
constexpr int kConfirmations = 3;

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

std::vector<double> normalised(const Result& r) {
  std::vector<double> all;
  for (const Sample& s : r.samples) all.push_back(s.normalised());
  return all;
}

Verdict judge(const std::string& name, const std::vector<double>& before, const std::vector<double>& now) {
  Verdict v{name, median(now) / median(before), 1};
  v.p = v.ratio >= 1 ? u_test(before, now) : u_test(now, before);
  const bool clear = v.p < kMostChance;
  v.slower = clear && v.ratio > 1 + kLeastChange;
  v.faster = clear && v.ratio < 1 / (1 + kLeastChange);
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
      all[name.substr(0, end)].push_back(1 / b.at("roof").get<double>());
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
    Verdict v = judge(then->first, then->second, normalised(r));
    const auto entry = std::ranges::find_if(entries(), [&](const Entry& e) { return e.of.full_name() == then->first; });
    for (int i = 0; v.slower && i < kConfirmations; ++i) {
      std::fprintf(stderr, "%s looks %.0f %% slower: measured again\n", v.name.c_str(), 100 * (v.ratio - 1));
      Measurement again(entry->of, entry->prepare);
      for (int k = 0; k < entry->repetitions(); ++k) again.repeat();
      const Verdict second = judge(v.name, then->second, normalised(again.result()));
      if (second.ratio < v.ratio) v = second;
      v.slower = second.slower;
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
  std::printf("\n%zu cases compared: %zu slower, %zu faster, the others within %.0f %% or not distinguishable\n",
              verdicts.size(), slower, faster, 100 * kLeastChange);
  return slower;
}

}  // namespace tilewright::bench
