// SPDX-License-Identifier: MIT
// Packing: a strip of W rows of A (or columns of B) becomes one contiguous panel that the micro-kernel reads from front
// to back. The same routine packs both operands; strides absorb transposition.
//   w_stride == 1: the W elements of a step lie next to each other: copy registers.
//   k_stride == 1: the elements of a row lie next to each other: transpose squares of registers.
//   otherwise: element by element.
#pragma once

#include "kernels/simd/simd.hpp"

namespace tilewright::detail {

/// panel[p * W + w] = source[w * w_stride + p * k_stride] for w < count, 0 for count <= w < W, 0 <= p < k.
template <class T, class A, int W>
void pack_panel(const T* source, Index w_stride, Index k_stride, Index count, Index k, T* panel) noexcept {
  constexpr int lanes = kLanes<T, A>;
  constexpr int groups = (W + lanes - 1) / lanes;
  constexpr auto width = [](int g) { return g + 1 < groups ? lanes : W - (groups - 1) * lanes; };
  if (w_stride == 1) {
    for (Index p = 0; p < k; ++p)
#pragma GCC unroll 4
      for (int g = 0; g < groups; ++g) {
        const Index some = count - g * lanes;
        const T* from = source + p * k_stride + g * lanes;
        T* to = panel + p * W + g * lanes;
        const Vec<T, A> v =
            some >= width(g) && width(g) == lanes
                ? simd::load<T, A>(from)
                : (some > 0 ? simd::load<T, A>(from, simd::first_lanes<T, A>(some < width(g) ? some : width(g)))
                            : simd::set<T, A>(0));
        if (width(g) == lanes)
          simd::store(to, v);
        else
          simd::store(to, v, simd::first_lanes<T, A>(width(g)));
      }
    return;
  }
  Index p = 0;
  if (k_stride == 1) {
    for (; p < k; p += lanes) {
      const Index steps = k - p < lanes ? k - p : lanes;
#pragma GCC unroll 4
      for (int g = 0; g < groups; ++g) {
        Vec<T, A> square[lanes];
#pragma GCC unroll 16
        for (int i = 0; i < lanes; ++i) {
          const Index w = g * lanes + i;
          if (i >= width(g) || w >= count)
            square[i] = simd::set<T, A>(0);
          else if (steps == lanes)
            square[i] = simd::load<T, A>(source + w * w_stride + p);
          else
            square[i] = simd::load<T, A>(source + w * w_stride + p, simd::first_lanes<T, A>(steps));
        }
        simd::transpose<T, A>(square);
        T* to = panel + p * W + g * lanes;
#pragma GCC unroll 16
        for (int i = 0; i < lanes; ++i) {
          if (i >= steps) break;
          if (width(g) == lanes)
            simd::store(to + i * W, square[i]);
          else
            simd::store(to + i * W, square[i], simd::first_lanes<T, A>(width(g)));
        }
      }
    }
    return;
  }
  for (; p < k; ++p)
    for (int w = 0; w < W; ++w) panel[p * W + w] = w < count ? source[w * w_stride + p * k_stride] : T(0);
}

}  // namespace tilewright::detail
