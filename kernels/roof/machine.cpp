// SPDX-License-Identifier: MIT
// The machine: what it is, and the bare loops of loops.hpp timed at every level of its memory.
#include "tilewright/machine.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "kernels/core/cpu.hpp"
#include "kernels/core/parallel.hpp"
#include "kernels/core/stores.hpp"
#include "tilewright/threads.hpp"

namespace tilewright {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMixes[][2] = {{1, 0}, {2, 0}, {1, 1}, {2, 1}, {3, 2}, {4, 3}};
static_assert(std::size(kMixes) == detail::kStreamMixes);

/// Steps of one burst, each of kFmaChains multiply-adds of registers: some 0.1 ms, so that starting threads costs
/// little.
constexpr Index kBurst = 1 << 16;
/// Memory is measured on arrays of this size together, or of twice the third-level cache.
constexpr Index kMemoryBytes = Index{128} << 20;
/// Floats between the beginnings of arrays, relative to their pages: a store must not look like one of the loads.
constexpr Index kShift = 272;

/// The best rate of call(), which does `amount`, over `seconds`.
template <class Call>
double best_rate(double amount, double seconds, Call&& call) {
  call();  // starts threads, meets pages
  double best = 0;
  for (const auto start = Clock::now(); std::chrono::duration<double>(Clock::now() - start).count() < seconds;) {
    const auto before = Clock::now();
    call();
    best = std::max(best, amount / std::chrono::duration<double>(Clock::now() - before).count());
  }
  return best;
}

}  // namespace

Machine machine() {
  const detail::Cores cores = detail::cores();
  const detail::CacheSizes& cache = detail::cache_sizes();
  return {detail::cpu_name(),       cores.logical,  cores.physical, cores.quota,   num_threads(),
          detail::threads_reason(), cache.l1_bytes, cache.l2_bytes, cache.l3_bytes};
}

namespace roof {

double multiply_add(int element_bytes, int threads) {
  const detail::KernelTable& table = detail::active_table();
  detail::parallel(threads, [&](detail::Member) {
    if (element_bytes == 4)
      (void)table.roof.fma_f32(kBurst, 0.999F, 1e-3F);
    else
      (void)table.roof.fma_f64(kBurst, 0.999, 1e-3);
  });
  const int lanes = element_bytes == 4 ? table.gemm<float>().lanes : table.gemm<double>().lanes;
  return 2.0 * detail::kFmaChains * static_cast<double>(kBurst) * lanes * threads;
}

double divide(int roots, int threads) {
  if (roots < 0 || roots > 2) throw ValueError("divide: " + std::to_string(roots) + " roots, expected 0..2");
  const detail::KernelTable& table = detail::active_table();
  constexpr Index kSteps = kBurst / 8;  // a division takes some eight multiply-adds
  detail::parallel(threads, [&](detail::Member) { (void)table.roof.divide[roots](kSteps, 1.5F); });
  return static_cast<double>(detail::kFmaChains * kSteps * table.gemm<float>().lanes) * threads;
}

void stream(int reads, int writes, std::span<float* const> arrays, Index n, int threads) {
  for (int mix = 0; mix < detail::kStreamMixes; ++mix) {
    if (kMixes[mix][0] != reads || kMixes[mix][1] != writes) continue;
    const auto loop = detail::active_table().roof.stream[mix];
    const auto count = static_cast<std::size_t>(writes >= 2 ? reads : reads + writes);
    if (arrays.size() < count)
      throw ValueError("stream: " + std::to_string(arrays.size()) + " arrays, expected " + std::to_string(count));
    const float* const written = writes == 1 ? arrays[count - 1] : nullptr;
    const bool in_place = std::find(arrays.begin(), arrays.begin() + reads, written) != arrays.begin() + reads;
    const auto past_caches = detail::stores_of(4.0 * static_cast<double>(n), writes != 1 || in_place);
    return detail::parallel(threads, [&](detail::Member member) {
      const auto [begin, end] = member.share(n, 64);
      const auto run = [&, begin = begin](Index first, Index length, float* to) {
        float* own[4] = {};
        for (std::size_t i = 0; i < count; ++i) own[i] = arrays[i] + begin + first;
        if (writes == 1) own[count - 1] = to;
        (void)loop(own, length);
      };
      detail::store_pieces(past_caches, arrays[count - 1] + begin, end - begin, run);
    });
  }
  throw ValueError("stream: no loop reads " + std::to_string(reads) + " and writes " + std::to_string(writes) +
                   " arrays");
}

}  // namespace roof

double Roofs::seconds(double flops, double bytes_read, double bytes_written, int element_bytes) const {
  const detail::CacheSizes& cache = detail::cache_sizes();
  const double peak = element_bytes == 8 ? flops_f64 : flops_f32, bytes = bytes_read + bytes_written;
  // The first two caches are each core's, the third is everybody's.
  const double sizes[] = {static_cast<double>(cache.l1_bytes) * threads, static_cast<double>(cache.l2_bytes) * threads,
                          static_cast<double>(cache.l3_bytes)};
  const auto level = std::find_if(sizes, sizes + 3, [&](double size) { return bytes <= size; }) - sizes;
  // What is written goes with as much that is read; the rest is only read.
  const double both = std::min(bytes_read, bytes_written), alone = bytes - 2 * both;
  return std::max(flops / peak, 2 * both / copy[level] + alone / (bytes_read > bytes_written ? read : copy)[level]);
}

Roofs measure_roofs(int threads, double seconds) {
  detail::check_thread_count("measure_roofs", threads);
  Roofs r;
  r.isa = active_isa();
  r.threads = threads == 0 ? num_threads() : threads;
  const double each = seconds / 13;  // 2 multiply-adds, 3 divisions, 8 streams
  for (const int bytes : {4, 8}) {
    const double flops = roof::multiply_add(bytes, r.threads);
    (bytes == 4 ? r.flops_f32 : r.flops_f64) = best_rate(flops, each, [&] { roof::multiply_add(bytes, r.threads); });
  }
  for (int roots = 0; roots < 3; ++roots)
    r.divisions[roots] = best_rate(roof::divide(roots, r.threads), each, [&] { roof::divide(roots, r.threads); });
  const detail::CacheSizes& cache = detail::cache_sizes();
  // In the middle of each level: half of a first-level cache, and half of the next ones or twice the level before.
  const Index sizes[] = {cache.l1_bytes / 2 * r.threads, std::max(cache.l2_bytes / 2, 2 * cache.l1_bytes) * r.threads,
                         std::max(cache.l3_bytes / 4, 2 * cache.l2_bytes * r.threads),
                         std::max(kMemoryBytes, 2 * cache.l3_bytes)};
  Matrix<float> memory(2, sizes[3] / 8 + kShift);
  std::fill_n(memory.data(), memory.size(), 0.5F);
  for (int level = 0; level < 4; ++level)
    for (const int writes : {0, 1}) {
      const Index n = sizes[level] / 4 / (1 + writes), chunk = n / r.threads / 64 * 64;
      const bool single = writes == 0 && n > memory.cols();  // one array, the whole of memory
      float* const arrays[2] = {memory.data(), memory.data() + (single ? 0 : memory.cols()) + kShift - 16};
      // Small arrays are passed over many times in one call, so that starting threads costs nothing.
      const Index passes = std::max<Index>(1, (Index{1} << 22) / std::max<Index>(1, chunk));
      const auto loop = detail::active_table().roof.stream[writes == 0 ? 0 : 2];
      (writes == 0 ? r.read : r.copy)[level] =
          best_rate(4.0 * static_cast<double>(chunk * r.threads * passes) * (1 + writes), each, [&] {
            if (passes == 1) return roof::stream(1, writes, arrays, chunk * r.threads, r.threads);
            detail::parallel(r.threads, [&](detail::Member member) {
              float* own[2] = {arrays[0] + member.rank * chunk, arrays[1] + member.rank * chunk};
              for (Index pass = 0; pass < passes; ++pass) (void)loop(own, chunk);
            });
          });
    }
  return r;
}

}  // namespace tilewright
