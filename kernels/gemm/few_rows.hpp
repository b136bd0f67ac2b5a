// SPDX-License-Identifier: MIT
// Products of a few rows of A by a large B: bound by reading B, once. Each element of B is met R times, so packing it
// for the micro-kernel would cost more than the product.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/simd/transpose.hpp"

namespace tilewright::detail {

/// Cache lines that so many registers span.
template <int kRegisters, class T, class A>
inline constexpr int kLinesOf = (kRegisters * kLanes<T, A> * static_cast<int>(sizeof(T)) + 63) / 64;

/// B's rows are neighbours: eight of them at a time, the sums of all columns waiting in the first-level cache. One or
/// two rows of A leave it to the hardware to fetch, which follows eight long runs well while little else is read; with
/// more, what is needed soon is asked for in the order in which it will be read, a line of each row at a time.
/// Everything that lies between lives in general registers: GCC would keep distances in vector registers, where their
/// way back waits behind all multiplications, and so would the loads of the next columns.
template <class T, class A, int R>
void few_rows_across(const FewRows<T>& t) noexcept {
  constexpr int lanes = kLanes<T, A>, together = 8;
  // Registers across. One line: with two, read once for all rows, Zen 5 takes half as long again from memory.
  constexpr int V = (kIsAvx512<A> && R > 2) || (!kIsAvx512<A> && !kIsNeon<A> && R > 4) ? 1 : 2;
  constexpr bool fetches = R > 2;
  constexpr int lines = kLinesOf<V, T, A>;
  const Index stride = t.b_stride, ahead = t.run < t.n ? t.run : t.n;
  const auto some_rows = [&](Index p, const T* after, auto count) __attribute__((always_inline)) {
    constexpr int steps = decltype(count)::value;
    constexpr bool keeps = R * steps <= (kIsAvx512<A> || kIsNeon<A> ? 16 : 8);  // the elements of A, in registers
    Vec<T, A> elements[R * steps];
    if constexpr (keeps) {
#pragma GCC unroll 16
      for (int i = 0; i < R * steps; ++i) elements[i] = simd::set<T, A>(t.a[p * R + i]);
    }
    const auto columns = [&](Index j, auto across, auto... some) __attribute__((always_inline)) {
      constexpr int width = decltype(across)::value;
      const T *a = t.a + p * R, *b = t.b + p * stride + j;
      [[maybe_unused]] const Index soon = j + ahead < t.n ? ahead : after - b + (j + ahead - t.n);
      T* sums = t.sums + j;
      Vec<T, A> s[R][width];
      if constexpr (fetches) asm("" : "+r"(a), "+r"(b));
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < width; ++v)
          s[r][v] = p == 0 ? simd::set<T, A>(0) : simd::load<T, A>(sums + v * lanes, some...);
        sums += t.sums_stride;
        asm("" : "+r"(sums));
      }
#pragma GCC unroll 8
      for (int q = 0; q < steps; ++q) {
        if constexpr (fetches && width == V && steps == together)
#pragma GCC unroll 2
          for (int l = 0; l < lines; ++l) __builtin_prefetch(b + soon + l * (64 / Index{sizeof(T)}), 0, 3);
        Vec<T, A> bv[width];
#pragma GCC unroll 2
        for (int v = 0; v < width; ++v) bv[v] = simd::load<T, A>(b + v * lanes, some...);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          const Vec<T, A> av = keeps ? elements[q * R + r] : simd::set<T, A>(a[q * R + r]);
#pragma GCC unroll 2
          for (int v = 0; v < width; ++v) s[r][v] = simd::multiply_add(av, bv[v], s[r][v]);
        }
        b += stride;
        if constexpr (fetches)
          asm volatile("" : "+r"(b)::"memory");  // keeps the requests apart: in bursts they stop the loads
      }
      sums = t.sums + j;
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < width; ++v) simd::store(sums + v * lanes, s[r][v], some...);
        sums += t.sums_stride;
        asm("" : "+r"(sums));
      }
    };
    Index j = 0;
    for (; j + V * lanes <= t.n; j += V * lanes) columns(j, std::integral_constant<int, V>());
    simd::for_registers<T, A>(
        t.n - j, [&](Index rest, auto... some)
                     __attribute__((always_inline)) { columns(j + rest, std::integral_constant<int, 1>(), some...); });
  };
  Index p = 0;
  for (; p + together <= t.k; p += together) {
    const T* after = p + 2 * together <= t.k ? t.b + (p + together) * stride : t.next;
    some_rows(p, after, std::integral_constant<int, together>());
  }
  for (; p < t.k; ++p) some_rows(p, t.next, std::integral_constant<int, 1>());
}

/// B's columns are neighbours: squares of registers are transposed and multiplied at once. Meanwhile as many lines as
/// are read are asked for, of what is needed later: of these columns a kibibyte ahead (run = 0, up to four rows of A),
/// or of those that come next, a long run of each at a time.
template <class T, class A, int R>
void few_rows_along(const FewRows<T>& t) noexcept {
  constexpr int lanes = kLanes<T, A>;
  constexpr int lines = kLinesOf<lanes, T, A>;
  constexpr Index line = 64 / Index{sizeof(T)}, ahead = 1024 / Index{sizeof(T)};
  const bool in_runs = R > 4 || t.run > 0;
  const Index step = in_runs ? line : t.b_stride;
  const T* soon = t.next;
  Index done = 0;  // of a run
  const auto asked = [&](Index some) __attribute__((always_inline)) {
    done += some;
    if (done < t.run) return;
    soon += t.b_stride - done;
    done = 0;
  };
  for (Index j = 0; j < t.n; j += lanes) {
    const Index cols = t.n - j < lanes ? t.n - j : lanes;
    const T* b = t.b + j * t.b_stride;
    Vec<T, A> s[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) s[r] = simd::set<T, A>(0);
    for (Index p = 0; p < t.k; p += lanes) {
      Vec<T, A> square[lanes];
      const T* a = t.a + p * R;
      const Index steps = t.k - p < lanes ? t.k - p : lanes;
      if (!in_runs) soon = p + ahead < t.k ? b + p + ahead : t.next + (p + ahead - t.k);
      if (steps == lanes && cols == lanes) {
#pragma GCC unroll 16
        for (int i = 0; i < lanes; ++i) square[i] = simd::load<T, A>(b + i * t.b_stride + p);
        simd::transpose<T, A>(square);
#pragma GCC unroll 16
        for (int i = 0; i < lanes; ++i) {
          if (i % (lanes / lines) == 0) {
            __builtin_prefetch(soon, 0, 2);
            soon += step;
            if constexpr (R > 4) asked(line);  // keeps these requests apart
          }
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) s[r] = simd::multiply_add(simd::set<T, A>(a[i * R + r]), square[i], s[r]);
        }
        if (R <= 4 && in_runs) asked(lines * line);
        continue;
      }
      const auto some = simd::first_lanes<T, A>(steps);
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i)
        square[i] = i < cols ? simd::load<T, A>(b + i * t.b_stride + p, some) : simd::set<T, A>(0);
      simd::transpose<T, A>(square);
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i)
        if (i < steps)
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) s[r] = simd::multiply_add(simd::set<T, A>(a[i * R + r]), square[i], s[r]);
    }
    const auto some = simd::first_lanes<T, A>(cols);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) simd::store(t.sums + r * t.sums_stride + j, s[r], some);
  }
}

}  // namespace tilewright::detail
