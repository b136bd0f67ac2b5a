// SPDX-License-Identifier: MIT
// Element-wise activation functions and their derivatives. The same formula, to the bit, runs here, in the epilogue of
// gemm and in nn's layers.
#pragma once

#include <string_view>

#include "tilewright/export.hpp"
#include "tilewright/matrix.hpp"

namespace tilewright {

enum class ActivationKind {
  identity,
  relu,
  leaky_relu,
  sigmoid,
  tanh,
  gelu,
  gelu_tanh,
  silu,
  relu6,
  elu,
  selu,
  celu,
  softplus,
  log_sigmoid,
  mish,
  softsign,
  quick_gelu,
  hardsigmoid,
  hardswish,
  hardtanh,
  tanhshrink,
  softshrink,
  threshold
};
inline constexpr int kActivationKinds = 23;

/// A kind and its numbers, a and b, where it has any; a kind alone has PyTorch's defaults.
///
///   identity     x
///   relu         max(x, 0)
///   leaky_relu   x > 0 ? x : a x                            a = 0.01, finite, >= 0
///   sigmoid      1 / (1 + exp(-x))
///   tanh         (exp(x) - exp(-x)) / (exp(x) + exp(-x))
///   gelu         x Phi(x), Phi the normal distribution function (PyTorch's approximate='none')
///   gelu_tanh    x / 2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
///   silu         x sigmoid(x)
///   relu6        min(max(x, 0), 6)
///   elu          x > 0 ? x : a (exp(x) - 1)                 a = 1, finite
///   selu         1.0507010 (x > 0 ? x : 1.6732632 (exp(x) - 1))
///   celu         x > 0 ? x : a (exp(x / a) - 1)             a = 1 (elu's bits then), finite, > 0
///   softplus     a x > b ? x : log(1 + exp(a x)) / a        a = 1, finite, > 0; b = 20
///   log_sigmoid  -log(1 + exp(-x))
///   mish         x tanh(log(1 + exp(x)))
///   softsign     x / (1 + |x|)
///   quick_gelu   x sigmoid(1.702 x)
///   hardsigmoid  min(max(x + 3, 0), 6) / 6
///   hardswish    x min(max(x + 3, 0), 6) / 6
///   hardtanh     min(max(x, a), b)                          a = -1, b = 1, a < b
///   tanhshrink   x - tanh(x)
///   softshrink   x > a ? x - a : x < -a ? x + a : 0         a = 0.5, finite, >= 0
///   threshold    x > a ? x : b                              a = 0, b = 0
struct Activation {
  ActivationKind kind = ActivationKind::identity;  ///< which formula
  double a = 0;                                    ///< see above
  double b = 0;                                    ///< see above

  constexpr Activation() = default;
  /// With the default numbers.
  constexpr Activation(ActivationKind k) : kind(k) {
    using enum ActivationKind;
    a = k == leaky_relu ? 0.01 : k == softshrink ? 0.5 : k == hardtanh ? -1 : 0;
    if (k == elu || k == celu || k == softplus) a = 1;
    b = k == softplus ? 20 : k == hardtanh ? 1 : 0;
  }
  /// With these numbers.
  constexpr Activation(ActivationKind k, double first, double second = 0) : kind(k), a(first), b(second) {}
  /// leaky_relu with this slope.
  static constexpr Activation leaky_relu(double negative_slope = 0.01) {
    return {ActivationKind::leaky_relu, negative_slope};
  }
  /// elu with this alpha.
  static constexpr Activation elu(double alpha = 1) { return {ActivationKind::elu, alpha}; }
  /// celu with this alpha.
  static constexpr Activation celu(double alpha = 1) { return {ActivationKind::celu, alpha}; }
  /// softplus with this beta and threshold.
  static constexpr Activation softplus(double beta = 1, double threshold = 20) {
    return {ActivationKind::softplus, beta, threshold};
  }
  /// hardtanh between these.
  static constexpr Activation hardtanh(double low = -1, double high = 1) {
    return {ActivationKind::hardtanh, low, high};
  }
  /// softshrink with this lambda.
  static constexpr Activation softshrink(double lambda = 0.5) { return {ActivationKind::softshrink, lambda}; }
  /// threshold with these.
  static constexpr Activation threshold(double limit, double value) {
    return {ActivationKind::threshold, limit, value};
  }
  /// The same kind and numbers.
  constexpr bool operator==(const Activation&) const = default;
};

TILEWRIGHT_API std::string_view to_string(ActivationKind kind) noexcept;

/// What the backward pass needs: the output y for identity, relu, leaky_relu, sigmoid, tanh, relu6 and hardtanh, the
/// input x for the others.
TILEWRIGHT_API bool saves_input(ActivationKind kind) noexcept;

/// y(i,j) = f(x(i,j)).
///
/// Shapes: x and y the same; any strides. y may be x; otherwise they must not overlap. num_threads: 0 means
/// num_threads(). Throws ShapeError, or ValueError for numbers outside the ranges above. Errors: docs/accuracy.md
/// gives the largest error seen of every function in units in the last place. NaN gives NaN.
TILEWRIGHT_API void activation_forward(const Activation& f, const MatrixView<const float>& x,
                                       const MatrixView<float>& y, int num_threads = 0);
TILEWRIGHT_API void activation_forward(const Activation& f, const MatrixView<const double>& x,
                                       const MatrixView<double>& y, int num_threads = 0);

/// dx(i,j) = dy(i,j) * f'(x(i,j)), where `saved` is x or y as saves_input() says. dx may be dy or saved.
TILEWRIGHT_API void activation_backward(const Activation& f, const MatrixView<const float>& saved,
                                        const MatrixView<const float>& dy, const MatrixView<float>& dx,
                                        int num_threads = 0);
TILEWRIGHT_API void activation_backward(const Activation& f, const MatrixView<const double>& saved,
                                        const MatrixView<const double>& dy, const MatrixView<double>& dx,
                                        int num_threads = 0);

}  // namespace tilewright
