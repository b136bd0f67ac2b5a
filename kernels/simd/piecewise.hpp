// SPDX-License-Identifier: MIT
// Float functions by tables: 32 polynomials for the arguments that networks have, chosen lane by lane, and a formula
// for all others. The formula is computed only where a register holds such an argument, so a function costs a table
// lookup and a fused multiply-add per coefficient as a rule. A lane's result does not depend on its neighbours.
#pragma once

#include <array>

#include "kernels/simd/simd.hpp"
#include "kernels/simd/tables.hpp"
#include "kernels/simd/transpose.hpp"

namespace tilewright::detail::simd {

/// What a table has beside its columns.
template <class Table>
constexpr const float (&beside())[32] {
  if constexpr (requires { Table::kLost; })
    return Table::kLost;
  else
    return Table::kCentres;
}

/// A table row by row: what it has beside its columns, then the first columns.
inline constexpr int kRowLength = 8;
template <class Table>
struct RowByRow {
  static constexpr int kColumns = sizeof Table::kColumns / sizeof Table::kColumns[0];
  alignas(64) static constexpr auto kRows = [] {
    std::array<std::array<float, kRowLength>, 32> rows{};
    for (std::size_t r = 0; r < 32; ++r) {
      rows[r][0] = simd::beside<Table>()[r];
      for (std::size_t i = 1; i < kRowLength && i <= kColumns; ++i) rows[r][i] = Table::kColumns[i - 1][r];
    }
    return rows;
  }();
};

/// Four floats of lane's row from `first`, and in each further quarter of a register those of the lanes four further.
template <class A, class Address>
TILEWRIGHT_INLINE Vec<float, A> load_quads(Address address, int lane, int first) {
#if defined(__AVX2__)
  if constexpr (kIsAvx2<A>)
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_load_ps(address(lane) + first)),
                                _mm_load_ps(address(lane + 4) + first), 1);
#endif
  if constexpr (!kIsAvx2<A>) return simd::load<float, A>(address(lane) + first);
}

/// Where the rows that lanes have chosen, by index % 32, begin: in bytes.
template <class A>
TILEWRIGHT_INLINE void store_rows(Vec<std::int32_t, A> row, std::int32_t* to) {
  static_assert(kRowLength * sizeof(float) == 1 << 5);
  ((row & Vec<std::int32_t, A>(31)) << 5).store_aligned(to);
}

/// The row of a table that each lane has chosen, by its index % 32. AVX-512 has an instruction for a column of 32;
/// elsewhere whole rows are loaded and transposed, which was four times as fast as gathering each column (avx2, Zen 5).
template <class Table, class A>
class ChosenRows {
 public:
  /// `rows`: from store_rows, or null.
  TILEWRIGHT_MEMBER ChosenRows(Vec<std::int32_t, A> row, [[maybe_unused]] const std::int32_t* rows) : row_(row) {
    if constexpr (!kIsAvx512<A>) {
      alignas(32) std::int32_t own[kLanes<float, A>];
      if (rows == nullptr) simd::store_rows<A>(row, own);
      const std::int32_t* at = rows == nullptr ? own : rows;
      const auto address = [&](int lane) __attribute__((always_inline)) {
        return reinterpret_cast<const float*>(reinterpret_cast<const char*>(&RowByRow<Table>::kRows) +
                                              static_cast<std::uint32_t>(at[lane]));
      };
#pragma GCC unroll 2
      for (int first = 0; first < kRowLength; first += 4) {
        Vec<float, A> four[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) four[i] = simd::load_quads<A>(address, i, first);
        simd::transpose_groups<float, A>(four);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) values_[first + i] = four[i];
      }
    }
  }
  /// Column i of Table::kColumns.
  template <int i>
  TILEWRIGHT_MEMBER Vec<float, A> column() const {
    if constexpr (kIsAvx512<A> || i + 1 >= kRowLength)
      return simd::lookup<A>(Table::kColumns[i], row_);
    else
      return values_[i + 1];
  }
  TILEWRIGHT_MEMBER Vec<float, A> beside() const {
    if constexpr (kIsAvx512<A>)
      return simd::lookup<A>(simd::beside<Table>(), row_);
    else
      return values_[0];
  }
  /// Horner in d = x - centre, from x^kFirst.
  template <int kFirst>
  TILEWRIGHT_MEMBER Vec<float, A> polynomial(Vec<float, A> d) const {
    return from<kFirst>(d);
  }

 private:
  template <int i>
  TILEWRIGHT_MEMBER Vec<float, A> from(Vec<float, A> d) const {
    if constexpr (i + 1 == RowByRow<Table>::kColumns)
      return column<i>();
    else
      return simd::fma(from<i + 1>(d), d, column<i>());
  }

  Vec<std::int32_t, A> row_;
  Vec<float, A> values_[kIsAvx512<A> ? 1 : kRowLength];
};

/// The function's value is centre + slope d + lost, the latter what the rounding of centre lost.
template <class A>
struct Piece {
  Vec<float, A> centre, slope, d, lost;
};

/// Of a table in even pieces: x / kWidth + 1.5 * 2^23, a sum that is rounded to whole numbers, which stand in its bits.
template <class Table, class A>
TILEWRIGHT_INLINE Vec<float, A> shifted(Vec<float, A> x) {
  return simd::fma(x, simd::set<float, A>(1 / Table::kWidth), simd::set<float, A>(0x1.8p23F));
}

/// The row of x: k where kWidth k is nearest; or in octaves, for x >= 0, the last bits of the exponent and two bits of
/// the mantissa.
template <class Table, class A>
TILEWRIGHT_INLINE Vec<std::int32_t, A> row_of(Vec<float, A> x) {
  if constexpr (requires { Table::kWidth; })
    return simd::to_bits(simd::shifted<Table, A>(x));
  else
    return simd::to_bits(simd::at_least(x, Table::kBegin)) >> 21;
}

/// Row k % 32 holds the piece around k kWidth.
template <class Table, class A>
TILEWRIGHT_INLINE Piece<A> even_piece(Vec<float, A> x, const std::int32_t* rows) {
  const Vec<float, A> whole = simd::shifted<Table, A>(x) - simd::set<float, A>(0x1.8p23F);
  const ChosenRows<Table, A> chosen(simd::row_of<Table, A>(x), rows);
  Piece<A> p;  // filled member by member: as an aggregate, GCC stores d to memory for every register
  p.d = simd::fma(whole, simd::set<float, A>(-Table::kWidth), x);  // exact
  p.centre = chosen.template column<0>();
  p.slope = chosen.template polynomial<1>(p.d);
  p.lost = chosen.beside();
  return p;
}

template <class Table, class A>
TILEWRIGHT_INLINE Vec<float, A> even_pieces(Vec<float, A> x, const std::int32_t* rows) {
  const Piece<A> p = simd::even_piece<Table, A>(x, rows);
  return simd::fma(p.slope, p.d, p.lost) + p.centre;
}

/// x times the value, with hardly more than the last rounding's error.
template <class Table, class A>
TILEWRIGHT_INLINE Vec<float, A> times_even_pieces(Vec<float, A> x, const std::int32_t* rows) {
  const Piece<A> p = simd::even_piece<Table, A>(x, rows);
  const Vec<float, A> value = simd::fma(p.slope, p.d, p.centre);
  const Vec<float, A> low = simd::fma(p.slope, p.d, p.centre - value) + p.lost;
  return simd::fma(x, value, x * low);
}

/// For a >= 0.
template <class Table, class A>
TILEWRIGHT_INLINE Vec<float, A> octave_pieces(Vec<float, A> a, const std::int32_t* rows) {
  const ChosenRows<Table, A> chosen(simd::row_of<Table, A>(a), rows);
  return chosen.template polynomial<0>(a - chosen.beside());
}

/// near(x) where |x| < Table::kEnd and far() elsewhere and where x is NaN; far() always for double. p.far, when not
/// null, receives the lanes that far() would serve, which then hold anything; p.all_far: there are no others.
template <class Table, class T, class A, class Numbers, class Near, class Far>
TILEWRIGHT_INLINE Vec<T, A> near_or_far(Vec<T, A> x, const Numbers& p, Near near, Far far) {
  if constexpr (sizeof(T) == 8) {
    return far();
  } else {
    if (p.all_far) return far();
    const auto is_near = simd::abs(x) < simd::set<T, A>(Table::kEnd);
    const Vec<T, A> value = near(x);
    if (p.far != nullptr) {
      *p.far = !is_near;
      return value;
    }
    if (xsimd::all(is_near)) [[likely]]
      return value;
    return simd::select(is_near, value, far());
  }
}

}  // namespace tilewright::detail::simd
