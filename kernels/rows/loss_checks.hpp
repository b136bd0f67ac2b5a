// SPDX-License-Identifier: MIT
// What losses of elements and of rows have in common. Baseline code only.
#pragma once

#include <cmath>

#include "kernels/core/check.hpp"
#include "tilewright/losses.hpp"

namespace tilewright::detail {

inline void check_gradient(const char* operation, const MatrixView<const float>& x, const MatrixView<float>& dx) {
  if (dx.data == nullptr) return;
  check_same(operation, "dx", dx, "x", x);
  check_output(operation, "dx", dx);
}

/// dx may be x; nothing else that is written may be anything else.
inline void check_loss_apart(const char* operation, const MatrixView<const float>& x, const MatrixView<float>& dx,
                             const Place& values, std::initializer_list<Place> others) {
  check_apart(operation, "dx", dx, "x", x, Sharing::same);
  check_apart(operation, {values}, {{"x", x}}, Sharing::none);
  check_apart(operation, {{"dx", dx}, values}, others, Sharing::none);
}

/// What the reductions divide by.
inline double divisor(Reduction reduction, double mean, Index rows) {
  switch (reduction) {
    case Reduction::mean:
      return mean;
    case Reduction::batch_mean:
      return static_cast<double>(rows);
    default:
      return 1;
  }
}

inline void check_number(const char* operation, const char* name, double value, bool good, const char* expected) {
  if (!(std::isfinite(value) && good))
    throw ValueError(std::string(operation) + ": " + name + " is " + std::to_string(value) + ", expected " + expected);
}

}  // namespace tilewright::detail
