// SPDX-License-Identifier: MIT
// Loops over elements without a formula object: sums, products, transposes, random words, dropout.
#pragma once

#include <cstdint>

#include "kernels/core/table.hpp"
#include "kernels/simd/transpose.hpp"
#include "kernels/simd/words.hpp"

namespace tilewright::detail {

template <class T, class A>
void add_elements(const T* x, const T* y, T* out, Index n) noexcept {
  simd::for_registers<T, A>(
      n, [=](Index i, auto... some) __attribute__((always_inline)) {
        simd::store(out + i, simd::load<T, A>(x + i, some...) + simd::load<T, A>(y + i, some...), some...);
      });
}

template <class T, class A>
void multiply_elements(const T* x, const T* y, T* out, Index n) noexcept {
  simd::for_registers<T, A>(
      n, [=](Index i, auto... some) __attribute__((always_inline)) {
        simd::store(out + i, simd::load<T, A>(x + i, some...) * simd::load<T, A>(y + i, some...), some...);
      });
}

#if defined(__x86_64__)
/// to = from by stores that leave the caches alone, but for lines that are not whole.
template <class A>
void copy_past_caches(const float* from, float* to, Index n) noexcept {
  using T = float;
  constexpr Index kLine = 64 / sizeof(T), lanes = kLanes<T, A>;
  const Index ragged = static_cast<Index>(reinterpret_cast<std::uintptr_t>(to) / sizeof(T)) % kLine;
  const Index before = ragged == 0 ? 0 : kLine - ragged, begin = before < n ? before : n;
  const Index end = begin + (n - begin) / kLine * kLine;
  const auto keep = [=](Index first, Index count) {
    simd::for_registers<T, A>(
        count, [=](Index i, auto... some) __attribute__((always_inline)) {
          simd::store(to + first + i, simd::load<T, A>(from + first + i, some...), some...);
        });
  };
  keep(0, begin);
  for (Index i = begin; i < end; i += kLine)
#pragma GCC unroll 4
    for (Index v = 0; v < kLine; v += lanes) simd::store_past_caches<A>(to + i + v, simd::load<T, A>(from + i + v));
  keep(end, n - end);
}
#endif

/// y[j][i] = x[i][j] for i < rows, j < cols, in squares of registers.
template <class T, class A>
void transpose_block(const T* x, Index x_stride, Index rows, Index cols, T* y, Index y_stride) noexcept {
  constexpr Index lanes = kLanes<T, A>;
  Vec<T, A> square[lanes];
  for (Index i = 0; i < rows; i += lanes)
    for (Index j = 0; j < cols; j += lanes) {
      const T* from = x + i * x_stride + j;
      T* to = y + j * y_stride + i;
      const Index high = rows - i, wide = cols - j;
      if (high >= lanes && wide >= lanes) {
#pragma GCC unroll 16
        for (Index r = 0; r < lanes; ++r) square[r] = simd::load<T, A>(from + r * x_stride);
        simd::transpose<T, A>(square);
#pragma GCC unroll 16
        for (Index s = 0; s < lanes; ++s) simd::store(to + s * y_stride, square[s]);
      } else {
        const auto across = simd::first_lanes<T, A>(wide < lanes ? wide : lanes);
        const auto down = simd::first_lanes<T, A>(high < lanes ? high : lanes);
#pragma GCC unroll 16
        for (Index r = 0; r < lanes; ++r)
          square[r] = r < high ? simd::load<T, A>(from + r * x_stride, across) : simd::set<T, A>(0);
        simd::transpose<T, A>(square);
#pragma GCC unroll 16
        for (Index s = 0; s < lanes; ++s)
          if (s < wide) simd::store(to + s * y_stride, square[s], down);
      }
    }
}

/// Philox4x32-10 (tilewright/random.hpp): words[4 i + w] is word w of block first + i. A whole number of registers.
template <class A>
void philox_blocks(const PhiloxStream& s, std::uint64_t first, Index blocks, std::uint32_t* words) noexcept {
  using W = simd::Words<A>;
  constexpr int lanes = static_cast<int>(W::size);
  for (Index b = 0; b < blocks; b += lanes) {
    std::uint32_t low[lanes], high[lanes];
    for (int l = 0; l < lanes; ++l) {
      const std::uint64_t block = first + static_cast<std::uint64_t>(b + l);
      low[l] = static_cast<std::uint32_t>(block);
      high[l] = static_cast<std::uint32_t>(block >> 32);
    }
    W c0 = W::load_unaligned(low), c1 = W::load_unaligned(high);
    W c2(static_cast<std::uint32_t>(s.stream)), c3(static_cast<std::uint32_t>(s.stream >> 32));
    std::uint32_t k0 = static_cast<std::uint32_t>(s.seed), k1 = static_cast<std::uint32_t>(s.seed >> 32);
    for (int round = 0; round < 10; ++round) {
      const simd::WideProduct<A> p0 = simd::multiply_wide<A>(c0, kPhiloxMultipliers[0]),
                                 p1 = simd::multiply_wide<A>(c2, kPhiloxMultipliers[1]);
      c0 = p1.high ^ c1 ^ W(k0);
      c2 = p0.high ^ c3 ^ W(k1);
      c1 = p1.low;
      c3 = p0.low;
      k0 += kPhiloxWeyl[0];
      k1 += kPhiloxWeyl[1];
    }
    std::uint32_t of[4][lanes];
    c0.store_unaligned(of[0]), c1.store_unaligned(of[1]), c2.store_unaligned(of[2]), c3.store_unaligned(of[3]);
    for (int l = 0; l < lanes; ++l)
      for (int w = 0; w < 4; ++w) words[4 * (b + l) + w] = of[w][l];
  }
}

/// y = low + range * (words >> 8) 2^-24
template <class A>
void scale_words(const std::uint32_t* words, float low, float range, float* y, Index n) noexcept {
  using T = float;
  const Vec<T, A> unit = simd::set<T, A>(0x1p-24F), vlow = simd::set<T, A>(low), vrange = simd::set<T, A>(range);
  simd::for_registers<T, A>(
      n, [=](Index i, auto... some) __attribute__((always_inline)) {
        simd::store(y + i, vlow + vrange * (simd::upper_24_bits<A>(words + i) * unit), some...);
      });
}

/// y = x * (words >> 8 < limit ? 0 : scale)
template <class A>
void drop(const float* x, const std::uint32_t* words, float limit, float scale, float* y, Index n) noexcept {
  using T = float;
  const Vec<T, A> vlimit = simd::set<T, A>(limit), vscale = simd::set<T, A>(scale), zero = simd::set<T, A>(0);
  simd::for_registers<T, A>(
      n, [=](Index i, auto... some) __attribute__((always_inline)) {
        const Vec<T, A> factor = simd::select(simd::upper_24_bits<A>(words + i) < vlimit, zero, vscale);
        simd::store(y + i, simd::load<T, A>(x + i, some...) * factor, some...);
      });
}

}  // namespace tilewright::detail
