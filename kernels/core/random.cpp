// SPDX-License-Identifier: MIT
#include "tilewright/random.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "kernels/core/check.hpp"
#include "kernels/core/profile.hpp"
#include "kernels/core/table.hpp"
#include "kernels/simd/coefficients.hpp"

namespace tilewright {
namespace {

/// log(x) for normal positive x, from correctly rounded operations only: the C library's differs between machines.
double portable_log(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);  // [0.5, 1)
  if (m < 0.70710678118654752440) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1);
  const double z = s * s;
  double p = 0;
  const auto& c = detail::Coefficients<double>::kLog;
  for (int i = static_cast<int>(std::size(c)) - 1; i >= 0; --i) p = p * z + c[i];
  return exponent * 0.693147180559945309417 + (2 * s + 2 * s * z * p);
}

struct Turn {
  double cosine, sine;
};

/// cos(2 pi u) and sin(2 pi u) for 0 <= u < 1: quadrant, then Taylor series up to degree 17 and 16 on [-pi/4, pi/4]
/// (error below 1e-15).
Turn cos_sin_turn(double u) {
  const double quadrant = std::floor(u * 4 + 0.5);
  const double x = (u - quadrant / 4) * 6.28318530717958647693;
  const double z = x * x;
  double sine = 0, cosine = 0;
  for (int n = 8; n >= 1; --n) {
    sine = (1 + sine) * (-z / (2 * n * (2 * n + 1)));
    cosine = (1 + cosine) * (-z / (2 * n * (2 * n - 1)));
  }
  sine = (1 + sine) * x;
  cosine += 1;
  switch (static_cast<int>(quadrant) & 3) {
    case 0:
      return {cosine, sine};
    case 1:
      return {-sine, cosine};
    case 2:
      return {-cosine, -sine};
    default:
      return {sine, -cosine};
  }
}

/// Words 4 * block .. 4 * block + 3 of a stream.
std::array<std::uint32_t, 4> words(RandomStream s, std::uint64_t block) noexcept {
  return philox4x32({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                     static_cast<std::uint32_t>(s.stream), static_cast<std::uint32_t>(s.stream >> 32)},
                    {static_cast<std::uint32_t>(s.seed), static_cast<std::uint32_t>(s.seed >> 32)});
}

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) noexcept {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{detail::kPhiloxMultipliers[0]} * counter[0],
                        p1 = std::uint64_t{detail::kPhiloxMultipliers[1]} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key = {key[0] + detail::kPhiloxWeyl[0], key[1] + detail::kPhiloxWeyl[1]};
  }
  return counter;
}

std::uint32_t RandomStream::bits(std::uint64_t index) const noexcept { return words(*this, index / 4)[index % 4]; }

std::uint64_t RandomStream::below(std::uint64_t index, std::uint64_t bound) const noexcept {
  const auto w = words(*this, index / 2);
  const std::uint64_t x = (std::uint64_t{w[index % 2 * 2 + 1]} << 32) | w[index % 2 * 2];
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(x) * bound) >> 64);
}

void fill_uniform(std::span<float> out, RandomStream stream, float low, float high) {
  detail::check_count("fill_uniform", "out", out, static_cast<Index>(out.size()));
  const detail::Call call(detail::over_elements<float>, "fill_uniform", "", static_cast<Index>(out.size()), 1, 0, 1);
  const detail::RandomKernels& kernels = detail::active_table().random;
  constexpr std::size_t kPiece = 1024;
  std::uint32_t words[kPiece];
  for (std::size_t i = 0; i < out.size(); i += kPiece) {
    const std::size_t n = std::min(kPiece, out.size() - i);
    const Index blocks = static_cast<Index>((n + 3) / 4 + detail::kPhiloxUnit - 1) / detail::kPhiloxUnit;
    kernels.philox_blocks({stream.seed, stream.stream}, i / 4, blocks * detail::kPhiloxUnit, words);
    kernels.scale_words(words, low, high - low, &out[i], static_cast<Index>(n));
  }
}

void fill_normal(std::span<float> out, RandomStream stream, float mean, float standard_deviation) {
  detail::check_count("fill_normal", "out", out, static_cast<Index>(out.size()));
  const detail::Call call(detail::over_elements<float>, "fill_normal", "", static_cast<Index>(out.size()), 1, 0, 1);
  for (std::size_t i = 0; i < out.size(); i += 4) {
    const auto w = words(stream, i / 4);
    double z[4];
    for (std::size_t pair = 0; pair < 2; ++pair) {
      const double u = (w[2 * pair] + 1.0) * 0x1p-32;  // (0, 1]
      const auto [cosine, sine] = cos_sin_turn(w[2 * pair + 1] * 0x1p-32);
      const double radius = std::sqrt(-2 * portable_log(u));
      z[2 * pair] = radius * cosine;
      z[2 * pair + 1] = radius * sine;
    }
    for (std::size_t j = i; j < std::min(i + 4, out.size()); ++j)
      out[j] = static_cast<float>(mean + standard_deviation * z[j - i]);
  }
}

void fill_permutation(std::span<Index> out, RandomStream stream) {
  detail::check_count("fill_permutation", "out", out, static_cast<Index>(out.size()));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<Index>(i);
  for (std::size_t i = out.size(); i > 1; --i) std::swap(out[i - 1], out[stream.below(i, i)]);
}

}  // namespace tilewright
