// SPDX-License-Identifier: MIT
// The machine beside the results: roofs, what threads cost, who else was there, and what more threads would give.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "bench/quiet.hpp"
#include "bench/report.hpp"

namespace tilewright::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double section_seconds(int threads) {
  const auto start = Clock::now();
  executor().run(
      threads, [](void*, int) {}, nullptr);
  return seconds_since(start);
}

SectionCost section_cost(int threads) {
  constexpr int kHot = 1001, kCold = 21;
  std::vector<double> hot(kHot), cold(kCold);
  section_seconds(threads);
  for (double& t : hot) t = section_seconds(threads);
  for (double& t : cold) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    t = section_seconds(threads);
  }
  const auto median = [](std::vector<double>& all) {
    std::ranges::sort(all);
    return all[all.size() / 2];
  };
  return {threads, median(hot), median(cold)};
}

}  // namespace

MachineReport measure_machine(const std::vector<Isa>& isas) {
  MachineReport m;
  const Isa before = active_isa();
  for (const Isa isa : isas) {
    set_isa(isa);
    for (const int threads : thread_counts()) m.roofs.push_back(measure_roofs(threads, 0.3));
  }
  set_isa(before);
  for (const int threads : thread_counts())
    if (threads > 1) m.sections.push_back(section_cost(threads));
  return m;
}

std::string bound_of(const Result& r, const std::vector<Roofs>& roofs) {
  constexpr double kTiny = 2e-6;
  for (const Roofs& roof : roofs) {
    if (roof.isa != r.of.isa || roof.threads != r.of.threads) continue;
    const double compute = roof.seconds(r.of.operations, 0, 0, r.of.element_bytes);
    const double move = roof.seconds(0, r.of.bytes_read, r.of.bytes_written, r.of.element_bytes);
    const double divide = r.of.divisions / roof.divisions[r.of.roots];
    if (r.seconds() < kTiny && std::max({compute, move, divide}) < r.seconds() / 2) return "latency";
    if (divide >= std::max(compute, move)) return "division";
    if (compute >= move) return "compute";
    const Machine m = machine();
    const double bytes = r.of.bytes_read + r.of.bytes_written, threads = r.of.threads;
    if (bytes <= static_cast<double>(m.l1_bytes) * threads) return "L1";
    if (bytes <= static_cast<double>(m.l2_bytes) * threads) return "L2";
    return bytes <= static_cast<double>(m.l3_bytes) ? "L3" : "memory";
  }
  return "";
}

const char* const kModel =
    "t(p) = max(t(1) / p, bytes / bandwidth(p)) + section(p), or t(1) when that is less. The bandwidth of the first "
    "two "
    "caches grows with p; that of the third and of memory as p / (1 + s (p - 1)), s from what was measured here; "
    "section(p), the cost of handing work to threads, is measured here and grows by 0.2 µs with each further thread";

double predicted_seconds(const Result& one, int threads, const MachineReport& machine) {
  if (threads == 1) return one.seconds();
  constexpr double kFurtherThread = 0.2e-6;
  const Roofs *first = nullptr, *most = nullptr;
  for (const Roofs& r : machine.roofs) {
    if (r.isa != one.of.isa) continue;
    if (r.threads == 1) first = &r;
    if (most == nullptr || r.threads > most->threads) most = &r;
  }
  double best = one.seconds();
  const double bytes = one.of.bytes_read + one.of.bytes_written;
  const Machine m = tilewright::machine();
  for (int p = 2; p <= threads; p *= 2) {
    double move = 0;
    if (first != nullptr && bytes > static_cast<double>(m.l2_bytes) * p) {
      const int level = bytes <= static_cast<double>(m.l3_bytes) ? 2 : 3;
      const auto rate = [&](const double(&by_level)[4], const double(&at_most)[4]) {
        const double n = most->threads;
        const double s = n > 1 ? std::max(0.0, (by_level[level] * n / at_most[level] - 1) / (n - 1)) : 0;
        return by_level[level] * p / (1 + s * (p - 1));
      };
      move = one.of.bytes_written > 0 ? bytes / rate(first->copy, most->copy) : bytes / rate(first->read, most->read);
    }
    double section = kFurtherThread * (p - 2);
    if (!machine.sections.empty()) section += machine.sections.front().hot;
    best = std::min(best, std::max(one.seconds() / p, move) + section);
  }
  return best;
}

Noise::Noise() : before_(now()) {
  if (getloadavg(&load_, 1) != 1) load_ = 0;
}

Noise::Ticks Noise::now() {
  // user nice system idle iowait irq softirq steal guest guest_nice; guests count as user, too
  std::ifstream stat("/proc/stat");
  std::string cpu;
  double field[8] = {};
  stat >> cpu;
  for (double& f : field) stat >> f;
  Ticks t;
  for (const double f : field) t.all += f;
  t.busy = t.all - field[3] - field[4] - field[7];
  t.steal = field[7];
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage usage{};
    getrusage(who, &usage);
    for (const timeval& v : {usage.ru_utime, usage.ru_stime})
      t.own += (static_cast<double>(v.tv_sec) + 1e-6 * static_cast<double>(v.tv_usec)) *
               static_cast<double>(sysconf(_SC_CLK_TCK));
  }
  return t;
}

Noise::Seen Noise::seen() const {
  const Ticks t = now();
  Seen seen;
  const double all = std::max(1.0, t.all - before_.all);
  seen.others = std::max(0.0, (t.busy - before_.busy) - (t.own - before_.own)) / all;
  seen.steal = (t.steal - before_.steal) / all;
  seen.load = load_;
  std::ifstream governor("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  if (!(governor >> seen.governor)) seen.governor = "not visible";
  seen.busy_samples = quiet().busy_share();
  constexpr double kQuiet = 0.03;
  const auto percent = [](double share) { return std::to_string(static_cast<int>(100 * share + 0.5)) + " % of the "; };
  if (seen.busy_samples > kQuiet)
    seen.verdict = "noisy: " + percent(seen.busy_samples) + "samples met somebody else on our cores";
  else if (seen.others > kQuiet || seen.steal > kQuiet)
    seen.verdict = "noisy: others took " + percent(seen.others + seen.steal) + "processors";
  else if (seen.governor == "powersave" || seen.governor == "ondemand" || seen.governor == "schedutil")
    seen.verdict = "quiet, but the governor is " + seen.governor;
  else
    seen.verdict = "a quiet machine";
  return seen;
}

}  // namespace tilewright::bench
