// SPDX-License-Identifier: MIT
#pragma once

#include "kernels/core/memory.hpp"
#include "kernels/core/parallel.hpp"

namespace tilewright::detail {

/// part(i) for i in [0, parts), in parallel; the sum of its results in ascending order. All of it takes one thread so
/// many nanoseconds.
template <class Part>
double ordered_sum(Index parts, int requested, double nanoseconds, Part&& part) {
  const int most = most_threads(requested, nanoseconds);
  double* sums = most > 1 ? scratch<double>(parts) : nullptr;
  const int threads = ready_threads(most, nanoseconds);
  if (threads == 1) {
    double total = 0;
    for (Index i = 0; i < parts; ++i) total += part(i);
    return total;
  }
  parallel(threads, [&](Member member) {
    const auto [first, end] = member.share(parts, 8);
    for (Index i = first; i < end; ++i) sums[i] = part(i);
  });
  double total = 0;
  for (Index i = 0; i < parts; ++i) total += sums[i];
  return total;
}

}  // namespace tilewright::detail
