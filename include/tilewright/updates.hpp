// SPDX-License-Identifier: MIT
// Optimizer updates: one pass over one contiguous block of parameters, gradients and state. PyTorch's formulas.
//
// One deliberate difference: running averages (b, m, v, u below, but not Rprop's and Lion's) that become subnormal,
// less than 2^-126, are stored as 0. Where a gradient stays 0 they would fade through those numbers for a hundred steps
// and more, and most CPUs take several times as long for them. Parameters differ from PyTorch's by less than lr * 1e-30
// for any eps of 1e-8 and more.
//
// Errors are bounded where nothing overflows or underflows, with u = 2^-24. The numbers of a step are rounded once, and
// so is g = gradient + weight_decay p. Means m + w (g - m) have errors of u |m| + 3 u w |g - m|, mean squares, sums
// of squares and step sizes 4 u of them, SGD's buffer 4 u of the sizes of its terms. Parameters, given the new states:
// 8 u of the sizes of the terms that they move by, u |p| for the sum, and 2 u |p| for decoupled weight decay. Of
// RMSprop's v - average^2 the error is 2 u v, whatever is left of it. tests/update_errors_test.cpp holds every update
// to this.
#pragma once

#include <span>

#include "tilewright/export.hpp"

namespace tilewright {

/// Numbers of sgd_update().
struct SgdStep {
  double lr = 1e-3;         ///< learning rate
  double momentum = 0;      ///< share of the step before
  double dampening = 0;     ///< of the gradient in the momentum
  double weight_decay = 0;  ///< L2 penalty
  bool nesterov = false;    ///< Nesterov's momentum
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

/// Numbers of adam_update().
struct AdamStep {
  double lr = 1e-3;      ///< learning rate
  double beta1 = 0.9;    ///< decay of the mean gradient
  double beta2 = 0.999;  ///< decay of the mean square
  double eps = 1e-8;     ///< added to the denominator
  /// Added to the gradient (Adam); see decoupled.
  double weight_decay = 0;
  /// AdamW: p *= 1 - lr * weight_decay instead.
  bool decoupled = false;
  /// 1 - beta1^t and 1 - beta2^t of step t >= 1.
  double bias_correction1 = 1;
  double bias_correction2 = 1;  ///< 1 - beta2^t
};

/// m += (1 - beta1) (g - m);  v = beta2 v + (1 - beta2) g^2;  p -= lr / bias_correction1 * m / (sqrt(v) /
/// sqrt(bias_correction2) + eps).
///
/// All four have the same length (ShapeError) and do not overlap.
TILEWRIGHT_API void adam_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> m,
                                std::span<float> v, const AdamStep& step, int num_threads = 0);

/// AMSGrad: as above with the largest v so far, kept in max_v, in the place of v.
TILEWRIGHT_API void adam_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> m,
                                std::span<float> v, std::span<float> max_v, const AdamStep& step, int num_threads = 0);

// In all that follow g = gradient + weight_decay p, unless weight decay is `decoupled`: then p is multiplied by
// 1 - lr weight_decay first. Spans of one call have the same length and do not overlap (ShapeError); state begins as
// zeros unless said otherwise. t counts steps from 1.

/// Numbers of adamax_update().
struct AdamaxStep {
  double lr = 2e-3;             ///< learning rate
  double beta1 = 0.9;           ///< decay of the mean gradient
  double beta2 = 0.999;         ///< decay of the mean square
  double eps = 1e-8;            ///< added to the denominator
  double weight_decay = 0;      ///< L2 penalty
  double bias_correction1 = 1;  ///< 1 - beta1^t
};
/// m += (1 - beta1) (g - m);  u = max(beta2 u, |g| + eps);  p -= lr / bias_correction1 * m / u.
TILEWRIGHT_API void adamax_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> m,
                                  std::span<float> u, const AdamaxStep& step, int num_threads = 0);

/// Numbers of nadam_update().
struct NAdamStep {
  double lr = 2e-3;         ///< learning rate
  double beta1 = 0.9;       ///< decay of the mean gradient
  double beta2 = 0.999;     ///< decay of the mean square
  double eps = 1e-8;        ///< added to the denominator
  double weight_decay = 0;  ///< L2 penalty
  bool decoupled = false;   ///< weight decay on the weights, as AdamW
  /// With mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2): mu_t, mu_(t+1), and the product of mu_1 .. mu_t.
  double mu = 0.9;
  double next_mu = 0.9;         ///< mu_(t+1)
  double mu_product = 0.9;      ///< of mu_1 .. mu_t
  double bias_correction2 = 1;  ///< 1 - beta2^t
};
/// m and v as Adam's;  d = sqrt(v / bias_correction2) + eps;
/// p -= lr ((1 - mu) / (1 - mu_product) g + next_mu / (1 - mu_product next_mu) m) / d.
TILEWRIGHT_API void nadam_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> m,
                                 std::span<float> v, const NAdamStep& step, int num_threads = 0);

/// Numbers of radam_update().
struct RAdamStep {
  double lr = 1e-3;             ///< learning rate
  double beta1 = 0.9;           ///< decay of the mean gradient
  double beta2 = 0.999;         ///< decay of the mean square
  double eps = 1e-8;            ///< added to the denominator
  double weight_decay = 0;      ///< L2 penalty
  bool decoupled = false;       ///< weight decay on the weights, as AdamW
  double bias_correction1 = 1;  ///< 1 - beta1^t
  double bias_correction2 = 1;  ///< 1 - beta2^t
  /// The rectification; 0 while the variance is not trusted (rho_t <= 5), see radam_rectification().
  double rectification = 1;
};
/// sqrt((rho_t - 4) (rho_t - 2) rho / ((rho - 4) (rho - 2) rho_t)), rho = 2 / (1 - beta2) - 1, rho_t = rho - 2 t
/// beta2^t / (1 - beta2^t); 0 for rho_t <= 5.
TILEWRIGHT_API double radam_rectification(double beta2, double beta2_power, double t);
/// m and v as Adam's;  p -= lr m / bias_correction1 * (rectification > 0 ? rectification sqrt(bias_correction2) /
/// (sqrt(v) + eps) : 1).
TILEWRIGHT_API void radam_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> m,
                                 std::span<float> v, const RAdamStep& step, int num_threads = 0);

/// Numbers of rmsprop_update().
struct RMSpropStep {
  double lr = 1e-2;         ///< learning rate
  double alpha = 0.99;      ///< decay of the mean square
  double eps = 1e-8;        ///< added to the denominator
  double weight_decay = 0;  ///< L2 penalty
  double momentum = 0;      ///< share of the step before
};
/// v = alpha v + (1 - alpha) g^2;  with `average` (centered): average += (1 - alpha) (g - average), v - average^2
/// stands for v below;  b = momentum b + g / (sqrt(v) + eps);  p -= lr b. `average` may be empty, and `buffer` when
/// momentum is 0.
TILEWRIGHT_API void rmsprop_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> v,
                                   std::span<float> average, std::span<float> buffer, const RMSpropStep& step,
                                   int num_threads = 0);

/// Numbers of adagrad_update().
struct AdagradStep {
  double lr = 1e-2;         ///< learning rate
  double eps = 1e-10;       ///< added to the denominator
  double weight_decay = 0;  ///< L2 penalty
};
/// sum += g^2;  p -= lr g / (sqrt(sum) + eps).
TILEWRIGHT_API void adagrad_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> sum,
                                   const AdagradStep& step, int num_threads = 0);

/// Numbers of adadelta_update().
struct AdadeltaStep {
  double lr = 1;            ///< factor of the step
  double rho = 0.9;         ///< decay of both averages
  double eps = 1e-6;        ///< added to the denominator
  double weight_decay = 0;  ///< L2 penalty
};
/// v = rho v + (1 - rho) g^2;  d = sqrt(u + eps) / sqrt(v + eps) g;  u = rho u + (1 - rho) d^2;  p -= lr d.
TILEWRIGHT_API void adadelta_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> v,
                                    std::span<float> u, const AdadeltaStep& step, int num_threads = 0);

/// Numbers of rprop_update().
struct RpropStep {
  double eta_minus = 0.5;  ///< factor after a change of sign
  double eta_plus = 1.2;   ///< factor otherwise
  double smallest = 1e-6;  ///< step size
  double largest = 50;     ///< step size
};
/// step_size *= eta_plus where the gradient keeps its sign, eta_minus where it changes (and the gradient counts as 0
/// then), within [smallest, largest];  p -= sign(g) step_size. step_size begins as the learning rate (0.01).
TILEWRIGHT_API void rprop_update(std::span<float> parameters, std::span<const float> gradients,
                                 std::span<float> previous, std::span<float> step_size, const RpropStep& step,
                                 int num_threads = 0);

/// Numbers of lion_update().
struct LionStep {
  double lr = 1e-4;         ///< learning rate
  double beta1 = 0.9;       ///< of the mean in the sign
  double beta2 = 0.99;      ///< of the mean that is kept
  double weight_decay = 0;  ///< decoupled
};
/// p *= 1 - lr weight_decay;  p -= lr sign(beta1 m + (1 - beta1) g);  m += (1 - beta2) (g - m). (Chen et al., 2023)
TILEWRIGHT_API void lion_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> m,
                                const LionStep& step, int num_threads = 0);

/// average += (1 - decay) (values - average): an exponential moving average of weights. 0 <= decay <= 1.
TILEWRIGHT_API void ema_update(std::span<float> average, std::span<const float> values, double decay,
                               int num_threads = 0);

/// gradients += l1 sign(parameters) + l2 parameters: the gradient of l1 |p|_1 + l2 / 2 |p|^2.
TILEWRIGHT_API void add_penalty(std::span<float> gradients, std::span<const float> parameters, double l1, double l2,
                                int num_threads = 0);

/// Every gradient into [-limit, limit]; NaN stays.
TILEWRIGHT_API void clip_value(std::span<float> gradients, double limit, int num_threads = 0);

/// sqrt(sum of squares): blocks of 4096 in single precision, their sums in double; the same on any number of threads.
/// Relative error: at most (min(n, 4096) / 64 + 12) 2^-25.
TILEWRIGHT_API double norm(std::span<const float> x, int num_threads = 0);

/// Multiplies by max_norm / (norm + 1e-6) where that is below 1; returns the norm before.
TILEWRIGHT_API double clip_norm(std::span<float> gradients, double max_norm, int num_threads = 0);

}  // namespace tilewright
