// SPDX-License-Identifier: MIT
// The profiler's table and trace.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <tuple>

#include "kernels/core/profile_records.hpp"
#include "tilewright/error.hpp"
#include "tilewright/profile.hpp"

namespace tilewright {
namespace detail {

void write_shape(const CallInfo& info, char* text, std::size_t size) noexcept {
  text[0] = 0;
  std::size_t at = 0;
  for (int i = 0; i < 3 && info.shape[i] > 0 && at < size; ++i)
    at += static_cast<std::size_t>(
        std::snprintf(text + at, size - at, i == 0 ? "%lld" : "x%lld", static_cast<long long>(info.shape[i])));
}

void write_text(const char* operation, const std::string& path, const std::string& text) {
  const std::string beside = path + ".part";
  std::FILE* file = std::fopen(beside.c_str(), "wbe");
  const bool written = file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const bool closed = file != nullptr && std::fclose(file) == 0;
  if (written && closed && std::rename(beside.c_str(), path.c_str()) == 0) return;
  const std::string why = std::strerror(errno);
  if (file != nullptr) std::remove(beside.c_str());
  throw FileError(std::string(operation) + ": " + path + ": " + why);
}

namespace {

std::string name_of(const CallInfo& info) {
  std::string name = info.operation;
  if (*info.variant != 0) name += std::string(" ") + info.variant;
  return name + suffix_of(info);
}

std::string shape_of(const CallInfo& info) {
  char shape[64];
  write_shape(info, shape, sizeof shape);
  return shape;
}

/// A JSON string's inside.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    char code[8];
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      std::snprintf(code, sizeof code, "\\u%04x", c);
      out += code;
    } else {
      out += c;
    }
  }
  return out;
}

std::string rate_of(double amount, double seconds, const char* unit) {
  char text[32] = "-";
  if (amount > 0 && seconds > 0) std::snprintf(text, sizeof text, "%.1f %s", amount / seconds * 1e-9, unit);
  return text;
}

std::string percent_of(double share) {
  char text[16] = "-";
  if (share > 0) std::snprintf(text, sizeof text, "%.0f %%", 100 * share);
  return text;
}

}  // namespace
}  // namespace detail

namespace profile {

using namespace detail;

std::vector<Line> table() {
  struct Sum {
    Line line;
    double team = 0, busy = 0, roof_seconds = 0;
  };
  std::map<std::tuple<std::string, std::string, int>, Sum> sums;
  ProfileRecords& all = profile_records();
  {
    const std::lock_guard lock(all.mutex);
    for (const auto& log : all.logs) {
      const std::lock_guard its_lock(log->mutex);
      for (const auto& [key, totals] : log->totals) {
        Sum& sum = sums[{name_of(key.info), shape_of(key.info), key.parts}];
        const double calls = static_cast<double>(totals.calls);
        sum.line.calls += totals.calls;
        sum.line.seconds += static_cast<double>(totals.nanoseconds) * 1e-9;
        sum.line.flops += calls * key.info.flops;
        sum.line.bytes += calls * (key.info.bytes_read + key.info.bytes_written);
        sum.team += static_cast<double>(totals.team_nanoseconds);
        sum.busy += static_cast<double>(totals.busy_nanoseconds);
        if (sum.line.flops + sum.line.bytes > 0) sum.roof_seconds += calls * roof_seconds_of(key.info, key.parts);
      }
    }
  }
  std::vector<Line> lines;
  for (auto& [key, sum] : sums) {
    std::tie(sum.line.operation, sum.line.shape, sum.line.threads) = key;
    if (sum.line.seconds > 0) sum.line.roof = sum.roof_seconds / sum.line.seconds;
    if (sum.team > 0) sum.line.idle = std::max(0.0, 1 - sum.busy / sum.team);
    lines.push_back(std::move(sum.line));
  }
  std::ranges::stable_sort(lines, [](const Line& a, const Line& b) { return a.seconds > b.seconds; });
  return lines;
}

std::string summary() {
  const std::vector<Line> lines = table();
  const double wall = seconds();
  double inside = 0;
  std::size_t name = 9, shape = 5;
  for (const Line& line : lines) {
    inside += line.seconds;
    name = std::max(name, line.operation.size());
    shape = std::max(shape, line.shape.size());
  }
  ProfileRecords& all = profile_records();
  std::size_t callers = 0;
  Roofs one, many;
  {
    const std::lock_guard lock(all.mutex);
    for (const auto& log : all.logs) {
      const std::lock_guard its_lock(log->mutex);
      callers += log->totals.empty() ? 0 : 1;
    }
    const std::lock_guard roofs_lock(all.roofs_mutex);
    one = all.one;
    many = all.many;
  }
  std::string text;
  char row[256];
  const auto print = [&](auto... fields) {
    std::snprintf(row, sizeof row, fields...);
    text += row;
  };
  print("tilewright profile: %.3f s from start to stop, %.3f s in operations and regions of %zu calling thread%s\n",
        wall, inside, callers, callers == 1 ? "" : "s");
  for (const Roofs* r : {&one, &many})
    if (r == &one || many.threads > 1)
      print(
          "roofs of %s on %d thread%s: %.0f GFLOP/s in f32, %.0f in f64; read and copy from L1 %.0f %.0f, L2 %.0f "
          "%.0f, "
          "L3 %.0f %.0f, memory %.0f %.0f GB/s\n",
          std::string(to_string(r->isa)).c_str(), r->threads, r->threads == 1 ? "" : "s", r->flops_f32 * 1e-9,
          r->flops_f64 * 1e-9, r->read[0] * 1e-9, r->copy[0] * 1e-9, r->read[1] * 1e-9, r->copy[1] * 1e-9,
          r->read[2] * 1e-9, r->copy[2] * 1e-9, r->read[3] * 1e-9, r->copy[3] * 1e-9);
  const int names = static_cast<int>(name), shapes = static_cast<int>(shape);
  print("\n%-*s %*s %4s %10s %11s %7s %12s %14s %12s %6s %6s\n", names, "operation", shapes, "shape", "thr", "calls",
        "ms", "share", "us a call", "rate", "bytes", "roof", "idle");
  constexpr double kWorthALine = 5e-4;  // of the time inside
  double rest = 0;
  std::size_t unlisted = 0;
  for (const Line& line : lines) {
    if (line.seconds < kWorthALine * inside) {
      rest += line.seconds;
      ++unlisted;
      continue;
    }
    print("%-*s %*s %4d %10lld %11.3f %5.1f %% %12.3f %14s %12s %6s %6s\n", names, line.operation.c_str(), shapes,
          line.shape.c_str(), line.threads, static_cast<long long>(line.calls), line.seconds * 1e3,
          wall > 0 ? 100 * line.seconds / wall : 0.0, line.seconds * 1e6 / static_cast<double>(line.calls),
          rate_of(line.flops, line.seconds, "GFLOP/s").c_str(), rate_of(line.bytes, line.seconds, "GB/s").c_str(),
          percent_of(line.roof).c_str(), percent_of(line.idle).c_str());
  }
  if (unlisted > 0) print("%zu further lines, %.3f ms together\n", unlisted, rest * 1e3);
  return text;
}

void save_trace(const std::string& path) {
  ProfileRecords& all = profile_records();
  std::string text = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n";
  text += "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"tid\":0,\"args\":{\"name\":\"tilewright\"}}";
  char number[192];
  Index dropped = 0;
  {
    const std::lock_guard lock(all.mutex);
    for (const auto& log : all.logs) {
      const std::lock_guard its_lock(log->mutex);
      if (log->events.empty()) continue;
      dropped += log->dropped;
      const bool calls = std::ranges::any_of(log->events, [](const auto& e) { return e.kind != EventKind::part; });
      std::snprintf(number, sizeof number,
                    ",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":%d,\"args\":{\"name\":\"%s %d\"}}",
                    log->number, calls ? "caller" : "worker", log->number);
      text += number;
      for (const ProfileEvent& e : log->events) {
        static constexpr const char* kCategories[] = {"operation", "part", "region"};
        const bool part = e.kind == EventKind::part;
        text += ",\n{\"name\":\"" + escaped(name_of(e.info)) + "\",\"cat\":\"" + kCategories[static_cast<int>(e.kind)] +
                "\",\"ph\":\"X\",\"pid\":1";
        std::snprintf(number, sizeof number, ",\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f,\"args\":{", log->number,
                      static_cast<double>(e.start - all.started) * 1e-3, static_cast<double>(e.end - e.start) * 1e-3);
        text += number;
        if (part) {
          text += "\"part\":" + std::to_string(e.part);
        } else if (e.kind == EventKind::call) {
          const double seconds = static_cast<double>(e.end - e.start) * 1e-9;
          std::snprintf(number, sizeof number,
                        "\"shape\":\"%s\",\"threads\":%d,\"flops\":%.0f,\"bytes\":%.0f,\"GFLOP/s\":%.3f,\"GB/s\":%.3f",
                        shape_of(e.info).c_str(), e.part, e.info.flops, e.info.bytes_read + e.info.bytes_written,
                        seconds > 0 ? e.info.flops / seconds * 1e-9 : 0.0,
                        seconds > 0 ? (e.info.bytes_read + e.info.bytes_written) / seconds * 1e-9 : 0.0);
          text += number;
        }
        text += "}}";
      }
    }
  }
  text += "\n],\"otherData\":{\"isa\":\"" + std::string(to_string(active_isa())) +
          "\",\"dropped\":" + std::to_string(dropped) + "}}\n";
  write_text("save_trace", path, text);
}

}  // namespace profile
}  // namespace tilewright
