// SPDX-License-Identifier: MIT
// Float functions by tables: 16 polynomials for the arguments that networks have, chosen lane by lane, and a formula
// for all others. The formula is computed only where a register holds such an argument, so a function costs a table
// lookup and a fused multiply-add per coefficient as a rule. A lane's result does not depend on its neighbours.
//
// Sixteen, because AVX-512 finds a number sooner among those of one register than among those of two (Zen 5: sigmoid
// takes 6 cycles a register, with 32 pieces 9); a function's symmetry halves what is to be covered, and its bend
// decides the pieces' widths.
#pragma once

#include <array>
#include <bit>

#include "kernels/simd/fma.hpp"
#include "kernels/simd/lookup.hpp"
#include "kernels/simd/tables.hpp"
#include "kernels/simd/transpose.hpp"

namespace tilewright::detail::simd {

inline constexpr int kTableRows = 16;

/// A table row by row: the centre, then the first columns.
inline constexpr int kRowLength = 8;
template <class Table>
struct RowByRow {
  static constexpr int kColumns = sizeof Table::kColumns / sizeof Table::kColumns[0];
  alignas(64) static constexpr auto kRows = [] {
    std::array<std::array<float, kRowLength>, kTableRows> rows{};
    for (std::size_t r = 0; r < kTableRows; ++r) {
      rows[r][0] = Table::kCentres[r];
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

/// Where the rows that lanes have chosen, by index % 16, begin: in bytes.
template <class A>
TILEWRIGHT_INLINE void store_rows(Vec<std::int32_t, A> row, std::int32_t* to) {
  static_assert(kRowLength * sizeof(float) == 1 << 5);
  ((row & Vec<std::int32_t, A>(kTableRows - 1)) << 5).store_aligned(to);
}

/// The row of a table that each lane has chosen, by its index % 16. AVX-512 has an instruction for a column; elsewhere
/// whole rows are loaded and transposed, which was four times as fast as gathering each column (avx2, Zen 5).
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
  TILEWRIGHT_MEMBER Vec<float, A> centre() const {
    if constexpr (kIsAvx512<A>)
      return simd::lookup<A>(Table::kCentres, row_);
    else
      return values_[0];
  }
  /// Horner in d = x - centre. kFused: the last step is rounded once even where that takes long (sse2).
  template <bool kFused>
  TILEWRIGHT_MEMBER Vec<float, A> polynomial(Vec<float, A> d) {
    return from<kFused, 0>(d);
  }

 private:
  /// Column i of Table::kColumns, once `behind` is known: looked up all at once, columns would be more than there are
  /// registers, and GCC would keep some in memory.
  template <int i>
  TILEWRIGHT_MEMBER Vec<float, A> column([[maybe_unused]] Vec<float, A> behind) {
#if defined(__AVX512F__)
    if constexpr (kIsAvx512<A>) asm("" : "+v"(row_.data) : "v"(behind.data));
#endif
    if constexpr (kIsAvx512<A> || i + 1 >= kRowLength)
      return simd::lookup<A>(Table::kColumns[i], row_);
    else
      return values_[i + 1];
  }
  template <bool kFused, int i>
  TILEWRIGHT_MEMBER Vec<float, A> from(Vec<float, A> d) {
    if constexpr (i + 1 == RowByRow<Table>::kColumns) {
      return column<i>(d);
    } else {
      const Vec<float, A> behind = from<kFused, i + 1>(d);
      if constexpr (i > 0 || !kFused) return simd::multiply_add(behind, d, column<i>(behind));
      return simd::fma(behind, d, column<i>(behind));
    }
  }

  Vec<std::int32_t, A> row_;
  Vec<float, A> values_[kIsAvx512<A> ? 1 : kRowLength];
};

inline constexpr int kOctaveShift = 21;     // leaves a float's exponent and two bits of its mantissa
inline constexpr float kShift = 0x1.8p23F;  // plus this, a number is rounded to a whole one, which stands in its bits

/// What x's row stands in. Even tables: x / kWidth + kShift, whose last bits are k where kWidth k is nearest.
/// Octave tables: kScale x + kBegin, from 1/2 to 8.
template <class Table, class A>
TILEWRIGHT_INLINE Vec<float, A> shifted(Vec<float, A> x) {
  if constexpr (requires { Table::kWidth; })
    return simd::multiply_add(x, simd::set<float, A>(1 / Table::kWidth), simd::set<float, A>(kShift));
  else
    return simd::multiply_add(x, simd::set<float, A>(Table::kScale), simd::set<float, A>(Table::kBegin));
}

/// The row of x; of an octave table the last bits of the exponent and two bits of the mantissa.
template <class Table, class A>
TILEWRIGHT_INLINE Vec<std::int32_t, A> row_of(Vec<float, A> x) {
  const Vec<std::int32_t, A> bits = simd::to_bits(simd::shifted<Table, A>(x));
  if constexpr (requires { Table::kWidth; })
    return bits;
  else
    return bits >> kOctaveShift;
}

/// Where x stands in a table: its row, and how far it is from the row's centre. |x| is to be below kEnd.
template <class Table, class A>
struct Place {
  static constexpr float kEnd = Table::kEnd;
  Vec<std::int32_t, A> row;
  Vec<float, A> distance, x;
};
template <class Table, class A>
TILEWRIGHT_INLINE Place<Table, A> place_of(Vec<float, A> x) {
  const auto row = simd::row_of<Table, A>(x);
  return {row, x - simd::lookup<A>(Table::kCentres, row), x};
}

/// What loops have found ahead of x's polynomial, if anything: rows from store_rows, or a place inside the table.
template <class A>
struct Ahead {
  const std::int32_t* rows = nullptr;
  const Vec<std::int32_t, A>* row = nullptr;  // and the place's other members
  const Vec<float, A>* distance = nullptr;
  const Vec<float, A>* x = nullptr;
};

template <class Table, class A>
TILEWRIGHT_INLINE Vec<std::int32_t, A> row_of(Vec<float, A> x, const Ahead<A>& ahead) {
  return ahead.row != nullptr ? *ahead.row : simd::row_of<Table, A>(x);
}

/// Where the piece of x >= 0 is among the first ones, which hold something else than the function.
template <class Table, class A>
TILEWRIGHT_INLINE xsimd::batch_bool<float, A> in_first_pieces(Vec<float, A> x, [[maybe_unused]] const Ahead<A>& ahead) {
#if defined(__AVX512F__)
  if constexpr (kIsAvx512<A>) {
    constexpr bool even = requires { Table::kWidth; };
    constexpr std::int32_t first = std::bit_cast<std::int32_t>(Table::kFirst) >> (even ? 0 : kOctaveShift);
    const __m512i row = simd::row_of<Table, A>(x, ahead).data;
    return _mm512_cmplt_epi32_mask(row, _mm512_set1_epi32(first));
  }
#endif
  if constexpr (!kIsAvx512<A>) return simd::shifted<Table, A>(x) < simd::set<float, A>(Table::kFirst);
}

/// The value of x's polynomial; x is what the table is for (|x| of most functions). The value at the centre is exact
/// up to a hundredth of a unit, so the last sum's rounding is most of the error.
template <class Table, class A, bool kFused = false>
TILEWRIGHT_INLINE Vec<float, A> pieces(Vec<float, A> x, const Ahead<A>& ahead) {
  ChosenRows<Table, A> chosen(simd::row_of<Table, A>(x, ahead), ahead.rows);
  return chosen.template polynomial<kFused>(ahead.distance != nullptr ? *ahead.distance : x - chosen.centre());
}

/// common() where is_common, elsewhere rare(). Where p.far is not null it receives the lanes that rare() would serve,
/// which then hold anything; p.all_far: there are no others.
template <class T, class A, class Numbers, class Common, class Rare>
TILEWRIGHT_INLINE Vec<T, A> common_or_rare(xsimd::batch_bool<T, A> is_common, const Numbers& p, Common common,
                                           Rare rare) {
  if (p.all_far) return rare();
  const Vec<T, A> value = common();
  if (p.far != nullptr) {
    *p.far = !is_common;
    return value;
  }
  if (xsimd::all(is_common)) [[likely]]
    return value;
  return simd::select(is_common, value, rare());
}

/// near(x) where |x| < Table::kEnd and far() elsewhere and where x is NaN; far() always for double. See common_or_rare.
/// Where a place has been found ahead, its finder has seen to it that no lane is far.
template <class Table, class T, class A, class Numbers, class Near, class Far>
TILEWRIGHT_INLINE Vec<T, A> near_or_far(Vec<T, A> x, const Numbers& p, Near near, Far far) {
  if constexpr (sizeof(T) == 8) {
    return far();
  } else {
    if (p.ahead.distance != nullptr) return near(x);
    return simd::common_or_rare(
        simd::abs(x) < simd::set<T, A>(Table::kEnd), p, [&]() __attribute__((always_inline)) { return near(x); }, far);
  }
}

}  // namespace tilewright::detail::simd
