// SPDX-License-Identifier: MIT
// Work that is shared among threads. Baseline code only.
#pragma once

#include <algorithm>

#include "kernels/core/check.hpp"
#include "kernels/core/float_state.hpp"

namespace tilewright::detail {

/// Items [first, end).
struct Range {
  Index first, end;
};

/// One of `size` parts of a parallel section. Parts never wait for each other; what must come after all of them is a
/// section of its own.
struct Member {
  int rank;
  int size;

  /// This part's share of `count` items, in whole multiples of `unit` except at the end.
  Range share(Index count, Index unit = 1) const noexcept {
    if (size == 1) return {0, count};
    const Index units = (count + unit - 1) / unit;
    return {std::min(count, units * rank / size * unit), std::min(count, units * (rank + 1) / size * unit)};
  }
};

/// Calls part(context, i) for i < parts by the current executor.
void run_parts(int parts, void (*part)(void* context, int index), void* context) noexcept;

/// Calls body(Member) for each of `parts` members and waits for all. body must not throw, and runs in the default
/// floating-point state: the caller is in it already, for the sake of what it computes itself.
template <class Body>
void parallel(int parts, Body&& body) noexcept {
  if (parts <= 1) return body(Member{0, 1});
  struct Section {
    std::decay_t<Body> body;
    int parts;
  } section{std::forward<Body>(body), parts};
  run_parts(
      parts,
      [](void* context, int index) {
        const DefaultFloatState its_state;
        auto& s = *static_cast<Section*>(context);
        s.body(Member{index, s.parts});
      },
      &section);
}

/// Calls loop(row, first column, n) for pieces of a rows x cols array: rows, or where there are few, parts of them of
/// 1024 elements, which keeps threads out of each other's cache lines.
template <class Loop>
void for_pieces(Index rows, Index cols, int parts, const Loop& loop) {
  if (cols == 0) return;
  parallel(parts, [rows, cols, loop](Member member) {
    if (rows >= member.size) {
      const auto [first, end] = member.share(rows);
      for (Index i = first; i < end; ++i) loop(i, Index{0}, cols);
    } else {
      const auto [first, end] = member.share(cols, 1024);
      for (Index i = 0; i < rows; ++i) loop(i, first, end - first);
    }
  });
}

/// Parts for work that one thread does in `nanoseconds`: at most what the caller (0: the process) allows, one inside
/// the host's own parallel region, and no more than have kThreadWork each, or kReadyThreadWork where there is less than
/// for two of them. The same for every such call, so that memory for them is allocated by the first.
int most_threads(int requested, double nanoseconds) noexcept;

/// So many parts, or one if the executor is not ready for such a call now. Asked once for each call.
int ready_threads(int most, double nanoseconds) noexcept;

/// Parts for work that needs no memory for each.
inline int plan_threads(int requested, double nanoseconds) noexcept {
  return ready_threads(most_threads(requested, nanoseconds), nanoseconds);
}

/// What a thread should have to do, in nanoseconds.
inline constexpr double kThreadWork = 5000;
/// The same in calls of less. Handing over takes 0.1 microseconds, between distant cores 0.5, and the data come from
/// another core's cache.
inline constexpr double kReadyThreadWork = 2000;

/// Where num_threads() comes from.
std::string threads_reason();

/// Forks between the first process and this one, counted from the first call on. Threads do not survive a fork.
int fork_count() noexcept;

/// Whether the calling thread is inside a parallel region of the host's OpenMP.
bool in_openmp_region() noexcept;

}  // namespace tilewright::detail
