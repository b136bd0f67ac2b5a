// SPDX-License-Identifier: MIT
// How many threads, and whose.
#include "tilewright/threads.hpp"

#include <pthread.h>

#include <atomic>
#include <cstdlib>
#include <string_view>

#include "kernels/core/cpu.hpp"
#include "kernels/core/parallel.hpp"
#include "kernels/core/profile.hpp"

namespace tilewright {
namespace {

std::atomic<int> limit{0};
std::atomic<Executor*> process_executor{nullptr};
thread_local Executor* scope_executor = nullptr;

/// A positive number from the environment; OMP_NUM_THREADS may be a list, whose first entry counts.
int from_environment(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return 0;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (end == text || (*end != 0 && *end != ',') || value < 1) return 0;
  return static_cast<int>(std::min<long>(value, kMaxThreads));
}

struct Default {
  int count;
  const char* reason;
};

const Default& default_threads() {
  static const Default found = []() -> Default {
    for (const char* name : {"TILEWRIGHT_NUM_THREADS", "OMP_NUM_THREADS"})
      if (const int n = from_environment(name); n > 0) return {n, name};
    const detail::Cores cores = detail::cores();
    const int n = std::min(detail::usable_cores(), kMaxThreads);
    return {n, n < cores.physical ? "the cgroup's CPU quota" : "the physical cores of the affinity mask"};
  }();
  return found;
}

Executor& default_executor() {
  static Executor& chosen = []() -> Executor& {
    const char* text = std::getenv("TILEWRIGHT_EXECUTOR");
    const std::string_view name = text == nullptr ? "" : text;
    if (name == "openmp") return openmp_executor();
    if (name == "serial") return serial_executor();
    return thread_pool();
  }();
  return chosen;
}

struct Serial final : Executor {
  void run(int parts, Part part, void* context) noexcept override {
    for (int i = 0; i < parts; ++i) part(context, i);
  }
  int concurrency() const noexcept override { return 1; }
};

}  // namespace

int num_threads() noexcept {
  const int set = limit.load(std::memory_order_relaxed);
  return set > 0 ? set : default_threads().count;
}

void set_num_threads(int count) {
  detail::check_thread_count("set_num_threads", count);
  limit.store(count, std::memory_order_relaxed);
}

Executor::~Executor() = default;

int Executor::concurrency() const noexcept { return kMaxThreads; }

bool Executor::is_ready(double nanoseconds) noexcept { return nanoseconds >= 2 * detail::kThreadWork; }

Executor& serial_executor() noexcept {
  static Serial serial;
  return serial;
}

Executor& executor() noexcept {
  if (scope_executor != nullptr) return *scope_executor;
  Executor* const set = process_executor.load(std::memory_order_acquire);
  return set != nullptr ? *set : default_executor();
}

void set_executor(Executor* executor) noexcept { process_executor.store(executor, std::memory_order_release); }

ExecutorScope::ExecutorScope(Executor& executor) noexcept : before_(scope_executor) { scope_executor = &executor; }

ExecutorScope::~ExecutorScope() { scope_executor = before_; }

namespace detail {

int fork_count() noexcept {
  static std::atomic<int> forks{0};
  static const int registered = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });
  (void)registered;
  return forks.load(std::memory_order_relaxed);
}

int most_threads(int requested, double nanoseconds) noexcept {
  const int allowed = requested > 0 ? requested : num_threads();
  if (allowed <= 1 || nanoseconds < 2 * kReadyThreadWork || in_openmp_region()) return 1;
  const double each = nanoseconds < 2 * kThreadWork ? kReadyThreadWork : kThreadWork;
  return static_cast<int>(std::min<double>(std::min(allowed, executor().concurrency()), nanoseconds / each));
}

int ready_threads(int most, double nanoseconds) noexcept {
  return most > 1 && executor().is_ready(nanoseconds) ? most : 1;
}

std::string threads_reason() {
  return limit.load(std::memory_order_relaxed) > 0 ? "set_num_threads" : default_threads().reason;
}

void run_parts(int parts, void (*part)(void*, int), void* context) noexcept {
  if (profile_state.load(std::memory_order_relaxed) > kProfileUnknown) [[unlikely]]
    return run_watched(parts, part, context);
  executor().run(parts, part, context);
}

}  // namespace detail
}  // namespace tilewright
