// SPDX-License-Identifier: MIT
// Sums and maxima over a run of elements in one fixed order, whatever the vector width.
//
// The numerics: 64 virtual lanes. Of the first n - n % 64 elements, element i is added to lane i % 64 in ascending i,
// from zero; lanes l and l + 32, then l and l + 16, are added; the remaining n % 64 elements are added to lanes i % 16
// in ascending i; then lanes l and l + 8, l + 4, l + 2, l + 1 are added. On AVX-512 16 floats are one register, on NEON
// four: the additions are the same. Terms that are products are added by fused multiply-adds.
#pragma once

#include "kernels/simd/simd.hpp"

namespace tilewright::detail {

inline constexpr int kFoldLanes = 16;
inline constexpr int kSumLanes = 64;

/// A term that is a b, which a fused multiply-add adds.
template <class T, class A>
struct Product {
  Vec<T, A> a, b;
};

struct Add {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> of(Vec<T, A> sum, Vec<T, A> term) {
    return sum + term;
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> of(Vec<T, A> sum, Product<T, A> term) {
    return simd::multiply_add(term.a, term.b, sum);
  }
};

/// The larger one; NaN when either is NaN.
struct Max {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> of(Vec<T, A> a, Vec<T, A> b) {
    return simd::select(a < b, b, simd::select(b <= a, a, a + b));
  }
};

/// The last additions: lanes l and l + kHalf, then l and l + kHalf / 2, and so on; the result is in the first lane.
template <class Op, int kHalf, class T, class A>
TILEWRIGHT_INLINE Vec<T, A> fold_lanes(Vec<T, A>* fold) {
  constexpr int registers = kHalf / kLanes<T, A>;
  if constexpr (registers >= 1) {
#pragma GCC unroll 8
    for (int v = 0; v < registers; ++v) fold[v] = Op::template of<T, A>(fold[v], fold[v + registers]);
  } else {
    fold[0] = Op::template of<T, A>(fold[0], simd::shift_down<kHalf, T, A>(fold[0]));
  }
  if constexpr (kHalf > 1)
    return fold_lanes<Op, kHalf / 2, T, A>(fold);
  else
    return fold[0];
}

/// The larger one, where a NaN does not matter because it will come out of something else.
struct MaxOfNumbers {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> of(Vec<T, A> a, Vec<T, A> b) {
    return xsimd::max(b, a);
  }
};

struct Nothing {
  TILEWRIGHT_MEMBER void operator()(auto...) const {}
};

/// Whether a term is so long that copies of it for every register would be most of the library.
enum class Term { is_short, is_long };

/// Combines term(i) over 0 <= i < n in the order above, starting from `zero`. It is called with an offset and either
/// nothing or the lanes to take; it returns a register, or a Product of two, whose lanes outside the choice do not
/// matter. A term in two steps, begin(i, s, t) and end(s, t), is begun on AVX-512 while those before it are ended: all
/// steps of a register, of which most wait for others, would fill what the CPU looks ahead in.
template <class Op, class T, class A, Term kTerm = Term::is_short, class F, class Done = Nothing>
TILEWRIGHT_INLINE T reduce(Index n, T zero, F term, Done done = {}) {
  constexpr int lanes = kLanes<T, A>, kFold = kFoldLanes / lanes, kWide = kSumLanes / lanes;
  constexpr bool kUnrolled = kTerm == Term::is_short || kIsAvx512<A>;
  const Vec<T, A> neutral = simd::set<T, A>(zero);
  Vec<T, A> fold[kFold];
#pragma GCC unroll 8
  for (int v = 0; v < kFold; ++v) fold[v] = neutral;
  Index i = 0;
  if (n >= kSumLanes) {
    Vec<T, A> wide[kWide];
#pragma GCC unroll 16
    for (int v = 0; v < kWide; ++v) wide[v] = neutral;
    if constexpr (kIsAvx512<A> && requires(Vec<T, A> & s) { term.begin(i, s, s); }) {
      // Two registers at a time, for four there is no room; names, because GCC would keep arrays in memory.
      Vec<T, A> s0, t0, s1, t1;
      term.begin(0, s0, t0), term.begin(lanes, s1, t1);
      for (; i + kSumLanes <= n; i += kSumLanes) {
        const Index next = i + 2 * kSumLanes <= n ? i + kSumLanes : i;
#pragma GCC unroll 8
        for (int v = 0; v < kWide; v += 2) {
          const Vec<T, A> s2 = s0, t2 = t0, s3 = s1, t3 = t1;
          const Index at = v + 2 < kWide ? i + (v + 2) * lanes : next;
          term.begin(at, s0, t0), term.begin(at + lanes, s1, t1);
          const Vec<T, A> first = term.end(s2, t2), second = term.end(s3, t3);
          done(first, i + v * lanes), done(second, i + (v + 1) * lanes);
          wide[v] = Op::template of<T, A>(wide[v], first), wide[v + 1] = Op::template of<T, A>(wide[v + 1], second);
        }
      }
    } else {
      for (; i + kSumLanes <= n; i += kSumLanes) {
        if constexpr (kUnrolled) {
          decltype(term(i)) terms[kWide];
#pragma GCC unroll 16
          for (int v = 0; v < kWide; ++v) terms[v] = term(i + v * lanes);
#pragma GCC unroll 16
          for (int v = 0; v < kWide; ++v) {
            done(terms[v], i + v * lanes);
            wide[v] = Op::template of<T, A>(wide[v], terms[v]);
          }
        } else {
#pragma GCC unroll 1
          for (int v = 0; v < kWide; ++v) {
            const auto t = term(i + v * lanes);
            done(t, i + v * lanes);
            wide[v] = Op::template of<T, A>(wide[v], t);
          }
        }
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < kFold; ++v)
      fold[v] = Op::template of<T, A>(Op::template of<T, A>(wide[v], wide[v + 2 * kFold]),
                                      Op::template of<T, A>(wide[v + kFold], wide[v + 3 * kFold]));
  }
  const auto add = [&](Index at, Vec<T, A> & to) __attribute__((always_inline)) {
    if (at + lanes <= n) {
      const auto t = term(at);
      done(t, at);
      to = Op::template of<T, A>(to, t);
    } else if (at < n) {
      const auto some = simd::first_lanes<T, A>(n - at);
      const auto t = term(at, some);
      done(t, at, some);
      to = simd::keep(Op::template of<T, A>(to, t), to, n - at);
    }
  };
  for (; i < n; i += kFoldLanes) {
    if constexpr (kUnrolled) {
#pragma GCC unroll 8
      for (int v = 0; v < kFold; ++v) add(i + v * lanes, fold[v]);
    } else {
#pragma GCC unroll 1
      for (int v = 0; v < kFold; ++v) add(i + v * lanes, fold[v]);
    }
  }
  return simd::first_lane<T, A>(fold_lanes<Op, kFoldLanes / 2, T, A>(fold));
}

/// The sum of term(i): blocks in the order above, added in double.
template <class T, class A, Term kTerm = Term::is_short, class F>
TILEWRIGHT_INLINE double sum_in_blocks(Index n, F term) {
  double sum = 0;
  for (Index first = 0; first < n; first += kSumBlockElements) {
    const Index count = n - first < kSumBlockElements ? n - first : kSumBlockElements;
    sum += static_cast<double>(reduce<Add, T, A, kTerm>(
        count, T(0), [&](Index i, auto... some) __attribute__((always_inline)) { return term(first + i, some...); }));
  }
  return sum;
}

template <class T, class A>
struct Terms {
  Product<T, A> first;
  Vec<T, A> second;
};
struct Sums {
  double first, second;
};

/// The sums of both terms that term(i) makes, each in the order above, of a block. Four registers of lanes at a time,
/// which is all of them on AVX-512.
template <class T, class A, class F>
TILEWRIGHT_INLINE Sums add_two(Index n, F term) {
  using V = Vec<T, A>;
  constexpr int lanes = kLanes<T, A>, kFold = kFoldLanes / lanes, kWide = kSumLanes / lanes, kTogether = 4;
  const V zero = simd::set<T, A>(0);
  const Index whole = n - n % kSumLanes;
  V a[kWide], b[kWide];
#pragma GCC unroll 1
  for (int first = 0; first < kWide; first += kTogether) {
    V own_a[kTogether], own_b[kTogether];
#pragma GCC unroll 4
    for (int v = 0; v < kTogether; ++v) own_a[v] = own_b[v] = zero;
    for (Index i = first * lanes; i < whole; i += kSumLanes)
#pragma GCC unroll 4
      for (int v = 0; v < kTogether; ++v) {
        const Terms<T, A> t = term(i + v * lanes);
        own_a[v] = Add::of<T, A>(own_a[v], t.first);
        own_b[v] = Add::of<T, A>(own_b[v], t.second);
      }
#pragma GCC unroll 4
    for (int v = 0; v < kTogether; ++v) a[first + v] = own_a[v], b[first + v] = own_b[v];
  }
#pragma GCC unroll 4
  for (int v = 0; v < kFold; ++v) {
    a[v] = (a[v] + a[v + 2 * kFold]) + (a[v + kFold] + a[v + 3 * kFold]);
    b[v] = (b[v] + b[v + 2 * kFold]) + (b[v + kFold] + b[v + 3 * kFold]);
  }
  for (Index i = whole; i < n; i += kFoldLanes)
#pragma GCC unroll 4
    for (int v = 0; v < kFold; ++v) {
      const Index at = i + v * lanes, left = n - at;
      if (left >= lanes) {
        const Terms<T, A> t = term(at);
        a[v] = Add::of<T, A>(a[v], t.first);
        b[v] = Add::of<T, A>(b[v], t.second);
      } else if (left > 0) {
        const Terms<T, A> t = term(at, simd::first_lanes<T, A>(left));
        a[v] = simd::keep(Add::of<T, A>(a[v], t.first), a[v], left);
        b[v] = simd::keep(Add::of<T, A>(b[v], t.second), b[v], left);
      }
    }
  return {static_cast<double>(simd::first_lane<T, A>(fold_lanes<Add, kFoldLanes / 2, T, A>(a))),
          static_cast<double>(simd::first_lane<T, A>(fold_lanes<Add, kFoldLanes / 2, T, A>(b)))};
}

/// The same in blocks, which are added in double: sum_in_blocks() of each.
template <class T, class A, class F>
TILEWRIGHT_INLINE Sums two_sums_in_blocks(Index n, F term) {
  Sums all{0, 0};
  for (Index first = 0; first < n; first += kSumBlockElements) {
    const Index count = n - first < kSumBlockElements ? n - first : kSumBlockElements;
    const Sums block = add_two<T, A>(
        count, [&](Index i, auto... some) __attribute__((always_inline)) { return term(first + i, some...); });
    all.first += block.first;
    all.second += block.second;
  }
  return all;
}

}  // namespace tilewright::detail
