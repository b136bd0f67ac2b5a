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
  bool amsgrad = false;
  /// Weight decay on the weights instead of the gradients: AdamW.
  bool decoupled = false;
};

/// Adam (Kingma and Ba, 2015), eps outside the root and after the bias correction. The block must outlive the
/// optimizer. amsgrad is read when the optimizer is made.
class TILEWRIGHT_API Adam {
 public:
  explicit Adam(nn::ParameterBlock& block, AdamOptions options = {});
  void zero_grad() { block_->zero_grad(); }
  void step();
  AdamOptions options;

 private:
  nn::ParameterBlock* block_;
  Matrix<float> m_, v_, max_v_;
  double beta1_power_ = 1, beta2_power_ = 1;
};

/// Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
struct AdamW : Adam {
  static constexpr AdamOptions kDefaults{.weight_decay = 0.01, .decoupled = true};
  explicit AdamW(nn::ParameterBlock& block, AdamOptions chosen = kDefaults) : Adam(block, chosen) {
    options.decoupled = true;
  }
};

struct AdamaxOptions {
  double lr = 2e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
};

/// Adam with the infinity norm (Kingma and Ba, 2015).
class TILEWRIGHT_API Adamax {
 public:
  explicit Adamax(nn::ParameterBlock& block, AdamaxOptions options = {});
  void zero_grad() { block_->zero_grad(); }
  void step();
  AdamaxOptions options;

 private:
  nn::ParameterBlock* block_;
  Matrix<float> m_, u_;
  double beta1_power_ = 1;
};

struct NAdamOptions {
  double lr = 2e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0, momentum_decay = 4e-3;
  bool decoupled = false;
};

/// Adam with Nesterov's momentum (Dozat, 2016).
class TILEWRIGHT_API NAdam {
 public:
  explicit NAdam(nn::ParameterBlock& block, NAdamOptions options = {});
  void zero_grad() { block_->zero_grad(); }
  void step();
  NAdamOptions options;

 private:
  nn::ParameterBlock* block_;
  Matrix<float> m_, v_;
  double beta2_power_ = 1, mu_product_ = 1, steps_ = 0;
};

struct RAdamOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool decoupled = false;
};

/// Adam with a rectified variance (Liu et al., 2020).
class TILEWRIGHT_API RAdam {
 public:
  explicit RAdam(nn::ParameterBlock& block, RAdamOptions options = {});
  void zero_grad() { block_->zero_grad(); }
  void step();
  RAdamOptions options;

 private:
  nn::ParameterBlock* block_;
  Matrix<float> m_, v_;
  double beta1_power_ = 1, beta2_power_ = 1, steps_ = 0;
};

struct RMSpropOptions {
  double lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0;
  bool centered = false;
};

/// RMSprop (Hinton, 2012). centered, and whether there is momentum, are read when the optimizer is made.
class TILEWRIGHT_API RMSprop {
 public:
  explicit RMSprop(nn::ParameterBlock& block, RMSpropOptions options = {});
  void zero_grad() { block_->zero_grad(); }
  void step();
  RMSpropOptions options;

 private:
  nn::ParameterBlock* block_;
  Matrix<float> v_, average_, buffer_;
};

struct AdagradOptions {
  double lr = 1e-2, lr_decay = 0, weight_decay = 0, initial_accumulator_value = 0, eps = 1e-10;
};

/// Adagrad (Duchi, Hazan and Singer, 2011); the learning rate is lr / (1 + steps before * lr_decay).
class TILEWRIGHT_API Adagrad {
 public:
  explicit Adagrad(nn::ParameterBlock& block, AdagradOptions options = {});
  void zero_grad() { block_->zero_grad(); }
  void step();
  AdagradOptions options;

 private:
  nn::ParameterBlock* block_;
  Matrix<float> sum_;
  double steps_ = 0;
};

struct AdadeltaOptions {
  double lr = 1, rho = 0.9, eps = 1e-6, weight_decay = 0;
};

/// Adadelta (Zeiler, 2012).
class TILEWRIGHT_API Adadelta {
 public:
  explicit Adadelta(nn::ParameterBlock& block, AdadeltaOptions options = {});
  void zero_grad() { block_->zero_grad(); }
  void step();
  AdadeltaOptions options;

 private:
  nn::ParameterBlock* block_;
  Matrix<float> v_, u_;
};

struct RpropOptions {
  double lr = 1e-2, eta_minus = 0.5, eta_plus = 1.2, smallest = 1e-6, largest = 50;
};

/// Resilient backpropagation (Riedmiller and Braun, 1993), for full batches. lr is the first step size, read when the
/// optimizer is made.
class TILEWRIGHT_API Rprop {
 public:
  explicit Rprop(nn::ParameterBlock& block, RpropOptions options = {});
  void zero_grad() { block_->zero_grad(); }
  void step();
  RpropOptions options;

 private:
  nn::ParameterBlock* block_;
  Matrix<float> previous_, step_size_;
};

struct LionOptions {
  double lr = 1e-4, beta1 = 0.9, beta2 = 0.99, weight_decay = 0;
};

/// Lion (Chen et al., 2023), decoupled weight decay.
class TILEWRIGHT_API Lion {
 public:
  explicit Lion(nn::ParameterBlock& block, LionOptions options = {});
  void zero_grad() { block_->zero_grad(); }
  void step();
  LionOptions options;

 private:
  nn::ParameterBlock* block_;
  Matrix<float> m_;
};

}  // namespace tilewright::optim
