// SPDX-License-Identifier: MIT
// Counters of the C library's allocations, which this program replaces.
#pragma once

#include <atomic>

namespace tilewright::test {

/// Calls of malloc and its relatives; and blocks that were not freed yet.
extern std::atomic<long> allocations, blocks;
/// When positive: the allocation of this thread that brings it to 0 fails.
extern thread_local long countdown;

/// Makes every allocation of every operation fail in turn.
bool failures_are_survived();

}  // namespace tilewright::test
