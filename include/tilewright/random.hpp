// SPDX-License-Identifier: MIT
// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2,
// 3", SC 2011). Number i of a stream depends on (seed, stream, i) only, so any split of the work gives the same
// numbers, on every machine.
#pragma once

#include <array>
#include <span>

#include "tilewright/export.hpp"

namespace tilewright {

/// The bijection itself: ten rounds over a 128-bit counter with a 64-bit key.
TILEWRIGHT_API std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                       std::array<std::uint32_t, 2> key) noexcept;

/// A stream of random numbers that can be read from any place.
struct RandomStream {
  std::uint64_t seed = 0;    ///< chooses the sequence
  std::uint64_t stream = 0;  ///< chooses an independent one

  /// Word `index` of the stream: uniform over all 32-bit values.
  TILEWRIGHT_API std::uint32_t bits(std::uint64_t index) const noexcept;
  /// Uniform integer in [0, bound); bound must be positive. Bias below bound / 2^64.
  TILEWRIGHT_API std::uint64_t below(std::uint64_t index, std::uint64_t bound) const noexcept;
  /// Uniform in [0, 1), a multiple of 2^-24.
  float uniform(std::uint64_t index) const noexcept { return static_cast<float>(bits(index) >> 8) * 0x1p-24F; }
};

/// out[i] = low + (high - low) * uniform(i).
TILEWRIGHT_API void fill_uniform(std::span<float> out, RandomStream stream, float low = 0, float high = 1);

/// out[i] ~ Normal(mean, standard_deviation), Box and Muller's transform in double; the same bits on every machine.
TILEWRIGHT_API void fill_normal(std::span<float> out, RandomStream stream, float mean = 0,
                                float standard_deviation = 1);

/// A permutation of 0 .. out.size()-1 (Fisher and Yates).
TILEWRIGHT_API void fill_permutation(std::span<Index> out, RandomStream stream);

}  // namespace tilewright
