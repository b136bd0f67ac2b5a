// SPDX-License-Identifier: MIT
// The only door to OpenMP.
#include <algorithm>

#include "kernels/core/cpu.hpp"
#include "kernels/core/parallel.hpp"
#include "tilewright/threads.hpp"

#if defined(_OPENMP)
#include <omp.h>

namespace tilewright {
namespace {

struct OpenMp final : Executor {
  void run(int parts, Part part, void* context) noexcept override {
    // OpenMP runtimes do not survive a fork: they wait for threads that the child does not have.
    if (detail::fork_count() != born) return thread_pool().run(parts, part, context);
    // The team's size does not follow the number of parts: OpenMP runtimes allocate whenever it changes.
    const int team = std::min(cores, std::max(num_threads(), 2));
#pragma omp parallel num_threads(team)
    for (int i = omp_get_thread_num(); i < parts; i += omp_get_num_threads()) part(context, i);
  }

  int concurrency() const noexcept override { return cores; }

  const int born = detail::fork_count();
  const int cores = detail::usable_cores();
};

}  // namespace

Executor& openmp_executor() noexcept {
  static OpenMp openmp;
  return openmp;
}

bool detail::in_openmp_region() noexcept { return omp_in_parallel() != 0; }

}  // namespace tilewright

#else

namespace tilewright {

Executor& openmp_executor() noexcept { return thread_pool(); }

bool detail::in_openmp_region() noexcept { return false; }

}  // namespace tilewright

#endif
