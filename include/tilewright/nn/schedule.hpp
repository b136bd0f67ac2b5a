// SPDX-License-Identifier: MIT
// Learning rates over time. A schedule sets the rate of every group when it is made and at each step(); t counts steps
// from 0, base is the group's lr when the optimizer was made. PyTorch's names, defaults and closed forms.
#pragma once

#include <utility>

#include "tilewright/nn/optim.hpp"

namespace tilewright::optim {

/// Sets the rates of an optimizer's groups as time goes by.
class TILEWRIGHT_API Schedule {
 public:
  virtual ~Schedule();
  Schedule(const Schedule&) = delete;
  Schedule& operator=(const Schedule&) = delete;
  /// The rate at t.
  virtual double lr(double base, Index t) const = 0;
  /// The momentum at t; nothing for schedules that leave it alone.
  virtual std::optional<double> momentum(Index) const { return std::nullopt; }
  /// The next t.
  void step() { set_time(time_ + 1); }
  /// Where a checkpoint goes on.
  Index time() const { return time_; }
  /// Sets the rates of t.
  void set_time(Index t);

 protected:
  /// The optimizer must outlive it.
  explicit Schedule(Optimizer& optimizer) : optimizer_(&optimizer) {}
  Optimizer* optimizer_;  ///< whose rates it sets
  Index time_ = 0;        ///< t
};

/// base gamma^(t / step_size), rounded down
class TILEWRIGHT_API StepLR final : public Schedule {
 public:
  /// Throws ValueError for a number out of range.
  StepLR(Optimizer& optimizer, Index step_size, double gamma = 0.1);
  double lr(double base, Index t) const override;

 private:
  Index step_size_;
  double gamma_;
};

/// base gamma^(milestones up to t)
class TILEWRIGHT_API MultiStepLR final : public Schedule {
 public:
  /// Throws ValueError for a number out of range.
  MultiStepLR(Optimizer& optimizer, std::vector<Index> milestones, double gamma = 0.1);
  double lr(double base, Index t) const override;

 private:
  std::vector<Index> milestones_;
  double gamma_;
};

/// base gamma^t
class TILEWRIGHT_API ExponentialLR final : public Schedule {
 public:
  /// Throws ValueError for a number out of range.
  ExponentialLR(Optimizer& optimizer, double gamma);
  double lr(double base, Index t) const override;

 private:
  double gamma_;
};

/// base times a factor that goes from start_factor to end_factor in total_iters steps, and stays. Warm-up: 1/3 to 1.
class TILEWRIGHT_API LinearLR final : public Schedule {
 public:
  /// Throws ValueError for a number out of range.
  explicit LinearLR(Optimizer& optimizer, double start_factor = 1.0 / 3, double end_factor = 1, Index total_iters = 5);
  double lr(double base, Index t) const override;

 private:
  double start_, end_;
  Index total_;
};

/// base (1 - t / total_iters)^power, then 0
class TILEWRIGHT_API PolynomialLR final : public Schedule {
 public:
  /// Throws ValueError for a number out of range.
  explicit PolynomialLR(Optimizer& optimizer, Index total_iters = 5, double power = 1);
  double lr(double base, Index t) const override;

 private:
  Index total_;
  double power_;
};

/// eta_min + (base - eta_min) (1 + cos(pi t / t_max)) / 2
class TILEWRIGHT_API CosineAnnealingLR final : public Schedule {
 public:
  /// Throws ValueError for a number out of range.
  CosineAnnealingLR(Optimizer& optimizer, Index t_max, double eta_min = 0);
  double lr(double base, Index t) const override;

 private:
  Index t_max_;
  double eta_min_;
};

/// The same from the beginning again after t_0 steps, then after t_0 t_mult, and so on.
class TILEWRIGHT_API CosineAnnealingWarmRestarts final : public Schedule {
 public:
  /// Throws ValueError for a number out of range.
  CosineAnnealingWarmRestarts(Optimizer& optimizer, Index t_0, Index t_mult = 1, double eta_min = 0);
  double lr(double base, Index t) const override;

 private:
  Index t_0_, t_mult_;
  double eta_min_;
};

/// PyTorch's names and defaults.
struct OneCycleOptions {
  double pct_start = 0.3;         ///< share of the steps in which the rate grows
  double div_factor = 25;         ///< max_lr over the first rate
  double final_div_factor = 1e4;  ///< the first rate over the last
  bool cycle_momentum = true;     ///< the momentum goes the other way
  double base_momentum = 0.85;    ///< where the rate is highest
  double max_momentum = 0.95;     ///< at both ends
};

/// From max_lr / div_factor up to max_lr in pct_start of total_steps, and down to max_lr / div_factor /
/// final_div_factor, both by cosines; meanwhile the momentum (Optimizer::momentum) from max_momentum to base_momentum
/// and back.
class TILEWRIGHT_API OneCycleLR final : public Schedule {
 public:
  /// Throws ValueError for a number out of range, and for an optimizer without momentum unless cycle_momentum is false.
  OneCycleLR(Optimizer& optimizer, double max_lr, Index total_steps, OneCycleOptions options = {});
  double lr(double base, Index t) const override;
  std::optional<double> momentum(Index t) const override;

 private:
  double between(double first, double highest, double last, Index t) const;
  double max_lr_;
  Index total_;
  OneCycleOptions options_;
};

/// The product of what each of the schedules makes of the base (PyTorch's ChainedScheduler), and the momentum of the
/// last that has one. They must outlive it, and only this one is stepped.
class TILEWRIGHT_API ChainedSchedule final : public Schedule {
 public:
  /// Sets the rates of t = 0.
  ChainedSchedule(Optimizer& optimizer, std::vector<const Schedule*> schedules);
  double lr(double base, Index t) const override;
  std::optional<double> momentum(Index t) const override;

 private:
  std::vector<const Schedule*> schedules_;
};

/// One schedule up to each milestone, then the next, which counts from there (PyTorch's SequentialLR): warm-up and
/// then something else. They must outlive it, and only this one is stepped.
class TILEWRIGHT_API SequentialSchedule final : public Schedule {
 public:
  /// Throws ValueError unless there is one milestone less than schedules, in ascending order.
  SequentialSchedule(Optimizer& optimizer, std::vector<const Schedule*> schedules, std::vector<Index> milestones);
  double lr(double base, Index t) const override;
  std::optional<double> momentum(Index t) const override;

 private:
  /// The one whose turn it is, and the time that it counts.
  std::pair<const Schedule*, Index> at(Index t) const;
  std::vector<const Schedule*> schedules_;
  std::vector<Index> milestones_;
};

/// Multiplies the rate by `factor` when a number has not become better for more than `patience` steps; better is lower
/// by a share of `threshold` (higher, with Mode::max).
class TILEWRIGHT_API ReduceLROnPlateau {
 public:
  /// Which numbers are better.
  enum class Mode { min, max };
  /// PyTorch's names and defaults.
  struct Options {
    Mode mode = Mode::min;    ///< which numbers are better
    double factor = 0.1;      ///< of the rate
    Index patience = 10;      ///< steps without a better number
    double threshold = 1e-4;  ///< share that counts as better
    Index cooldown = 0;       ///< steps that do not count after a change
    double min_lr = 0;        ///< never below
    double eps = 1e-8;        ///< smaller changes are not made
  };
  /// With the defaults.
  explicit ReduceLROnPlateau(Optimizer& optimizer) : ReduceLROnPlateau(optimizer, Options()) {}
  /// Throws ValueError for options out of range.
  ReduceLROnPlateau(Optimizer& optimizer, Options options);
  /// With the number of the epoch.
  void step(double metric);
  /// What it remembers; a checkpoint of fit() holds it.
  struct State {
    double best;        ///< number so far
    Index bad = 0;      ///< steps without a better one
    Index cooling = 0;  ///< steps to wait
  };
  /// For checkpoints.
  const State& state() const { return state_; }
  /// Goes on from there.
  void set_state(const State& state) { state_ = state; }

 private:
  Optimizer* optimizer_;
  Options options_;
  State state_;
};

}  // namespace tilewright::optim
