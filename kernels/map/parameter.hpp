// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>

#include "kernels/core/check.hpp"
#include "tilewright/activations.hpp"

namespace tilewright::detail {

/// leaky_relu's backward pass reads the sign of its output, so the slope must not be negative.
inline void check_activation(const char* operation, Activation f) {
  const int kind = static_cast<int>(f.kind);
  if (kind < 0 || kind >= kActivationKinds)
    throw ValueError(std::string(operation) + ": unknown activation " + std::to_string(kind));
  if (!(f.slope >= 0) || std::isinf(f.slope))
    throw ValueError(std::string(operation) + ": slope is " + std::to_string(f.slope) +
                     ", expected a finite number >= 0");
}

}  // namespace tilewright::detail
