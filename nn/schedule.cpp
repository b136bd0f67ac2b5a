// SPDX-License-Identifier: MIT
#include "tilewright/nn/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace tilewright::optim {
namespace {

double power(double base, Index exponent) { return std::pow(base, static_cast<double>(exponent)); }

double cosine(double from, double to, double share) {
  return to + (from - to) / 2 * (1 + std::cos(std::numbers::pi * share));
}

double share(Index t, Index total) { return static_cast<double>(t) / static_cast<double>(total); }

void check_positive(const char* schedule, const char* what, Index value) {
  if (value < 1)
    throw ValueError(std::string(schedule) + ": " + what + " is " + std::to_string(value) + ", expected 1 or more");
}

void check_number(const char* schedule, const char* what, double value, bool good, const char* expected) {
  if (!std::isfinite(value) || !good)
    throw ValueError(std::string(schedule) + ": " + what + " is " + std::to_string(value) + ", expected " + expected);
}

constexpr const char *kNotNegative = "a finite number >= 0", *kPositive = "a finite number > 0";

}  // namespace

Schedule::~Schedule() = default;

void Schedule::set_time(Index t) {
  time_ = t;
  if (const auto value = momentum(t)) optimizer_->set_momentum(*value);
  for (Optimizer::Group& group : optimizer_->groups()) group.lr = lr(group.base_lr, t);
}

StepLR::StepLR(Optimizer& optimizer, Index step_size, double gamma)
    : Schedule(optimizer), step_size_(step_size), gamma_(gamma) {
  check_positive("StepLR", "step_size", step_size);
  check_number("StepLR", "gamma", gamma, gamma >= 0, kNotNegative);
  set_time(0);
}
double StepLR::lr(double base, Index t) const { return base * power(gamma_, t / step_size_); }

MultiStepLR::MultiStepLR(Optimizer& optimizer, std::vector<Index> milestones, double gamma)
    : Schedule(optimizer), milestones_(std::move(milestones)), gamma_(gamma) {
  check_number("MultiStepLR", "gamma", gamma, gamma >= 0, kNotNegative);
  set_time(0);
}
double MultiStepLR::lr(double base, Index t) const {
  return base * power(gamma_, std::ranges::count_if(milestones_, [t](Index m) { return m <= t; }));
}

ExponentialLR::ExponentialLR(Optimizer& optimizer, double gamma) : Schedule(optimizer), gamma_(gamma) {
  check_number("ExponentialLR", "gamma", gamma, gamma >= 0, kNotNegative);
  set_time(0);
}
double ExponentialLR::lr(double base, Index t) const { return base * power(gamma_, t); }

LinearLR::LinearLR(Optimizer& optimizer, double start_factor, double end_factor, Index total_iters)
    : Schedule(optimizer), start_(start_factor), end_(end_factor), total_(total_iters) {
  check_number("LinearLR", "start_factor", start_factor, start_factor >= 0, kNotNegative);
  check_number("LinearLR", "end_factor", end_factor, end_factor >= 0, kNotNegative);
  check_positive("LinearLR", "total_iters", total_iters);
  set_time(0);
}
double LinearLR::lr(double base, Index t) const {
  return base * (start_ + (end_ - start_) * share(std::min(t, total_), total_));
}

PolynomialLR::PolynomialLR(Optimizer& optimizer, Index total_iters, double power)
    : Schedule(optimizer), total_(total_iters), power_(power) {
  check_positive("PolynomialLR", "total_iters", total_iters);
  check_number("PolynomialLR", "power", power, power >= 0, kNotNegative);
  set_time(0);
}
double PolynomialLR::lr(double base, Index t) const {
  return base * std::pow(1 - share(std::min(t, total_), total_), power_);
}

CosineAnnealingLR::CosineAnnealingLR(Optimizer& optimizer, Index t_max, double eta_min)
    : Schedule(optimizer), t_max_(t_max), eta_min_(eta_min) {
  check_positive("CosineAnnealingLR", "t_max", t_max);
  check_number("CosineAnnealingLR", "eta_min", eta_min, eta_min >= 0, kNotNegative);
  set_time(0);
}
double CosineAnnealingLR::lr(double base, Index t) const { return cosine(base, eta_min_, share(t, t_max_)); }

CosineAnnealingWarmRestarts::CosineAnnealingWarmRestarts(Optimizer& optimizer, Index t_0, Index t_mult, double eta_min)
    : Schedule(optimizer), t_0_(t_0), t_mult_(t_mult), eta_min_(eta_min) {
  check_positive("CosineAnnealingWarmRestarts", "t_0", t_0);
  check_positive("CosineAnnealingWarmRestarts", "t_mult", t_mult);
  check_number("CosineAnnealingWarmRestarts", "eta_min", eta_min, eta_min >= 0, kNotNegative);
  set_time(0);
}
double CosineAnnealingWarmRestarts::lr(double base, Index t) const {
  Index length = t_0_;
  if (t_mult_ == 1) t %= length;
  while (t >= length) {
    t -= length;
    length *= t_mult_;
  }
  return cosine(base, eta_min_, share(t, length));
}

OneCycleLR::OneCycleLR(Optimizer& optimizer, double max_lr, Index total_steps, OneCycleOptions options)
    : Schedule(optimizer), max_lr_(max_lr), total_(total_steps), options_(options) {
  constexpr const char* kName = "OneCycleLR";
  const auto share = [](double v) { return v >= 0 && v <= 1; };
  check_number(kName, "max_lr", max_lr, max_lr >= 0, kNotNegative);
  check_number(kName, "div_factor", options.div_factor, options.div_factor > 0, kPositive);
  check_number(kName, "final_div_factor", options.final_div_factor, options.final_div_factor > 0, kPositive);
  check_positive(kName, "total_steps", total_steps);
  check_number(kName, "pct_start", options.pct_start, share(options.pct_start), "0 .. 1");
  check_number(kName, "base_momentum", options.base_momentum, share(options.base_momentum), "0 .. 1");
  check_number(kName, "max_momentum", options.max_momentum, share(options.max_momentum), "0 .. 1");
  if (options.cycle_momentum && !optimizer.momentum())
    throw ValueError(std::string(kName) + ": " + optimizer.name() +
                     " has no momentum; make it with one, or pass cycle_momentum = false");
  set_time(0);
}
double OneCycleLR::between(double first, double highest, double last, Index t) const {
  const double end = static_cast<double>(total_ - 1), now = std::min(static_cast<double>(t), end);
  const double top = options_.pct_start * static_cast<double>(total_) - 1;
  if (now <= top) return top > 0 ? cosine(first, highest, now / top) : highest;
  return cosine(highest, last, (now - top) / (end - top));
}
double OneCycleLR::lr(double, Index t) const {
  const double first = max_lr_ / options_.div_factor;
  return between(first, max_lr_, first / options_.final_div_factor, t);
}
std::optional<double> OneCycleLR::momentum(Index t) const {
  if (!options_.cycle_momentum) return std::nullopt;
  return between(options_.max_momentum, options_.base_momentum, options_.max_momentum, t);
}

ChainedSchedule::ChainedSchedule(Optimizer& optimizer, std::vector<const Schedule*> schedules)
    : Schedule(optimizer), schedules_(std::move(schedules)) {
  set_time(0);
}
double ChainedSchedule::lr(double base, Index t) const {
  if (base == 0) return 0;
  double rate = base;
  for (const Schedule* schedule : schedules_) rate *= schedule->lr(base, t) / base;
  return rate;
}

std::optional<double> ChainedSchedule::momentum(Index t) const {
  std::optional<double> value;
  for (const Schedule* schedule : schedules_)
    if (const auto its = schedule->momentum(t)) value = its;
  return value;
}

SequentialSchedule::SequentialSchedule(Optimizer& optimizer, std::vector<const Schedule*> schedules,
                                       std::vector<Index> milestones)
    : Schedule(optimizer), schedules_(std::move(schedules)), milestones_(std::move(milestones)) {
  if (schedules_.size() != milestones_.size() + 1 || !std::ranges::is_sorted(milestones_))
    throw ValueError("SequentialSchedule: " + std::to_string(schedules_.size()) +
                     " schedules want one milestone less, "
                     "in ascending order, not " +
                     std::to_string(milestones_.size()));
  set_time(0);
}
std::pair<const Schedule*, Index> SequentialSchedule::at(Index t) const {
  const auto passed = static_cast<std::size_t>(std::ranges::upper_bound(milestones_, t) - milestones_.begin());
  return {schedules_[passed], passed == 0 ? t : t - milestones_[passed - 1]};
}
double SequentialSchedule::lr(double base, Index t) const {
  const auto [schedule, its_time] = at(t);
  return schedule->lr(base, its_time);
}
std::optional<double> SequentialSchedule::momentum(Index t) const {
  const auto [schedule, its_time] = at(t);
  return schedule->momentum(its_time);
}

ReduceLROnPlateau::ReduceLROnPlateau(Optimizer& optimizer, Options options)
    : optimizer_(&optimizer), options_(options), state_{std::numeric_limits<double>::infinity()} {
  if (options.mode == Mode::max) state_.best = -state_.best;
  constexpr const char* kName = "ReduceLROnPlateau";
  check_number(kName, "factor", options.factor, options.factor > 0 && options.factor < 1, "0 < factor < 1");
  check_number(kName, "threshold", options.threshold, options.threshold >= 0, kNotNegative);
  check_number(kName, "min_lr", options.min_lr, options.min_lr >= 0, kNotNegative);
  check_number(kName, "eps", options.eps, options.eps >= 0, kNotNegative);
  if (options.patience < 0 || options.cooldown < 0)
    throw ValueError(std::string(kName) + ": patience " + std::to_string(options.patience) + " and cooldown " +
                     std::to_string(options.cooldown) + " must be 0 or more");
}

void ReduceLROnPlateau::step(double metric) {
  // As PyTorch: best +- a share of it; from infinity anything finite is better.
  const bool lower = options_.mode == Mode::min;
  const bool better = std::isinf(state_.best) ? !std::isnan(metric)
                      : lower                 ? metric < state_.best * (1 - options_.threshold)
                                              : metric > state_.best * (1 + options_.threshold);
  if (better) {
    state_.best = metric;
    state_.bad = 0;
  } else {
    ++state_.bad;
  }
  if (state_.cooling > 0) {
    --state_.cooling;
    state_.bad = 0;
  }
  if (state_.bad <= options_.patience) return;
  for (Optimizer::Group& group : optimizer_->groups()) {
    const double rate = std::max(group.lr * options_.factor, options_.min_lr);
    if (group.lr - rate > options_.eps) group.lr = rate;
  }
  state_.cooling = options_.cooldown;
  state_.bad = 0;
}

}  // namespace tilewright::optim
