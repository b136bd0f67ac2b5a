// SPDX-License-Identifier: MIT
// Elementary functions, element by element, and their derivatives.
#pragma once

#include <string_view>

#include "tilewright/export.hpp"
#include "tilewright/matrix.hpp"

namespace tilewright {

enum class FunctionKind {
  exp,
  expm1,  ///< exp(x) - 1
  log,    ///< -infinity at 0, NaN below
  log1p,  ///< log(1 + x)
  rsqrt,  ///< 1 / sqrt(x); infinity at 0
  erf,    ///< 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x; float only
  sin,    ///< any finite x, also large ones; float only
  cos     // the same
};
inline constexpr int kFunctionKinds = 8;

TILEWRIGHT_API std::string_view to_string(FunctionKind kind) noexcept;

/// y(i,j) = f(x(i,j)).
///
/// Shapes: x and y the same; any strides. y may be x; otherwise they must not overlap. num_threads: 0 means
/// num_threads(). Throws ShapeError; ValueError for a function that double does not have. Errors: docs/accuracy.md has
/// float's; double: at most 1.7 ulp, derivatives 2.
/// NaN gives NaN.
TILEWRIGHT_API void function_forward(FunctionKind f, const MatrixView<const float>& x, const MatrixView<float>& y,
                                     int num_threads = 0);
TILEWRIGHT_API void function_forward(FunctionKind f, const MatrixView<const double>& x, const MatrixView<double>& y,
                                     int num_threads = 0);

/// dx(i,j) = dy(i,j) * f'(x(i,j)). dx may be dy or x.
TILEWRIGHT_API void function_backward(FunctionKind f, const MatrixView<const float>& x,
                                      const MatrixView<const float>& dy, const MatrixView<float>& dx,
                                      int num_threads = 0);
TILEWRIGHT_API void function_backward(FunctionKind f, const MatrixView<const double>& x,
                                      const MatrixView<const double>& dy, const MatrixView<double>& dx,
                                      int num_threads = 0);

}  // namespace tilewright
