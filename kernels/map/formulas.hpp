// SPDX-License-Identifier: MIT
// One object per activation: the forward formula and the backward formula, on batches. The stand-alone loops, the
// epilogue of gemm and the tails all use these objects; no formula stands anywhere else.
//
// backward(saved, dy, p) is dy * f'(x), where saved is the input x or the output y as saves_input() says, and p has the
// activation's numbers. NaN in `saved` or dy gives NaN. Where a table serves, place(x, p) and slope_place(saved, p)
// are what forward and backward read there, so that loops can look for it ahead (map.hpp).
#pragma once

#include <bit>

#include "kernels/map/gates.hpp"

namespace tilewright::detail {

struct Identity {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>&) {
    return x;
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A>, Vec<T, A> dy, const Numbers<T, A>&) {
    return dy;
  }
};

/// f'(0) = 0, as PyTorch. Selections rather than products: dy may be infinite where the result is 0. A float's forward
/// formula goes by its bits, so that the control register does not matter (map.cpp): as integers, all negative floats
/// but NaNs are at most -infinity.
struct Relu {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>&) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    if constexpr (sizeof(T) == 8)
      return simd::select(x <= zero, zero, x);
    else
      return simd::from_bits<T, A>(simd::above_or_zero(simd::to_bits(x), INT32_MIN >> 8));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> y, Vec<T, A> dy, const Numbers<T, A>&) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    return simd::select(y <= zero, zero, simd::select(zero < y, dy, y));
  }
};

struct LeakyRelu {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    return simd::select(simd::set<T, A>(0) < x, x, x * p.a);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> y, Vec<T, A> dy, const Numbers<T, A>& p) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    return simd::select(zero < y, dy, simd::select(y <= zero, dy * p.a, y));
  }
};

/// f' = y (1 - y)
struct Sigmoid {
  static constexpr int kMixed = 2;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    return simd::near_or_far<SigmoidTable<A>>(
        x,
        p, [p](auto v) __attribute__((always_inline)) { return detail::rising_pieces<SigmoidTable<A>, A>(v, p.ahead); },
        [=] { return simd::sigmoid(x); });
  }
  template <class A>
  TILEWRIGHT_INLINE auto place(Vec<float, A> x, const Numbers<float, A>&) {
    return simd::place_of<SigmoidTable<A>, A>(simd::abs(x));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> y, Vec<T, A> dy, const Numbers<T, A>&) {
    return dy * (y * (simd::set<T, A>(1) - y));
  }
};

/// f' = 1 - y^2
struct Tanh {
  static constexpr int kMixed = 2;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    return simd::near_or_far<TanhTable<A>>(
        x, p,
        [p](auto v) __attribute__((always_inline)) {
          return simd::with_sign(simd::pieces<TanhTable<A>, A, true>(simd::abs(v), p.ahead), v);
        },
        [=] { return simd::tanh(x); });
  }
  template <class A>
  TILEWRIGHT_INLINE auto place(Vec<float, A> x, const Numbers<float, A>&) {
    return simd::place_of<TanhTable<A>, A>(simd::abs(x));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> y, Vec<T, A> dy, const Numbers<T, A>&) {
    const Vec<T, A> one = simd::set<T, A>(1);
    return dy * ((one - y) * (one + y));
  }
};

/// min(max(x, low), high); NaN goes through, and -0 where low is 0: NEON's maximum would be 0.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> clip(Vec<T, A> x, Vec<T, A> low, Vec<T, A> high) {
#if defined(__AVX512F__)
  // Without exceptions: no trap of the host can meet it (map.hpp).
  if constexpr (kIsAvx512<A> && sizeof(T) == 4)
    return _mm512_min_round_ps(high.data, _mm512_max_round_ps(low.data, x.data, _MM_FROUND_NO_EXC), _MM_FROUND_NO_EXC);
#endif
#if defined(__x86_64__)
  return xsimd::min(high, xsimd::max(low, x));  // the second one of equals, and where one is NaN
#endif
  return simd::select(x < low, low, simd::select(high < x, high, x));
}

/// dy where low < x < high, else 0; NaN where x is NaN. dy may be infinite where the result is 0.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> pass_between(Vec<T, A> x, Vec<T, A> low, Vec<T, A> high, Vec<T, A> dy) {
  const Vec<T, A> zero = simd::set<T, A>(0);
  return simd::select(x <= low, zero, simd::select(high <= x, zero, simd::select(x == x, dy, x)));
}

struct Relu6 {
  static constexpr bool kSeesToState = true;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>&) {
    return detail::clip<T, A>(x, simd::set<T, A>(0), simd::set<T, A>(6));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> y, Vec<T, A> dy, const Numbers<T, A>&) {
    return detail::pass_between<T, A>(y, simd::set<T, A>(0), simd::set<T, A>(6), dy);
  }
};

struct Hardtanh {
  static constexpr bool kSeesToState = true;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    return detail::clip<T, A>(x, p.a, p.b);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> y, Vec<T, A> dy, const Numbers<T, A>& p) {
    return detail::pass_between<T, A>(y, p.a, p.b, dy);
  }
};

/// exp(x) - 1 for x <= 0; 0 for x > 0.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> exp_fall(Vec<T, A> x, const Numbers<T, A>& p) {
  const Vec<T, A> c = simd::at_most(x, T(0));
  return simd::near_or_far<ExpFallTable<A>>(
      c, p,
      [ahead = p.ahead](auto v) __attribute__((always_inline)) { return simd::pieces<ExpFallTable<A>, A>(v, ahead); },
      [=] { return simd::expm1(c); });
}
template <class A>
TILEWRIGHT_INLINE auto place_of_exp_fall(Vec<float, A> x) {
  return simd::place_of<ExpFallTable<A>, A>(simd::at_most(x, 0.0F));
}

/// x where x > 0, -0 elsewhere: what can be added to exp_fall's result, which is 0 where this is not.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> rise(Vec<T, A> x) {
  return simd::at_least(x, T(-0.0));
}

/// f' = x > 0 ? 1 : a exp(x)
struct Elu {
  static constexpr int kMixed = 2;
  static constexpr bool kFarIsRare = true;  // x <= -8: collecting costs more than it saves
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    return simd::multiply_add(p.a, detail::exp_fall<T, A>(x, p), detail::rise<T, A>(x));
  }
  template <class A>
  TILEWRIGHT_INLINE auto place(Vec<float, A> x, const Numbers<float, A>&) {
    return detail::place_of_exp_fall<A>(x);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>& p) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    return dy * simd::select(zero < x, simd::set<T, A>(1), p.a * simd::exp(x));
  }
};

/// f' = scale * (x > 0 ? 1 : alpha exp(x))
struct Selu {
  static constexpr int kMixed = 2;
  static constexpr bool kFarIsRare = true;  // x <= -8: collecting costs more than it saves
  static constexpr double kScale = 1.0507009873554804934, kAlpha = 1.6732632423543772848;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    const Vec<T, A> fall = detail::exp_fall<T, A>(x, p), rise = detail::rise<T, A>(x);
    constexpr Factor<T> on_fall(kScale * kAlpha), on_rise(kScale);
    if constexpr (sizeof(T) == 8) {
      return simd::multiply_add(simd::set<T, A>(on_rise.first), rise, simd::set<T, A>(on_fall.first) * fall);
    } else {
      const Vec<T, A> fallen = simd::fma(simd::set<T, A>(on_fall.first), fall, simd::set<T, A>(on_fall.rest) * fall);
      return simd::fma(simd::set<T, A>(on_rise.first), rise,
                       simd::multiply_add(simd::set<T, A>(on_rise.rest), rise, fallen));
    }
  }
  template <class A>
  TILEWRIGHT_INLINE auto place(Vec<float, A> x, const Numbers<float, A>&) {
    return detail::place_of_exp_fall<A>(x);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>&) {
    const Vec<T, A> negative = simd::set<T, A>(T(kScale * kAlpha)) * simd::exp(x);
    return dy * simd::select(simd::set<T, A>(0) < x, simd::set<T, A>(T(kScale)), negative);
  }
  /// In two pieces, neither below 0: the sum of their products overflows where the first does. Of a double the first.
  template <class T>
  struct Factor {
    T first, rest;
    constexpr explicit Factor(double factor) : first(T(factor)) {
      if (factor < double(first)) first = std::bit_cast<T>(std::bit_cast<Bits<T>>(first) - 1);
      rest = T(factor - double(first));
    }
  };
};

/// f' = x > 0 ? 1 : exp(x / a). x / a is formed in two pieces, because its rounding would grow with it.
struct Celu {
  static constexpr bool kLong = true;  // not a few operations, which map.hpp unrolls
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    return simd::select(simd::set<T, A>(0) < x, x, p.a * simd::expm1_scaled(power<T, A>(x, p.a)));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>& p) {
    return dy * simd::select(simd::set<T, A>(0) < x, simd::set<T, A>(1), power<T, A>(x, p.a).rounded());
  }
  template <class T, class A>
  TILEWRIGHT_INLINE simd::ScaledExp<T, A> power(Vec<T, A> x, Vec<T, A> a) {
    const Vec<T, A> low = simd::set<T, A>(Constants<T>::kExpLow), zero = simd::set<T, A>(0);
    const Vec<T, A> q = simd::div(x, a);
    const Vec<T, A> rest = simd::div(simd::subtract_product(x, q, a), a);
    return simd::scaled_exp(q, simd::select(low < q, rest, zero));
  }
};

/// f' = sigmoid(a x). a x is formed in two pieces.
struct Softplus {
  static constexpr int kMixed = 2;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    return simd::near_or_far<SoftplusTable<A>>(
        plain<T, A>(x, p), p,
        [p](auto v) __attribute__((always_inline)) {
          return detail::positive_part<float, A>(v) + simd::pieces<SoftplusTable<A>, A>(simd::abs(v), p.ahead);
        },
        [=] { return simd::select(p.b < p.a * x, x, far<T, A>(x, p)); });
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>& p) {
    return dy * simd::near_or_far<SigmoidTable<A>>(
                    plain<T, A>(x, p), p,
                    [p](auto v) __attribute__((always_inline)) {
                      return detail::rising_pieces<SigmoidTable<A>, A>(v, p.ahead);
                    },
                    [=] { return simd::select(p.b < p.a * x, simd::set<T, A>(1), far_slope<T, A>(x, p)); });
  }
  template <class A>
  TILEWRIGHT_INLINE auto place(Vec<float, A> x, const Numbers<float, A>& p) {
    return simd::place_of<SoftplusTable<A>, A>(simd::abs(plain<float, A>(x, p)));
  }
  template <class A>
  TILEWRIGHT_INLINE auto slope_place(Vec<float, A> x, const Numbers<float, A>& p) {
    return simd::place_of<SigmoidTable<A>, A>(simd::abs(plain<float, A>(x, p)));
  }
  /// x where the tables serve: they are for a = 1 and know nothing of b.
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> plain(Vec<T, A> x, const Numbers<T, A>& p) {
    static_assert(SoftplusTable<A>::kEnd == SigmoidTable<A>::kEnd);  // backward's
    const auto serve = (p.a == simd::set<T, A>(1)) & (simd::set<T, A>(SoftplusTable<A>::kEnd) <= p.b);
    return simd::select(serve, x, simd::set<T, A>(std::numeric_limits<T>::infinity()));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> far(Vec<T, A> x, const Numbers<T, A>& p) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    const Vec<T, A> u = p.a * x;
    const Vec<T, A> log_part = simd::log1p_unit(decay<T, A>(u, p.a, x).rounded());
    const Vec<T, A> rest = simd::select(zero < u, simd::product_low(p.a, x, u), zero);
    return simd::div(simd::select(u < zero, zero, u) + (log_part + rest), p.a);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> far_slope(Vec<T, A> x, const Numbers<T, A>& p) {
    const Vec<T, A> u = p.a * x;
    return simd::times_sigmoid(simd::set<T, A>(1), u < simd::set<T, A>(0), decay<T, A>(u, p.a, x));
  }
  /// exp(-|u|), u = a x
  template <class T, class A>
  TILEWRIGHT_INLINE simd::ScaledExp<T, A> decay(Vec<T, A> u, Vec<T, A> a, Vec<T, A> x) {
    const Vec<T, A> zero = simd::set<T, A>(0), low = simd::set<T, A>(Constants<T>::kExpLow);
    const Vec<T, A> size = zero - simd::abs(u);
    const Vec<T, A> rest = simd::product_low(zero - a, simd::abs(x), size);
    return simd::scaled_exp(size, simd::select(low < size, rest, zero));
  }
};

/// f' = sigmoid(-x)
struct LogSigmoid {
  static constexpr int kMixed = 2;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    const Vec<T, A> log_part = simd::near_or_far<SoftplusTable<A>>(
        x, p,
        [p](auto v) __attribute__((always_inline)) { return simd::pieces<SoftplusTable<A>, A>(simd::abs(v), p.ahead); },
        [=] { return simd::log1p_unit(simd::exp_of_negative(simd::set<T, A>(0) - simd::abs(x))); });
    return simd::at_most(x, T(0)) - log_part;
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>& p) {
    return dy * Sigmoid::forward<T, A>(simd::set<T, A>(0) - x, p);
  }
  template <class A>
  TILEWRIGHT_INLINE auto place(Vec<float, A> x, const Numbers<float, A>&) {
    return simd::place_of<SoftplusTable<A>, A>(simd::abs(x));
  }
  template <class A>
  TILEWRIGHT_INLINE auto slope_place(Vec<float, A> x, const Numbers<float, A>&) {
    return simd::place_of<SigmoidTable<A>, A>(simd::abs(x));
  }
};

/// f' = 1 / (1 + |x|)^2
struct Softsign {
  /// From here on the result is 1.
  template <class T>
  static constexpr T kEnd = 8 / std::numeric_limits<T>::epsilon();

  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>&) {
    const Vec<T, A> c = detail::clip<T, A>(x, simd::set<T, A>(-kEnd<T>), simd::set<T, A>(kEnd<T>));
    return simd::div(c, simd::set<T, A>(1) + simd::abs(c));
  }
#if defined(__AVX512F__)
  /// forward's bits without a division: a guess, a step of Newton's, and the quotient corrected by what it leaves,
  /// which rounds it correctly: for every float, and whatever the CPU's guess is, as long as it is within 2^-14 (all
  /// inverses that the step can give were tried). Zen 5 divides a register in 2.5 cycles and does this meanwhile.
  template <class A>
  TILEWRIGHT_INLINE Vec<float, A> forward_by_products(Vec<float, A> x, const Numbers<float, A>&) {
    using V = Vec<float, A>;
    const V one = simd::set<float, A>(1), end = simd::set<float, A>(kEnd<float>);
    const V c = detail::clip<float, A>(x, simd::set<float, A>(-kEnd<float>), end);
    const V d = one + xsimd::min(simd::abs(x), end);  // a number where x is NaN, whose sign is then c's
    const V guess = _mm512_rcp14_ps(d.data);
    const V inverse = simd::multiply_add(guess, V(_mm512_fnmadd_ps(d.data, guess.data, one.data)), guess);
    const V quotient = c * inverse;
    // c - d q, negated so that -0 keeps its sign.
    return _mm512_fnmadd_ps(_mm512_fmsub_ps(d.data, quotient.data, c.data), inverse.data, quotient.data);
  }
#endif
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>&) {
    using P = simd::Pair<T, A>;
    const Vec<T, A> half = simd::set<T, A>(T(0.5)), zero = simd::set<T, A>(0);
    const Vec<T, A> largest = simd::set<T, A>(std::numeric_limits<T>::max()), a = simd::abs(x);
    const P denominator = simd::two_sum(simd::select(largest < a, largest, a) * half, half);
    const P inverse = simd::quotient(P{half, zero}, denominator);
    return dy * simd::multiply_add(inverse.high, inverse.high, (inverse.high + inverse.high) * inverse.low);
  }
};

/// t / 6 for t that is 0 or not small: times both parts of 1/6, which is rounded as the quotient is.
template <class T, class A>
TILEWRIGHT_INLINE Vec<T, A> sixth(Vec<T, A> t) {
  if constexpr (std::is_same_v<A, xsimd::sse2>) return simd::div(t, simd::set<T, A>(6));  // has no fused multiply-add
  constexpr T high = T(1.0 / 6), low = sizeof(T) == 4 ? T(-4.967053731e-9) : T(9.25185853854297066e-18);
  return simd::multiply_add(t, simd::set<T, A>(high), t * simd::set<T, A>(low));
}

/// f' = 1/6 for -3 < x < 3
struct Hardsigmoid {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>&) {
    const Vec<T, A> clipped = detail::clip<T, A>(x + simd::set<T, A>(3), simd::set<T, A>(0), simd::set<T, A>(6));
    return detail::sixth<T, A>(clipped);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>&) {
    const Vec<T, A> three = simd::set<T, A>(3);
    return detail::pass_between<T, A>(x, simd::set<T, A>(0) - three, three, dy * simd::set<T, A>(T(1.0 / 6)));
  }
};

/// f' = (2 x + 3) / 6 for -3 < x < 3, then 1
struct Hardswish {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>&) {
    const Vec<T, A> c = simd::at_least(x, T(-3));  // 0 * -infinity is not wanted
    return c * detail::sixth<T, A>(simd::at_most(c + simd::set<T, A>(3), T(6)));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>&) {
    const Vec<T, A> three = simd::set<T, A>(3), zero = simd::set<T, A>(0);
    const Vec<T, A> slope = detail::sixth<T, A>(simd::multiply_add(simd::set<T, A>(2), x, three));
    return simd::select(three <= x, dy, simd::select(x <= zero - three, zero, dy * slope));
  }
};

/// f' = tanh(x)^2. The table has f(a), first f(a) / a^2 - a / 3. Where it ends tanh is 1 as far as can be told.
struct Tanhshrink {
  static constexpr int kMixed = 2;
  static constexpr bool kFarIsRare = true;  // and simple
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    if constexpr (sizeof(T) == 8) {
      return simd::tanhshrink(x);
    } else {
      using Table = TanhshrinkTable<A>;
      const Vec<T, A> a = simd::abs(x);
      const auto near = [&](auto) __attribute__((always_inline)) {
        const auto first = simd::in_first_pieces<Table, A>(a, p.ahead);
        const Vec<T, A> piece = simd::pieces<Table, A>(a, p.ahead), square = a * a;
        const Vec<T, A> ratio = simd::select(first, simd::fma(a, simd::set<T, A>(1 / 3.0F), piece), piece);
        const Vec<T, A> small = simd::multiply_add(ratio, square, ratio * simd::product_low(a, a, square));
        return simd::with_sign(simd::select(first, small, ratio), x);
      };
      return simd::near_or_far<Table>(x, p, near, [=] { return simd::with_sign(a - simd::set<T, A>(1), x); });
    }
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>& p) {
    if constexpr (sizeof(T) == 8) {
      const simd::Pair<T, A> t = simd::tanh_of_abs(x);
      return dy * simd::multiply_add(t.high, t.high, (t.high + t.high) * t.low);
    } else {
      using Table = TanhSquareTable<A>;
      const Vec<T, A> a = simd::abs(x), near = simd::pieces<Table, A>(a, p.ahead);
      return dy * simd::select(simd::set<T, A>(Table::kEnd) <= a, simd::set<T, A>(1), near);
    }
  }
  template <class A>
  TILEWRIGHT_INLINE auto place(Vec<float, A> x, const Numbers<float, A>&) {
    return simd::place_of<TanhshrinkTable<A>, A>(simd::abs(x));
  }
  template <class A>
  TILEWRIGHT_INLINE auto slope_place(Vec<float, A> x, const Numbers<float, A>&) {
    return simd::place_of<TanhSquareTable<A>, A>(simd::abs(x));
  }
};

/// f' = |x| > a
struct Softshrink {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    // Finite, as a float, too: infinity minus itself is not wanted.
    const Vec<T, A> a = simd::at_most(p.a, std::numeric_limits<T>::max());
    return x - detail::clip<T, A>(x, simd::set<T, A>(0) - a, a);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>& p) {
    const Vec<T, A> small = simd::select(x == x, simd::set<T, A>(0), x);
    return simd::select(p.a < simd::abs(x), dy, small);
  }
};

/// f' = x > a
struct Threshold {
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    return simd::select(x <= p.a, p.b, x);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>& p) {
    return simd::select(x <= p.a, simd::set<T, A>(0), simd::select(x == x, dy, x));
  }
};

/// In the order of ActivationKind.
template <class... F>
struct FormulaList {};
using FusedFormulas = FormulaList<Identity, Relu>;
using Formulas = FormulaList<Identity, Relu, LeakyRelu, Sigmoid, Tanh, Gelu, GeluTanh, Silu, Relu6, Elu, Selu, Celu,
                             Softplus, LogSigmoid, Mish, Softsign, QuickGelu, Hardsigmoid, Hardswish, Hardtanh,
                             Tanhshrink, Softshrink, Threshold>;

}  // namespace tilewright::detail
