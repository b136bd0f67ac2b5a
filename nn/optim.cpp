// SPDX-License-Identifier: MIT
#include "tilewright/nn/optim.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "tilewright/profile.hpp"
#include "tilewright/updates.hpp"

namespace tilewright::optim {

Optimizer::~Optimizer() = default;

Optimizer::Optimizer(nn::ParameterBlock& block, double lr, double weight_decay, const ParameterGroups& groups,
                     std::vector<const char*> states, std::size_t counters)
    : block_(&block), names_(std::move(states)), counters_(counters) {
  groups_.push_back({lr, weight_decay, lr, {}});
  for (const ParameterGroup& g : groups) {
    const double own = g.lr.value_or(lr);
    groups_.push_back({own, g.weight_decay.value_or(weight_decay), own, g.parameters});
    for (const std::string& pattern : g.parameters)
      if (std::ranges::none_of(block.parameters(), [&](const auto& p) { return nn::name_matches(pattern, p.name); }))
        throw ValueError("Optimizer: no parameter is called \"" + pattern + "\"");
  }
  check_rates();
  for (std::size_t i = 0; i < names_.size(); ++i) arrays_.emplace_back(1, static_cast<Index>(block.values().size()));
}

void Optimizer::check_rates() const {
  for (const Group& g : groups_)
    if (!std::isfinite(g.lr) || g.lr < 0 || !std::isfinite(g.weight_decay) || g.weight_decay < 0)
      throw ValueError("Optimizer: lr " + std::to_string(g.lr) + " and weight_decay " + std::to_string(g.weight_decay) +
                       " must be finite and 0 or more");
}

void Optimizer::check_options() {
  const std::vector<double> before = counters_;
  begin_step();
  update({{}, {}, groups_[0].lr, groups_[0].weight_decay, 0});
  counters_ = before;
}

void Optimizer::find_runs() {
  runs_.clear();
  version_ = block_->version();
  const float* base = block_->values().data();
  bool joins = false;  // the last run ends where the next parameter begins
  for (const nn::Parameter& p : block_->parameters()) {
    std::size_t group = groups_.size() - 1;
    const auto named = [&](const std::string& pattern) { return nn::name_matches(pattern, p.name); };
    for (std::size_t g = groups_.size(); g-- > 1;)
      if (std::ranges::any_of(groups_[g].parameters, named)) group = g;
    if (std::ranges::none_of(groups_[group].parameters, named)) group = 0;
    const auto first = static_cast<std::size_t>(p.value.data() - base);
    if (!p.trainable) {
      joins = false;
    } else if (joins && runs_.back().group == group) {
      runs_.back().size = first + p.value.size() - runs_.back().first;
    } else {
      runs_.push_back({first, p.value.size(), group});
      joins = true;
    }
  }
}

void Optimizer::step() {
  const profile::Region region("Optimizer step");
  check_rates();
  if (version_ != block_->version()) find_runs();
  begin_step();
  for (const Run& run : runs_) {
    const Group& group = groups_[run.group];
    update({block_->values().subspan(run.first, run.size), block_->gradients().subspan(run.first, run.size), group.lr,
            group.weight_decay, run.first});
  }
}

void Optimizer::set_lr(double lr) {
  if (!std::isfinite(lr) || lr < 0)
    throw ValueError("Optimizer: lr is " + std::to_string(lr) + ", expected a finite number >= 0");
  for (Group& group : groups_) group.lr = lr;
}

void Optimizer::keep_momentum(std::size_t counter, double value) {
  momentum_ = counter;
  counters_[counter] = value;
}

std::optional<double> Optimizer::momentum() const {
  return momentum_ ? std::optional(counters_[*momentum_]) : std::nullopt;
}

void Optimizer::set_momentum(double momentum) {
  if (!momentum_) throw ValueError(std::string(name()) + ": there is no momentum to set");
  if (!(momentum >= 0 && momentum < 1))
    throw ValueError(std::string(name()) + ": momentum is " + std::to_string(momentum) +
                     ", expected 0 <= momentum < 1");
  if (counters_[*momentum_] == momentum) return;
  counters_[*momentum_] = momentum;
  momentum_changed();
}

std::vector<Optimizer::State> Optimizer::state() {
  std::vector<State> all;
  for (std::size_t i = 0; i < names_.size(); ++i) all.push_back({names_[i], arrays_[i].span()});
  return all;
}

std::span<float> Optimizer::state(std::size_t index, const Part& part) {
  if (index >= arrays_.size()) return {};
  return arrays_[index].span().subspan(part.first, part.values.size());
}

SGD::SGD(nn::ParameterBlock& block, SGDOptions options, const ParameterGroups& groups)
    : Optimizer(block, options.lr, options.weight_decay, groups,
                options.momentum != 0 ? std::vector{"momentum_buffer"} : std::vector<const char*>(), 2),
      options_(options) {
  if (options.momentum != 0) keep_momentum(1, options.momentum);
  check_options();
}

void SGD::begin_step() { ++counter(0); }

void SGD::update(const Part& p) {
  sgd_update(p.values, p.gradients, state(0, p),
             {p.lr, counter(1), options_.dampening, p.weight_decay, options_.nesterov, counter(0) == 1});
}

namespace {

/// Powers by products rather than std::pow, whose last bit differs between C libraries.
double power(double base, double exponent) {
  double result = 1;
  for (auto n = static_cast<std::uint64_t>(exponent); n > 0; n >>= 1, base *= base)
    if (n % 2 == 1) result *= base;
  return result;
}

}  // namespace

Adam::Adam(nn::ParameterBlock& block, AdamOptions options, const ParameterGroups& groups)
    : Optimizer(block, options.lr, options.weight_decay, groups,
                options.amsgrad ? std::vector{"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}
                                : std::vector{"exp_avg", "exp_avg_sq"},
                4),
      options_(options) {
  counter(0) = counter(1) = 1;
  keep_momentum(3, options.beta1);
  check_options();
}

void Adam::begin_step() {
  counter(0) *= counter(3);
  counter(1) *= options_.beta2;
  counter(2) += 1;
}

void Adam::momentum_changed() { counter(0) = power(counter(3), counter(2)); }

void Adam::update(const Part& p) {
  AdamStep step{p.lr, counter(3), options_.beta2, options_.eps, p.weight_decay, options_.decoupled};
  step.bias_correction1 = 1 - counter(0);
  step.bias_correction2 = 1 - counter(1);
  if (options_.amsgrad)
    adam_update(p.values, p.gradients, state(0, p), state(1, p), state(2, p), step);
  else
    adam_update(p.values, p.gradients, state(0, p), state(1, p), step);
}

Adamax::Adamax(nn::ParameterBlock& block, AdamaxOptions options, const ParameterGroups& groups)
    : Optimizer(block, options.lr, options.weight_decay, groups, {"exp_avg", "exp_inf"}, 3), options_(options) {
  counter(0) = 1;
  keep_momentum(2, options.beta1);
  check_options();
}

void Adamax::begin_step() {
  counter(0) *= counter(2);
  counter(1) += 1;
}

void Adamax::momentum_changed() { counter(0) = power(counter(2), counter(1)); }

void Adamax::update(const Part& p) {
  adamax_update(p.values, p.gradients, state(0, p), state(1, p),
                {p.lr, counter(2), options_.beta2, options_.eps, p.weight_decay, 1 - counter(0)});
}

NAdam::NAdam(nn::ParameterBlock& block, NAdamOptions options, const ParameterGroups& groups)
    : Optimizer(block, options.lr, options.weight_decay, groups, {"exp_avg", "exp_avg_sq"}, 4), options_(options) {
  counter(1) = counter(2) = 1;
  keep_momentum(3, options.beta1);
  check_options();
}

double NAdam::mu(double t) const { return *momentum() * (1 - 0.5 * std::pow(0.96, t * options_.momentum_decay)); }

void NAdam::begin_step() {
  counter(0) += 1;
  counter(1) *= options_.beta2;
  counter(2) *= mu(counter(0));
}

void NAdam::update(const Part& p) {
  nadam_update(p.values, p.gradients, state(0, p), state(1, p),
               {p.lr, counter(3), options_.beta2, options_.eps, p.weight_decay, options_.decoupled, mu(counter(0)),
                mu(counter(0) + 1), counter(2), 1 - counter(1)});
}

RAdam::RAdam(nn::ParameterBlock& block, RAdamOptions options, const ParameterGroups& groups)
    : Optimizer(block, options.lr, options.weight_decay, groups, {"exp_avg", "exp_avg_sq"}, 4), options_(options) {
  counter(1) = counter(2) = 1;
  keep_momentum(3, options.beta1);
  check_options();
}

void RAdam::begin_step() {
  counter(0) += 1;
  counter(1) *= counter(3);
  counter(2) *= options_.beta2;
}

void RAdam::momentum_changed() { counter(1) = power(counter(3), counter(0)); }

void RAdam::update(const Part& p) {
  radam_update(p.values, p.gradients, state(0, p), state(1, p),
               {p.lr, counter(3), options_.beta2, options_.eps, p.weight_decay, options_.decoupled, 1 - counter(1),
                1 - counter(2), radam_rectification(options_.beta2, counter(2), counter(0))});
}

namespace {

std::vector<const char*> rmsprop_states(const RMSpropOptions& options) {
  std::vector<const char*> states{"square_avg"};
  if (options.centered) states.push_back("grad_avg");
  if (options.momentum != 0) states.push_back("momentum_buffer");
  return states;
}

}  // namespace

RMSprop::RMSprop(nn::ParameterBlock& block, RMSpropOptions options, const ParameterGroups& groups)
    : Optimizer(block, options.lr, options.weight_decay, groups, rmsprop_states(options), 1), options_(options) {
  if (options.momentum != 0) keep_momentum(0, options.momentum);
  check_options();
}

void RMSprop::update(const Part& p) {
  rmsprop_update(p.values, p.gradients, state(0, p), options_.centered ? state(1, p) : std::span<float>(),
                 options_.momentum != 0 ? state(options_.centered ? 2 : 1, p) : std::span<float>(),
                 {p.lr, options_.alpha, options_.eps, p.weight_decay, counter(0)});
}

Adagrad::Adagrad(nn::ParameterBlock& block, AdagradOptions options, const ParameterGroups& groups)
    : Optimizer(block, options.lr, options.weight_decay, groups, {"sum"}, 1), options_(options) {
  std::ranges::fill(array(0).span(), static_cast<float>(options.initial_accumulator_value));
  check_options();
}

void Adagrad::begin_step() { counter(0) += 1; }

void Adagrad::update(const Part& p) {
  const double lr = p.lr / (1 + (counter(0) - 1) * options_.lr_decay);
  adagrad_update(p.values, p.gradients, state(0, p), {lr, options_.eps, p.weight_decay});
}

Adadelta::Adadelta(nn::ParameterBlock& block, AdadeltaOptions options, const ParameterGroups& groups)
    : Optimizer(block, options.lr, options.weight_decay, groups, {"square_avg", "acc_delta"}, 0), options_(options) {
  check_options();
}

void Adadelta::update(const Part& p) {
  adadelta_update(p.values, p.gradients, state(0, p), state(1, p), {p.lr, options_.rho, options_.eps, p.weight_decay});
}

Rprop::Rprop(nn::ParameterBlock& block, RpropOptions options)
    : Optimizer(block, options.lr, 0, {}, {"prev", "step_size"}, 0), options_(options) {
  std::ranges::fill(array(1).span(), static_cast<float>(options.lr));
  check_options();
}

void Rprop::update(const Part& p) {
  rprop_update(p.values, p.gradients, state(0, p), state(1, p),
               {options_.eta_minus, options_.eta_plus, options_.smallest, options_.largest});
}

Lion::Lion(nn::ParameterBlock& block, LionOptions options, const ParameterGroups& groups)
    : Optimizer(block, options.lr, options.weight_decay, groups, {"exp_avg"}, 0), options_(options) {
  check_options();
}

void Lion::update(const Part& p) {
  lion_update(p.values, p.gradients, state(0, p), {p.lr, options_.beta1, options_.beta2, p.weight_decay});
}

double clip_grad_norm(nn::ParameterBlock& block, double max_norm) {
  for (const nn::Parameter& p : block.parameters())
    if (!p.trainable) std::ranges::fill(p.gradient, 0.0F);  // means nothing, and must not count
  return clip_norm(block.gradients(), max_norm);
}

void clip_grad_value(nn::ParameterBlock& block, double limit) { clip_value(block.gradients(), limit); }

void add_penalty(nn::ParameterBlock& block, double l1, double l2, std::string_view pattern) {
  block.gradients();  // zeros where there are none
  for (const nn::Parameter& p : block.parameters())
    if (nn::name_matches(pattern, p.name)) tilewright::add_penalty(p.gradient, p.value, l1, l2);
}

WeightAverage::WeightAverage(nn::ParameterBlock& block, double decay)
    : block_(&block), decay_(decay), average_(1, static_cast<Index>(block.values().size())) {
  if (!(decay >= 0 && decay <= 1))
    throw ValueError("WeightAverage: decay is " + std::to_string(decay) + ", expected 0 .. 1");
  std::ranges::copy(block.values(), average_.data());
}

void WeightAverage::update() { ema_update(average_.span(), block_->values(), decay_); }

void WeightAverage::swap() { std::ranges::swap_ranges(average_.span(), block_->values()); }

}  // namespace tilewright::optim
