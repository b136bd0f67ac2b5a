// SPDX-License-Identifier: MIT
// Optimizer updates: one pass over one contiguous block of parameters, gradients and state. PyTorch's formulas.
#pragma once

#include <span>

#include "tilewright/export.hpp"

namespace tilewright {

struct SgdStep {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
  /// The first step copies the gradient into the buffer.
  bool first = false;
};

/// g = gradient + weight_decay * p;  b = first ? g : momentum * b + (1 - dampening) * g;  p -= lr * (nesterov ? g +
/// momentum * b : b).
///
/// `buffer` may be empty when momentum is 0; otherwise all have the same length (ShapeError) and do not overlap.
/// Element-wise: any number of threads gives the same bits.
TILEWRIGHT_API void sgd_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> buffer,
                               const SgdStep& step, int num_threads = 0);

struct AdamStep {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  /// Added to the gradient (Adam); see decoupled.
  double weight_decay = 0;
  /// AdamW: p *= 1 - lr * weight_decay instead.
  bool decoupled = false;
  /// 1 - beta1^t and 1 - beta2^t of step t >= 1.
  double bias_correction1 = 1;
  double bias_correction2 = 1;
};

/// m += (1 - beta1) (g - m);  v = beta2 v + (1 - beta2) g^2;  p -= lr / bias_correction1 * m / (sqrt(v) /
/// sqrt(bias_correction2) + eps).
///
/// All four have the same length (ShapeError) and do not overlap.
TILEWRIGHT_API void adam_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> m,
                                std::span<float> v, const AdamStep& step, int num_threads = 0);

}  // namespace tilewright
