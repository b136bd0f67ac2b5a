// SPDX-License-Identifier: MIT
// The only door to OpenMP. Baseline code only.
#pragma once

#include <algorithm>

#include "kernels/core/check.hpp"

namespace tilewright::detail {

/// Items [first, end).
struct Range {
  Index first, end;
};

/// One member of a team that runs a parallel section. `size` members work; those from rank `size` on have empty shares
/// and only keep the barriers.
struct Member {
  int rank;
  int size;
  bool alone;

  /// Waits for the whole team.
  void barrier() const noexcept;
  /// This member's share of `count` items, in whole multiples of `unit` except at the end.
  Range share(Index count, Index unit = 1) const noexcept {
    if (size == 1 && rank == 0) return {0, count};
    const Index units = (count + unit - 1) / unit;
    return {std::min(count, units * rank / size * unit), std::min(count, units * (rank + 1) / size * unit)};
  }
};

/// `team` threads are called, `working` of them get work. The team is as large as the caller allows or absent: OpenMP
/// runtimes allocate whenever the size of a team changes, and the library promises not to.
struct Threads {
  int team = 1;
  int working = 1;
};

void run_team(Threads threads, void (*body)(void* context, Member member), void* context) noexcept;

/// Calls body(Member) on a team (which may turn out smaller) and waits for all. body must not throw.
template <class Body>
void parallel(Threads threads, Body&& body) noexcept {
  if (threads.team <= 1) return body(Member{0, 1, true});
  run_team(
      threads, [](void* context, Member member) { (*static_cast<std::remove_reference_t<Body>*>(context))(member); },
      &body);
}

/// Calls loop(row, first column, n) for pieces of a rows x cols array: rows, or where there are few, parts of them of
/// 1024 elements, which keeps threads out of each other's cache lines.
template <class Loop>
void for_pieces(Index rows, Index cols, Threads threads, Loop&& loop) {
  parallel(threads, [&](Member member) {
    if (rows >= member.size) {
      const auto [first, end] = member.share(rows);
      for (Index i = first; i < end; ++i) loop(i, Index{0}, cols);
    } else {
      const auto [first, end] = member.share(cols, 1024);
      for (Index i = 0; i < rows; ++i) loop(i, first, end - first);
    }
  });
}

/// Threads for work that one thread does in `nanoseconds`: at most what the caller (0: the process) allows, one inside
/// the host's own parallel region, and no more than have kThreadWork each.
Threads plan_threads(int requested, double nanoseconds) noexcept;

/// Waking a team and joining it takes 2 to 5 microseconds; a thread that has at least this much to do pays for itself.
inline constexpr double kThreadWork = 5000;
/// What every further member of a team adds to waking and joining it.
inline constexpr double kMemberCost = 200;

}  // namespace tilewright::detail
