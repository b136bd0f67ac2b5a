// SPDX-License-Identifier: MIT
// How many threads a call may use, and whose threads they are. Neither changes results, only speed: a call is cut into
// parts by a plan that depends on the number allowed, the parts give the same bits in any order on any threads, and a
// call uses fewer parts where more would not pay or nobody would run them, and one when it runs inside the host's own
// OpenMP parallel region.
//
// The default number is TILEWRIGHT_NUM_THREADS, else OMP_NUM_THREADS, else the number of physical cores that the
// process may run on (affinity mask and cgroup CPU quota). Every operation also takes a number per call. Nothing here
// changes the host's OpenMP settings or affinity.
#pragma once

#include "tilewright/export.hpp"

namespace tilewright {

/// The process-wide limit.
TILEWRIGHT_API int num_threads() noexcept;

/// Sets it; 0 goes back to the default. Throws ValueError when negative or above kMaxThreads.
TILEWRIGHT_API void set_num_threads(int count);

inline constexpr int kMaxThreads = 1024;

/// Whoever runs the parts of a call. To lend the library your program's threads, derive from it:
///
///   struct MyExecutor : tilewright::Executor {
///     void run(int parts, Part part, void* context) noexcept override {
///       my_pool.parallel_for(0, parts, [&](int i) { part(context, i); });
///     }
///   };
class TILEWRIGHT_API Executor {
 public:
  /// What is run: with the context and the number of the part.
  using Part = void (*)(void* context, int index);
  Executor() = default;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  virtual ~Executor();
  /// Calls part(context, i) once for every i in [0, parts), in any order and on any threads, and returns when all have
  /// returned. Parts never wait for each other and do not throw. May be called by several threads at a time.
  virtual void run(int parts, Part part, void* context) noexcept = 0;
  /// How many parts it runs at a time; calls are not cut into more. Any number, unless it says.
  virtual int concurrency() const noexcept;
  /// Asked before a call that one thread does in about so many nanoseconds, 4000 or more: whether it is worth cutting
  /// now. Unless it says, from 10,000 on.
  virtual bool is_ready(double nanoseconds) noexcept;
};

/// Threads of the library's own. The caller works, too, and takes over the parts that no other thread has begun, so a
/// call never waits for a thread that the system does not run. A second caller at the same time works alone. Waiting
/// threads look for work for 0.1 ms, one that came too late for the last call for 2 ms, and then sleep; those that
/// are more than the cores sleep at once. After fork the child starts threads of its own.
class TILEWRIGHT_API ThreadPool final : public Executor {
 public:
  /// The caller and threads - 1 others, started by the first call; fewer when the system refuses. Throws ValueError
  /// unless 1 <= threads <= kMaxThreads.
  explicit ThreadPool(int threads);
  /// Ends its threads. No call may be running.
  ~ThreadPool() override;
  void run(int parts, Part part, void* context) noexcept override;
  /// No more than the cores that the process may use.
  int concurrency() const noexcept override;
  /// While its threads are awake, and for less than 10 us only if calls follow each other by less than 20 us and this
  /// caller was the last to use it. Waking a thread takes the caller 5 to 10 us, and 20 to 30 until it works: that is
  /// worth it for 100 us, of one call or of several that follow each other so, and 20 for each further thread.
  bool is_ready(double nanoseconds) noexcept override;

 private:
  struct Team;
  Team* team() noexcept;
  int threads_;
  void* team_ = nullptr;  ///< accessed atomically
};

/// The calling thread does everything.
TILEWRIGHT_API Executor& serial_executor() noexcept;
/// A ThreadPool with a thread for each usable core, for the whole process.
TILEWRIGHT_API Executor& thread_pool() noexcept;
/// OpenMP's threads, shared with a host that uses the same OpenMP runtime; thread_pool() in a build without OpenMP.
TILEWRIGHT_API Executor& openmp_executor() noexcept;

/// Who runs calls of this thread: its ExecutorScope's, else the process's, which is thread_pool() unless
/// TILEWRIGHT_EXECUTOR (openmp, pool or serial) or set_executor says otherwise.
TILEWRIGHT_API Executor& executor() noexcept;

/// Sets the process's executor, which must outlive its use; nullptr goes back to the default.
TILEWRIGHT_API void set_executor(Executor* executor) noexcept;

/// While it lives, calls of this thread use the given executor.
class TILEWRIGHT_API ExecutorScope {
 public:
  /// Begins on this thread.
  explicit ExecutorScope(Executor& executor) noexcept;
  ~ExecutorScope();
  ExecutorScope(const ExecutorScope&) = delete;
  ExecutorScope& operator=(const ExecutorScope&) = delete;

 private:
  Executor* before_;
};

}  // namespace tilewright
