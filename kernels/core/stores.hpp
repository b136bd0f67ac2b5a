// SPDX-License-Identifier: MIT
// Results that go past the caches. A kernel fills a piece of memory that stays in the first-level cache, and whole
// lines are copied from there by stores that do not read them first: any kernel can do so.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/core/table.hpp"

namespace tilewright::detail {

/// From so many bytes of neighbours on.
inline constexpr Index kLeastStreamed = Index{16} << 10;

template <class T>
double bytes_of(const MatrixView<T>& x) noexcept {
  return static_cast<double>(x.size()) * sizeof(T);
}

/// What a call waits for when its operands are in memory.
enum class Waits { for_memory, for_arithmetic };

/// The kernel that copies past the caches, if a result of `bytes` should, as the calling thread's StoresScope wants it;
/// or null. What waits for arithmetic only loses by it.
StoreKernel stores_of(double bytes, bool in_place, Waits waits = Waits::for_memory) noexcept;

/// How many bytes are filled at a time. Larger pieces are slower, as reading and writing overlap less, and smaller ones
/// too (relu of 16 M floats by 2 and 4 KiB: 0.28 and 0.15 to 0.23 ns an element on Zen 5, where Zen 4 wants 2).
Index piece_bytes() noexcept;
inline constexpr Index kMostPieceBytes = 4096;

/// Calls fill(first, count, to) for pieces of [0, n), each of which writes `count` elements at `to`, and copies them to
/// out. Ordered before what this thread stores next.
template <class T, class Fill>
void fill_past_caches(StoreKernel copy, T* out, Index n, Fill&& fill) noexcept {
  constexpr Index kLine = 64, kFloats = Index{sizeof(T)} / Index{sizeof(float)};
  alignas(kLine) T piece[kMostPieceBytes / sizeof(T)];
  const Index most = piece_bytes() / Index{sizeof(T)};
  // The first piece ends where a line does, and so do the others.
  const auto ragged = static_cast<Index>(reinterpret_cast<std::uintptr_t>(out) % kLine / sizeof(T));
  for (Index first = 0, count = std::min(n, most - ragged); first < n;
       first += count, count = std::min(n - first, most)) {
    fill(first, count, piece);
    copy(reinterpret_cast<const float*>(piece), reinterpret_cast<float*>(out + first), count * kFloats);
  }
#if defined(__x86_64__)
  __builtin_ia32_sfence();
#endif
}

/// The same, or all at once at its place if that is not worth it or `copy` is null.
template <class T, class Fill>
void store_pieces(StoreKernel copy, T* out, Index n, Fill&& fill) noexcept {
  if (copy == nullptr || n < kLeastStreamed / Index{sizeof(T)}) return fill(Index{0}, n, out);
  fill_past_caches(copy, out, n, fill);
}

}  // namespace tilewright::detail
