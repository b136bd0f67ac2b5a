// SPDX-License-Identifier: MIT
// Activations and elementary functions as the textbooks write them, in a wider type than the kernels': what tests, the
// accuracy report and benchmarks hold the kernels against.
#pragma once

#include <algorithm>
#include <cmath>

#include "tilewright/activations.hpp"
#include "tilewright/functions.hpp"

namespace tilewright::test {

template <class L>
L logistic(L x) {
  return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
}

/// log(1 + exp(x))
template <class L>
L softplus(L x) {
  return std::max(x, L(0)) + std::log1p(std::exp(-std::fabs(x)));
}

template <class L>
L normal_cdf(L x) {
  return std::erfc(-x / std::sqrt(L(2))) / 2;
}

template <class L>
L normal_density(L x) {
  return std::exp(-x * x / 2) / std::sqrt(2 * std::acos(L(-1)));
}

template <class L>
L gelu_tanh_argument(L x) {
  return 2 * std::sqrt(2 / std::acos(L(-1))) * (x + static_cast<L>(0.044715L) * x * x * x);
}

/// tanh(softplus(x))
template <class L>
L mish_gate(L x) {
  if (x > 0) {
    const L e = std::exp(-x);
    return (1 + 2 * e) / (1 + 2 * e + 2 * e * e);
  }
  const L e = std::exp(x);
  return e * (e + 2) / (e * (e + 2) + 2);
}

inline constexpr long double kSeluScale = 1.0507009873554804934193349852946L;
inline constexpr long double kSeluAlpha = 1.6732632423543772848170429916717L;

/// f(x), with the activation's numbers as the kernel sees them.
template <class L>
L reference(ActivationKind kind, L x, L a, L b) {
  using enum ActivationKind;
  const auto gated = [x](L gate) { return x < L(-1e5) ? L(0) : x * gate; };  // -infinity times 0
  if (std::isnan(x)) return x;
  switch (kind) {
    case identity:
      return x;
    case relu:
      return std::max(x, L(0));
    case leaky_relu:
      return x > 0 ? x : x * a;
    case sigmoid:
      return logistic(x);
    case tanh:
      return std::tanh(x);
    case gelu:
      return gated(normal_cdf(x));
    case gelu_tanh:
      return gated(logistic(gelu_tanh_argument(x)));
    case silu:
      return gated(logistic(x));
    case relu6:
      return std::min(std::max(x, L(0)), L(6));
    case elu:
      return x > 0 ? x : a * std::expm1(x);
    case selu:
      return static_cast<L>(kSeluScale) * (x > 0 ? x : static_cast<L>(kSeluAlpha) * std::expm1(x));
    case celu:
      return x > 0 ? x : a * std::expm1(x / a);
    case softplus:
      return a * x > b ? x : test::softplus(a * x) / a;
    case log_sigmoid:
      return -test::softplus(-x);
    case mish:
      return gated(mish_gate(x));
    case softsign:
      return std::isinf(x) ? std::copysign(L(1), x) : x / (1 + std::fabs(x));
    case quick_gelu:
      return gated(logistic(static_cast<L>(1.702L) * x));
    case hardsigmoid:
      return std::min(std::max(x + 3, L(0)), L(6)) / 6;
    case hardswish:
      return gated(std::min(std::max(x + 3, L(0)), L(6)) / 6);
    case hardtanh:
      return std::min(std::max(x, a), b);
    case tanhshrink: {
      // The difference cancels near 0; there its series.
      if (std::fabs(x) > L(0.125)) return x - std::tanh(x);
      const L z = x * x;
      constexpr long double kSeries[] = {
          1.0L / 3,         -2.0L / 15,          17.0L / 315,           -62.0L / 2835,
          1382.0L / 155925, -21844.0L / 6081075, 929569.0L / 638512875, -6404582.0L / 10854718875};
      L sum = 0;
      for (int i = 7; i >= 0; --i) sum = sum * z + static_cast<L>(kSeries[i]);
      return x * z * sum;
    }
    case softshrink:
      return x > a ? x - a : x < -a ? x + a : 0;
    case threshold:
      return x > a ? x : b;
  }
  return NAN;
}

/// f'(x), and the size of the terms that it is the sum of: beside a root errors count against that.
template <class L>
struct Derivative {
  L value, terms;
};

template <class L>
Derivative<L> reference_derivative(ActivationKind kind, L x, L a, L b) {
  using enum ActivationKind;
  const auto one = [](L value) { return Derivative<L>{value, std::fabs(value)}; };
  const auto sum = [](L first, L second) {
    return Derivative<L>{first + second, std::fabs(first) + std::fabs(second)};
  };
  const bool far = std::fabs(x) > L(1e4);
  const L s = logistic(x);
  if (std::isnan(x)) return {x, x};
  switch (kind) {
    case identity:
      return one(1);
    case relu:
      return one(x > 0);
    case leaky_relu:
      return one(x > 0 ? 1 : a);
    case sigmoid:
      return one(s * logistic(-x));
    case tanh:
      return one(1 / (std::cosh(x) * std::cosh(x)));
    case gelu:
      return far ? one(x > 0) : sum(normal_cdf(x), x * normal_density(x));
    case gelu_tanh: {
      if (far) return one(x > 0);
      const L u = gelu_tanh_argument(x), slope = gelu_tanh_argument(L(1)) / (1 + static_cast<L>(0.044715L));
      return sum(logistic(u), x * logistic(u) * logistic(-u) * slope * (1 + 3 * static_cast<L>(0.044715L) * x * x));
    }
    case silu:
      return far ? one(x > 0) : sum(s, x * s * logistic(-x));
    case relu6:
      return one(x > 0 && x < 6);
    case elu:
      return one(x > 0 ? 1 : a * std::exp(x));
    case selu:
      return one(static_cast<L>(kSeluScale) * (x > 0 ? 1 : static_cast<L>(kSeluAlpha) * std::exp(x)));
    case celu:
      return one(x > 0 ? 1 : std::exp(x / a));
    case softplus:
      return one(a * x > b ? 1 : logistic(a * x));
    case log_sigmoid:
      return one(logistic(-x));
    case mish: {
      if (far) return one(x > 0);
      const L e = std::exp(-std::fabs(x)), d = x > 0 ? 1 + 2 * e + 2 * e * e : e * (e + 2) + 2;
      return sum(mish_gate(x), 4 * x * (1 + e) * (x > 0 ? e * e : e) / (d * d));
    }
    case softsign:
      return one(1 / ((1 + std::fabs(x)) * (1 + std::fabs(x))));
    case quick_gelu: {
      const L u = static_cast<L>(1.702L) * x;
      return far ? one(x > 0) : sum(logistic(u), u * logistic(u) * logistic(-u));
    }
    case hardsigmoid:
      return one(x > -3 && x < 3 ? L(1) / 6 : L(0));
    case hardswish:
      return x >= 3 || x <= -3 ? one(x > 0) : sum(x / 3, L(0.5));
    case hardtanh:
      return one(x > a && x < b);
    case tanhshrink:
      return one(std::tanh(x) * std::tanh(x));
    case softshrink:
      return one(std::fabs(x) > a);
    case threshold:
      return one(x > a);
  }
  return {NAN, NAN};
}

/// With the numbers rounded to T, as the kernels round them.
template <class T, class L>
L reference(Activation f, L x) {
  return reference<L>(f.kind, x, static_cast<L>(static_cast<T>(f.a)), static_cast<L>(static_cast<T>(f.b)));
}
template <class T, class L>
Derivative<L> reference_derivative(Activation f, L x) {
  return reference_derivative<L>(f.kind, x, static_cast<L>(static_cast<T>(f.a)), static_cast<L>(static_cast<T>(f.b)));
}

template <class L>
L reference(FunctionKind kind, L x) {
  using enum FunctionKind;
  if (std::isnan(x)) return x;
  switch (kind) {
    case exp:
      return std::exp(x);
    case expm1:
      return std::expm1(x);
    case log:
      return std::log(x);
    case log1p:
      return std::log1p(x);
    case rsqrt:
      return 1 / std::sqrt(x);
    case erf:
      return std::erf(x);
    case sin:
      return std::sin(x);
    case cos:
      return std::cos(x);
  }
  return NAN;
}

template <class L>
L reference_derivative(FunctionKind kind, L x) {
  using enum FunctionKind;
  if (std::isnan(x)) return x;
  switch (kind) {
    case exp:
    case expm1:
      return std::exp(x);
    case log:
      return 1 / x;
    case log1p:
      return 1 / (1 + x);
    case rsqrt:
      return L(-0.5) / x / std::sqrt(x);
    case erf:
      return 2 / std::sqrt(std::acos(L(-1))) * std::exp(-x * x);
    case sin:
      return std::cos(x);
    case cos:
      return -std::sin(x);
  }
  return NAN;
}

}  // namespace tilewright::test
