// SPDX-License-Identifier: MIT
#include "tilewright/nn/optim.hpp"

#include "tilewright/updates.hpp"

namespace tilewright::optim {

SGD::SGD(nn::ParameterBlock& block, SGDOptions chosen)
    : options(chosen),
      block_(&block),
      buffer_(1, chosen.momentum != 0 ? static_cast<Index>(block.values().size()) : 0) {}

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
      m_(1, static_cast<Index>(block.values().size())),
      v_(1, static_cast<Index>(block.values().size())) {}

void Adam::step() {
  // Products rather than std::pow, whose last bit differs between C libraries.
  beta1_power_ *= options.beta1;
  beta2_power_ *= options.beta2;
  AdamStep step{options.lr, options.beta1, options.beta2, options.eps, options.weight_decay};
  step.bias_correction1 = 1 - beta1_power_;
  step.bias_correction2 = 1 - beta2_power_;
  adam_update(block_->values(), block_->gradients(), m_.span(), v_.span(), step);
}

}  // namespace tilewright::optim
