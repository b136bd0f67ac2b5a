// SPDX-License-Identifier: MIT
// What the profiler keeps: written by profile.cpp, read by profile_report.cpp.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/core/profile.hpp"
#include "tilewright/machine.hpp"

namespace tilewright::detail {

/// Calls alike are counted together.
struct ProfileKey {
  CallInfo info;
  int parts;

  bool operator==(const ProfileKey& o) const {
    return info.operation == o.info.operation && info.variant == o.info.variant &&
           info.element_bytes == o.info.element_bytes && info.shape[0] == o.info.shape[0] &&
           info.shape[1] == o.info.shape[1] && info.shape[2] == o.info.shape[2] && parts == o.parts;
  }
};

struct ProfileHash {
  std::size_t operator()(const ProfileKey& k) const {
    std::uint64_t h = reinterpret_cast<std::uintptr_t>(k.info.operation);
    for (const std::uint64_t v :
         {static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(k.info.variant)),
          static_cast<std::uint64_t>(k.info.shape[0]), static_cast<std::uint64_t>(k.info.shape[1]),
          static_cast<std::uint64_t>(k.info.shape[2]), static_cast<std::uint64_t>(k.parts)})
      h = (h ^ v) * 0x9e3779b97f4a7c15;
    return static_cast<std::size_t>(h ^ h >> 32);
  }
};

struct ProfileTotals {
  Index calls = 0;
  std::int64_t nanoseconds = 0;  // of its own
  std::int64_t team_nanoseconds = 0, busy_nanoseconds = 0;
};

enum class EventKind { call, part, region };

struct ProfileEvent {
  CallInfo info;
  std::int64_t start, end;
  int part;  // its index, or for a call the number of parts
  EventKind kind;
};

/// A call that has not ended.
struct OpenCall {
  CallInfo info;
  std::int64_t start, inside;  // inside: of calls that it made
  int parts;
  std::int64_t team, busy;  // of its parallel sections
};

/// Of one thread.
struct ProfileLog {
  std::mutex mutex;
  int number = 0;
  std::vector<OpenCall> open;
  std::unordered_map<ProfileKey, ProfileTotals, ProfileHash> totals;
  std::vector<ProfileEvent> events;
  Index dropped = 0;
};

struct ProfileRecords {
  std::mutex mutex;  // before a log's
  std::vector<std::shared_ptr<ProfileLog>> logs;
  std::int64_t started = 0, stopped = 0;
  std::mutex roofs_mutex;  // after all others
  Roofs one, many;
};

ProfileRecords& profile_records() noexcept;

/// What the call needs at least, from the measured roofs; 0 where they are not known.
double roof_seconds_of(const CallInfo& info, int threads) noexcept;

/// " f32", " f64", or nothing for a region.
inline const char* suffix_of(const CallInfo& info) {
  return info.shape[0] < 0 ? "" : info.element_bytes == 8 ? " f64" : " f32";
}

/// "512x3072x768"
void write_shape(const CallInfo& info, char* text, std::size_t size) noexcept;

/// Reads TILEWRIGHT_PROFILE and TILEWRIGHT_VERBOSE, once. Throws ValueError.
void start_from_environment();

/// The file in one piece or not at all. Throws FileError.
void write_text(const char* operation, const std::string& path, const std::string& text);

}  // namespace tilewright::detail
