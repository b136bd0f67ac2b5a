// SPDX-License-Identifier: MIT
// What more threads than cores cost: the time of calls on 64 threads over that on as many as there are cores, in turns
// of 20 calls after 5 that wake the threads, medians; calls after another thread has kept a core busy, as waiting
// threads of OpenMP and BLAS libraries do; and the longest call while other threads keep every core busy.
// Ends with 1 when a result is wrong.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "tilewright/tilewright.hpp"

using namespace tilewright;

namespace {

double milliseconds(const Matrix<float>& a, Matrix<float>& c, int threads) {
  const auto start = std::chrono::steady_clock::now();
  gemm(a, a, c, {.num_threads = threads});
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> v) {
  std::ranges::nth_element(v, v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2));
  return v[v.size() / 2];
}

}  // namespace

int main() {
  const int cores = num_threads();
  ThreadPool few(cores), many(64);
  for (const Index n : {128, 512, 1024}) {
    Matrix<float> a(n, n), c(n, n);
    fill_uniform(a.span(), {1, 1});
    std::vector<double> of_few, of_many;
    const auto turn = [&](ThreadPool& pool, int threads, std::vector<double>& times) {
      const ExecutorScope scope(pool);
      // A thread that wakes beside the caller needs some milliseconds to get a core of its own.
      for (double passed = 0; passed < 20;) passed += milliseconds(a, c, threads);
      for (double passed = 0; passed < 20; passed += times.back()) times.push_back(milliseconds(a, c, threads));
    };
    gemm(a, a, c, {.num_threads = 1});
    const Matrix<float> want = c;
    for (int i = 0; i < 10; ++i) {
      turn(few, cores, of_few);
      turn(many, 64, of_many);
      if (std::memcmp(c.data(), want.data(), c.span().size_bytes()) != 0) return std::puts("wrong result"), 1;
    }
    const double ratio = median(of_many) / median(of_few);
    std::printf("gemm %td: 64 threads %.2f times %d threads; ", static_cast<std::ptrdiff_t>(n), ratio, cores);
  }
  // After a spinning thread the first calls find the pool's threads asleep, or beside the caller.
  {
    Matrix<float> a(512, 512), c(512, 512);
    std::vector<double> quiet, after;
    for (int i = 0; i < 60; ++i) quiet.push_back(milliseconds(a, c, cores));
    for (int i = 0; i < 20; ++i) {
      std::thread spinning([] {
        for (const auto start = std::chrono::steady_clock::now();
             std::chrono::steady_clock::now() - start < std::chrono::milliseconds(30);) {
        }
      });
      for (double passed = 0; passed < 20;) passed += milliseconds(a, c, cores);
      spinning.join();
      for (int k = 0; k < 8; ++k) after.push_back(milliseconds(a, c, cores));
    }
    std::ranges::sort(after);
    std::printf("gemm 512 after another thread spun: %.2f times the median before, nine of ten below %.2f; ",
                median(after) / median(quiet), after[after.size() * 9 / 10] / median(quiet));
  }
  std::atomic<bool> stop{false};
  std::vector<std::thread> busy;
  for (int i = 0; i < cores; ++i)
    busy.emplace_back([&] {
      while (!stop) {
      }
    });
  Matrix<float> a(256, 256), c(256, 256);
  std::vector<double> times;
  for (int i = 0; i < 300; ++i) times.push_back(milliseconds(a, c, cores));
  stop = true;
  for (std::thread& t : busy) t.join();
  std::printf("gemm 256 beside %d busy threads: median %.2f ms, longest %.1f ms\n", cores, median(times),
              *std::ranges::max_element(times));
  return 0;
}
