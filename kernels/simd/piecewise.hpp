// SPDX-License-Identifier: MIT
// Float functions by tables: 32 polynomials for the arguments that networks have, chosen lane by lane, and a formula
// for all others. The formula is computed only where a register holds such an argument, so a function costs a table
// lookup and a fused multiply-add per coefficient as a rule. A lane's result does not depend on its neighbours.
#pragma once

#include "kernels/simd/simd.hpp"
#include "kernels/simd/tables.hpp"

namespace tilewright::detail::simd {

/// Horner in d = x - centre with the coefficients of one row per lane, from x^kFirst.
template <class Table, int kFirst, class A>
TILEWRIGHT_INLINE Vec<float, A> polynomial_of_row(Vec<float, A> d, Vec<std::int32_t, A> row) {
  constexpr int n = sizeof Table::kColumns / sizeof Table::kColumns[0];
  Vec<float, A> sum = simd::lookup<A>(Table::kColumns[n - 1], row);
#pragma GCC unroll 16
  for (int i = n - 2; i >= kFirst; --i) sum = simd::fma(sum, d, simd::lookup<A>(Table::kColumns[i], row));
  return sum;
}

/// The function's value is centre + slope d + lost, the latter what the rounding of centre lost.
template <class A>
struct Piece {
  Vec<float, A> centre, slope, d, lost;
};

/// Row k % 32 holds the piece around k kWidth. The sum with 1.5 * 2^23 is rounded to whole k, which stand in its bits.
template <class Table, class A>
TILEWRIGHT_INLINE Piece<A> even_piece(Vec<float, A> x) {
  const Vec<float, A> round = simd::set<float, A>(0x1.8p23F);
  const Vec<float, A> shifted = simd::fma(x, simd::set<float, A>(1 / Table::kWidth), round);
  const Vec<float, A> d = simd::fma(shifted - round, simd::set<float, A>(-Table::kWidth), x);  // exact
  const Vec<std::int32_t, A> row = simd::to_bits(shifted);
  return {simd::lookup<A>(Table::kColumns[0], row), simd::polynomial_of_row<Table, 1, A>(d, row), d,
          simd::lookup<A>(Table::kLost, row)};
}

template <class Table, class A>
TILEWRIGHT_INLINE Vec<float, A> even_pieces(Vec<float, A> x) {
  const Piece<A> p = simd::even_piece<Table, A>(x);
  return simd::fma(p.slope, p.d, p.lost) + p.centre;
}

/// x times the value, with hardly more than the last rounding's error.
template <class Table, class A>
TILEWRIGHT_INLINE Vec<float, A> times_even_pieces(Vec<float, A> x) {
  const Piece<A> p = simd::even_piece<Table, A>(x);
  const Vec<float, A> value = simd::fma(p.slope, p.d, p.centre);
  const Vec<float, A> low = simd::fma(p.slope, p.d, p.centre - value) + p.lost;
  return simd::fma(x, value, x * low);
}

/// For a >= 0: the last bits of the exponent and two bits of the mantissa are the row.
template <class Table, class A>
TILEWRIGHT_INLINE Vec<float, A> octave_pieces(Vec<float, A> a) {
  const Vec<std::int32_t, A> row = simd::to_bits(simd::at_least(a, Table::kBegin)) >> 21;
  return simd::polynomial_of_row<Table, 0, A>(a - simd::lookup<A>(Table::kCentres, row), row);
}

/// near(x) where |x| < Table::kEnd and far() elsewhere and where x is NaN; far() always for double.
template <class Table, class T, class A, class Near, class Far>
TILEWRIGHT_INLINE Vec<T, A> near_or_far(Vec<T, A> x, Near near, Far far) {
  if constexpr (sizeof(T) == 8) {
    return far();
  } else {
    const auto is_near = simd::abs(x) < simd::set<T, A>(Table::kEnd);
    const Vec<T, A> value = near(x);
    if (xsimd::all(is_near)) [[likely]]
      return value;
    return simd::select(is_near, value, far());
  }
}

}  // namespace tilewright::detail::simd
