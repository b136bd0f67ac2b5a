// SPDX-License-Identifier: MIT
// The micro-kernel: one tile of C in registers, one pass over k.
//
// Each element of the tile is one chain of fused multiply-adds from zero in ascending p (the numerics specification);
// the registers run over the columns of C, so the width of a register does not change any bit. With R rows and V
// registers across, a step over p loads V registers of B, broadcasts R elements of A and does R * V fused
// multiply-adds. On AVX-512 14 x 2 uses 28 of 32 registers for C, two for B and one for A.
//
// The last steps are done for a few rows at a time, and each group is stored as soon as it is complete. Otherwise all
// stores of a tile come at once, and Zen 4 takes 16 of 64 bytes without stopping the multipliers, no more: 28 of them
// cost 52 cycles, 3 % at k = 64 and 19 % at k = 8; in groups they cost nothing that could be measured. Fewer or shorter
// ones go in one group: of AVX2's 12 chains the last two rows of six would be four, too few to hide the latency.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/simd/half.hpp"

namespace tilewright::detail {

/// Rows of a full tile: as many accumulators as the register file holds beside B and A. AVX-512 and NEON have 32
/// registers, AVX2 and SSE2 16 (SSE2 spends one more on the product that FMA would have kept).
template <class T, class A>
inline constexpr int tile_rows_of = kIsAvx512<A> ? 14
                                    : kIsNeon<A> ? 12
                                    : kIsAvx2<A> ? 6
                                                 : 5;

/// Steps that are done group by group, and chains in a group: enough to hide the latency of four cycles.
inline constexpr int kTailSteps = 4;
inline constexpr int kTailChains = 8;

/// The register of an architecture tag.
template <class T, class A>
struct RegisterOf {
  using type = Vec<T, A>;
};
template <class A>
inline constexpr bool kIsHalf = false;
#if defined(__AVX512VL__)
template <class T>
struct RegisterOf<T, simd::Avx512Half> {
  using type = simd::HalfVec<T>;
};
template <>
inline constexpr bool kIsHalf<simd::Avx512Half> = true;
#endif

/// A tile of C. Every index is a template parameter, because GCC keeps arrays in registers only when it sees constants
/// from the start.
///
/// kAlong: the elements of a row of A are neighbours (a_k_stride is 1); otherwise those of a column are (a_row_stride
/// is 1), as in a packed panel. kRagged: the last register of B is read partially. kPacks: what is read of B is written
/// to tile.panel.
template <class T, class A, int R, int V, bool kAlong, bool kRagged, bool kPacks>
struct MicroKernel {
  template <int N>
  using Upto = std::make_integer_sequence<int, N>;
  template <int... I>
  using Each = std::integer_sequence<int, I...>;

  using Register = typename RegisterOf<T, A>::type;
  static constexpr bool kCheapMasks = kIsAvx512<A> || kIsHalf<A>;
  static constexpr int kWidth = static_cast<int>(Register::size);
  // An address is a base, an index and a displacement, so three rows share a pointer.
  static constexpr int kBases = kAlong ? (R + 2) / 3 : 1;
  // Cache lines that a row of the tile spans.
  static constexpr int kLine = 64 / sizeof(T), kLines = V * kWidth / kLine;
  static constexpr int kGroup = (kIsAvx512<A> && V > 1) || kIsNeon<A> ? (kTailChains + V - 1) / V : R;
  static constexpr int kGroups = (R + kGroup - 1) / kGroup;

  static constexpr int rows_in(int g) { return kGroup < R - g * kGroup ? kGroup : R - g * kGroup; }

  const Tile<T>& tile;
  Index row, step_a, step_b, step_c, step_next, next_left;
  simd::Lanes<T, A> last;
  bool read_c, plain;
  const T* b;
  const T* next;
  T* panel;
  const T* base[kBases];
  Register acc[R][V];

  template <int U, int W, bool kPartly>
  TILEWRIGHT_MEMBER Register load_b() const {
    const T* from = b + U * step_b + W * kWidth;
    if constexpr (kPartly && W == V - 1)
      return simd::load<T, A>(from, last);
    else
      return simd::load<T, A>(from);
  }

  template <int I, int U, int... W>
  TILEWRIGHT_MEMBER void step_row(const Register (&bv)[V], Each<W...>) {
    const Register av = simd::set<T, A>(kAlong ? base[I / 3 % kBases][I % 3 * row + U] : base[0][I + U * step_a]);
    ((acc[I][W] = simd::multiply_add(av, bv[W], acc[I][W])), ...);
  }

  /// Step U from here, of the rows First + I. kPartly: the last register of B is read partially.
  template <int First, int U, bool kPartly, int... I, int... W>
  TILEWRIGHT_MEMBER void step(Each<I...>, Each<W...> across) {
    const Register bv[V] = {load_b<U, W, kPartly>()...};
    if constexpr (kPacks && First == 0) (simd::store(panel + (U * V + W) * kWidth, bv[W]), ...);
    (step_row<First + I, U>(bv, across), ...);
  }

  template <int... I>
  TILEWRIGHT_MEMBER void clear(Each<I...>) {
    ((acc[I / V][I % V] = simd::set<T, A>(0)), ...);
  }

  template <int... G>
  TILEWRIGHT_MEMBER void start(Each<G...>) {
    ((base[G] = tile.a + 3 * G * row), ...);
  }

  /// Adds to a pointer and keeps it apart from its neighbours: merged, their distances would be reloaded all the time.
  TILEWRIGHT_MEMBER static void advance(const T*& pointer, Index by) {
    pointer += by;
    asm("" : "+r"(pointer));
  }

  /// What the next steps fetch, a row in each. Without any they ask for the tile's description, which costs nothing.
  TILEWRIGHT_MEMBER void fetch(const Stream<T>& what) {
    const bool any = what.data != nullptr;
    next = any ? what.data : reinterpret_cast<const T*>(&tile);
    step_next = any ? what.step : 0;
    next_left = what.run;
  }

  /// So many steps.
  template <bool kFetches, bool kPartly, int... G>
  TILEWRIGHT_MEMBER void run(Index steps, Each<G...>) {
    for (Index p = 0; p < steps; ++p) {
      if constexpr (kFetches) {
        __builtin_prefetch(next, 0, 2);
        if constexpr (kLines > 1) __builtin_prefetch(next + kLine, 0, 2);
        next += step_next;
        if (--next_left == 0) {
          next += tile.next.jump;
          next_left = tile.next.run;
        }
      }
      step<0, 0, kPartly>(Upto<R>(), Upto<V>());
      b += step_b;
      if constexpr (kPacks) panel += V * kWidth;
      (advance(base[G], step_a), ...);
    }
  }

  template <int W>
  TILEWRIGHT_MEMBER Register load_c(const T* c) const {
    if constexpr (W == V - 1 && (kCheapMasks || kRagged)) return simd::load<T, A>(c + W * kWidth, last);
    return simd::load<T, A>(c + W * kWidth);
  }
  template <int W>
  TILEWRIGHT_MEMBER void store_c(T* c, Register value) const {
    if constexpr (W == V - 1 && (kCheapMasks || kRagged)) return simd::store(c + W * kWidth, value, last);
    simd::store(c + W * kWidth, value);
  }

  template <int I, int... W>
  TILEWRIGHT_MEMBER void store_row(const T*& c, Register alpha, Register keep_c, Each<W...>) {
    T* to = const_cast<T*>(c);
    if (kCheapMasks ? plain : !kRagged && plain) {
      (simd::store(to + W * kWidth, acc[I][W]), ...);
    } else {
      ((acc[I][W] = acc[I][W] * alpha), ...);
      if (read_c) ((acc[I][W] = simd::multiply_add(keep_c, load_c<W>(to), acc[I][W])), ...);
      (store_c<W>(to, acc[I][W]), ...);
    }
    c += step_c;
  }

  /// The last steps of the rows First + I, unless all steps are done, and their part of C.
  template <int First, int... U, int... I>
  TILEWRIGHT_MEMBER void finish_group(const T*& c, Register alpha, Register keep_c, bool steps_left, Each<U...>,
                                      [[maybe_unused]] Each<I...> rows) {
    if (steps_left) (step<First, U, kRagged>(rows, Upto<V>()), ...);
    (store_row<First + I>(c, alpha, keep_c, Upto<V>()), ...);
    asm volatile("" ::: "memory");  // keeps the groups in this order
  }

  template <int... G>
  TILEWRIGHT_MEMBER void finish(bool steps_left, Each<G...>) {
    const Register alpha = simd::set<T, A>(tile.alpha), keep_c = simd::set<T, A>(tile.keep_c);
    const T* c = tile.c;
    (finish_group<G * kGroup>(c, alpha, keep_c, steps_left, Upto<kTailSteps>(), Upto<rows_in(G)>()), ...);
  }
};

template <class T, class A, int R, int V, bool kAlong, bool kRagged, bool kPacks = false>
void gemm_micro(const Tile<T>& t) noexcept {
  using Kernel = MicroKernel<T, A, R, V, kAlong, kRagged, kPacks>;
  const bool read_c = t.keep_c != T(0);
  Kernel kernel{t,
                t.a_row_stride,
                kAlong ? 1 : t.a_k_stride,
                t.b_k_stride,
                t.c_row_stride,
                0,
                0,
                simd::first_lanes<T, A>(t.cols - (V - 1) * Kernel::kWidth),
                read_c,
                t.cols == V * Kernel::kWidth && !read_c && t.alpha == T(1),
                t.b,
                nullptr,
                t.panel,
                {},
                {}};
  constexpr typename Kernel::template Upto<Kernel::kBases> bases;
  constexpr typename Kernel::template Upto<Kernel::kGroups> groups;
  kernel.start(bases);
  kernel.clear(typename Kernel::template Upto<R * V>());
  const bool grouped = t.k >= kTailSteps;
  Index steps = grouped ? t.k - kTailSteps : t.k;
  // AVX-512's kernels serve full tiles and others. Full ones have a loop of their own: reading a register partially
  // costs Zen 4 a third of a cycle, 1.2 % of a tile.
  constexpr bool both = kRagged && kIsAvx512<A>, partly = kRagged && !both;
  const bool whole = !both || t.cols == V * Kernel::kWidth;
  // The first steps ask for the tile of C, the others for what is needed next, with the same code. The last element of
  // a line is asked for: where rows are not aligned, the first one's line is there since the tile to the left.
  bool for_c = t.fetches_c && whole && steps > R;
  kernel.fetch(for_c ? Stream<T>{t.c + (Kernel::kLine - 1), t.c_row_stride, R + 1, 0} : t.next);
  for (;;) {
    const Index now = for_c ? R : steps;
    if (!whole)
      kernel.template run<true, both>(now, bases);
    else if (!kIsAvx2<A> || for_c || t.next.data != nullptr)
      kernel.template run<true, partly>(now, bases);
    else
      kernel.template run<false, partly>(now, bases);  // AVX2 has no time to spare for what costs nothing elsewhere
    if (!for_c) break;
    for_c = false;
    steps -= R;
    kernel.fetch(t.next);
  }
  kernel.finish(grouped, groups);
}

}  // namespace tilewright::detail
