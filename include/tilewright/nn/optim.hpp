// SPDX-License-Identifier: MIT
// Optimizers over a model's parameter block; one kernel call a step. Formulas and defaults are PyTorch's (updates.hpp
// has the formulas).
#pragma once

#include "tilewright/nn/sequential.hpp"

namespace tilewright::optim {

struct SGDOptions {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
};

/// Stochastic gradient descent with momentum. The block must outlive the optimizer.
class TILEWRIGHT_API SGD {
 public:
  explicit SGD(nn::ParameterBlock& block, SGDOptions options = {});
  void zero_grad() { block_->zero_grad(); }
  void step();
  SGDOptions options;

 private:
  nn::ParameterBlock* block_;
  Matrix<float> buffer_;
  bool first_ = true;
};

struct AdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
};

/// Adam (Kingma and Ba, 2015), eps outside the root and after the bias correction. The block must outlive the
/// optimizer.
class TILEWRIGHT_API Adam {
 public:
  explicit Adam(nn::ParameterBlock& block, AdamOptions options = {});
  void zero_grad() { block_->zero_grad(); }
  void step();
  AdamOptions options;

 private:
  nn::ParameterBlock* block_;
  Matrix<float> m_, v_;
  double beta1_power_ = 1, beta2_power_ = 1;
};

}  // namespace tilewright::optim
