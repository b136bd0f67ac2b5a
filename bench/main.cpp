// SPDX-License-Identifier: MIT
// tilewright_bench [options] [Google Benchmark's own options]
//   --suite NAME      every case of gemm, map, rows, loss, update or train; may be repeated. By default some of all
//   --full            every case of every suite
//   --threads N       1, 2, 4 ... N threads; by default as many as the library uses
//   --report BASE     writes BASE.html and BASE.md
//   --out FILE.json   writes Google Benchmark's JSON, for --compare and for Google Benchmark's compare.py
//   --compare FILE    measures the cases of that JSON and says which got slower; exits with 3 when one did, with 4 when
//                     none could be compared because the cores were busy
//   --once            with --compare: asks no other process about what got slower
//   --slow TEXT:P     slows ours down by P per cent in cases whose name has TEXT in it, to try --compare
// Shows progress with time left, and ends with a table.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "bench/compare.hpp"
#include "bench/peers.hpp"
#include "bench/quiet.hpp"
#include "bench/report.hpp"

namespace tilewright::bench {
namespace {

const std::pair<std::string, void (*)(bool)> kSuites[] = {{"gemm", add_gemm},     {"map", add_map},
                                                          {"rows", add_rows},     {"loss", add_loss},
                                                          {"update", add_update}, {"train", add_train}};

std::string human_rate(const Result& r) {
  char text[32];
  const double amount = r.of.flops > 0 ? r.of.flops : r.of.bytes_read + r.of.bytes_written;
  std::snprintf(text, sizeof text, "%.4g %s", amount / r.seconds() * 1e-9, r.of.flops > 0 ? "GFLOP/s" : "GB/s");
  return text;
}

std::string human_time(double seconds) {
  char text[32];
  const double ns = seconds * 1e9;
  if (ns < 1e4)
    std::snprintf(text, sizeof text, "%.0f ns", ns);
  else if (ns < 1e7)
    std::snprintf(text, sizeof text, "%.1f us", ns * 1e-3);
  else
    std::snprintf(text, sizeof text, "%.1f ms", ns * 1e-6);
  return text;
}

/// Shows progress on stderr.
class Progress : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }

  void ReportRuns(const std::vector<Run>&) override {
    if (results().size() == done_) return;  // Google Benchmark's means and medians of what was reported
    done_ = results().size();
    const Result& r = results().back();
    if (!r.error.empty()) {
      std::fprintf(stderr, "%s%s FAILED: %s\n", clear(), r.of.full_name().c_str(), r.error.c_str());
      return;
    }
    const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    const std::size_t total = entries().size();
    std::fprintf(stderr, "%s[%zu/%zu, %.0f s left] %s  %s%s", clear(), done_, total,
                 elapsed / static_cast<double>(done_) * static_cast<double>(total - done_), r.of.full_name().c_str(),
                 human_rate(r).c_str(), terminal_ ? "" : "\n");
  }

  void Finalize() override { std::fputs(clear(), stderr); }

 private:
  const char* clear() const { return terminal_ ? "\r\033[K" : ""; }
  const bool terminal_ = isatty(STDERR_FILENO) != 0;  // progress on one line, or one line each
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::size_t done_ = 0;
};

/// The result of the same case on another number of threads, or null.
const Result* find(const Result& like, int threads) {
  for (const Result& r : results())
    if (r.error.empty() && r.of.suite == like.of.suite && r.of.name == like.of.name && r.of.isa == like.of.isa &&
        r.of.threads == threads)
      return &r;
  return nullptr;
}

void print_line(const Result& first) {
  std::printf("%-58s", (std::string(to_string(first.of.isa)) + "/" + first.of.name).c_str());
  const Result* most = nullptr;
  for (const int t : thread_counts()) {
    const Result* r = find(first, t);
    if (r == nullptr) continue;
    char versus[16] = "-";
    if (!r->peers.empty()) std::snprintf(versus, sizeof versus, "%.3g", r->vs_peer());
    std::printf("%10s %-15s %4.0f%% %8s", human_time(r->seconds()).c_str(), human_rate(*r).c_str(), 100 * r->roof(),
                versus);
    most = r;
  }
  if (most != &first) std::printf("  %6.2fx", first.seconds() / most->seconds());
  std::printf("  %s\n", first.best_peer().first.c_str());
}

/// Geometric means over each suite on the best ISA.
void print_means() {
  const Isa best = raced_isas().back();
  std::printf("\n%-10s %8s %8s %12s %14s %10s   (geometric means, %s)\n", "suite", "threads", "cases", "of the roof",
              "vs peer", "slowest", std::string(to_string(best)).c_str());
  for (const auto& [suite, unused] : kSuites)
    for (const int t : thread_counts()) {
      double roof = 0, versus = 0, least = INFINITY;
      int cases = 0, races = 0;
      for (const Result& r : results()) {
        if (!r.error.empty() || r.of.suite != suite || r.of.isa != best || r.of.threads != t) continue;
        roof += std::log(r.roof());
        ++cases;
        if (r.peers.empty()) continue;
        versus += std::log(r.vs_peer());
        least = std::min(least, r.vs_peer());
        ++races;
      }
      if (cases == 0) continue;
      std::printf("%-10s %8d %8d %11.0f%%", suite.c_str(), t, cases, 100 * std::exp(roof / cases));
      if (races > 0)
        std::printf(" %13.2fx %9.2fx\n", std::exp(versus / races), least);
      else
        std::printf(" %14s %10s\n", "-", "-");
    }
}

/// Returns how many cases gave a wrong answer.
std::size_t print_table(const Noise::Seen& noise) {
  const Machine m = machine();
  std::printf("tilewright %s on %s, %s (%s), up to %d threads; %s\n", TILEWRIGHT_VERSION,
              m.cpu.empty() ? "this machine" : m.cpu.c_str(), std::string(to_string(raced_isas().back())).c_str(),
              isa_reason().c_str(), thread_counts().back(), noise.verdict.c_str());
  std::printf(
      "best of the repetitions, in turn with the roof and the peers; roof: share of what the machine gives in the "
      "same moment\n");
  std::string suite;
  std::size_t failed = 0;
  for (const Result& r : results()) {
    if (r.of.suite != suite) {
      suite = r.of.suite;
      std::printf("\n%-58s", suite.c_str());
      for (const int t : thread_counts())
        std::printf("%9s %-16s %5s %8s", (std::to_string(t) + " thr").c_str(), "", "roof", "vs peer");
      std::printf("  scaling\n");
    }
    if (!r.error.empty()) {
      std::printf("%s FAILED: %s\n", r.of.full_name().c_str(), r.error.c_str());
      ++failed;
    } else if (r.of.threads == 1) {
      print_line(r);
    }
  }
  print_means();
  if (failed > 0) std::printf("\n%zu cases gave a wrong answer\n", failed);
  return failed;
}

/// Exit statuses: something got slower; nothing could be compared, so nothing is cleared by it.
constexpr int kSlower = 3, kNotCompared = 4;

struct Options {
  std::vector<std::string> suites;
  bool full = false, once = false;
  int threads = num_threads();
  std::string report, out, compare;
  std::vector<char*> rest;  // Google Benchmark's
};

Options parse(int argc, char** argv) {
  Options o;
  o.rest.push_back(argv[0]);
  for (int i = 1; i < argc; ++i) {
    const auto value = [&](const char* name) -> std::optional<std::string> {
      if (std::strcmp(argv[i], name) != 0) return {};
      if (i + 1 == argc) throw ValueError(std::string("bench: ") + name + " needs a value");
      return argv[++i];
    };
    if (std::strcmp(argv[i], "--full") == 0) {
      o.full = true;
    } else if (std::strcmp(argv[i], "--once") == 0) {
      o.once = true;
    } else if (const auto suite = value("--suite")) {
      o.suites.push_back(*suite);
    } else if (const auto threads = value("--threads")) {
      o.threads = std::atoi(threads->c_str());
    } else if (const auto report = value("--report")) {
      o.report = *report;
    } else if (const auto out = value("--out")) {
      o.out = *out;
    } else if (const auto before = value("--compare")) {
      o.compare = *before;
    } else if (const auto slow = value("--slow")) {
      const auto colon = slow->rfind(':');
      if (colon == std::string::npos) throw ValueError("bench: --slow wants TEXT:PERCENT, not \"" + *slow + "\"");
      planted_slowdown() = {slow->substr(0, colon), 1 + std::atof(slow->c_str() + colon + 1) / 100};
    } else {
      o.rest.push_back(argv[i]);
    }
  }
  if (o.threads < 1 || o.threads > kMaxThreads)
    throw ValueError("bench: --threads must be 1.." + std::to_string(kMaxThreads));
  for (const std::string& s : o.suites)
    if (std::none_of(std::begin(kSuites), std::end(kSuites), [&](const auto& known) { return known.first == s; }))
      throw ValueError("bench: no suite \"" + s + "\"; there are gemm, map, rows, loss, update, train");
  return o;
}

void add_suites(const Options& o) {
  for (const auto& [name, add_suite] : kSuites)
    if (o.suites.empty() || std::ranges::find(o.suites, name) != o.suites.end())
      add_suite(o.full || !o.suites.empty() || !o.compare.empty());
}

std::vector<Isa> measured_isas() {
  std::vector<Isa> all;
  for (const Isa isa : raced_isas())
    if (std::ranges::any_of(results(), [&](const Result& r) { return r.of.isa == isa; })) all.push_back(isa);
  return all;
}

/// Starts this program once more with an allocator that uses large pages. In small ones it is luck which of them share
/// sets of a cache: measured times of arrays that fill half of one differed by a third from process to process.
void use_large_pages(char** argv) {
  constexpr const char* kName = "GLIBC_TUNABLES";
  if (std::getenv(kName) != nullptr) return;
  setenv(kName,
         "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=33554432:glibc.malloc.top_pad=268435456:"
         "glibc.malloc.trim_threshold=4294967296",
         1);
  execv("/proc/self/exe", argv);  // returns where that is not possible
}

int main(int argc, char** argv) {
  use_large_pages(argv);
  Options o = parse(argc, argv);
  for (int t = 2; t <= o.threads; t *= 2) thread_counts().push_back(t);
  if (thread_counts().back() != o.threads) thread_counts().push_back(o.threads);
  Baseline before;
  if (!o.compare.empty()) {
    before = read_baseline(o.compare);
    with_peers() = false;
    wanted() = [&](const std::string& name) { return before.samples.count(name) > 0; };
  }
  add_suites(o);
  if (o.full || !o.suites.empty()) quiet().be_patient(180);  // those take many minutes anyway

  std::string out_option = "--benchmark_out=" + o.out, format_option = "--benchmark_out_format=json";
  if (!o.out.empty()) {
    o.rest.push_back(out_option.data());
    o.rest.push_back(format_option.data());
  }
  int rest_count = static_cast<int>(o.rest.size());
  benchmark::Initialize(&rest_count, o.rest.data());
  if (benchmark::ReportUnrecognizedArguments(rest_count, o.rest.data())) return 2;
  const Noise noise;
  benchmark::AddCustomContext("tilewright_version", TILEWRIGHT_VERSION);
  benchmark::AddCustomContext("tilewright_isa", std::string(to_string(active_isa())));
  benchmark::AddCustomContext("peer", peer_names());
  benchmark::AddCustomContext("governor", noise.seen().governor);
  benchmark::AddCustomContext("cpu_quota", std::to_string(machine().quota));
  Progress progress;
  benchmark::RunSpecifiedBenchmarks(&progress);
  if (results().empty()) return o.compare.empty() ? 0 : kNotCompared;  // a list was asked for
  if (!o.compare.empty()) {
    std::vector<Verdict> verdicts = compare(before);
    if (!o.once) ask_again(verdicts, std::vector<std::string>(argv, argv + argc));
    if (print(verdicts) > 0) return kSlower;
    return std::ranges::all_of(verdicts, &Verdict::busy) ? kNotCompared : 0;
  }
  end_peers();
  const Noise::Seen seen = noise.seen();
  const std::size_t failed = print_table(seen);
  if (!o.report.empty()) write_report(o.report, results(), measure_machine(measured_isas()), seen);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tilewright::bench

int main(int argc, char** argv) try {
  return tilewright::bench::main(argc, argv);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
