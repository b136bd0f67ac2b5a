// SPDX-License-Identifier: MIT
#include "bench/quiet.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "tilewright/tilewright.hpp"

namespace tilewright::bench {
namespace {

/// Three operations with memory a round and twelve that do nothing: bound by how many instructions a core takes in,
/// which is what a second thread of the core takes its half of. Bound by the units that add, the same loop has two
/// speeds on Zen 4, 9 % apart, and keeps either for a while. Never a part of another function: copies of the loop at
/// other addresses may take longer.
[[gnu::noinline]] std::uint64_t fixed_work() {
  constexpr int kRounds = 40000;
  static const std::uint64_t memory[512] = {};
  std::uint64_t a = 1, b = 2, c = 3;
  for (int i = 0; i < kRounds; ++i) {
    const std::uint64_t* p = memory + (i & 127) * 4;
    a += p[0], b ^= p[1], c += p[2];
    asm volatile("nop\n nop\n nop\n nop\n nop\n nop\n nop\n nop\n nop\n nop\n nop\n nop" : "+r"(a), "+r"(b), "+r"(c));
  }
  return a + b + c;
}

}  // namespace

double Quiet::now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double Quiet::probe(int threads) {
  std::atomic<double> longest = 0;
  const auto one = [](void* context, int) {
    const double start = now();
    [[maybe_unused]] volatile std::uint64_t sink = fixed_work();
    const double mine = now() - start;
    auto& most = *static_cast<std::atomic<double>*>(context);
    double so_far = most;
    while (so_far < mine && !most.compare_exchange_weak(so_far, mine)) {
    }
  };
  if (threads == 1)
    one(&longest, 0);
  else
    thread_pool().run(threads, one, &longest);
  best_ = std::min(best_, longest.load());
  return longest;
}

double Quiet::wait(int threads) {
  if (best_ == 1e300)  // the first look takes a while, so that it sees some quiet
    for (const double end = now() + 0.5; now() < end;) probe(threads);
  for (const double start = now();;) {
    const double seen = probe(threads);
    if (is_quiet(seen)) {
      patience_ -= now() - start;
      return seen;
    }
    if (now() - start > patience_) {
      patience_ = 0;
      return seen;
    }
  }
}

Quiet& quiet() {
  static Quiet all;
  return all;
}

}  // namespace tilewright::bench
