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

Threads plan_threads(int requested, double nanoseconds) noexcept {
#if defined(_OPENMP)
  const int allowed = requested > 0 ? requested : num_threads();
  if (allowed <= 1 || nanoseconds < 2 * kThreadWork + kMemberCost * (allowed - 2) || omp_in_parallel()) return {};
  return {allowed, static_cast<int>(std::min<double>(allowed, nanoseconds / kThreadWork))};
#else
  (void)requested, (void)nanoseconds;
  return {};
#endif
}

#if defined(_OPENMP)

void Member::barrier() const noexcept {
  if (!alone) {
#pragma omp barrier
  }
}

void run_team(Threads threads, void (*body)(void*, Member), void* context) noexcept {
#pragma omp parallel num_threads(threads.team)
  body(context, Member{omp_get_thread_num(), std::min(threads.working, omp_get_num_threads()), false});
}

#else

void Member::barrier() const noexcept {}
void run_team(Threads, void (*body)(void*, Member), void* context) noexcept { body(context, Member{0, 1, true}); }

#endif

}  // namespace detail
}  // namespace tilewright
