// SPDX-License-Identifier: MIT
// Whose threads run a call, and what the host may be up to meanwhile.
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cfenv>
#include <chrono>
#include <clocale>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "tests/support.hpp"
#include "tilewright/tilewright.hpp"

namespace tilewright::test {
namespace {

Matrix<float> normal(Index rows, Index cols, std::uint64_t stream) {
  Matrix<float> m(rows, cols);
  fill_normal(m.span(), {3, stream});
  return m;
}

/// Products on every way that has parallel sections, and one call of each family.
std::uint64_t hash_of_calls(int threads) {
  Hash hash;
  const auto product = [&](Index m, Index n, Index k) {
    const Matrix<float> a = normal(m, k, 1), b = normal(n, k, 2);
    Matrix<float> c(m, n);
    gemm(a, b.t(), c, {.num_threads = threads});
    hash.add<float>(c);
  };
  product(130, 250, 700);  // shared panels, two blocks of k
  product(8, 8, 10500);    // long k
  product(2, 500, 600);    // few rows
  product(700, 40, 150);   // panels of each member's own
  const Matrix<float> x = normal(200, 300, 3);
  Matrix<float> y(200, 300), dx(200, 300);
  activation_forward(ActivationKind::gelu, x, y, threads);
  hash.add<float>(y);
  softmax(x, y, threads);
  hash.add<float>(y);
  std::vector<float> gamma(300, 1.5F), beta(300, 0.5F), dgamma(300), dbeta(300), mean(200), rstd(200);
  layer_norm(x, gamma, beta, y, mean, rstd, 1e-5, threads);
  layer_norm_backward(x, y, gamma, mean, rstd, dx, dgamma, dbeta, threads);
  hash.add<float>(y).add<float>(dx);
  hash.add(std::span<const float>(dgamma));
  return hash.value();
}

/// Last part first.
struct Backwards final : Executor {
  void run(int parts, Part part, void* context) noexcept override {
    for (int i = parts; i-- > 0;) part(context, i);
  }
};

/// A new thread for every part.
struct Crowd final : Executor {
  void run(int parts, Part part, void* context) noexcept override {
    std::vector<std::thread> threads;
    for (int i = 0; i < parts; ++i) threads.emplace_back(part, context, i);
    for (std::thread& t : threads) t.join();
  }
};

TEST(Executors, SameBitsWhoeverRunsTheParts) {
  const std::uint64_t want = hash_of_calls(1);
  Backwards backwards;
  Crowd crowd;
  ThreadPool three_threads(3), many_threads(64);
  Uncapped three(three_threads), many(many_threads);
  Executor* const all[] = {&serial_executor(), &thread_pool(), &openmp_executor(), &backwards, &crowd, &three, &many};
  for (std::size_t e = 0; e < std::size(all); ++e) {
    const ExecutorScope scope(*all[e]);
    for (const int threads : {2, 5, 64}) {
      if (kEmulated && threads != 5) continue;
      EXPECT_EQ(hash_of_calls(threads), want) << "executor " << e << ", " << threads;
    }
  }
}

/// Two parts that wait for each other, which is more than the interface promises: one thread alone would wait in vain.
TEST(Executors, ThePoolRunsPartsAtTheSameTimeAgainAndAgain) {
  ThreadPool pool(2);
  for (int call = 0; call < 3; ++call) {
    std::atomic<int> begun{0}, met{0};
    std::pair<std::atomic<int>*, std::atomic<int>*> both{&begun, &met};
    const auto part = [](void* context, int) {
      const auto [begun_, met_] = *static_cast<decltype(both)*>(context);
      ++*begun_;
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (*begun_ < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
      if (*begun_ == 2) ++*met_;
    };
    pool.run(2, part, &both);
    EXPECT_EQ(met, 2) << "call " << call;
  }
}

/// Counts the sections it is given.
struct Counter final : Executor {
  int sections = 0;
  void run(int parts, Part part, void* context) noexcept override {
    ++sections;
    for (int i = 0; i < parts; ++i) part(context, i);
  }
};

TEST(Executors, CallsAreCutIntoNoMorePartsThanItRuns) {
  struct Narrow final : Executor {
    int most = 0;
    void run(int parts, Part part, void* context) noexcept override {
      most = std::max(most, parts);
      for (int i = 0; i < parts; ++i) part(context, i);
    }
    int concurrency() const noexcept override { return 5; }
  } narrow;
  const ExecutorScope scope(narrow);
  hash_of_calls(64);
  EXPECT_EQ(narrow.most, 5);
  EXPECT_EQ(serial_executor().concurrency(), 1);
  std::vector<int> once;
  serial_executor().run(
      3, [](void* context, int i) { static_cast<std::vector<int>*>(context)->push_back(i); }, &once);
  EXPECT_EQ(once, (std::vector<int>{0, 1, 2}));
  EXPECT_LE(thread_pool().concurrency(), 64);
  EXPECT_EQ(ThreadPool(1).concurrency(), 1);
}

/// Calls of 4 to 10 microseconds, by the plan's reckoning.
std::uint64_t hash_of_small_calls(int threads) {
  Hash hash;
  const Index lanes = active_isa() == Isa::avx512 ? 16 : active_isa() == Isa::avx2 ? 8 : 4;
  const auto products = [&]<class T>(T, Index rows) {
    const auto filled = [](Index r, Index c, std::uint64_t stream) {
      Matrix<T> m(r, c);
      std::ranges::copy(normal(r, c, stream).span(), m.data());
      return m;
    };
    const Matrix<T> a = filled(rows, 64, 1), b = filled(64, 64, 2), bias = filled(1, 64, 3), more = filled(rows, 64, 4);
    Matrix<T> c(rows, 64), pre(rows, 64), tall(5 * rows, 7), wide(7, 8 * rows);
    gemm(a, b, c, {.num_threads = threads});
    hash.add<T>(c);
    gemm(a, b.t(), c, {.alpha = 2, .beta = 3, .num_threads = threads});
    hash.add<T>(c);
    gemm(a, b, c,
         {.bias = bias.span(),
          .activation = ActivationKind::gelu,
          .pre_activation = pre,
          .num_threads = threads,
          .residual = more});
    hash.template add<T>(c).template add<T>(pre);
    gemm(filled(5 * rows, 64, 5), filled(64, 7, 6), tall, {.bias = bias.span().first(7), .num_threads = threads});
    gemm(filled(7, 64, 7), filled(64, 8 * rows, 8), wide, {.num_threads = threads});
    hash.template add<T>(tall).template add<T>(wide);
  };
  products(0.F, 5 * lanes);
  products(0., 5 * lanes / 2);
  const Matrix<float> x = normal(1, 30000, 3);
  Matrix<float> y(1, 30000);
  activation_forward(ActivationKind::gelu, x, y, threads);
  return hash.add<float>(y).value();
}

TEST(Executors, SmallCallsAreCutWhileTheExecutorIsReady) {
  struct Ready final : Executor {
    bool ready = false;
    int sections = 0, most = 0;
    void run(int parts, Part part, void* context) noexcept override {
      ++sections;
      most = std::max(most, parts);
      for (int i = parts; i-- > 0;) part(context, i);
    }
    bool is_ready(double nanoseconds) noexcept override { return ready && nanoseconds >= 4000; }
  } its;
  Counter silent;  // which does not say
  {
    const ExecutorScope scope(silent);
    hash_of_small_calls(5);
    EXPECT_EQ(silent.sections, 0);
  }
  const ExecutorScope scope(its);
  const std::uint64_t want = hash_of_small_calls(1);
  EXPECT_EQ(hash_of_small_calls(5), want);
  EXPECT_EQ(its.sections, 0);
  its.ready = true;
  EXPECT_EQ(hash_of_small_calls(1), want);
  EXPECT_EQ(its.sections, 0);
  EXPECT_EQ(hash_of_small_calls(5), want);
  EXPECT_EQ(its.sections, 11);
  EXPECT_GT(its.most, 2);
}

TEST(Executors, ThePoolWakesForWhatIsWorthIt) {
  EXPECT_FALSE(ThreadPool(1).is_ready(1e9));
  ThreadPool pool(2);
  EXPECT_FALSE(pool.is_ready(4000));
  const auto fall_asleep = [] { std::this_thread::sleep_for(std::chrono::milliseconds(20)); };
  // Asks as calls do that follow each other fast, until the pool says yes; where the machine is busy not at once.
  const auto asked = [&](double nanoseconds) {
    int times = 1;
    while (!pool.is_ready(nanoseconds) && times < 1000000) ++times;
    return times;
  };
  fall_asleep();
  EXPECT_GE(asked(4000), 25);  // 0.1 ms together
  fall_asleep();
  EXPECT_GE(asked(30000), 4);
  fall_asleep();
  EXPECT_TRUE(pool.is_ready(100000));
  const auto nothing = [](void*, int) {};
  pool.run(2, nothing, nullptr);  // wakes it
  EXPECT_LT(asked(4000), 1000000);
  std::thread([&] { EXPECT_FALSE(pool.is_ready(4000)); }).join();  // somebody else's
}

TEST(Executors, OnesThatDoNotSayAreReadyForTenMicroseconds) {
  Counter silent;
  EXPECT_FALSE(silent.is_ready(9999));
  EXPECT_TRUE(silent.is_ready(10000));
}

TEST(Executors, OfTheProcessAndOfAScope) {
  // The suite runs on an executor of its own (main.cpp).
  Executor& of_suite = executor();
  set_executor(nullptr);
  const char* text = std::getenv("TILEWRIGHT_EXECUTOR");
  const std::string name = text == nullptr ? "pool" : text;
  EXPECT_EQ(&executor(), name == "openmp"   ? &openmp_executor()
                         : name == "serial" ? &serial_executor()
                                            : &thread_pool());
  const Matrix<float> x = normal(1, 1 << 20, 1);
  Matrix<float> y(1, 1 << 20);
  Counter process, scoped;
  set_executor(&process);
  activation_forward(ActivationKind::relu, x, y, 2);
  EXPECT_EQ(process.sections, 1);
  {
    const ExecutorScope scope(scoped);
    activation_forward(ActivationKind::relu, x, y, 2);
    std::thread([&] { activation_forward(ActivationKind::relu, x, y, 2); }).join();  // not of the scope
  }
  set_executor(nullptr);
  activation_forward(ActivationKind::relu, x, y, 2);
  set_executor(&of_suite);
  EXPECT_EQ(process.sections, 2);
  EXPECT_EQ(scoped.sections, 1);
  EXPECT_EQ(message_of<ValueError>([] { ThreadPool(0); }), "ThreadPool: 0 threads, expected 1 or more");
  EXPECT_EQ(message_of<ValueError>([] { ThreadPool(1025); }), "ThreadPool: num_threads is 1025, expected 0..1024");
}

TEST(Executors, EachPartOnce) {
  ThreadPool pool(7);
  for (int round = 0; round < 2000; ++round) {
    const int parts = 1 + round % 19;
    std::atomic<int> counts[19] = {};
    pool.run(
        parts, [](void* context, int i) { static_cast<std::atomic<int>*>(context)[i].fetch_add(1); }, counts);
    for (int i = 0; i < 19; ++i) ASSERT_EQ(counts[i].load(), i < parts ? 1 : 0) << "round " << round << ", part " << i;
  }
}

TEST(Executors, PoolsComeAndGo) {
  const Matrix<float> x = normal(64, 1024, 1);
  Matrix<float> y(64, 1024);
  for (int i = 0; i < 200; ++i) {
    ThreadPool pool(1 + i % 5);
    const ExecutorScope scope(pool);
    if (i % 3 != 0) activation_forward(ActivationKind::tanh, x, y, 4);
  }
}

TEST(Executors, ManyCallersAtATime) {
  constexpr int count = kEmulated ? 8 : 64;
  const std::uint64_t want = hash_of_calls(1);
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int t = 0; t < count; ++t)
    callers.emplace_back([&, t] {
      for (int i = 0; i < 2; ++i)
        if (hash_of_calls(1 + (t + i) % 4) != want) wrong.fetch_add(1);
    });
  for (std::thread& t : callers) t.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST(Executors, AfterFork) {
  if (kEmulated) GTEST_SKIP() << "the emulator aborts when the child of a process with threads starts one";
  ThreadPool own(4);
  for (Executor* e : {&serial_executor(), &thread_pool(), &openmp_executor(), static_cast<Executor*>(&own)}) {
    const ExecutorScope scope(*e);
    const std::uint64_t want = hash_of_calls(4);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      alarm(60);  // ends a child that hangs
      const bool right = hash_of_calls(4) == want && hash_of_calls(2) == want;
      _exit(right ? 0 : 1);
    }
    EXPECT_EQ(hash_of_calls(4), want);
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
  }
}

/// This process's threads.
std::set<std::string> threads_of_process() {
  std::set<std::string> ids;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) ids.insert(entry.path().filename());
  return ids;
}

/// Only the pool's own threads are looked at: those of an OpenMP runtime spin for a while.
#if defined(__linux__)
/// Threads are woken away from the caller's processor; which processors they may use stays as it was.
TEST(Executors, PoolThreadsMayUseTheSameProcessorsAfterwards) {
  cpu_set_t all;
  ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
  ThreadPool pool(3);
  const ExecutorScope scope(pool);
  Matrix<float> a(200, 200), c(200, 200);
  for (int i = 0; i < 20; ++i) {
    gemm(a, a, c, {.num_threads = 3});
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const auto may_use_all = [&](pid_t id) {
    cpu_set_t its;
    return sched_getaffinity(id, sizeof its, &its) != 0 || CPU_EQUAL(&its, &all);  // or ended meanwhile
  };
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    const pid_t id = std::stoi(task.path().filename());
    // One that met its caller's processor may just be moving away.
    for (int i = 0; i < 500 && !may_use_all(id); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_TRUE(may_use_all(id)) << id;
  }
}
#endif

TEST(Executors, ThePoolSleepsBetweenCalls) {
  const std::set<std::string> others = threads_of_process();
  ThreadPool pool(8);
  const ExecutorScope scope(pool);
  hash_of_calls(8);
  // Nanoseconds on a processor.
  const auto spent = [&] {
    std::map<std::string, std::string> all;
    for (const std::string& id : threads_of_process())
      if (others.count(id) == 0) std::getline(std::ifstream("/proc/self/task/" + id + "/schedstat"), all[id], ' ');
    return all;
  };
  // A busy machine lets a thread reach its bed late, but not by more of its own time.
  const auto first = spent();
  auto before = first, after = first;
  for (int i = 0; i < 20 && (i == 0 || after != before); ++i) {
    before = after;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    after = spent();
  }
  EXPECT_EQ(before.size(), 7U);
  EXPECT_EQ(after, before);
  for (const auto& [id, nanoseconds] : after)
    EXPECT_LE(std::stoll(nanoseconds) - std::stoll(first.at(id)), 50'000'000) << id;
}

/// What belongs to the host and must be afterwards as it was before: environment, locale, handlers of signals, the
/// calling thread's affinity and signal mask, open files, the working directory.
std::vector<std::string> state_of_host() {
  std::vector<std::string> state;
  for (char** e = environ; *e != nullptr; ++e) state.push_back(*e);
  state.push_back(std::setlocale(LC_ALL, nullptr));
  const auto add_bytes = [&](const void* data, std::size_t size) {
    state.emplace_back(static_cast<const char*>(data), size);
  };
  for (int signal = 1; signal < 32; ++signal) {
    struct sigaction action = {};
    if (sigaction(signal, nullptr, &action) != 0) continue;
    const auto handler = reinterpret_cast<std::uintptr_t>(action.sa_handler);
    add_bytes(&handler, sizeof handler);
    add_bytes(&action.sa_flags, sizeof action.sa_flags);
  }
  cpu_set_t cores;
  CPU_ZERO(&cores);
  sched_getaffinity(0, sizeof cores, &cores);
  add_bytes(&cores, sizeof cores);
  sigset_t mask;
  sigemptyset(&mask);
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  for (int signal = 1; signal < 32; ++signal) state.push_back(std::to_string(sigismember(&mask, signal)));
  std::set<std::string> files;
  for (const auto& file : std::filesystem::directory_iterator("/proc/self/fd")) files.insert(file.path().filename());
  state.insert(state.end(), files.begin(), files.end());
  state.push_back(std::filesystem::current_path().string());
  return state;
}

TEST(HostState, IsLeftAsItWas) {
  hash_of_calls(2);  // an OpenMP runtime may keep what it needs
  for (Executor* executor : {&thread_pool(), &openmp_executor(), &serial_executor()}) {
    const ExecutorScope scope(*executor);
    hash_of_calls(3);
    const auto before = state_of_host();
    for (const int threads : {1, 4}) {
      errno = 77;
      hash_of_calls(threads);
      EXPECT_EQ(errno, 77);
    }
    EXPECT_EQ(state_of_host(), before);
  }
}

/// On several threads; for every operation on one see Calls.TouchOnlyTheirOperandsAndDependOnNothingElse.
TEST(FloatState, OfTheHostChangesNothing) {
  const Matrix<float> a = normal(60, 70, 1), b = normal(70, 50, 2), x = normal(200, 300, 3);
  Matrix<float> tiny = x;  // products and results that are subnormal
  for (float& v : tiny.span()) v *= 1e-39F;
  const auto hash_of = [&](int threads) {
    Hash hash;
    Matrix<float> c(60, 50), y(200, 300), z(200, 200);
    gemm(a, b, c);
    hash.add<float>(c);
    activation_forward(ActivationKind::gelu, x, y, threads);
    hash.add<float>(y);
    activation_forward(ActivationKind::silu, tiny, y, threads);
    hash.add<float>(y);
    for (const auto kind : {ActivationKind::relu, ActivationKind::relu6, ActivationKind::hardtanh}) {  // short calls
      activation_forward(kind, tiny.row_block(0, 3), y.row_block(0, 3), threads);
      hash.add<float>(y);
    }
    gemm(tiny, x.t(), z, {.num_threads = threads});
    hash.add<float>(z);
    return hash.add(radam_rectification(0.999, 0.9, 105)).value();
  };
  const std::uint64_t want = hash_of(1);
  for (const int threads : {1, 2, 3}) {
    for (const int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
      ASSERT_EQ(std::fesetround(mode), 0);
      const std::uint64_t got = hash_of(threads);
      const int after = std::fegetround();
      std::fesetround(FE_TONEAREST);
      EXPECT_EQ(got, want) << "rounding mode " << mode << ", " << threads << " threads";
      EXPECT_EQ(after, mode);
    }
#if defined(__x86_64__)
    constexpr unsigned kFlushes = 0x8040;  // results and operands
    const unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | kFlushes);
    const std::uint64_t got = hash_of(threads);
    const unsigned after = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before);
    EXPECT_EQ(got, want) << "flush to zero, " << threads << " threads";
    EXPECT_EQ(after & kFlushes, kFlushes);
#endif
  }
}

}  // namespace
}  // namespace tilewright::test
