// SPDX-License-Identifier: MIT
// How many threads a call may use. The number never changes results, only speed: a call uses fewer where more would not
// pay, and one when it runs inside the host's own OpenMP parallel region. Every operation also takes a number per call.
//
// The default is TILEWRIGHT_NUM_THREADS, else OMP_NUM_THREADS, else the number of physical cores that the process may
// run on (affinity mask and cgroup CPU quota). Nothing here changes the host's OpenMP settings or affinity.
#pragma once

#include "tilewright/export.hpp"

namespace tilewright {

/// The process-wide limit.
TILEWRIGHT_API int num_threads() noexcept;

/// Sets it; 0 goes back to the default. Throws ValueError when negative or above kMaxThreads.
TILEWRIGHT_API void set_num_threads(int count);

inline constexpr int kMaxThreads = 1024;

}  // namespace tilewright
