// SPDX-License-Identifier: MIT
// The activations in double, as the textbooks write them: what tests and benchmarks hold the kernels against.
#pragma once

#include <algorithm>
#include <cmath>

#include "tilewright/activations.hpp"

namespace tilewright::test {

inline double reference(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::identity:
      return x;
    case ActivationKind::relu:
      return std::max(x, 0.0);
    case ActivationKind::leaky_relu:
      return x > 0 ? x : 0.01 * x;
    case ActivationKind::sigmoid:
      return 1 / (1 + std::exp(-x));
    case ActivationKind::tanh:
      return std::tanh(x);
    case ActivationKind::gelu:
      return x * std::erfc(-x / std::sqrt(2.0)) / 2;
    case ActivationKind::gelu_tanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case ActivationKind::silu:
      return x / (1 + std::exp(-x));
  }
  return NAN;
}

}  // namespace tilewright::test
