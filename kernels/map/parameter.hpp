// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>

#include "kernels/core/check.hpp"
#include "kernels/core/table.hpp"
#include "tilewright/activations.hpp"

namespace tilewright::detail {

template <class T>
ActivationNumbers<T> numbers_of(const Activation& f) {
  return {static_cast<T>(f.a), static_cast<T>(f.b)};
}

/// The index of the formula that serves: celu with a = 1 is elu, which has a table.
inline int formula_of(const Activation& f) {
  return static_cast<int>(f.kind == ActivationKind::celu && f.a == 1 ? ActivationKind::elu : f.kind);
}

/// Whether the numbers are in their ranges. leaky_relu's backward pass reads the sign of its output, so its slope must
/// not be negative.
inline bool in_range(const Activation& f) {
  using enum ActivationKind;
  const bool finite = std::isfinite(f.a);
  switch (f.kind) {
    case leaky_relu:
    case softshrink:
      return finite && f.a >= 0;
    case elu:
      return finite;
    case celu:
      return finite && f.a > 0;
    case softplus:
      return finite && f.a > 0 && !std::isnan(f.b);
    case hardtanh:
      return f.a < f.b;
    case threshold:
      return !std::isnan(f.a) && !std::isnan(f.b);
    default:
      return true;
  }
}

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_activation(const char* operation, const Activation& f) {
  const int kind = static_cast<int>(f.kind);
  if (kind < 0 || kind >= kActivationKinds)
    throw ValueError(std::string(operation) + ": unknown activation " + std::to_string(kind));
  throw ValueError(std::string(operation) + ": " + std::string(to_string(f.kind)) + " with a = " + std::to_string(f.a) +
                   ", b = " + std::to_string(f.b) + ": not in the ranges of tilewright/activations.hpp");
}

inline void check_activation(const char* operation, const Activation& f) {
  const int kind = static_cast<int>(f.kind);
  if (kind < 0 || kind >= kActivationKinds || !in_range(f)) [[unlikely]]
    throw_activation(operation, f);
}

}  // namespace tilewright::detail
