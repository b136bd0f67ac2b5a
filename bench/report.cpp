// SPDX-License-Identifier: MIT
#include "bench/report.hpp"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/peers.hpp"

namespace tilewright::bench {
namespace {

using nlohmann::json;

/// report.html; the results go where kPlace stands.
constexpr const char* kPage =
#include "report_page.inc"
    ;
constexpr const char* kPlace = "%DATA%";

const char* const kSuites[] = {"gemm", "map", "rows", "loss", "update", "train"};
/// Shorter calls do not tell how well threads share work.
constexpr double kLongEnough = 50e-6;
constexpr int kPredictedThreads[] = {1, 2, 4, 8, 16, 32, 64};

double geometric_mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += std::log(v);
  return std::exp(sum / static_cast<double>(values.size()));
}

std::string today() {
  char text[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", std::gmtime(&now));
  return text;
}

/// Results on one thread that are long enough to share, with those of the same case on more.
struct Scaled {
  const Result* one;
  std::vector<const Result*> more;
};

std::vector<Scaled> scaled_of(const std::vector<Result>& results, const std::string& suite, Isa isa) {
  std::vector<Scaled> all;
  for (const Result& r : results) {
    if (r.of.suite != suite || r.of.isa != isa || r.of.threads != 1 || r.seconds() < kLongEnough) continue;
    Scaled s{&r, {}};
    for (const Result& other : results)
      if (other.of.threads > 1 && other.of.name == r.of.name && other.of.suite == suite && other.of.isa == isa)
        s.more.push_back(&other);
    all.push_back(s);
  }
  return all;
}

json model_of(const std::vector<Result>& results, const MachineReport& machine, Isa isa) {
  json model{
      {"formula", kModel}, {"threads", kPredictedThreads}, {"speedup", json::object()}, {"measured", json::object()}};
  std::vector<double> errors;
  for (const std::string suite : kSuites) {
    const std::vector<Scaled> cases = scaled_of(results, suite, isa);
    if (cases.empty()) continue;
    for (const int threads : kPredictedThreads) {
      std::vector<double> speedups;
      for (const Scaled& c : cases) speedups.push_back(c.one->seconds() / predicted_seconds(*c.one, threads, machine));
      model["speedup"][suite].push_back(geometric_mean(speedups));
    }
    model["measured"][suite].push_back({1, 1.0});
    for (const int threads : thread_counts()) {
      std::vector<double> speedups;
      for (const Scaled& c : cases)
        for (const Result* r : c.more) {
          if (r->of.threads != threads) continue;
          speedups.push_back(c.one->seconds() / r->seconds());
          errors.push_back(std::fabs(predicted_seconds(*c.one, threads, machine) / r->seconds() - 1));
        }
      if (!speedups.empty()) model["measured"][suite].push_back({threads, geometric_mean(speedups)});
    }
  }
  std::ranges::sort(errors);
  model["median_error"] = errors.empty() ? 0 : errors[errors.size() / 2];
  model["high_error"] = errors.empty() ? 0 : errors[errors.size() * 9 / 10];
  return model;
}

json data_of(const std::vector<Result>& results, const MachineReport& measured, const Noise::Seen& noise) {
  const Machine m = machine();
  const Isa isa = raced_isas().back();
  json data{{"version", TILEWRIGHT_VERSION},
            {"date", today()},
            {"peers", peer_names()},
            {"threads", thread_counts()},
            {"machine",
             {{"cpu", m.cpu},
              {"isa", to_string(isa)},
              {"physical_cores", m.physical_cores},
              {"quota", m.quota},
              {"threads", m.threads},
              {"threads_reason", m.threads_reason},
              {"l1_bytes", m.l1_bytes},
              {"l2_bytes", m.l2_bytes},
              {"l3_bytes", m.l3_bytes}}},
            {"noise",
             {{"others", noise.others},
              {"steal", noise.steal},
              {"load", noise.load},
              {"busy_samples", noise.busy_samples},
              {"governor", noise.governor},
              {"verdict", noise.verdict}}},
            {"sections", json::array()},
            {"roofs", json::array()},
            {"cases", json::array()},
            {"model", model_of(results, measured, isa)}};
  for (const SectionCost& s : measured.sections)
    data["sections"].push_back({{"threads", s.threads}, {"hot", s.hot}, {"cold", s.cold}});
  for (const Roofs& r : measured.roofs)
    data["roofs"].push_back({{"isa", to_string(r.isa)},
                             {"threads", r.threads},
                             {"f32", r.flops_f32},
                             {"f64", r.flops_f64},
                             {"read", r.read},
                             {"copy", r.copy},
                             {"divisions", r.divisions}});
  for (const Result& r : results) {
    json peers = json::object();
    for (const auto& [name, seconds] : r.peers) peers[name] = seconds / r.seconds();
    data["cases"].push_back({{"suite", r.of.suite},
                             {"isa", to_string(r.of.isa)},
                             {"name", r.of.name},
                             {"threads", r.of.threads},
                             {"seconds", r.seconds()},
                             {"spread", r.spread()},
                             {"flops", r.of.flops},
                             {"bytes", r.of.bytes_read + r.of.bytes_written},
                             {"operations", r.of.operations},
                             {"roof", r.roof()},
                             {"bound", bound_of(r, measured.roofs)},
                             {"peers", peers}});
  }
  return data;
}

std::string number(const char* format, double value) {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string markdown_of(const json& data) {
  const std::string cpu = data["machine"]["cpu"], isa = data["machine"]["isa"], verdict = data["noise"]["verdict"];
  std::string text = "# Tilewright " + std::string(data["version"]) + " on " + (cpu.empty() ? "this machine" : cpu) +
                     "\n\n" + isa + ", " + std::string(data["date"]) + ", " + verdict +
                     ". Peers: " + std::string(data["peers"]) +
                     ".\n\n| ISA | threads | f32 GFLOP/s | f64 | read L1 | L2 "
                     "| L3 | memory GB/s | copy L1 | L2 | L3 | memory | divisions G/s | with a root | with two |\n"
                     "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const json& r : data["roofs"]) {
    text += "| " + std::string(r["isa"]) + " | " + std::to_string(int(r["threads"])) + " | " +
            number("%.0f", double(r["f32"]) * 1e-9) + " | " + number("%.0f", double(r["f64"]) * 1e-9);
    for (const char* kind : {"read", "copy"})
      for (const json& level : r[kind]) text += " | " + number("%.0f", double(level) * 1e-9);
    for (const json& rate : r["divisions"]) text += " | " + number("%.1f", double(rate) * 1e-9);
    text += " |\n";
  }
  text +=
      "\n| case | ISA | threads | time | rate | of the roof | bound by | vs best peer | spread |\n"
      "|---|---|---|---|---|---|---|---|---|\n";
  for (const json& c : data["cases"]) {
    std::string versus = "-";
    double best = 0;
    for (const auto& [name, ratio] : c["peers"].items())
      if (best == 0 || double(ratio) < best) {
        best = ratio;
        versus = number("%.2f ", best) + name;
      }
    const double seconds = c["seconds"], flops = c["flops"], bytes = c["bytes"];
    text += "| " + std::string(c["suite"]) + "/" + std::string(c["name"]) + " | " + std::string(c["isa"]) + " | " +
            std::to_string(int(c["threads"])) + " | " + number("%.4g us", seconds * 1e6) + " | " +
            (flops > 0 ? number("%.4g GFLOP/s", flops / seconds * 1e-9) : number("%.4g GB/s", bytes / seconds * 1e-9)) +
            " | " + number("%.0f %%", 100 * double(c["roof"])) + " | " + std::string(c["bound"]) + " | " + versus +
            " | " + number("%.0f %%", 100 * double(c["spread"])) + " |\n";
  }
  return text;
}

}  // namespace

void write_report(const std::string& base, const std::vector<Result>& results, const MachineReport& machine,
                  const Noise::Seen& noise) {
  const json data = data_of(results, machine, noise);
  std::string page = kPage, text = data.dump();
  for (std::size_t at = 0; (at = text.find("</", at)) != std::string::npos;) text.replace(at, 2, "<\\/");
  page.replace(page.find(kPlace), std::string(kPlace).size(), text);
  for (const auto& [name, content] : {std::pair{base + ".html", page}, {base + ".md", markdown_of(data)}}) {
    std::ofstream file(name);
    file << content;
    if (!file.flush()) throw FileError("bench: " + name + ": cannot be written");
  }
}

}  // namespace tilewright::bench
