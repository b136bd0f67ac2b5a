// SPDX-License-Identifier: MIT
// The profiler inside: what each operation of each shape cost, how far from the machine's roof it was, and a timeline.
// Off by default; an operation then pays one comparison (docs/profiling.md has the measurement).
//
// From the environment, read at the first call:
//   TILEWRIGHT_PROFILE=summary     a table on stderr when the process exits; NAME.txt instead writes it to that file
//   TILEWRIGHT_PROFILE=NAME.json   a Chrome trace for ui.perfetto.dev when the process exits
//   TILEWRIGHT_VERBOSE=1           a line of CSV on stderr for every call
// Several are separated by commas. Any other value makes the first call throw ValueError. Children of a fork do not
// report.
//
// While it is on, operations take locks of their own thread only and allocate when they meet a new shape. All functions
// may be called from any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tilewright/machine.hpp"

namespace tilewright::profile {

/// What is kept besides the table.
struct Options {
  bool trace = false;  ///< keep every call with its time, up to 2^20 a thread, for save_trace
  bool log = false;    ///< a line on stderr for every call
};

/// Forgets what was recorded and begins. Measures the machine's roofs first (about half a second) unless it has done
/// so.
TILEWRIGHT_API void start(Options options = {});
/// Ends recording; what was recorded stays.
TILEWRIGHT_API void stop();
TILEWRIGHT_API bool is_on();

/// All calls of one operation on one shape with one number of threads.
struct Line {
  std::string operation;  ///< "gemm f32", "activation_forward gelu f32", or a Region's name
  std::string shape;      ///< "512x3072x768" (m x n x k), "128x10" (rows x columns)
  int threads = 1;        ///< parts that a call was cut into
  Index calls = 0;        ///< how many
  double seconds = 0;     ///< without the operations that ran inside
  double flops = 0;       ///< done, by the formula of the operation
  double bytes = 0;       ///< moved, by the formula of the operation
  double roof = 0;        ///< share of what the machine gives for these FLOPs and bytes; 0 where neither is known
  double idle = 0;        ///< share of the team's time that threads waited for the last one
};

/// What was recorded, the longest first.
TILEWRIGHT_API std::vector<Line> table();
/// From start to stop, or until now.
TILEWRIGHT_API double seconds();
/// The same as a text to print.
TILEWRIGHT_API std::string summary();
/// A Chrome trace (trace event format): a row for each thread, regions, operations and their parts nested. Throws
/// FileError.
TILEWRIGHT_API void save_trace(const std::string& path);

/// Names what happens while it lives, on this thread, in table and trace: a layer, a step, an epoch.
class TILEWRIGHT_API Region {
 public:
  /// Begins; the name is copied.
  explicit Region(std::string_view name) {
    if (is_on()) begin(name);
  }
  ~Region() {
    if (log_ != nullptr) end();
  }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

 private:
  void begin(std::string_view name);
  void end() noexcept;
  void* log_ = nullptr;
};

}  // namespace tilewright::profile
