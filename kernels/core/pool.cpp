// SPDX-License-Identifier: MIT
// ThreadPool. A job is announced by a new number in one word; a thread begins a part by writing the job's number beside
// it, and ends it likewise. A job ends only when all of its parts were begun and done with its number, so a thread that
// looks at an old job finds every part taken, and one that got a part may read the job: it cannot end before.
//
// The time from a call to its return is that of cache lines on their way from core to core, 0.05 to 0.25 microseconds
// each. So what the caller announces is one line, nobody writes what others watch without need, and nobody looks at
// lines that another is about to write.
#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#include "kernels/core/cpu.hpp"
#include "kernels/core/parallel.hpp"
#include "tilewright/threads.hpp"

namespace tilewright {
namespace {

constexpr std::size_t kLine = 64;
/// Threads look for the next job this long before they sleep: longer than what lies between the calls of a training
/// step, shorter than anybody notices. Waking a sleeping thread takes 5 to 50 microseconds.
constexpr std::chrono::microseconds kPatience{100};
/// One that came too late to find a part looks for so long once: where it waits for a core
/// longer than a part takes, it would be late for every call.
constexpr std::chrono::microseconds kPatienceWhenLate{2000};
/// Where there are more threads than cores, whoever looks for work keeps another from doing it.
constexpr std::chrono::microseconds kNoPatience{0};

/// So often the caller looks whether others are done before it looks for what they have not begun: about 1 microsecond,
/// in which parts of one size end.
constexpr int kGrace = 128;

/// Calls that follow each other faster than this are worth a thread that spins meanwhile.
constexpr std::chrono::microseconds kDense{20};
/// What one call, or some that follow each other so, must have to do to wake a thread and each further one, in
/// nanoseconds. Waking takes the caller 5 to 10 microseconds, and 20 to 30 until the thread works.
constexpr double kWorthWaking = 100'000, kWorthWakingAnother = 20'000;

/// What a thread without a part does. The first one is for kDense: whoever sees it needs no clock, which takes 20 ns.
enum State : int { kLooking, kLookingOn, kAsleep };

/// What a thread has called in a row without help.
struct Calls {
  std::chrono::steady_clock::time_point end{};  // of the last one, about
  double nanoseconds = 0;
};
thread_local Calls calls;

void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// The processor that the calling thread is on now; -1 where nobody says.
int this_cpu() noexcept {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

/// Calls action() while a thread may not use one of its processors, if it has others: asleep it wakes elsewhere, awake
/// it moves. Afterwards it may use what it could before.
template <class Action>
void keep_off([[maybe_unused]] int processor, [[maybe_unused]] std::thread::native_handle_type thread,
              Action&& action) noexcept {
#if defined(__linux__)
  cpu_set_t all;
  if (processor >= 0 && processor < CPU_SETSIZE && pthread_getaffinity_np(thread, sizeof all, &all) == 0 &&
      CPU_COUNT(&all) > 1) {
    cpu_set_t others = all;
    CPU_CLR(static_cast<std::size_t>(processor), &others);
    const bool kept = pthread_setaffinity_np(thread, sizeof others, &others) == 0;
    action();
    if (kept) (void)pthread_setaffinity_np(thread, sizeof all, &all);
    return;
  }
#endif
  action();
}

/// Whether condition() became true in time.
template <class Condition>
bool spin_until(Condition&& condition, std::chrono::microseconds patience) noexcept {
  std::chrono::steady_clock::time_point end{};
  for (int i = 0;; ++i) {
    if (condition()) return true;
    pause();
    if (i % 64 != 63) continue;  // a look at the clock takes as long as one at memory
    const auto now = std::chrono::steady_clock::now();
    if (i == 63)
      end = now + patience;
    else if (now > end)
      return false;
  }
}

}  // namespace

struct ThreadPool::Team {
  struct alignas(kLine) Worker {
    std::atomic<int> state{kLooking};
    std::thread thread;
  };
  /// The last jobs whose part of one index was begun and done.
  struct Turn {
    alignas(kLine) std::atomic<std::uint64_t> begun{0};
    alignas(kLine) std::atomic<std::uint64_t> done{0};
  };

  explicit Team(int threads) : workers(static_cast<std::size_t>(threads - 1)), turns(new Turn[kMaxThreads]) {
    int rank = 0;
    try {
      for (Worker& w : workers) w.thread = std::thread([this, rank = ++rank] { work(rank); });
    } catch (const std::exception&) {
      // No thread or no memory for it: the caller and whoever could be started do the work.
    }
  }

  ~Team() {
    ending.store(true);
    for (Worker& w : workers) wake(w, -1);
    for (Worker& w : workers)
      if (w.thread.joinable()) w.thread.join();
  }

  /// What stands in `job`. Part 0 is the caller's, and threads do not look at it, unless it must wake them first.
  struct Job {
    std::uint64_t number;
    int parts, first;

    static Job of(std::uint64_t word) {
      return {word >> 16, static_cast<int>(word & 0x7FFF), static_cast<int>(word >> 15 & 1)};
    }
    std::uint64_t word() const {
      return number << 16 | static_cast<std::uint64_t>(first) << 15 | static_cast<std::uint64_t>(parts);
    }
  };

  /// Not on the given processor, the caller's: a virtual machine's kernel takes idle processors for busy ones and may
  /// wake a thread beside its waker, where it waits for milliseconds.
  static void wake(Worker& w, int not_on) noexcept {
    if (w.state.load() != kAsleep || w.state.exchange(kLooking) != kAsleep) return;
    keep_off(not_on, w.thread.native_handle(), [&] { w.state.notify_one(); });
  }

  /// Asked before each call, so that they are counted here.
  bool is_ready(double nanoseconds) noexcept {
    Calls& mine = calls;
    const auto is = [](const Worker& w, State state) { return w.state.load(std::memory_order_relaxed) == state; };
    // Those beyond the cores get no parts and sleep on.
    const std::size_t most = std::min(workers.size(), static_cast<std::size_t>(std::max(cores - 1, 1)));
    const double wanted = std::clamp(nanoseconds / detail::kThreadWork, 1.0, static_cast<double>(most));
    const auto asleep = std::count_if(workers.begin(), workers.begin() + static_cast<std::ptrdiff_t>(wanted),
                                      [&](const Worker& w) { return is(w, kAsleep); });
    const bool is_small = nanoseconds < 2 * detail::kThreadWork;
    const bool is_caller = caller.load(std::memory_order_relaxed) == &mine;
    if (asleep == 0 && (!is_small || (is_caller && is(workers.front(), kLooking)))) return true;
    const auto now = std::chrono::steady_clock::now();
    const bool dense = now < mine.end + kDense;
    mine.end = now + std::chrono::nanoseconds(static_cast<std::int64_t>(std::min(nanoseconds, 1e9)));
    mine.nanoseconds = dense ? mine.nanoseconds + nanoseconds : nanoseconds;
    if (asleep == 0) return dense && is_caller;
    if (mine.nanoseconds < kWorthWaking + kWorthWakingAnother * static_cast<double>(asleep - 1)) return false;
    mine.nanoseconds = 0;
    return true;
  }

  void run(int count, Part what, void* its_context) noexcept {
    caller.store(&calls, std::memory_order_relaxed);
    part = what;
    context = its_context;
    const int cpu = this_cpu();
    callers_cpu.store(cpu, std::memory_order_relaxed);
    const auto end = workers.begin() + std::min(count - 1, static_cast<int>(workers.size()));
    const bool wakes = std::any_of(workers.begin(), end, [](const Worker& w) { return w.state.load() == kAsleep; });
    const Job now{Job::of(job.load(std::memory_order_relaxed)).number + 1, count, wakes ? 0 : 1};
    job.store(now.word());
    std::for_each(workers.begin(), end, [&](Worker& w) { wake(w, count <= cores ? cpu : -1); });
    if (!wakes) part(context, 0);
    take_own(now, 0);

    int next = now.first;
    const auto done = [&] {
      while (next < count && turns[static_cast<std::size_t>(next)].done.load() == now.number) ++next;
      return next == count;
    };
    for (int i = wakes || count > cores ? 0 : kGrace; i > 0; --i) {
      if (done()) return;
      pause();
    }
    take_others(now, 0);
    if (spin_until(done, count <= cores ? kPatience : kNoPatience)) return;
    for (sleeper.store(now.number); !done(); sleeper.store(now.number)) sleeper.wait(now.number);
  }

  /// Its own parts, so that data stays in a core's cache from call to call. Returns whether there was one.
  bool take_own(const Job& now, int rank) noexcept {
    const int threads = static_cast<int>(workers.size()) + 1;
    bool any = false;
    for (int i = rank; i < now.parts; i += threads) any |= take(now, i);
    return any;
  }
  /// Whatever nobody has begun.
  bool take_others(const Job& now, int rank) noexcept {
    bool any = false;
    for (int i = 1; i < now.parts; ++i) any |= take(now, (rank + i) % now.parts);
    return any;
  }

  bool take(const Job& now, int index) noexcept {
    if (index < now.first) return false;
    Turn& turn = turns[static_cast<std::size_t>(index)];
    std::uint64_t last = turn.begun.load(std::memory_order_relaxed);
    if (last >= now.number || !turn.begun.compare_exchange_strong(last, now.number, std::memory_order_acquire))
      return false;
    part(context, index);
    turn.done.store(now.number);
    if (sleeper.load() == now.number) {
      sleeper.store(0);
      sleeper.notify_one();
    }
    return true;
  }

  void work(int rank) noexcept {
    Worker& me = workers[static_cast<std::size_t>(rank - 1)];
    const std::chrono::microseconds patience = rank < cores ? kPatience : kNoPatience;
    std::uint64_t seen = 0, word = 0;
    const auto called = [&] {
      word = job.load();
      if (word == seen && !ending.load()) return false;
      const bool mine = word != seen && rank < Job::of(word).parts;
      seen = word;
      return mine || ending.load();
    };
    for (bool late = false;;) {
      const auto is_called = [&] {
        if (spin_until(called, std::min(patience, kDense))) return true;
        me.state.store(kLookingOn, std::memory_order_relaxed);
        if (patience > kDense && spin_until(called, (late ? kPatienceWhenLate : patience) - kDense)) return true;
        late = false;
        me.state.store(kAsleep);
        return called();
      };
      while (!is_called()) me.state.wait(kAsleep);
      if (me.state.load(std::memory_order_relaxed) != kLooking) me.state.store(kLooking, std::memory_order_relaxed);
      if (ending.load()) return;
      const Job now = Job::of(word);
      const bool had_own = take_own(now, rank), had_other = take_others(now, rank);
      late = !had_own && !had_other && rank < cores;
      // Or there all the same, because others kept the rest busy.
      if (const int cpu = this_cpu(); rank < cores && cpu >= 0 && cpu == callers_cpu.load(std::memory_order_relaxed))
        keep_off(cpu, pthread_self(), [] {});
    }
  }

  const int born = detail::fork_count();
  const int cores = detail::usable_cores();
  alignas(kLine) std::atomic<bool> busy{false};
  std::atomic<const Calls*> caller{nullptr};  // tells threads apart; never followed
  alignas(kLine) std::atomic<std::uint64_t> job{0};
  Part part = nullptr;
  void* context = nullptr;
  std::atomic<int> callers_cpu{-1};
  std::atomic<bool> ending{false};
  alignas(kLine) std::atomic<std::uint64_t> sleeper{0};  // the job for whose end the caller sleeps
  std::vector<Worker> workers;
  std::unique_ptr<Turn[]> turns;
};

ThreadPool::ThreadPool(int threads) : threads_(threads) {
  if (threads < 1) throw ValueError("ThreadPool: " + std::to_string(threads) + " threads, expected 1 or more");
  detail::check_thread_count("ThreadPool", threads);
  detail::fork_count();
}

ThreadPool::~ThreadPool() {
  Team* const team = static_cast<Team*>(__atomic_exchange_n(&team_, nullptr, __ATOMIC_ACQ_REL));
  threads_ = 1;  // a host's destructors may still call
  if (team != nullptr && team->born == detail::fork_count()) delete team;
}

/// The team of this process, made when there is none; null when there is no memory for it. A team from before a fork
/// has no threads and perhaps a job that will not end: it is left alone.
ThreadPool::Team* ThreadPool::team() noexcept {
  void* now = __atomic_load_n(&team_, __ATOMIC_ACQUIRE);
  if (now != nullptr && static_cast<Team*>(now)->born == detail::fork_count()) return static_cast<Team*>(now);
  Team* made = nullptr;
  try {
    made = new Team(threads_);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  if (__atomic_compare_exchange_n(&team_, &now, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return made;
  delete made;
  return static_cast<Team*>(now);
}

void ThreadPool::run(int parts, Part part, void* context) noexcept {
  const detail::KeepErrno keep;  // waiting and waking set it
  Team* const team = threads_ > 1 && parts > 1 && parts <= kMaxThreads ? this->team() : nullptr;
  if (team == nullptr || team->busy.exchange(true, std::memory_order_acquire)) {
    for (int i = 0; i < parts; ++i) part(context, i);
    return;
  }
  team->run(parts, part, context);
  team->busy.store(false, std::memory_order_release);
}

bool ThreadPool::is_ready(double nanoseconds) noexcept {
  const detail::KeepErrno keep;  // starting threads sets it
  Team* const team = threads_ > 1 ? this->team() : nullptr;
  return team != nullptr && team->is_ready(nanoseconds);
}

int ThreadPool::concurrency() const noexcept {
  static const int cores = detail::usable_cores();
  return std::min(threads_, cores);
}

Executor& thread_pool() noexcept {
  static ThreadPool pool(std::min(detail::usable_cores(), kMaxThreads));
  return pool;
}

}  // namespace tilewright
