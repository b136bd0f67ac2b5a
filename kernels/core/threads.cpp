// SPDX-License-Identifier: MIT
#include "tilewright/threads.hpp"

#include <atomic>
#include <cstdlib>

#include "kernels/core/cpu.hpp"
#include "kernels/core/parallel.hpp"

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace tilewright {
namespace {

std::atomic<int> limit{0};

/// A positive number from the environment; OMP_NUM_THREADS may be a list, whose first entry counts.
int from_environment(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return 0;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (end == text || (*end != 0 && *end != ',') || value < 1) return 0;
  return static_cast<int>(std::min<long>(value, kMaxThreads));
}

int default_threads() {
  static const int count = [] {
    int n = from_environment("TILEWRIGHT_NUM_THREADS");
    if (n == 0) n = from_environment("OMP_NUM_THREADS");
    if (n == 0) n = std::min(detail::usable_cores(), kMaxThreads);
    return n;
  }();
  return count;
}

}  // namespace

int num_threads() noexcept {
  const int set = limit.load(std::memory_order_relaxed);
  return set > 0 ? set : default_threads();
}

void set_num_threads(int count) {
  detail::check_thread_count("set_num_threads", count);
  limit.store(count, std::memory_order_relaxed);
}

namespace detail {

int plan_threads(int requested, double nanoseconds) noexcept {
  const int allowed = requested > 0 ? requested : num_threads();
  if (allowed <= 1 || nanoseconds < 2 * kThreadWork) return 1;
#if defined(_OPENMP)
  if (omp_in_parallel()) return 1;
  return static_cast<int>(std::min<double>(allowed, nanoseconds / kThreadWork));
#else
  return 1;
#endif
}

#if defined(_OPENMP)

void Member::barrier() const noexcept {
  if (size > 1) {
#pragma omp barrier
  }
}

void run_team(int threads, void (*body)(void*, Member), void* context) noexcept {
#pragma omp parallel num_threads(threads)
  body(context, Member{omp_get_thread_num(), omp_get_num_threads()});
}

#else

void Member::barrier() const noexcept {}
void run_team(int, void (*body)(void*, Member), void* context) noexcept { body(context, Member{0, 1}); }

#endif

}  // namespace detail
}  // namespace tilewright
