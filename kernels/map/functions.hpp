// SPDX-License-Identifier: MIT
// One object per elementary function, like the activations' in formulas.hpp: backward(x, dy) is dy * f'(x).
#pragma once

#include "kernels/map/formulas.hpp"
#include "kernels/simd/trigonometry.hpp"

namespace tilewright::detail {

struct Exp {
  static constexpr int kMixed = 3;  // map.hpp
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>&) {
    return simd::exp(x);
  }
  /// In two steps, for loops (map.hpp).
  template <class A>
  TILEWRIGHT_INLINE xsimd::batch_bool<float, A> begin(Vec<float, A> x, Vec<float, A>& n, Vec<float, A>& r) {
    const auto argument = simd::exp_argument(x);
    n = argument.n, r = argument.r;
    return xsimd::batch_bool<float, A>(false);
  }
  template <class A>
  TILEWRIGHT_INLINE Vec<float, A> end(Vec<float, A>, Vec<float, A> n, Vec<float, A> r) {
    return simd::exp(simd::ExpArgument<float, A>{n, r});
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>&) {
    return dy * simd::exp(x);
  }
};

struct Expm1 {
  static constexpr int kMixed = 2;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>&) {
    return simd::expm1(x);
  }
  template <class A>
  TILEWRIGHT_INLINE xsimd::batch_bool<float, A> begin(Vec<float, A> x, Vec<float, A>& n, Vec<float, A>& r) {
    Exp::begin<A>(x, n, r);
    return simd::power_overflows(simd::ExpArgument<float, A>{n, r});
  }
  template <class A>
  TILEWRIGHT_INLINE Vec<float, A> end(Vec<float, A> x, Vec<float, A> n, Vec<float, A> r) {
    return simd::expm1(x, simd::ExpArgument<float, A>{n, r});
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>&) {
    return dy * simd::exp(x);
  }
};

/// f' = 1 / x
struct Log {
  static constexpr int kMixed = 3;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    if constexpr (sizeof(T) == 8 || !kIsAvx512<A>)
      return simd::log(x);
    else
      return simd::common_or_rare(
          simd::is_normal_and_positive(x), p, [=]() __attribute__((always_inline)) { return simd::log_of_usual(x); },
          [=] { return simd::log_of_any(x); });
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>&) {
    return simd::div(dy, x);
  }
};

/// f' = 1 / (1 + x)
struct Log1p {
  static constexpr int kMixed = 4;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    if constexpr (sizeof(T) == 8 || !kIsAvx512<A>)
      return simd::log1p(x);
    else
      return simd::common_or_rare(
          simd::is_usual_for_log1p(x), p, [=]() __attribute__((always_inline)) { return simd::log1p_of_usual(x); },
          [=] { return simd::log1p_of_any(x); });
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>&) {
    return simd::div(dy, simd::set<T, A>(1) + x);
  }
};

/// f' = -1 / (2 x sqrt(x)). The rounded root s has s^2 = x - rest, so 1 / sqrt(x) is (1 - rest / (2 x)) / s up to what
/// is too small to matter; where that factor is no number, the quotient is infinite, 0 or NaN already.
struct Rsqrt {
  static constexpr int kMixed = 2;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    const auto divided = [=] { return simd::div(simd::set<T, A>(1), simd::sqrt(x)); };
    if constexpr (sizeof(T) == 8 || std::is_same_v<A, xsimd::sse2>) {
      return divided();
    } else {
      return simd::common_or_rare(
          simd::is_normal_and_positive(x), p, [=]() __attribute__((always_inline)) { return simd::rsqrt_of_usual(x); },
          divided);
    }
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>&) {
    const Vec<T, A> root = simd::sqrt(x), h = simd::div(simd::set<T, A>(T(-0.5)), x);
    const Vec<T, A> quotient = simd::div(h, root);
    const Vec<T, A> slope = simd::multiply_add(quotient, h * simd::subtract_product(x, root, root), quotient);
    return dy * simd::select(slope == slope, slope, quotient);
  }
};

/// f' = 2 / sqrt(pi) exp(-x^2), the square in two pieces; beyond 16 it is 0.
struct Erf {
  static constexpr int kMixed = 2;
  static constexpr bool kFarIsRare = true, kNeverFar = true;  // arguments are bounded
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    using Table = ErfTable<A>;
    const Vec<T, A> a = p.ahead.x != nullptr ? *p.ahead.x : bounded<A>(x);
    const Vec<T, A> piece = simd::pieces<Table, A>(a, p.ahead);
    // In the first pieces erf is almost a.
    return simd::with_sign(simd::select(simd::in_first_pieces<Table, A>(a, p.ahead), piece + a, piece), x);
  }
  template <class A>
  TILEWRIGHT_INLINE auto place(Vec<float, A> x, const Numbers<float, A>&) {
    return simd::place_of<ErfTable<A>, A>(bounded<A>(x));
  }
  /// min(|x|, 3.93), where erf is 1.
  template <class A>
  TILEWRIGHT_INLINE Vec<float, A> bounded(Vec<float, A> x) {
    return simd::at_most(simd::abs(x), 3.93F);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>&) {
    using V = Vec<T, A>;
    const V zero = simd::set<T, A>(0), end = simd::set<T, A>(16), a = simd::abs(x);
    const V c = simd::select(end < a, end, a), square = c * c;
    const simd::ScaledExp<T, A> e = simd::scaled_exp(zero - square, zero - simd::product_low(c, c, square));
    constexpr double kTwoOverRootPi = 1.12837916709551257390;
    const V factor = simd::set<T, A>(T(kTwoOverRootPi));
    const V factor_low = simd::set<T, A>(T(kTwoOverRootPi - double(T(kTwoOverRootPi))));
    const V slope = simd::multiply_add(factor, e.value, simd::multiply_add(factor, e.error, factor_low * e.value));
    return dy * e.scale.times(slope);
  }
};

/// sin(x + turn pi/2)
template <int kTurn>
struct Sine {
  static constexpr int kMixed = 2;
  static constexpr float kEnd = simd::kNearEnd;  // of begin()
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, const Numbers<T, A>& p) {
    return simd::sine<kTurn, A>(x, p);
  }
  template <class A>
  TILEWRIGHT_INLINE xsimd::batch_bool<float, A> begin(Vec<float, A> x, Vec<float, A>& rest, Vec<float, A>& turns) {
    const simd::Reduced<A> r = simd::reduce_near<A>(x);
    rest = r.rest, turns = simd::from_bits<float, A>(r.n);
    return xsimd::batch_bool<float, A>(false);
  }
  template <class A>
  TILEWRIGHT_INLINE Vec<float, A> end(Vec<float, A>, Vec<float, A> rest, Vec<float, A> turns) {
    return simd::sine_of<kTurn, A>({rest, simd::to_bits(turns)});
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, const Numbers<T, A>& p) {
    return dy * simd::sine<kTurn + 1, A>(x, p);
  }
};
struct Sin : Sine<0> {};
struct Cos : Sine<1> {};

/// In the order of FunctionKind; double has the first ones.
using Functions = FormulaList<Exp, Expm1, Log, Log1p, Rsqrt, Erf, Sin, Cos>;
using DoubleFunctions = FormulaList<Exp, Expm1, Log, Log1p, Rsqrt>;

}  // namespace tilewright::detail
