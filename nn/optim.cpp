// SPDX-License-Identifier: MIT
#include "tilewright/nn/optim.hpp"

#include <algorithm>
#include <cmath>

#include "tilewright/updates.hpp"

namespace tilewright::optim {
namespace {

/// Zeros of the size of the parameters, or nothing.
Matrix<float> state_of(const nn::ParameterBlock& block, bool wanted = true) {
  return Matrix<float>(1, wanted ? static_cast<Index>(block.values().size()) : 0);
}

}  // namespace

SGD::SGD(nn::ParameterBlock& block, SGDOptions chosen)
    : options(chosen), block_(&block), buffer_(state_of(block, chosen.momentum != 0)) {}

void SGD::step() {
  // momentum may have been switched on since
  if (options.momentum != 0 && buffer_.size() == 0) {
    buffer_ = Matrix<float>(1, static_cast<Index>(block_->values().size()));
    first_ = true;
  }
  const SgdStep step{options.lr, options.momentum, options.dampening, options.weight_decay, options.nesterov, first_};
  sgd_update(block_->values(), block_->gradients(), buffer_.span(), step);
  first_ = false;
}

Adam::Adam(nn::ParameterBlock& block, AdamOptions chosen)
    : options(chosen),
      block_(&block),
      m_(state_of(block)),
      v_(state_of(block)),
      max_v_(state_of(block, chosen.amsgrad)) {}

void Adam::step() {
  // Products rather than std::pow, whose last bit differs between C libraries.
  beta1_power_ *= options.beta1;
  beta2_power_ *= options.beta2;
  AdamStep step{options.lr, options.beta1, options.beta2, options.eps, options.weight_decay, options.decoupled};
  step.bias_correction1 = 1 - beta1_power_;
  step.bias_correction2 = 1 - beta2_power_;
  if (max_v_.size() == 0)
    adam_update(block_->values(), block_->gradients(), m_.span(), v_.span(), step);
  else
    adam_update(block_->values(), block_->gradients(), m_.span(), v_.span(), max_v_.span(), step);
}

Adamax::Adamax(nn::ParameterBlock& block, AdamaxOptions chosen)
    : options(chosen), block_(&block), m_(state_of(block)), u_(state_of(block)) {}

void Adamax::step() {
  beta1_power_ *= options.beta1;
  adamax_update(block_->values(), block_->gradients(), m_.span(), u_.span(),
                {options.lr, options.beta1, options.beta2, options.eps, options.weight_decay, 1 - beta1_power_});
}

NAdam::NAdam(nn::ParameterBlock& block, NAdamOptions chosen)
    : options(chosen), block_(&block), m_(state_of(block)), v_(state_of(block)) {}

void NAdam::step() {
  const auto mu = [&](double t) { return options.beta1 * (1 - 0.5 * std::pow(0.96, t * options.momentum_decay)); };
  steps_ += 1;
  beta2_power_ *= options.beta2;
  mu_product_ *= mu(steps_);
  nadam_update(block_->values(), block_->gradients(), m_.span(), v_.span(),
               {options.lr, options.beta1, options.beta2, options.eps, options.weight_decay, options.decoupled,
                mu(steps_), mu(steps_ + 1), mu_product_, 1 - beta2_power_});
}

RAdam::RAdam(nn::ParameterBlock& block, RAdamOptions chosen)
    : options(chosen), block_(&block), m_(state_of(block)), v_(state_of(block)) {}

void RAdam::step() {
  steps_ += 1;
  beta1_power_ *= options.beta1;
  beta2_power_ *= options.beta2;
  radam_update(block_->values(), block_->gradients(), m_.span(), v_.span(),
               {options.lr, options.beta1, options.beta2, options.eps, options.weight_decay, options.decoupled,
                1 - beta1_power_, 1 - beta2_power_, radam_rectification(options.beta2, beta2_power_, steps_)});
}

RMSprop::RMSprop(nn::ParameterBlock& block, RMSpropOptions chosen)
    : options(chosen),
      block_(&block),
      v_(state_of(block)),
      average_(state_of(block, chosen.centered)),
      buffer_(state_of(block, chosen.momentum != 0)) {}

void RMSprop::step() {
  rmsprop_update(block_->values(), block_->gradients(), v_.span(), average_.span(), buffer_.span(),
                 {options.lr, options.alpha, options.eps, options.weight_decay, options.momentum});
}

Adagrad::Adagrad(nn::ParameterBlock& block, AdagradOptions chosen)
    : options(chosen), block_(&block), sum_(state_of(block)) {
  std::ranges::fill(sum_.span(), static_cast<float>(chosen.initial_accumulator_value));
}

void Adagrad::step() {
  const double lr = options.lr / (1 + steps_ * options.lr_decay);
  steps_ += 1;
  adagrad_update(block_->values(), block_->gradients(), sum_.span(), {lr, options.eps, options.weight_decay});
}

Adadelta::Adadelta(nn::ParameterBlock& block, AdadeltaOptions chosen)
    : options(chosen), block_(&block), v_(state_of(block)), u_(state_of(block)) {}

void Adadelta::step() {
  adadelta_update(block_->values(), block_->gradients(), v_.span(), u_.span(),
                  {options.lr, options.rho, options.eps, options.weight_decay});
}

Rprop::Rprop(nn::ParameterBlock& block, RpropOptions chosen)
    : options(chosen), block_(&block), previous_(state_of(block)), step_size_(state_of(block)) {
  std::ranges::fill(step_size_.span(), static_cast<float>(chosen.lr));
}

void Rprop::step() {
  rprop_update(block_->values(), block_->gradients(), previous_.span(), step_size_.span(),
               {options.eta_minus, options.eta_plus, options.smallest, options.largest});
}

Lion::Lion(nn::ParameterBlock& block, LionOptions chosen) : options(chosen), block_(&block), m_(state_of(block)) {}

void Lion::step() {
  lion_update(block_->values(), block_->gradients(), m_.span(),
              {options.lr, options.beta1, options.beta2, options.weight_decay});
}

}  // namespace tilewright::optim
