// SPDX-License-Identifier: MIT
// The profiler, the machine's roofs, and the test behind the regression guard.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "bench/u_test.hpp"
#include "tests/support.hpp"
#include "tilewright/nn/nn.hpp"
#include "tilewright/tilewright.hpp"

namespace tilewright::test {
namespace {

Matrix<float> normal(Index rows, Index cols) {
  Matrix<float> m(rows, cols);
  fill_normal(m.span(), {3, 1});
  return m;
}

/// On while it lives.
struct Profiling {
  explicit Profiling(profile::Options options = {}) { profile::start(options); }
  ~Profiling() { profile::stop(); }
};

const profile::Line* find(const std::vector<profile::Line>& lines, const std::string& operation,
                          const std::string& shape) {
  for (const profile::Line& line : lines)
    if (line.operation == operation && line.shape == shape) return &line;
  return nullptr;
}

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::string temporary(const std::string& name) { return testing::TempDir() + std::to_string(getpid()) + name; }

TEST(Profile, CountsCallsAndWhatTheyDo) {
  const Matrix<float> a = normal(40, 30), b = normal(30, 20);
  const Matrix<double> x(7, 9), y(7, 9);
  Matrix<float> c(40, 20);
  Matrix<double> z(7, 9);
  gemm(a, b, c);  // before the start
  const Profiling on;
  for (int i = 0; i < 3; ++i) gemm(a, b, c, {.num_threads = 1});
  softmax(c, c, 1);
  add(x, y, z, 1);
  EXPECT_THROW(gemm(a, a, c), ShapeError);  // never began
  profile::stop();
  softmax(c, c, 1);  // after the stop
  const auto lines = profile::table();
  ASSERT_EQ(lines.size(), 3U);
  const profile::Line* product = find(lines, "gemm f32", "40x20x30");
  ASSERT_NE(product, nullptr);
  EXPECT_EQ(product->calls, 3);
  EXPECT_EQ(product->threads, 1);
  EXPECT_EQ(product->flops, 3 * 2.0 * 40 * 20 * 30);
  EXPECT_EQ(product->bytes, 3 * 4.0 * (40 * 30 + 30 * 20 + 40 * 20));
  EXPECT_GT(product->seconds, 0);
  EXPECT_GT(product->roof, 0);
  const profile::Line* rows = find(lines, "softmax f32", "40x20");
  ASSERT_NE(rows, nullptr);
  EXPECT_EQ(rows->calls, 1);
  EXPECT_EQ(rows->bytes, 2 * 4.0 * 40 * 20);
  const profile::Line* sum = find(lines, "add f64", "7x9");
  ASSERT_NE(sum, nullptr);
  EXPECT_EQ(sum->bytes, 3 * 8.0 * 7 * 9);
  EXPECT_GE(lines[0].seconds, lines[1].seconds);
  EXPECT_GE(lines[1].seconds, lines[2].seconds);
}

TEST(Profile, CountsAllProductsOfABatch) {
  const Matrix<float> a = normal(4, 6), b = normal(6, 5), wide = normal(6, 8);
  Matrix<float> c(4, 5), d(4, 8);
  const std::vector<MatrixView<const float>> as{a, a}, bs{b, wide};
  const std::vector<MatrixView<float>> cs{c, d};
  profile::start();
  gemm_batched(as, bs, cs);
  profile::stop();
  const auto lines = profile::table();
  const profile::Line* batch = find(lines, "gemm_batched f32", "2");
  ASSERT_NE(batch, nullptr);
  EXPECT_EQ(batch->flops, 2.0 * 4 * 6 * (5 + 8));
  EXPECT_EQ(batch->bytes, 4.0 * (2 * 4 * 6 + 6 * (5 + 8) + 4 * (5 + 8)));
}

TEST(Profile, AnEarlierRunIsForgotten) {
  const Matrix<float> x = normal(4, 4);
  Matrix<float> y(4, 4);
  profile::start();
  softmax(x, y);
  profile::start();
  log_softmax(x, y);
  profile::stop();
  ASSERT_EQ(profile::table().size(), 1U);
  EXPECT_EQ(profile::table()[0].operation, "log_softmax f32");
  EXPECT_FALSE(profile::is_on());
}

/// What is inside counts for itself, so that the lines add up to the time that passed.
TEST(Profile, TimesAddUp) {
  const Matrix<float> a = normal(150, 150);
  Matrix<float> c(150, 150);
  const Profiling on;
  const auto start = std::chrono::steady_clock::now();
  {
    const profile::Region outer("outer");
    for (int i = 0; i < 50; ++i) {
      const profile::Region inner("inner");
      gemm(a, a, c);
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  profile::stop();
  double all = 0;
  const auto lines = profile::table();
  for (const profile::Line& line : lines) all += line.seconds;
  EXPECT_NEAR(all, wall, 0.02 * wall);
  const profile::Line* inner = find(lines, "inner", "");
  ASSERT_NE(inner, nullptr);
  EXPECT_EQ(inner->calls, 50);
  EXPECT_GE(inner->seconds, 50 * 200e-6);
  EXPECT_LE(profile::seconds(), wall * 1.5);
  EXPECT_LT(find(lines, "outer", "")->seconds, inner->seconds);
}

/// Three parts that one thread does one after the other: the rest of the team waits.
TEST(Profile, TeamsAndTheirIdleTime) {
  const Matrix<float> a = normal(300, 300);
  Matrix<float> c(300, 300);
  test::Uncapped one_thread(serial_executor());
  const ExecutorScope scope(one_thread);
  const Profiling on;
  gemm(a, a, c, {.num_threads = 3});
  profile::stop();
  ASSERT_EQ(profile::table().size(), 1U);
  const profile::Line line = profile::table()[0];
  EXPECT_EQ(line.threads, 3);
  EXPECT_NEAR(line.idle, 1 - 1.0 / std::min(3, machine().physical_cores), 0.15);
}

TEST(Profile, LayersOfAModel) {
  nn::Sequential model(nn::Linear(8, 16), nn::ReLU(), nn::Linear(16, 2));
  optim::Adam optimizer(model.parameters());
  nn::MSELoss loss;
  const Matrix<float> x = normal(32, 8), target = normal(32, 2);
  const Profiling on;
  for (int i = 0; i < 4; ++i) {
    optimizer.zero_grad();
    loss(model.forward(x), target);
    model.backward(loss.gradient());
    optimizer.step();
  }
  profile::stop();
  const auto lines = profile::table();
  for (const char* name :
       {"0.Linear forward", "2.Linear forward", "0.Linear backward", "2.Linear backward", "Optimizer step"}) {
    const profile::Line* line = find(lines, name, "");
    ASSERT_NE(line, nullptr) << name;
    EXPECT_EQ(line->calls, 4) << name;
  }
  EXPECT_NE(find(lines, "gemm f32", "32x16x8"), nullptr);
  EXPECT_NE(find(lines, "mse_loss f32", "32x2"), nullptr);
}

/// The trace event format: every event has what viewers need, and events of a thread nest.
TEST(Profile, TraceIsWellFormed) {
  const std::string path = temporary("trace.json");
  const Matrix<float> a = normal(200, 200);
  Matrix<float> c(200, 200);
  {
    const Profiling on({.trace = true});
    const profile::Region region("a \"quoted\"\nname");
    for (int i = 0; i < 5; ++i) gemm(a, a, c, {.num_threads = 3});
    std::thread([&] { gemm(a, a, c, {.num_threads = 1}); }).join();
  }
  profile::save_trace(path);
  const auto trace = nlohmann::json::parse(text_of(path));
  std::map<int, std::vector<std::pair<double, double>>> by_thread;
  std::map<std::string, int> categories;
  std::map<int, std::string> names;
  for (const auto& e : trace.at("traceEvents")) {
    const std::string phase = e.at("ph");
    const int thread = e.at("tid");
    EXPECT_EQ(e.at("pid"), 1);
    if (phase == "M") {
      if (e.at("name") == "thread_name") names[thread] = e.at("args").at("name");
      continue;
    }
    ASSERT_EQ(phase, "X");
    const double start = e.at("ts"), length = e.at("dur");
    EXPECT_GE(start, 0);
    EXPECT_GE(length, 0);
    by_thread[thread].push_back({start, start + length});
    const std::string category = e.at("cat");
    ++categories[category];
    if (category == "operation") {
      EXPECT_EQ(e.at("name"), "gemm f32");
      EXPECT_EQ(e.at("args").at("shape"), "200x200x200");
      EXPECT_EQ(e.at("args").at("flops"), 2.0 * 200 * 200 * 200);
    } else if (category == "region") {
      EXPECT_EQ(e.at("name"), "a \"quoted\"\nname");
    }
  }
  EXPECT_EQ(categories["operation"], 6);
  EXPECT_EQ(categories["region"], 1);
  EXPECT_GE(categories["part"], 10);
  EXPECT_GE(by_thread.size(), 2U);
  for (auto& [thread, events] : by_thread) {
    EXPECT_EQ(names.count(thread), 1U);
    std::ranges::sort(events, [](const auto& x, const auto& y) {
      return x.first != y.first ? x.first < y.first : x.second > y.second;
    });
    std::vector<double> open;
    for (const auto& [start, end] : events) {
      while (!open.empty() && open.back() <= start + 1e-9) open.pop_back();
      const double most = open.empty() ? end : open.back();
      EXPECT_LE(end, most + 2e-3) << "events of thread " << thread << " overlap";
      open.push_back(end);
    }
  }
  EXPECT_EQ(message_of<FileError>([] { profile::save_trace("/nowhere/trace.json"); }),
            "save_trace: /nowhere/trace.json: No such file or directory");
  std::remove(path.c_str());
}

TEST(Profile, ManyThreadsAndReadersAtATime) {
  const Matrix<float> x = normal(16, 64);
  const Profiling on({.trace = true});
  std::atomic<bool> done{false};
  std::thread reader([&] {
    while (!done.load()) (void)profile::summary();
  });
  constexpr int kCallers = 8, kCalls = 50;
  std::vector<std::thread> callers;
  for (int t = 0; t < kCallers; ++t)
    callers.emplace_back([&] {
      Matrix<float> y(16, 64);
      for (int i = 0; i < kCalls; ++i) softmax(x, y, 2);
    });
  for (std::thread& t : callers) t.join();
  done = true;
  reader.join();
  profile::stop();
  ASSERT_EQ(profile::table().size(), 1U);
  EXPECT_EQ(profile::table()[0].calls, kCallers * kCalls);
}

/// Runs a test of this program in a process of its own, with these variables; its exit code and what it says on stderr.
std::pair<int, std::string> run_with(const std::vector<std::string>& variables, const std::string& test) {
  const std::string errors = temporary("stderr.txt");
  const pid_t child = fork();
  if (child == 0) {
    for (const std::string& v : variables) putenv(const_cast<char*>(v.c_str()));
    if (std::freopen("/dev/null", "w", stdout) == nullptr || std::freopen(errors.c_str(), "w", stderr) == nullptr)
      _exit(126);
    const std::string filter = "--gtest_filter=" + test;
    execl("/proc/self/exe", "tilewright_tests", filter.c_str(), "--gtest_also_run_disabled_tests", nullptr);
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  const std::string said = text_of(errors);
  std::remove(errors.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, said};
}

/// What the children below run.
TEST(ProfileChild, DISABLED_Multiplies) {
  const Matrix<float> a = normal(70, 70);
  Matrix<float> c(70, 70);
  const profile::Region region("short");
  gemm(a, a, c, {.num_threads = 2});
}

TEST(Profile, FromTheEnvironment) {
  if (kEmulated) GTEST_SKIP() << "an emulated program cannot start itself";
  const std::string child = "ProfileChild.DISABLED_Multiplies", table = temporary("table.txt"),
                    trace = temporary("trace.json");
  const auto [code, said] = run_with({"TILEWRIGHT_PROFILE=summary"}, child);
  EXPECT_EQ(code, 0);
  EXPECT_NE(said.find("tilewright profile:"), std::string::npos) << said;
  EXPECT_NE(said.find("70x70x70"), std::string::npos) << said;
  EXPECT_NE(said.find("\nshort "), std::string::npos) << said;

  const auto [both_code, both_said] = run_with({"TILEWRIGHT_PROFILE=" + table + "," + trace}, child);
  EXPECT_EQ(both_code, 0);
  EXPECT_EQ(both_said, "");
  EXPECT_NE(text_of(table).find("gemm f32"), std::string::npos);
  EXPECT_GE(nlohmann::json::parse(text_of(trace)).at("traceEvents").size(), 4U);

  const auto [log_code, log] = run_with({"TILEWRIGHT_VERBOSE=1"}, child);
  EXPECT_EQ(log_code, 0);
  std::istringstream log_lines(log);
  std::string head, line, last;
  std::getline(log_lines, head);
  EXPECT_EQ(head, "tilewright_verbose,version,event,operation,isa,shape,threads,ms,GFLOP/s,GB/s,roof");
  while (std::getline(log_lines, line)) {
    EXPECT_EQ(std::count(line.begin(), line.end(), ','), std::count(head.begin(), head.end(), ',')) << line;
    last = line;
  }
  EXPECT_TRUE(last.starts_with("tilewright_verbose,v1,exec,gemm f32,")) << last;
  EXPECT_NE(last.find(",70x70x70,thr"), std::string::npos) << last;

  const auto [wrong_code, unused] = run_with({"TILEWRIGHT_PROFILE=sumary"}, child);
  EXPECT_NE(wrong_code, 0);
  const auto [silent_code, silence] = run_with({"TILEWRIGHT_VERBOSE=0"}, child);
  EXPECT_EQ(silent_code, 0);
  EXPECT_EQ(silence, "");
  // An empty variable is none: it can be cleared where it cannot be unset.
  const auto [empty_code, of_empty] =
      run_with({"TILEWRIGHT_PROFILE=", "TILEWRIGHT_VERBOSE=", "TILEWRIGHT_ISA="}, child);
  EXPECT_EQ(empty_code, 0);
  EXPECT_EQ(of_empty, "");
  std::remove(table.c_str());
  std::remove(trace.c_str());
}

TEST(Roofs, SecondsOfACall) {
  Roofs r;
  r.flops_f32 = 100e9;
  r.flops_f64 = 50e9;
  for (int level = 0; level < 4; ++level) r.read[level] = (40 - 10 * level) * 1e9, r.copy[level] = r.read[level] / 2;
  const Machine m = machine();
  const double small = static_cast<double>(m.l1_bytes) / 4, large = 4 * static_cast<double>(m.l3_bytes);
  EXPECT_DOUBLE_EQ(r.seconds(1e9, 0, 0, 4), 0.01);
  EXPECT_DOUBLE_EQ(r.seconds(1e9, 0, 0, 8), 0.02);
  EXPECT_DOUBLE_EQ(r.seconds(0, small, 0, 4), small / 40e9);                            // read from L1
  EXPECT_DOUBLE_EQ(r.seconds(0, small, small, 4), 2 * small / 20e9);                    // copied in L1
  EXPECT_DOUBLE_EQ(r.seconds(0, large, 0, 4), large / 10e9);                            // read from memory
  EXPECT_DOUBLE_EQ(r.seconds(0, 2 * large, large, 4), 2 * large / 5e9 + large / 10e9);  // one of three alone
  EXPECT_DOUBLE_EQ(r.seconds(1e12, large, 0, 4), 10);                                   // the slower of both
}

TEST(Roofs, AreMeasured) {
  const Roofs r = measure_roofs(1, 0.02);
  EXPECT_EQ(r.isa, active_isa());
  EXPECT_EQ(r.threads, 1);
  for (const double speed : {r.flops_f32, r.flops_f64, r.read[0], r.read[1], r.read[2], r.read[3], r.copy[0], r.copy[3],
                             r.divisions[0], r.divisions[1], r.divisions[2]})
    EXPECT_GT(speed, 1e6);
  const Machine m = machine();
  EXPECT_GE(m.logical_cpus, m.physical_cores);
  EXPECT_GE(m.physical_cores, 1);
  EXPECT_EQ(m.threads, num_threads());
  EXPECT_FALSE(m.threads_reason.empty());
  EXPECT_EQ(message_of<ValueError>([] { measure_roofs(-1); }), "measure_roofs: num_threads is -1, expected 0..1024");
  std::vector<float> x(64);
  float* const arrays[] = {x.data(), x.data()};
  EXPECT_EQ(message_of<ValueError>([&] { roof::stream(5, 1, arrays, 64, 1); }),
            "stream: no loop reads 5 and writes 1 arrays");
  EXPECT_EQ(message_of<ValueError>([&] { roof::stream(2, 1, arrays, 64, 1); }), "stream: 2 arrays, expected 3");
}

/// Every mix of streams computes something that can be checked.
TEST(Roofs, StreamsMoveTheirArrays) {
  constexpr Index n = 640;
  std::vector<std::vector<float>> a(4, std::vector<float>(n));
  float* p[4];
  const auto reset = [&] {
    for (std::size_t i = 0; i < 4; ++i) {
      p[i] = a[i].data();
      std::fill(a[i].begin(), a[i].end(), static_cast<float>(i + 1));
    }
  };
  const int mixes[][3] = {{1, 1, 1}, {2, 1, 2}, {3, 2, 1}, {4, 3, 1}};  // reads, writes, first array written
  for (const auto& [reads, writes, first] : mixes)
    for (const int threads : {1, 3}) {
      reset();
      roof::stream(reads, writes, p, n, threads);
      for (int i = 0; i < 4; ++i) {
        const bool written = i >= first && i < first + writes;
        for (const float v : a[static_cast<std::size_t>(i)])
          ASSERT_EQ(v != static_cast<float>(i + 1), written) << reads << ", " << writes << ": array " << i;
      }
    }
}

TEST(UTest, AgreesWithTables) {
  using bench::u_test;
  EXPECT_DOUBLE_EQ(u_test({1, 2, 3}, {4, 5, 6}), 1 / 20.0);
  EXPECT_DOUBLE_EQ(u_test({1, 2, 4}, {3, 5, 6}), 2 / 20.0);
  EXPECT_DOUBLE_EQ(u_test({4, 5, 6}, {1, 2, 3}), 1);
  EXPECT_DOUBLE_EQ(u_test({1}, {1}), 1);  // a tie
  const std::vector<double> low{1, 2, 3, 4, 5, 6, 7, 8, 9}, high{11, 12, 13, 14, 15, 16, 17, 18, 19};
  EXPECT_DOUBLE_EQ(u_test(low, high), 1 / 48620.0);
  // U = 64 of 9 and 9: one-sided 5 % begins at 60 (Mann and Whitney's table has 21 = 81 - 60)
  EXPECT_LT(u_test({1, 2, 3, 4, 5, 6, 7, 8, 9}, {2.5, 3.5, 6.5, 7.5, 8.5, 9.5, 10, 11, 12}), 0.05);
}

}  // namespace
}  // namespace tilewright::test
