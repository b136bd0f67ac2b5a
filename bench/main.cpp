// SPDX-License-Identifier: MIT
// tilewright_bench [--suite NAME]... [--threads N] [--out FILE.json] [Google Benchmark's own options]
//
// Runs the suites (gemm, map, rows, loss, update, train; by default a selection of all of them) for 1, 2, 4 ... N
// threads, shows progress with time left, ends with one table, and writes Google Benchmark's JSON.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>

#include "bench/peers.hpp"

namespace tilewright::bench {
namespace {

struct Result {
  double rate = 0, roof = 0, vs_peer = 0, seconds = 0;
  bool flops = false;
};

/// One line of the table: a case on an ISA, a result for every number of threads.
struct Row {
  std::string name, peer;
  std::map<int, Result> by_threads;
};

std::string human_rate(const Result& r) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g %s", r.rate * 1e-9, r.flops ? "GFLOP/s" : "GB/s");
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

/// Shows progress on stderr and the table on stdout at the end.
class Reporter : public benchmark::BenchmarkReporter {
 public:
  explicit Reporter(std::size_t total) : total_(total) {}

  bool ReportContext(const Context&) override {
    std::printf("tilewright %s, %s (%s), %d threads at most\n", TILEWRIGHT_VERSION,
                std::string(to_string(available_isas().back())).c_str(), isa_reason().c_str(), thread_counts().back());
    std::printf(
        "best of many samples in turn with the roof and the peer; roof: share of what the machine gives in the same "
        "moment\n\n");
    return true;
  }

  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      ++done_;
      const std::string name = run.benchmark_name();
      // How Google Benchmark marks a skipped run differs between its versions; ours always have a roof.
      if (run.counters.count("roof") == 0) {
        std::printf("%s FAILED: %s\n", name.c_str(), last_error().c_str());
        ++failed_;
        continue;
      }
      // suite/isa/case/thr:N/iterations:1/manual_time
      const auto thread_at = name.find("/thr:");
      const int threads = std::atoi(name.c_str() + thread_at + 5);
      const std::string key = name.substr(0, thread_at);
      Result r;
      const auto counter = [&](const char* what) {
        return run.counters.count(what) > 0 ? run.counters.at(what).value : 0.0;
      };
      r.flops = run.counters.count("FLOPS") > 0;
      r.rate = r.flops ? counter("FLOPS") : counter("bytes_per_second");
      r.roof = counter("roof");
      r.vs_peer = counter("vs_peer");
      r.seconds = run.real_accumulated_time / static_cast<double>(std::max<std::int64_t>(1, run.iterations));
      auto at = std::find_if(rows_.begin(), rows_.end(), [&](const Row& row) { return row.name == key; });
      if (at == rows_.end()) at = rows_.insert(rows_.end(), Row{key, "", {}});
      if (!run.report_label.empty()) at->peer = run.report_label;
      at->by_threads[threads] = r;
      const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
      std::fprintf(stderr, "%s[%zu/%zu, %.0f s left] %s thr:%d  %s%s", terminal_ ? "\r\033[K" : "", done_, total_,
                   elapsed / static_cast<double>(done_) * static_cast<double>(total_ - done_), key.c_str(), threads,
                   human_rate(r).c_str(), terminal_ ? "" : "\n");
    }
  }

  void Finalize() override {
    if (terminal_) std::fprintf(stderr, "\r\033[K");
    std::string suite;
    for (const Row& row : rows_) {
      const std::string its_suite = row.name.substr(0, row.name.find('/'));
      if (its_suite != suite) {
        suite = its_suite;
        head(suite);
      }
      line(row);
    }
    summary();
    if (failed_ > 0) std::printf("\n%zu benchmarks gave a wrong answer\n", failed_);
  }

  std::size_t failed() const { return failed_; }

 private:
  void head(const std::string& suite) const {
    std::printf("\n%-58s", suite.c_str());
    for (const int t : thread_counts())
      std::printf("%9s %-16s %5s %8s", (std::to_string(t) + " thr").c_str(), "", "roof", "vs peer");
    std::printf("  scaling\n");
  }

  void line(const Row& row) const {
    std::printf("%-58s", row.name.substr(row.name.find('/') + 1).c_str());
    for (const int t : thread_counts()) {
      const auto r = row.by_threads.find(t);
      if (r == row.by_threads.end()) continue;
      const std::string versus = r->second.vs_peer > 0 ? std::to_string(r->second.vs_peer).substr(0, 5) : "-";
      std::printf("%10s %-15s %4.0f%% %8s", human_time(r->second.seconds).c_str(), human_rate(r->second).c_str(),
                  100 * r->second.roof, versus.c_str());
    }
    const auto one = row.by_threads.find(1), most = row.by_threads.find(thread_counts().back());
    if (one != row.by_threads.end() && most != row.by_threads.end() && one != most)
      std::printf("  %6.2fx", one->second.seconds / most->second.seconds);
    std::printf("  %s\n", row.peer.c_str());
  }

  /// Geometric means over each suite on the best ISA.
  void summary() const {
    const std::string best(to_string(available_isas().back()));
    std::printf("\n%-10s %8s %8s %12s %14s %10s   (geometric means, %s)\n", "suite", "threads", "cases", "of the roof",
                "vs peer", "slowest", best.c_str());
    std::vector<std::string> suites;
    for (const Row& row : rows_) {
      const std::string suite = row.name.substr(0, row.name.find('/'));
      if (suites.empty() || suites.back() != suite) suites.push_back(suite);
    }
    for (const std::string& suite : suites)
      for (const int t : thread_counts()) {
        double roof = 0, versus = 0, least = INFINITY;
        int cases = 0, races = 0;
        for (const Row& row : rows_) {
          const auto r = row.by_threads.find(t);
          if (row.name.rfind(suite + "/" + best + "/", 0) != 0 || r == row.by_threads.end()) continue;
          roof += std::log(r->second.roof);
          ++cases;
          if (r->second.vs_peer <= 0) continue;
          versus += std::log(r->second.vs_peer);
          least = std::min(least, r->second.vs_peer);
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

  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  const bool terminal_ = isatty(STDERR_FILENO) != 0;  // progress on one line, or one line each
  std::size_t total_, done_ = 0, failed_ = 0;
  std::vector<Row> rows_;
};

int main(int argc, char** argv) {
  std::vector<std::string> suites;
  std::vector<char*> rest{argv[0]};
  std::string out;
  int threads = num_threads();
  for (int i = 1; i < argc; ++i) {
    const auto value = [&](const char* name) {
      if (std::strcmp(argv[i], name) != 0) return false;
      if (i + 1 == argc) throw ValueError(std::string("bench: ") + name + " needs a value");
      ++i;
      return true;
    };
    if (value("--suite"))
      suites.push_back(argv[i]);
    else if (value("--threads"))
      threads = std::atoi(argv[i]);
    else if (value("--out"))
      out = argv[i];
    else
      rest.push_back(argv[i]);
  }
  if (threads < 1 || threads > kMaxThreads)
    throw ValueError("bench: --threads must be 1.." + std::to_string(kMaxThreads));
  for (int t = 2; t <= threads; t *= 2) thread_counts().push_back(t);
  if (thread_counts().back() != threads) thread_counts().push_back(threads);

  const std::pair<std::string, void (*)(bool)> all[] = {{"gemm", add_gemm},     {"map", add_map},
                                                        {"rows", add_rows},     {"loss", add_loss},
                                                        {"update", add_update}, {"train", add_train}};
  for (const std::string& s : suites)
    if (std::none_of(std::begin(all), std::end(all), [&](const auto& known) { return known.first == s; }))
      throw ValueError("bench: no suite \"" + s + "\"; there are gemm, map, rows, loss, update, train");
  for (const auto& [name, add_suite] : all)
    if (suites.empty() || std::find(suites.begin(), suites.end(), name) != suites.end()) add_suite(!suites.empty());

  std::string out_option = "--benchmark_out=" + out, format_option = "--benchmark_out_format=json";
  if (!out.empty()) {
    rest.push_back(out_option.data());
    rest.push_back(format_option.data());
  }
  int rest_count = static_cast<int>(rest.size());
  benchmark::Initialize(&rest_count, rest.data());
  if (benchmark::ReportUnrecognizedArguments(rest_count, rest.data())) return 2;
  benchmark::AddCustomContext("tilewright_version", TILEWRIGHT_VERSION);
  benchmark::AddCustomContext("tilewright_isa", std::string(to_string(active_isa())));
  benchmark::AddCustomContext("peer", peer_names());
  Reporter reporter(registered());
  benchmark::RunSpecifiedBenchmarks(&reporter);
  return reporter.failed() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tilewright::bench

int main(int argc, char** argv) try {
  return tilewright::bench::main(argc, argv);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
