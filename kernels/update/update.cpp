// SPDX-License-Identifier: MIT
// Optimizer updates: check, round the options once, split the block over threads.
#include "tilewright/updates.hpp"

#include <cmath>

#include "kernels/core/check.hpp"
#include "kernels/core/parallel.hpp"
#include "kernels/core/table.hpp"

namespace tilewright {
namespace detail {
namespace {

void check_length(const char* operation, const char* name, std::size_t length, std::size_t parameters) {
  if (length != parameters)
    throw ShapeError(std::string(operation) + ": " + name + " has " + std::to_string(length) +
                     " elements but parameters has " + std::to_string(parameters));
}

void check_number(const char* operation, const char* name, double value, double low, double high,
                  const char* expected) {
  if (!(value >= low && value < high))
    throw ValueError(std::string(operation) + ": " + name + " is " + std::to_string(value) + ", expected " + expected);
}

constexpr double kInfinity = INFINITY;

/// loop(first, count) over shares of n elements. Shares end at multiples of 1024 elements, so threads do not meet in a
/// cache line.
template <class Loop>
void split(std::size_t n, double nanoseconds_per_element, int requested, Loop&& loop) {
  const auto count = static_cast<Index>(n);
  parallel(plan_threads(requested, static_cast<double>(count) * nanoseconds_per_element), [&](Member member) {
    const auto [first, end] = member.share(count, 1024);
    if (end > first) loop(first, end - first);
  });
}

}  // namespace
}  // namespace detail

void sgd_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> buffer,
                const SgdStep& step, int num_threads) {
  using namespace detail;
  constexpr const char* kName = "sgd_update";
  check_length(kName, "gradients", gradients.size(), parameters.size());
  if (step.momentum != 0 || !buffer.empty()) check_length(kName, "buffer", buffer.size(), parameters.size());
  check_number(kName, "lr", step.lr, 0, kInfinity, "a finite number >= 0");
  check_number(kName, "momentum", step.momentum, 0, kInfinity, "a finite number >= 0");
  check_number(kName, "weight_decay", step.weight_decay, 0, kInfinity, "a finite number >= 0");
  check_number(kName, "dampening", step.dampening, -kInfinity, kInfinity, "a finite number");
  if (step.nesterov && (step.momentum <= 0 || step.dampening != 0))
    throw ValueError("sgd_update: nesterov needs momentum > 0 and dampening 0");
  check_thread_count(kName, num_threads);
  const SgdNumbers numbers{static_cast<float>(step.lr),
                           static_cast<float>(step.momentum),
                           static_cast<float>(1 - step.dampening),
                           static_cast<float>(step.weight_decay),
                           step.momentum != 0,
                           step.first,
                           step.nesterov};
  const auto kernel = active_table().update.sgd;
  split(parameters.size(), 0.2, num_threads, [&](Index first, Index count) {
    kernel(parameters.data() + first, gradients.data() + first, buffer.empty() ? nullptr : buffer.data() + first, count,
           numbers);
  });
}

void adam_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> m, std::span<float> v,
                 const AdamStep& step, int num_threads) {
  using namespace detail;
  constexpr const char* kName = "adam_update";
  check_length(kName, "gradients", gradients.size(), parameters.size());
  check_length(kName, "m", m.size(), parameters.size());
  check_length(kName, "v", v.size(), parameters.size());
  check_number(kName, "lr", step.lr, 0, kInfinity, "a finite number >= 0");
  check_number(kName, "beta1", step.beta1, 0, 1, "0 <= beta1 < 1");
  check_number(kName, "beta2", step.beta2, 0, 1, "0 <= beta2 < 1");
  check_number(kName, "eps", step.eps, 0, kInfinity, "a finite number >= 0");
  check_number(kName, "weight_decay", step.weight_decay, 0, kInfinity, "a finite number >= 0");
  check_number(kName, "bias_correction1", step.bias_correction1, std::nextafter(0.0, 1.0), 2,
               "0 < bias_correction1 <= 1");
  check_number(kName, "bias_correction2", step.bias_correction2, std::nextafter(0.0, 1.0), 2,
               "0 < bias_correction2 <= 1");
  check_thread_count(kName, num_threads);
  AdamNumbers numbers{};
  numbers.step_size = static_cast<float>(step.lr / step.bias_correction1);
  numbers.beta2 = static_cast<float>(step.beta2);
  numbers.one_minus_beta1 = static_cast<float>(1 - step.beta1);
  numbers.one_minus_beta2 = static_cast<float>(1 - step.beta2);
  numbers.eps = static_cast<float>(step.eps);
  numbers.inverse_root_correction2 = static_cast<float>(1 / std::sqrt(step.bias_correction2));
  numbers.coupled_decay = static_cast<float>(step.decoupled ? 0 : step.weight_decay);
  numbers.keep_weights = static_cast<float>(step.decoupled ? 1 - step.lr * step.weight_decay : 1);
  const auto kernel = active_table().update.adam;
  split(parameters.size(), 0.4, num_threads, [&](Index first, Index count) {
    kernel(parameters.data() + first, gradients.data() + first, m.data() + first, v.data() + first, count, numbers);
  });
}

}  // namespace tilewright
