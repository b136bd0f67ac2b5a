// SPDX-License-Identifier: MIT
// One object per activation: the forward formula and the backward formula, on batches. The stand-alone loops, the
// epilogue of gemm and the tails all use these objects; no formula stands anywhere else.
//
// backward(saved, dy, p) is dy * f'(x), where saved is the input x or the output y as kSavesInput says, and p the
// activation's parameter (leaky_relu's slope). NaN in `saved` or dy gives NaN.
#pragma once

#include "kernels/simd/elementary.hpp"

namespace tilewright::detail {

struct Identity {
  static constexpr bool kSavesInput = false;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Vec<T, A>) {
    return x;
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A>, Vec<T, A> dy, Vec<T, A>) {
    return dy;
  }
};

/// f'(0) = 0, as PyTorch. Selections rather than products: dy may be infinite where the result is 0.
struct Relu {
  static constexpr bool kSavesInput = false;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Vec<T, A>) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    return simd::select(x <= zero, zero, x);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> y, Vec<T, A> dy, Vec<T, A>) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    return simd::select(y <= zero, zero, simd::select(zero < y, dy, y));
  }
};

struct LeakyRelu {
  static constexpr bool kSavesInput = false;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Vec<T, A> slope) {
    return simd::select(simd::set<T, A>(0) < x, x, x * slope);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> y, Vec<T, A> dy, Vec<T, A> slope) {
    const Vec<T, A> zero = simd::set<T, A>(0);
    return simd::select(zero < y, dy, simd::select(y <= zero, dy * slope, y));
  }
};

/// f' = y (1 - y)
struct Sigmoid {
  static constexpr bool kSavesInput = false;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Vec<T, A>) {
    return simd::sigmoid(x);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> y, Vec<T, A> dy, Vec<T, A>) {
    return dy * (y * (simd::set<T, A>(1) - y));
  }
};

/// f' = 1 - y^2
struct Tanh {
  static constexpr bool kSavesInput = false;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Vec<T, A>) {
    return simd::tanh(x);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> y, Vec<T, A> dy, Vec<T, A>) {
    const Vec<T, A> one = simd::set<T, A>(1);
    return dy * ((one - y) * (one + y));
  }
};

/// f = x Phi(x);  f' = Phi(x) + x phi(x), phi(x) = exp(-x^2/2) / sqrt(2 pi). With q the probability beyond |x|, Phi is
/// 1 - q above 0 and q below; x multiplies before the power of two so that the left tail keeps its digits down to the
/// smallest subnormal.
struct Gelu {
  static constexpr bool kSavesInput = true;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Vec<T, A>) {
    const simd::NormalTail<T, A> n = simd::normal_tail(x);
    const auto positive = simd::set<T, A>(0) <= x;
    const Vec<T, A> above = x * (simd::set<T, A>(1) - n.upper * n.scale1 * n.scale2);
    const Vec<T, A> below = bounded_below<T, A>(x) * n.upper * n.scale1 * n.scale2;
    return simd::select(positive, above, below);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Vec<T, A>) {
    const simd::NormalTail<T, A> n = simd::normal_tail(x);
    const auto positive = simd::set<T, A>(0) <= x;
    const Vec<T, A> density = n.exponential * simd::set<T, A>(T(0.398942280401432677940));
    const Vec<T, A> xb = bounded_below<T, A>(simd::set<T, A>(0) - simd::abs(x));  // -|x|
    const Vec<T, A> below = simd::fma(xb, density, n.upper) * n.scale1 * n.scale2;
    return dy * simd::select(positive, simd::set<T, A>(1) - below, below);
  }
  /// max(x, -64): there the result is 0 anyhow, and -infinity * 0 is not formed.
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> bounded_below(Vec<T, A> x) {
    const Vec<T, A> low = simd::set<T, A>(-64);
    return simd::select(x < low, low, x);
  }
};

/// s = sigmoid(u), u = 2 sqrt(2/pi) (x + 0.044715 x^3);  f = x s;  f' = s + x s (1 - s) u'.
/// u reaches 100 before f underflows, so its rounding would cost 60 ulp in exp(u): u is formed in two pieces.
struct GeluTanh {
  static constexpr bool kSavesInput = true;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Vec<T, A>) {
    const Parts<T, A> p = parts<T, A>(x);
    return simd::times_sigmoid(p.x, p.negative, p.e);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Vec<T, A>) {
    const Parts<T, A> p = parts<T, A>(x);
    const Vec<T, A> slope =
        simd::fma(p.bounded * p.bounded, simd::set<T, A>(T(3 * kCubic)), simd::set<T, A>(T(kLinear)));
    return dy * gate_derivative<T, A>(p.negative, p.bounded * slope, p.e);
  }

  // 2 sqrt(2/pi), and 0.044715 times that: to double, and the rest.
  static constexpr double kLinear = 0x1.9884533d43651p+0, kLinearRest = -9.96930880911092e-17;
  static constexpr double kCubic = 0x1.2444f2a4d8b4bp-4, kCubicRest = -6.175149918155315e-19;

  template <class T, class A>
  struct Parts {
    Vec<T, A> x;        // from where f is 0 on upwards
    Vec<T, A> bounded;  // to where f is x, too
    xsimd::batch_bool<T, A> negative;
    simd::ScaledExp<T, A> e;  // exp(-|u|)
  };

  template <class T, class A>
  TILEWRIGHT_INLINE Parts<T, A> parts(Vec<T, A> x) {
    using V = Vec<T, A>;
    const V low = simd::set<T, A>(sizeof(T) == 4 ? T(-12) : T(-24));
    const V c = simd::select(x < low, low, x);
    const V a = simd::abs(c);
    const V high = simd::set<T, A>(sizeof(T) == 4 ? T(12) : T(24));
    const V b = simd::select(high < a, high, a);
    constexpr T linear = T(kLinear), cubic = T(kCubic);
    const V linear_low = simd::set<T, A>(T(kLinear - double(linear) + kLinearRest));
    const V cubic_low = simd::set<T, A>(T(kCubic - double(cubic) + kCubicRest));
    const V square = b * b;
    const V square_low = simd::fma(b, b, simd::set<T, A>(0) - square);
    const V product = square * simd::set<T, A>(cubic);
    const V product_low = simd::fma(square, simd::set<T, A>(cubic), simd::set<T, A>(0) - product);
    const V sum = product + simd::set<T, A>(linear);  // TwoSum (Knuth)
    const V part = sum - product;
    const V sum_low = (product - (sum - part)) + (simd::set<T, A>(linear) - part);
    V low_terms = sum_low + product_low + linear_low;
    low_terms = simd::fma(square_low, simd::set<T, A>(cubic), low_terms);
    low_terms = simd::fma(square, cubic_low, low_terms);
    const V u = b * sum;
    const V u_low = simd::fma(b, sum, simd::set<T, A>(0) - u) + b * low_terms;
    const V zero = simd::set<T, A>(0);
    return {c, simd::with_sign(b, x), x < zero, simd::scaled_exp(zero - u, zero - u_low)};
  }

  /// s + s (1 - s) w, where w = x u': s and 1 - s are 1/(1+e) and e/(1+e), in the order that the sign of u gives.
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> gate_derivative(xsimd::batch_bool<T, A> negative, Vec<T, A> w, simd::ScaledExp<T, A> e) {
    using V = Vec<T, A>;
    const V one = simd::set<T, A>(1);
    const V small = e.rounded();
    const V major = simd::div(one, one + small);
    const V minor = small * major;
    // below 0: minor (1 + major w), and minor carries the scales last; above 0: major (1 + minor w)
    const V below = (e.value * major) * simd::fma(major, w, one) * e.scale1 * e.scale2;
    return simd::select(negative, below, major * simd::fma(minor, w, one));
  }
};

/// f = x s, s = sigmoid(x);  f' = s + x s (1 - s).
struct Silu {
  static constexpr bool kSavesInput = true;
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> forward(Vec<T, A> x, Vec<T, A>) {
    const Vec<T, A> c = clamp<T, A>(x);
    return simd::times_sigmoid(c, x < simd::set<T, A>(0), decay<T, A>(c));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> backward(Vec<T, A> x, Vec<T, A> dy, Vec<T, A>) {
    const Vec<T, A> c = clamp<T, A>(x);
    // x s (1 - s) vanishes long before 1e4; the clamp keeps infinity * 0 out.
    const Vec<T, A> high = simd::set<T, A>(T(1e4));
    const Vec<T, A> w = simd::select(high < c, high, c);
    return dy * GeluTanh::gate_derivative<T, A>(x < simd::set<T, A>(0), w, decay<T, A>(c));
  }
  template <class T, class A>
  TILEWRIGHT_INLINE Vec<T, A> clamp(Vec<T, A> x) {
    const Vec<T, A> low = simd::set<T, A>(Constants<T>::kExpLow);
    return simd::select(x < low, low, x);
  }
  template <class T, class A>
  TILEWRIGHT_INLINE simd::ScaledExp<T, A> decay(Vec<T, A> x) {
    return simd::scaled_exp(simd::set<T, A>(0) - simd::abs(x), simd::set<T, A>(0));
  }
};

/// In the order of ActivationKind.
template <class... F>
struct FormulaList {};
using Formulas = FormulaList<Identity, Relu, LeakyRelu, Sigmoid, Tanh, Gelu, GeluTanh, Silu>;

}  // namespace tilewright::detail
