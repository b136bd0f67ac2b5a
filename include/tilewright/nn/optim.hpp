// SPDX-License-Identifier: MIT
// Optimizers over a model's parameter block: one kernel call a step, or one for each group. Formulas and defaults are
// PyTorch's (updates.hpp has the formulas).
#pragma once

#include <optional>

#include "tilewright/nn/sequential.hpp"

namespace tilewright::optim {

/// Parameters with a learning rate or a weight decay of their own. The names may hold *, as in "*.bias"; a parameter
/// belongs to the first group that names it.
struct ParameterGroup {
  std::vector<std::string> parameters;      ///< names, as above
  std::optional<double> lr = {};            ///< in the optimizer's place
  std::optional<double> weight_decay = {};  ///< in the optimizer's place
};
using ParameterGroups = std::vector<ParameterGroup>;

/// What all optimizers have: the block, which must outlive them, groups, and state, which a checkpoint holds. State
/// arrays lie beside the whole block, so that a step is one call for every run of neighbours in one group.
class TILEWRIGHT_API Optimizer {
 public:
  /// The first group holds what no other names. lr and weight_decay may be changed at any time.
  struct Group {
    double lr;                            ///< the learning rate
    double weight_decay;                  ///< the L2 penalty
    double base_lr;                       ///< what schedules start from
    std::vector<std::string> parameters;  ///< names, as the user gave them
  };
  virtual ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// See ParameterBlock::zero_grad().
  void zero_grad() { block_->zero_grad(); }
  /// Frozen parameters stay as they are. Throws ValueError, with everything as it was, when a group's lr or weight
  /// decay is not a finite number >= 0.
  void step();
  /// All of them; the first one is described above.
  std::span<Group> groups() { return groups_; }
  /// Of the first group.
  double lr() const { return groups_[0].lr; }
  /// Of every group. Throws ValueError unless it is a finite number >= 0.
  void set_lr(double lr);
  /// What OneCycleLR changes: the momentum, or beta1 of Adam and its kin. Nothing for optimizers without one, or made
  /// with a momentum of 0.
  std::optional<double> momentum() const;
  /// Throws ValueError unless 0 <= momentum < 1, and where there is none.
  void set_momentum(double momentum);
  /// What it trains.
  nn::ParameterBlock& block() { return *block_; }

  /// For checkpoints: "Adam", arrays beside the parameter block ("exp_avg"), and numbers ("step").
  struct State {
    const char* name;         ///< PyTorch's
    std::span<float> values;  ///< as long as the parameter block
  };
  /// PyTorch's.
  virtual const char* name() const = 0;
  /// The arrays.
  std::vector<State> state();
  /// The numbers.
  std::span<double> counters() { return counters_; }

 protected:
  /// Throws ValueError for a group that names nothing, a negative lr or weight decay.
  Optimizer(nn::ParameterBlock& block, double lr, double weight_decay, const ParameterGroups& groups,
            std::vector<const char*> states, std::size_t counters);
  /// A run of neighbours in one group.
  struct Part {
    std::span<float> values;           ///< of the parameters
    std::span<const float> gradients;  ///< of the parameters
    double lr;                         ///< the group's
    double weight_decay;               ///< the group's
    std::size_t first;                 ///< where it begins in the block
  };
  /// For the end of a constructor: throws what a step would say of the options.
  void check_options();
  /// For constructors: the number of the state that momentum() is.
  void keep_momentum(std::size_t counter, double value);
  /// The rest of the state follows.
  virtual void momentum_changed() {}
  /// Counts the step.
  virtual void begin_step() {}
  /// One step for the part.
  virtual void update(const Part& part) = 0;
  /// The part's piece of a state array, or nothing when there is no such array.
  std::span<float> state(std::size_t index, const Part& part);
  /// A state array.
  Matrix<float>& array(std::size_t index) { return arrays_[index]; }
  /// A number of the state.
  double& counter(std::size_t index) { return counters_[index]; }

 private:
  void check_rates() const;
  void find_runs();
  struct Run {
    std::size_t first, size, group;
  };
  nn::ParameterBlock* block_;
  std::vector<Group> groups_;
  std::vector<Run> runs_;
  Index version_ = -1;
  std::vector<const char*> names_;
  std::vector<Matrix<float>> arrays_;
  std::vector<double> counters_;
  std::optional<std::size_t> momentum_;  // of counters_
};

/// PyTorch's names and defaults.
struct SGDOptions {
  double lr = 1e-3;         ///< learning rate
  double momentum = 0;      ///< share of the step before
  double dampening = 0;     ///< of the gradient in the momentum
  double weight_decay = 0;  ///< L2 penalty
  bool nesterov = false;    ///< Nesterov's momentum
};

/// Stochastic gradient descent with momentum.
class TILEWRIGHT_API SGD final : public Optimizer {
 public:
  /// Throws ValueError for options out of range and groups that name nothing.
  explicit SGD(nn::ParameterBlock& block, SGDOptions options = {}, const ParameterGroups& groups = {});
  const char* name() const override { return "SGD"; }

 private:
  void begin_step() override;
  void update(const Part& part) override;
  SGDOptions options_;
};

/// PyTorch's names and defaults.
struct AdamOptions {
  double lr = 1e-3;         ///< learning rate
  double beta1 = 0.9;       ///< decay of the mean gradient
  double beta2 = 0.999;     ///< decay of the mean square
  double eps = 1e-8;        ///< added to the denominator
  double weight_decay = 0;  ///< L2 penalty
  bool amsgrad = false;     ///< the largest mean square so far counts
  /// Weight decay on the weights instead of the gradients: AdamW.
  bool decoupled = false;
};

/// Adam (Kingma and Ba, 2015), eps outside the root and after the bias correction.
class TILEWRIGHT_API Adam : public Optimizer {
 public:
  /// Throws ValueError for options out of range and groups that name nothing.
  explicit Adam(nn::ParameterBlock& block, AdamOptions options = {}, const ParameterGroups& groups = {});
  const char* name() const override { return options_.decoupled ? "AdamW" : "Adam"; }

 private:
  void momentum_changed() override;
  void begin_step() override;
  void update(const Part& part) override;
  AdamOptions options_;
};

/// Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
struct AdamW final : Adam {
  /// A weight decay of 0.01; the rest is Adam's.
  static constexpr AdamOptions kDefaults{.weight_decay = 0.01, .decoupled = true};
  /// Throws ValueError for options out of range and groups that name nothing.
  explicit AdamW(nn::ParameterBlock& block, AdamOptions options = kDefaults, const ParameterGroups& groups = {})
      : Adam(block, decouple(options), groups) {}

 private:
  static AdamOptions decouple(AdamOptions options) {
    options.decoupled = true;
    return options;
  }
};

/// PyTorch's names and defaults.
struct AdamaxOptions {
  double lr = 2e-3;         ///< learning rate
  double beta1 = 0.9;       ///< decay of the mean gradient
  double beta2 = 0.999;     ///< decay of the mean square
  double eps = 1e-8;        ///< added to the denominator
  double weight_decay = 0;  ///< L2 penalty
};

/// Adam with the infinity norm (Kingma and Ba, 2015).
class TILEWRIGHT_API Adamax final : public Optimizer {
 public:
  /// Throws ValueError for options out of range and groups that name nothing.
  explicit Adamax(nn::ParameterBlock& block, AdamaxOptions options = {}, const ParameterGroups& groups = {});
  const char* name() const override { return "Adamax"; }

 private:
  void momentum_changed() override;
  void begin_step() override;
  void update(const Part& part) override;
  AdamaxOptions options_;
};

/// PyTorch's names and defaults.
struct NAdamOptions {
  double lr = 2e-3;              ///< learning rate
  double beta1 = 0.9;            ///< decay of the mean gradient
  double beta2 = 0.999;          ///< decay of the mean square
  double eps = 1e-8;             ///< added to the denominator
  double weight_decay = 0;       ///< L2 penalty
  double momentum_decay = 4e-3;  ///< see NAdamStep
  bool decoupled = false;        ///< weight decay on the weights, as AdamW
};

/// Adam with Nesterov's momentum (Dozat, 2016).
class TILEWRIGHT_API NAdam final : public Optimizer {
 public:
  /// Throws ValueError for options out of range and groups that name nothing.
  explicit NAdam(nn::ParameterBlock& block, NAdamOptions options = {}, const ParameterGroups& groups = {});
  const char* name() const override { return "NAdam"; }

 private:
  double mu(double t) const;
  void begin_step() override;
  void update(const Part& part) override;
  NAdamOptions options_;
};

/// PyTorch's names and defaults.
struct RAdamOptions {
  double lr = 1e-3;         ///< learning rate
  double beta1 = 0.9;       ///< decay of the mean gradient
  double beta2 = 0.999;     ///< decay of the mean square
  double eps = 1e-8;        ///< added to the denominator
  double weight_decay = 0;  ///< L2 penalty
  bool decoupled = false;   ///< weight decay on the weights, as AdamW
};

/// Adam with a rectified variance (Liu et al., 2020).
class TILEWRIGHT_API RAdam final : public Optimizer {
 public:
  /// Throws ValueError for options out of range and groups that name nothing.
  explicit RAdam(nn::ParameterBlock& block, RAdamOptions options = {}, const ParameterGroups& groups = {});
  const char* name() const override { return "RAdam"; }

 private:
  void momentum_changed() override;
  void begin_step() override;
  void update(const Part& part) override;
  RAdamOptions options_;
};

/// PyTorch's names and defaults.
struct RMSpropOptions {
  double lr = 1e-2;         ///< learning rate
  double alpha = 0.99;      ///< decay of the mean square
  double eps = 1e-8;        ///< added to the denominator
  double weight_decay = 0;  ///< L2 penalty
  double momentum = 0;      ///< share of the step before
  bool centered = false;    ///< the variance instead of the mean square
};

/// RMSprop (Hinton, 2012).
class TILEWRIGHT_API RMSprop final : public Optimizer {
 public:
  /// Throws ValueError for options out of range and groups that name nothing.
  explicit RMSprop(nn::ParameterBlock& block, RMSpropOptions options = {}, const ParameterGroups& groups = {});
  const char* name() const override { return "RMSprop"; }

 private:
  void update(const Part& part) override;
  RMSpropOptions options_;
};

/// PyTorch's names and defaults.
struct AdagradOptions {
  double lr = 1e-2;                      ///< learning rate
  double lr_decay = 0;                   ///< see below
  double weight_decay = 0;               ///< L2 penalty
  double initial_accumulator_value = 0;  ///< the sum of squares begins with it
  double eps = 1e-10;                    ///< added to the denominator
};

/// Adagrad (Duchi, Hazan and Singer, 2011); the learning rate is lr / (1 + steps before * lr_decay).
class TILEWRIGHT_API Adagrad final : public Optimizer {
 public:
  /// Throws ValueError for options out of range and groups that name nothing.
  explicit Adagrad(nn::ParameterBlock& block, AdagradOptions options = {}, const ParameterGroups& groups = {});
  const char* name() const override { return "Adagrad"; }

 private:
  void begin_step() override;
  void update(const Part& part) override;
  AdagradOptions options_;
};

/// PyTorch's names and defaults.
struct AdadeltaOptions {
  double lr = 1;            ///< factor of the step
  double rho = 0.9;         ///< decay of both averages
  double eps = 1e-6;        ///< added to the denominator
  double weight_decay = 0;  ///< L2 penalty
};

/// Adadelta (Zeiler, 2012).
class TILEWRIGHT_API Adadelta final : public Optimizer {
 public:
  /// Throws ValueError for options out of range and groups that name nothing.
  explicit Adadelta(nn::ParameterBlock& block, AdadeltaOptions options = {}, const ParameterGroups& groups = {});
  const char* name() const override { return "Adadelta"; }

 private:
  void update(const Part& part) override;
  AdadeltaOptions options_;
};

/// PyTorch's names and defaults.
struct RpropOptions {
  double lr = 1e-2;        ///< learning rate
  double eta_minus = 0.5;  ///< factor after a change of sign
  double eta_plus = 1.2;   ///< factor otherwise
  double smallest = 1e-6;  ///< step size
  double largest = 50;     ///< step size
};

/// Resilient backpropagation (Riedmiller and Braun, 1993), for full batches. lr is the first step size, read when the
/// optimizer is made.
class TILEWRIGHT_API Rprop final : public Optimizer {
 public:
  /// Throws ValueError for options out of range.
  explicit Rprop(nn::ParameterBlock& block, RpropOptions options = {});
  const char* name() const override { return "Rprop"; }

 private:
  void update(const Part& part) override;
  RpropOptions options_;
};

/// Defaults of the paper (Chen et al., 2023).
struct LionOptions {
  double lr = 1e-4;         ///< learning rate
  double beta1 = 0.9;       ///< of the mean in the sign
  double beta2 = 0.99;      ///< of the mean that is kept
  double weight_decay = 0;  ///< on the weights
};

/// Lion (Chen et al., 2023), decoupled weight decay.
class TILEWRIGHT_API Lion final : public Optimizer {
 public:
  /// Throws ValueError for options out of range and groups that name nothing.
  explicit Lion(nn::ParameterBlock& block, LionOptions options = {}, const ParameterGroups& groups = {});
  const char* name() const override { return "Lion"; }

 private:
  void update(const Part& part) override;
  LionOptions options_;
};

// ---- between backward and step

/// Scales all gradients so that their norm is at most max_norm, as clip_norm(); returns the norm before.
TILEWRIGHT_API double clip_grad_norm(nn::ParameterBlock& block, double max_norm);
/// Every gradient into [-limit, limit].
TILEWRIGHT_API void clip_grad_value(nn::ParameterBlock& block, double limit);
/// Adds the gradient of l1 |w|_1 + l2 / 2 |w|^2 for the parameters whose names match (biases are usually left out).
TILEWRIGHT_API void add_penalty(nn::ParameterBlock& block, double l1, double l2 = 0,
                                std::string_view pattern = "*weight");

/// Averages of the weights: average += (1 - decay) (weights - average) after every step. swap() exchanges both, before
/// and after an evaluation.
class TILEWRIGHT_API WeightAverage {
 public:
  /// Begins with the weights as they are. The block must outlive it.
  explicit WeightAverage(nn::ParameterBlock& block, double decay = 0.999);
  /// After a step.
  void update();
  /// Exchanges weights and averages.
  void swap();
  /// The averages, beside the block's values.
  std::span<float> values() { return average_.span(); }

 private:
  nn::ParameterBlock* block_;
  double decay_;
  Matrix<float> average_;
};

}  // namespace tilewright::optim
