// SPDX-License-Identifier: MIT
// The error of every activation, elementary function and derivative over all floats, on each ISA of this machine,
// against a reference in double.
//
//   tilewright_accuracy TABLE.md           all 2^32 floats; writes the table. Or with a number N behind: every N-th.
//   tilewright_accuracy --check TABLE.md   a slice with all the edges; fails where it disagrees with the table
#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "kernels/core/table.hpp"
#include "kernels/map/parameter.hpp"
#include "tests/reference.hpp"
#include "tests/support.hpp"

namespace tilewright {
namespace {

using detail::ActivationNumbers;
using detail::KernelTable;

constexpr std::uint64_t kChunk = 1 << 20;  // inputs whose results are hashed one after the other
constexpr std::uint64_t kSlice = 9973;     // every so many floats
constexpr std::uint64_t kEdges = 1 << 8;   // and so many on each side of every power of two
constexpr std::size_t kBlock = 4096;

/// One column of results: a function, forward or backward.
struct Line {
  std::string name;
  bool is_function, backward;
  Activation f;
  FunctionKind kind;

  /// saved: what the backward pass reads.
  test::Derivative<double> want(double x, float saved) const {
    const auto plain = [](double v) { return test::Derivative<double>{v, std::fabs(v)}; };
    if (is_function) return plain(backward ? test::reference_derivative(kind, x) : test::reference(kind, x));
    if (!backward) return plain(test::reference<float, double>(f, x));
    // Derivatives from the output are a few operations on a number that is rounded already; that is taken for exact.
    const double y = static_cast<double>(saved);
    if (f.kind == ActivationKind::sigmoid) return plain(y * (1 - y));
    if (f.kind == ActivationKind::tanh) return plain((1 - y) * (1 + y));
    return test::reference_derivative<float, double>(f, x);
  }

  void run(const KernelTable& t, const float* x, const float* ones, float* saved, float* out, Index n) const {
    const auto numbers = detail::numbers_of<float>(f);
    const int activation = static_cast<int>(f.kind), function = static_cast<int>(kind);
    const auto& map = t.map_f32;
    std::copy(x, x + n, saved);
    if (is_function) {
      if (backward)
        map.function_backward[function](saved, ones, out, n, numbers);
      else
        map.function[function](x, out, n, numbers);
    } else if (backward) {
      if (!saves_input(f.kind)) map.forward[activation](x, saved, n, numbers);
      map.backward[activation](saved, ones, out, n, numbers);
    } else {
      map.forward[activation](x, out, n, numbers);
    }
  }
};

/// What was seen of a line on one ISA.
struct Seen {
  double worst = 0, sum = 0;
  float worst_at = 0;
  float overflow = INFINITY, zero = INFINITY, subnormal = INFINITY;  // the smallest |x| with such a result
  std::uint64_t inputs = 0, broken_nan = 0, hash = 0xcbf29ce484222325;

  void add(float x, float got, bool nan_wanted, double error) {
    hash = (hash ^ (std::isnan(got) ? 0x7fc00000U : std::bit_cast<std::uint32_t>(got))) * 0x100000001b3;
    if (nan_wanted) {
      broken_nan += !std::isnan(got);
      return;
    }
    ++inputs;
    sum += error;
    if (error > worst) worst = error, worst_at = x;
    const float size = std::fabs(x), result = std::fabs(got);
    if (result >= 0x1p-126F && result < INFINITY) return;
    if (std::isinf(got) && size < overflow && size > 0) overflow = size;
    if (size < 1e-18F) return;  // small results of small arguments say nothing
    if (got == 0 && size < zero) zero = size;
    if (got != 0 && result < 0x1p-126F && size < subnormal) subnormal = size;
  }
  void add(const Seen& other) {
    if (other.worst > worst) worst = other.worst, worst_at = other.worst_at;
    sum += other.sum, inputs += other.inputs, broken_nan += other.broken_nan;
    overflow = std::min(overflow, other.overflow), zero = std::min(zero, other.zero);
    subnormal = std::min(subnormal, other.subnormal);
    hash = (hash ^ other.hash) * 0x100000001b3;
  }

  /// In units of the terms' last place, the smallest subnormal's near zero.
  static double ulps(float got, const test::Derivative<double>& want) {
    if (static_cast<double>(got) == want.value) return 0;
    if (std::isnan(got)) return INFINITY;
    const float rounded = static_cast<float>(want.value);
    if (std::isinf(rounded) || std::isinf(got)) return got == rounded ? 0 : INFINITY;
    const auto exponent = static_cast<std::int64_t>(std::bit_cast<std::uint64_t>(want.terms) >> 52 & 2047) - 1023;
    const auto scale = static_cast<std::uint64_t>(1023 + 23 - std::max<std::int64_t>(exponent, -126)) << 52;
    return std::fabs(static_cast<double>(got) - want.value) * std::bit_cast<double>(scale);
  }
};

std::vector<Line> all_lines() {
  std::vector<Line> lines;
  for (const bool backward : {false, true}) {
    const std::string tail = backward ? "'" : "";
    for (int k = 0; k < kFunctionKinds; ++k) {
      const auto kind = static_cast<FunctionKind>(k);
      lines.push_back({std::string(to_string(kind)) + tail, true, backward, {}, kind});
    }
    for (int k = 1; k < kActivationKinds; ++k) {
      const auto kind = static_cast<ActivationKind>(k);
      lines.push_back({std::string(to_string(kind)) + tail, false, backward, kind, {}});
    }
  }
  return lines;
}

/// Inputs number `chunk` of the run: kChunk consecutive floats, or every so many of them, with the edges.
std::vector<float> inputs(std::uint64_t chunk, std::uint64_t every) {
  std::vector<float> x;
  const std::uint64_t end = (chunk + 1) * kChunk;
  for (std::uint64_t bits = chunk * kChunk; bits < end;) {
    x.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
    ++bits;
    const std::uint64_t from_power = bits & 0x7fffff;
    if (from_power >= kEdges && from_power < 0x800000 - kEdges)
      bits = std::min((bits + every - 1) / every * every, bits - from_power + (0x800000 - kEdges));
  }
  return x;
}

struct Results {
  std::vector<Line> lines = all_lines();
  std::span<const Isa> isas = available_isas();
  std::vector<std::vector<Seen>> seen{lines.size(), std::vector<Seen>(isas.size())};
  double seconds = 0;
};

void look_at(const Results& r, const std::vector<const KernelTable*>& tables, const std::vector<float>& x,
             std::vector<std::vector<Seen>>& seen) {
  const std::vector<float> ones(kBlock, 1.0F);
  std::vector<float> saved(kBlock), out(kBlock), before(kBlock), saved_before(kBlock);
  std::vector<test::Derivative<double>> want(kBlock);
  std::vector<double> error(kBlock);
  // Whether a line has given the bits of the ISA before it so far; then it has seen what that one has.
  std::vector<std::vector<bool>> same_so_far(r.lines.size(), std::vector<bool>(tables.size(), true));
  for (std::size_t first = 0; first < x.size(); first += kBlock) {
    const std::size_t n = std::min(kBlock, x.size() - first);
    for (std::size_t l = 0; l < r.lines.size(); ++l) {
      const Line& line = r.lines[l];
      const bool from_output = line.backward && !line.is_function && !saves_input(line.f.kind);
      for (std::size_t t = 0; t < tables.size(); ++t) {
        line.run(*tables[t], x.data() + first, ones.data(), saved.data(), out.data(), static_cast<Index>(n));
        if (t > 0 && same_so_far[l][t]) {
          if (std::memcmp(out.data(), before.data(), n * sizeof(float)) == 0 &&
              std::memcmp(saved.data(), saved_before.data(), n * sizeof(float)) == 0) {
            seen[l][t] = seen[l][t - 1];
            continue;
          }
          same_so_far[l][t] = false;
        }
        for (std::size_t i = 0; i < n; ++i) {
          // What the ISA before had, too, is known.
          const bool same = t > 0 && std::bit_cast<std::uint32_t>(out[i]) == std::bit_cast<std::uint32_t>(before[i]) &&
                            std::bit_cast<std::uint32_t>(saved[i]) == std::bit_cast<std::uint32_t>(saved_before[i]);
          if (!same) {
            if (t == 0 || from_output) want[i] = line.want(static_cast<double>(x[first + i]), saved[i]);
            error[i] = std::isnan(want[i].value) ? 0 : Seen::ulps(out[i], want[i]);
          }
          seen[l][t].add(x[first + i], out[i], std::isnan(want[i].value), error[i]);
        }
        std::swap(out, before);
        std::swap(saved, saved_before);
      }
    }
  }
}

/// Of the lines so named, or of all when there are no names.
Results measure(std::uint64_t every, const std::vector<std::string>& names = {}) {
  Results r;
  if (!names.empty()) {
    std::erase_if(r.lines, [&](const Line& line) { return std::ranges::find(names, line.name) == names.end(); });
    r.seen.resize(r.lines.size());
  }
  std::vector<const KernelTable*> tables;
  const Isa before = active_isa();
  for (const Isa isa : r.isas) {
    set_isa(isa);
    tables.push_back(&detail::active_table());
  }
  set_isa(before);
  const auto start = std::chrono::steady_clock::now();
  const std::uint64_t chunks = (std::uint64_t{1} << 32) / kChunk;
  // Results are added in the order of the chunks, so hashes do not depend on threads.
  std::vector<std::vector<std::vector<Seen>>> done(chunks);
  std::atomic<std::uint64_t> next = 0, finished = 0;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1U, std::thread::hardware_concurrency()); ++t)
    threads.emplace_back([&] {
      for (std::uint64_t turn; (turn = next++) < chunks;) {
        const std::uint64_t chunk = turn * 1237 % chunks;  // all over the floats, so that the time left is known soon
        const std::vector<float> x = inputs(chunk, every);
        if (x.empty()) continue;
        std::vector<std::vector<Seen>> seen(r.lines.size(), std::vector<Seen>(tables.size()));
        look_at(r, tables, x, seen);
        done[chunk] = std::move(seen);
        if (every < kSlice && ++finished % 128 == 0) {
          const double part = static_cast<double>(finished) / static_cast<double>(chunks);
          const std::chrono::duration<double> past = std::chrono::steady_clock::now() - start;
          std::fprintf(stderr, "%.1f %%, %.0f min left\n", 100 * part, past.count() / 60 * (1 - part) / part);
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const auto& chunk : done)
    for (std::size_t l = 0; l < chunk.size(); ++l)
      for (std::size_t t = 0; t < tables.size(); ++t) r.seen[l][t].add(chunk[l][t]);
  r.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return r;
}

/// avx2, avx512 and neon give the same bits; one line stands for them.
std::string group(Isa isa) { return isa == Isa::sse2 ? "sse2" : "fma"; }

std::string number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", v);
  return text;
}
std::string size_of(float v) { return std::isinf(v) ? "" : number(static_cast<double>(v)); }

float at(const Line& line, const KernelTable& table, float x) {
  const float one = 1;
  float saved = 0, y = 0;
  line.run(table, &x, &one, &saved, &y, 1);
  return y;
}

std::string hex(std::uint64_t v) {
  std::ostringstream text;
  text << std::hex << v;
  return text.str();
}

std::string today() {
  char date[16];
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
  return date;
}

std::string which(std::uint64_t every) {
  return every == 1 ? "all 2^32 floats"
                    : "every " + std::to_string(every) + "th of the 2^32 floats and around every power of two";
}

std::string head(const Results& all, std::uint64_t every) {
  std::ostringstream text;
  text << "# Accuracy\n\n"
       << "Written by `./dev accuracy" << (every == 1 ? "" : " " + std::to_string(every)) << "` on " << today()
       << " in " << number(all.seconds / 60) << " minutes on " << std::thread::hardware_concurrency()
       << " threads: every function and derivative (') with its default numbers on " << which(every)
       << ", against double.\n"
       << "fma: avx2, avx512 and neon, which give the same bits. Errors in units in the last place of the result, "
          "of the smallest subnormal's below the normal numbers; where a derivative is a sum, in those of its terms' "
          "sizes added.\n`infinite`, `subnormal` and `zero` from: the smallest size of a finite argument (above "
          "1e-18 for the latter two) with such a result. NaN gives NaN everywhere.\n"
          "Hashes: FNV-1a over the bits of all results, in chunks; of the slice that the tests look at.\n\n"
       << "| function | isa | largest error | at | mean error | infinite from | subnormal from | zero from | f(-inf) | "
          "f(-0) | f(+inf) | hash of all | hash of the slice |\n"
       << "|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
  return text.str();
}

std::string row_key(const std::string& name, Isa isa) { return "| " + name + " | " + group(isa) + " |"; }

/// Keys, and rows that begin with them.
std::map<std::string, std::string> rows_of(const Results& all, const Results& slice, std::vector<std::string>& order) {
  std::map<std::string, std::string> rows;
  for (std::size_t l = 0; l < all.lines.size(); ++l)
    for (std::size_t t = 0; t < all.isas.size(); ++t) {
      if (t > 0 && group(all.isas[t]) == group(all.isas[t - 1])) continue;
      const Seen& s = all.seen[l][t];
      set_isa(all.isas[t]);
      const KernelTable& table = detail::active_table();
      const Line& line = all.lines[l];
      std::ostringstream row;
      row << row_key(line.name, all.isas[t]) << ' ' << number(s.worst) << " | "
          << number(static_cast<double>(s.worst_at)) << " | " << number(s.sum / static_cast<double>(s.inputs)) << " | "
          << size_of(s.overflow) << " | " << size_of(s.subnormal) << " | " << size_of(s.zero) << " | "
          << at(line, table, -INFINITY) << " | " << at(line, table, -0.0F) << " | " << at(line, table, INFINITY)
          << " | " << hex(s.hash) << " | " << hex(slice.seen[l][t].hash) << " |";
      order.push_back(row_key(line.name, all.isas[t]));
      rows[order.back()] = row.str();
    }
  return rows;
}

/// The table's text with these rows in the place of the old ones, and a sentence that says so.
std::string with_rows(const char* path, const std::map<std::string, std::string>& rows, const std::string& sentence) {
  std::ifstream file(path);
  std::string text;
  std::size_t found = 0;
  for (std::string line; std::getline(file, line);) {
    const auto row = std::ranges::find_if(rows, [&](const auto& r) { return line.starts_with(r.first); });
    found += row != rows.end();
    text += (row == rows.end() ? line : row->second) + "\n";
    if (line.starts_with("Hashes: ")) text += "\n" + sentence + "\n";
  }
  if (found != rows.size()) {
    std::cerr << path << " has " << found << " of the " << rows.size() << " rows\n";
    std::exit(1);
  }
  return text;
}

void save(const char* path, const std::string& text) {
  const std::string unfinished = std::string(path) + ".part";
  std::ofstream file(unfinished);
  file << text;
  file.close();
  if (!file || std::rename(unfinished.c_str(), path) != 0) {
    std::cerr << "cannot write " << path << "\n";
    std::exit(1);
  }
}

void write(const Results& all, const Results& slice, std::uint64_t every, const std::vector<std::string>& names,
           const char* path) {
  std::vector<std::string> order;
  const std::map<std::string, std::string> rows = rows_of(all, slice, order);
  if (names.empty()) {
    std::string text = head(all, every);
    for (const std::string& key : order) text += rows.at(key) + "\n";
    return save(path, text);
  }
  std::string sentence = "Again on " + today() + ", on " + which(every) + ":";
  for (const std::string& name : names) sentence += " " + name;
  save(path, with_rows(path, rows, sentence + "."));
}

/// Names what breaks a promise whatever the table says.
bool sound(const Results& r) {
  bool good = true;
  for (std::size_t l = 0; l < r.lines.size(); ++l)
    for (std::size_t t = 0; t < r.isas.size(); ++t) {
      const Seen& s = r.seen[l][t];
      const std::string where = r.lines[l].name + " on " + std::string(to_string(r.isas[t]));
      if (s.broken_nan > 0) good = false, std::cerr << where << ": NaN became a number\n";
      if (t > 0 && group(r.isas[t]) == group(r.isas[t - 1]) && s.hash != r.seen[l][t - 1].hash)
        good = false, std::cerr << where << ": other bits than " << to_string(r.isas[t - 1]) << "\n";
    }
  return good;
}

int check(const Results& r, const char* path) {
  std::ifstream file(path);
  if (!file) {
    std::cerr << "cannot read " << path << "\n";
    return 1;
  }
  std::map<std::string, std::vector<std::string>> table;
  for (std::string row; std::getline(file, row);) {
    std::istringstream cells(row);
    std::vector<std::string> cell;
    for (std::string c; std::getline(cells, c, '|');) cell.push_back(c.size() > 1 ? c.substr(1, c.size() - 2) : c);
    if (cell.size() == 14) table[cell[1] + " on " + cell[2]] = cell;
  }
  int wrong = sound(r) ? 0 : 1;
  for (std::size_t l = 0; l < r.lines.size(); ++l)
    for (std::size_t t = 0; t < r.isas.size(); ++t) {
      const std::string key = r.lines[l].name + " on " + group(r.isas[t]);
      const Seen& s = r.seen[l][t];
      if (!table.contains(key)) {
        ++wrong, std::cerr << path << " has no " << key << "\n";
      } else if (table[key][13] != hex(s.hash)) {
        ++wrong,
            std::cerr << key << ": the slice's hash is " << hex(s.hash) << ", the table has " << table[key][13] << "\n";
      } else if (s.worst > std::stod(table[key][3]) * 1.001) {
        ++wrong, std::cerr << key << ": " << s.worst << " ulp at " << s.worst_at << ", the table has " << table[key][3]
                           << "\n";
      }
    }
  std::cout << r.lines.size() << " functions and derivatives on " << r.isas.size() << " ISAs, " << r.seconds
            << " s: " << (wrong == 0 ? "as the table says" : "not as the table says") << "\n";
  return wrong == 0 ? 0 : 1;
}

void print(const Results& r) {
  for (std::size_t l = 0; l < r.lines.size(); ++l)
    for (std::size_t t = 0; t < r.isas.size(); ++t)
      std::printf("%-14s %-7s %8.4g ulp at %-12.6g mean %.3g\n", r.lines[l].name.c_str(),
                  std::string(to_string(r.isas[t])).c_str(), r.seen[l][t].worst,
                  static_cast<double>(r.seen[l][t].worst_at),
                  r.seen[l][t].sum / static_cast<double>(r.seen[l][t].inputs));
}

}  // namespace
}  // namespace tilewright

int main(int count, char** words) {
  using namespace tilewright;
  const std::string first = count > 1 ? words[1] : "";
  if (count == 2 && first == "--print") {
    const Results slice = measure(kSlice);
    print(slice);
    return sound(slice) ? 0 : 1;
  }
  if (count == 3 && first == "--check") return check(measure(kSlice), words[2]);
  if (count >= 2 && !first.starts_with("-")) {
    const std::uint64_t every = count >= 3 ? std::strtoull(words[2], nullptr, 10) : 1;
    if (every == 0) return std::cerr << "every how many floats?\n", 2;
    const std::vector<std::string> names(words + std::min(count, 3), words + count);
    const Results slice = measure(kSlice, names);
    if (!names.empty() && slice.lines.size() != names.size()) return std::cerr << "no such function\n", 2;
    Results all = measure(every, names);
    for (std::size_t l = 0; l < all.lines.size(); ++l)  // the slice has floats that every N-th one leaves out
      for (std::size_t t = 0; t < all.isas.size(); ++t)
        if (slice.seen[l][t].worst > all.seen[l][t].worst)
          all.seen[l][t].worst = slice.seen[l][t].worst, all.seen[l][t].worst_at = slice.seen[l][t].worst_at;
    print(all);
    write(all, slice, every, names, words[1]);
    return sound(all) ? 0 : 1;
  }
  std::cerr << "usage: tilewright_accuracy TABLE.md [EVERY [FUNCTION...]] | --check TABLE.md | --print\n";
  return 2;
}
