// SPDX-License-Identifier: MIT
#include "bench/roof.hpp"

#include <omp.h>

#include <stdexcept>

// Registers by the compiler's vector types; a * b + c is contracted to one instruction where the target has it
// (bench/CMakeLists.txt).
#if defined(__x86_64__)
#define TILEWRIGHT_BENCH_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define TILEWRIGHT_BENCH_CLONES
#endif

namespace tilewright::bench {
namespace {

constexpr int kSteps = 20000;
/// Floats between the beginnings of the streams, relative to their pages: so that a store never looks like one of the
/// loads.
constexpr Index kShift = 272;

template <class T, int kBytes>
[[gnu::always_inline]] inline double burst() {
  typedef T V __attribute__((vector_size(kBytes)));
  // 12 chains hide the latency of 4 cycles on two units.
  V acc[12];
  V a = {}, b = {};
  for (unsigned i = 0; i < kBytes / sizeof(T); ++i) a[i] = T(0.999), b[i] = T(1e-3);
  for (auto& v : acc) v = b;
  for (int s = 0; s < kSteps; ++s)
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) acc[i] = acc[i] * a + b;
  V sum = acc[0];
  for (int i = 1; i < 12; ++i) sum += acc[i];
  volatile T sink = sum[0];
  (void)sink;
  return 2.0 * kSteps * 12 * (kBytes / sizeof(T));
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) double burst512f() { return burst<float, 64>(); }
__attribute__((target("avx512f"))) double burst512d() { return burst<double, 64>(); }
__attribute__((target("avx2,fma"))) double burst256f() { return burst<float, 32>(); }
__attribute__((target("avx2,fma"))) double burst256d() { return burst<double, 32>(); }
#endif
double burst128f() { return burst<float, 16>(); }
double burst128d() { return burst<double, 16>(); }

typedef float Line __attribute__((vector_size(64), aligned(4)));

TILEWRIGHT_BENCH_CLONES void run_stream(int reads, int writes, float** p, Index first, Index end) {
  Line a;
  for (int i = 0; i < 16; ++i) a[i] = 1.0001F;
  const auto at = [p](int array, Index i) __attribute__((always_inline)) {
    return reinterpret_cast<Line*>(p[array] + i);
  };
  Index i = first;
  if (reads == 1 && writes == 1) {
    for (; i + 16 <= end; i += 16) *at(1, i) = *at(0, i) * a;
  } else if (reads == 2 && writes == 1) {
    for (; i + 16 <= end; i += 16) *at(2, i) = *at(0, i) * a + *at(1, i);
  } else if (reads == 3 && writes == 2) {
    for (; i + 16 <= end; i += 16) {
      const Line x = *at(0, i), y = *at(1, i), z = *at(2, i);
      *at(1, i) = y * a + x;
      *at(2, i) = z * a + y;
    }
  } else if (reads == 4 && writes == 3) {
    for (; i + 16 <= end; i += 16) {
      const Line x = *at(0, i), y = *at(1, i), z = *at(2, i), w = *at(3, i);
      *at(1, i) = y * a + x;
      *at(2, i) = z * a + x;
      *at(3, i) = w * a + x;
    }
  } else {
    Line sum[4] = {};
    for (; i + 64 <= end; i += 64)
      for (int s = 0; s < 4; ++s) {
        sum[s] += *at(0, i + 16 * s);
        if (reads == 2) sum[s] += *at(1, i + 16 * s);
      }
    volatile float sink = sum[0][0] + sum[1][0] + sum[2][0] + sum[3][0];
    (void)sink;
  }
}

}  // namespace

double fma_burst(Isa isa, int bytes, int threads) {
  double (*run)() = bytes == 4 ? burst128f : burst128d;
#if defined(__x86_64__)
  if (isa == Isa::avx512) run = bytes == 4 ? burst512f : burst512d;
  if (isa == Isa::avx2) run = bytes == 4 ? burst256f : burst256d;
#endif
  double operations = 0;
#pragma omp parallel num_threads(threads) reduction(+ : operations)
  operations += run();
  return operations;
}

std::function<void()> stream(int reads, int writes, Index n, int threads, bool in_place) {
  static std::vector<Matrix<float>> arrays(4);
  static const int known[][2] = {{1, 0}, {2, 0}, {1, 1}, {2, 1}, {3, 2}, {4, 3}};
  bool found = false;
  for (const auto& k : known) found = found || (k[0] == reads && k[1] == writes);
  if (!found) throw std::invalid_argument("stream: no loop with this traffic");
  if (writes >= 2 && !in_place) throw std::invalid_argument("stream: this loop works in place");
  for (int i = 0; i < (in_place ? reads : reads + writes); ++i)
    if (arrays[static_cast<std::size_t>(i)].size() < n + 4 * kShift)
      arrays[static_cast<std::size_t>(i)] = Matrix<float>(1, n + 4 * kShift);
  return [=] {
    float* p[4];
    for (Index i = 0; i < 4; ++i) p[i] = arrays[static_cast<std::size_t>(i)].data() + i * kShift;
    if (in_place && writes == 1) p[reads] = p[0];  // where run_stream writes
    if (threads == 1) return run_stream(reads, writes, p, 0, n);
#pragma omp parallel num_threads(threads)
    {
      const Index rank = omp_get_thread_num(), size = omp_get_num_threads(), lines = (n + 15) / 16;
      run_stream(reads, writes, p, std::min(n, lines * rank / size * 16), std::min(n, lines * (rank + 1) / size * 16));
    }
  };
}

}  // namespace tilewright::bench
