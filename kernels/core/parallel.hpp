// SPDX-License-Identifier: MIT
// The only door to OpenMP. Baseline code only.
#pragma once

#include <algorithm>

#include "kernels/core/check.hpp"

namespace tilewright::detail {

/// One member of a team that runs a parallel section. The team may be smaller than asked for: split by `size`.
struct Member {
  int rank;
  int size;

  /// Waits for the whole team.
  void barrier() const noexcept;
  /// This member's share [first, last) of `count` items, in whole multiples of `unit` except at the end.
  std::pair<Index, Index> share(Index count, Index unit = 1) const noexcept {
    const Index units = (count + unit - 1) / unit;
    return {std::min(count, units * rank / size * unit), std::min(count, units * (rank + 1) / size * unit)};
  }
};

void run_team(int threads, void (*body)(void* context, Member member), void* context) noexcept;

/// Calls body(Member) on up to `threads` threads and waits for all. body must not throw.
template <class Body>
void parallel(int threads, Body&& body) noexcept {
  if (threads <= 1) return body(Member{0, 1});
  run_team(
      threads, [](void* context, Member member) { (*static_cast<std::remove_reference_t<Body>*>(context))(member); }, &body);
}

/// How many threads to use for work that one thread does in `nanoseconds`: at most what the caller (0: the process) allows, one inside the host's
/// own parallel region, and no more than have kThreadWork each.
int plan_threads(int requested, double nanoseconds) noexcept;

/// Waking a team and joining it takes 2 to 5 microseconds; a thread that has at least this much to do pays for itself.
inline constexpr double kThreadWork = 8000;

}  // namespace tilewright::detail
