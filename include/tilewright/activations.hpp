// SPDX-License-Identifier: MIT
// Element-wise activation functions and their derivatives. The same formula, to the bit, runs here, in the epilogue of
// gemm and in nn's layers.
#pragma once

#include <string_view>

#include "tilewright/export.hpp"
#include "tilewright/matrix.hpp"

namespace tilewright {

enum class ActivationKind { identity, relu, leaky_relu, sigmoid, tanh, gelu, gelu_tanh, silu };
inline constexpr int kActivationKinds = 8;

/// A kind and, for leaky_relu, its slope.
///
///   identity    x
///   relu        max(x, 0)
///   leaky_relu  x > 0 ? x : slope * x          slope >= 0
///   sigmoid     1 / (1 + exp(-x))
///   tanh        (exp(x) - exp(-x)) / (exp(x) + exp(-x))
///   gelu        x * Phi(x), Phi the normal distribution function (PyTorch's approximate='none')
///   gelu_tanh   x / 2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))
///   silu        x * sigmoid(x)
struct Activation {
  ActivationKind kind = ActivationKind::identity;
  double slope = 0;

  constexpr Activation() = default;
  constexpr Activation(ActivationKind k) : kind(k), slope(k == ActivationKind::leaky_relu ? 0.01 : 0) {}
  static constexpr Activation leaky_relu(double negative_slope = 0.01) {
    Activation activation(ActivationKind::leaky_relu);
    activation.slope = negative_slope;
    return activation;
  }
  constexpr bool operator==(const Activation&) const = default;
};

TILEWRIGHT_API std::string_view to_string(ActivationKind kind) noexcept;

/// What the backward pass needs: the output y for relu, leaky_relu, sigmoid, tanh and identity, the input x for the
/// others.
TILEWRIGHT_API bool saves_input(ActivationKind kind) noexcept;

/// y(i,j) = f(x(i,j)).
///
/// Shapes: x and y the same; any strides. y may be x; otherwise they must not overlap. num_threads: 0 means
/// num_threads(). Throws ShapeError, or ValueError for a slope that is negative or not finite. Errors: docs/kernels.md
/// gives the largest error seen of every function in units in the last place. NaN gives NaN.
TILEWRIGHT_API void activation_forward(Activation f, MatrixView<const float> x, MatrixView<float> y,
                                       int num_threads = 0);
TILEWRIGHT_API void activation_forward(Activation f, MatrixView<const double> x, MatrixView<double> y,
                                       int num_threads = 0);

/// dx(i,j) = dy(i,j) * f'(x(i,j)), where `saved` is x or y as saves_input() says. dx may be dy or saved.
TILEWRIGHT_API void activation_backward(Activation f, MatrixView<const float> saved, MatrixView<const float> dy,
                                        MatrixView<float> dx, int num_threads = 0);
TILEWRIGHT_API void activation_backward(Activation f, MatrixView<const double> saved, MatrixView<const double> dy,
                                        MatrixView<double> dx, int num_threads = 0);

}  // namespace tilewright
