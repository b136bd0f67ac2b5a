// SPDX-License-Identifier: MIT
// What every operation does beside its work: a Call on the stack of its driver, after the checks. Baseline code only.
#pragma once

#include <atomic>

#include "kernels/core/float_state.hpp"
#include "tilewright/export.hpp"

namespace tilewright::detail {

struct ProfileLog;

/// What a call is and does. Names are literals.
struct CallInfo {
  const char* operation;
  const char* variant = "";
  int element_bytes = 4;
  Index shape[3] = {};  // ends at the first 0
  double flops = 0, bytes_read = 0, bytes_written = 0;
};

/// A pass over rows x cols elements of so many arrays.
template <class T>
CallInfo over_elements(const char* operation, const char* variant, Index rows, Index cols, int reads, int writes) {
  const double bytes = static_cast<double>(rows) * static_cast<double>(cols) * sizeof(T);
  return {operation, variant, sizeof(T), {rows, cols}, 0, reads * bytes, writes * bytes};
}

/// Off, not yet known (the environment was not read), or a sum of what is on.
inline constexpr int kProfileOff = 0, kProfileUnknown = 1, kProfileTable = 2, kProfileTrace = 4, kProfileLog = 8,
                     kProfileItt = 16;
extern std::atomic<int> profile_state;

/// Closes what was opened last on this thread's log.
[[gnu::cold]] void end_call(ProfileLog& log) noexcept;

/// An operation while it lives, for the profiler.
class Record {
 public:
  /// Of make(arguments...), which is only asked when somebody listens.
  template <class Make, class... Arguments>
  explicit Record(Make&& make, const Arguments&... arguments) {
    if (profile_state.load(std::memory_order_relaxed) != kProfileOff) [[unlikely]]
      begin(make(arguments...));
  }
  ~Record() {
    if (log_ != nullptr) [[unlikely]]
      end_call(*log_);
  }
  Record(const Record&) = delete;
  Record& operator=(const Record&) = delete;

 private:
  [[gnu::cold, gnu::noinline]] void begin(const CallInfo& info);
  ProfileLog* log_ = nullptr;
};

/// The same, which computes in the default floating-point state, whatever the host's is. What depends on the state is
/// computed while it lives; drivers that compute before their record have a DefaultFloatState of their own.
class Call {
 public:
  template <class Make, class... Arguments>
  explicit Call(Make&& make, const Arguments&... arguments) : record_(make, arguments...) {}

 private:
  DefaultFloatState state_;
  Record record_;
};

/// run_parts while something is recorded.
void run_watched(int parts, void (*part)(void* context, int index), void* context) noexcept;

}  // namespace tilewright::detail
