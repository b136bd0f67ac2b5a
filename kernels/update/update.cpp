// SPDX-License-Identifier: MIT
// Optimizer updates: check, round the options once, split the block over threads. All in the default floating-point
// state, the numbers of the options, too.
#include "tilewright/updates.hpp"

#include <array>
#include <cmath>

#include "kernels/core/check.hpp"
#include "kernels/core/ordered_sum.hpp"
#include "kernels/core/profile.hpp"
#include "kernels/core/table.hpp"

namespace tilewright {
namespace detail {
namespace {

struct State {
  const char* name;
  std::span<float> values;
};

struct Block {
  const char* name;
  std::span<const float> values;
};

/// The block that is updated, what it is updated by, and states: as long as each other, and apart, except that the
/// first may be `updated_by_itself`.
template <std::size_t N>
void check_blocks(const char* operation, const std::array<Block, N>& blocks, bool updated_by_itself = false) {
  const std::size_t n = blocks[0].values.size();
  for (const Block& block : blocks) {
    if (block.values.size() != n)
      throw ShapeError(std::string(operation) + ": " + block.name + " has " + std::to_string(block.values.size()) +
                       " elements but " + blocks[0].name + " has " + std::to_string(n));
    check_count(operation, block.name, block.values, static_cast<Index>(n));
  }
  for (std::size_t i = 0; i < N; ++i)
    for (std::size_t j = i == 0 && updated_by_itself ? 2 : i + 1; j < N; ++j) {
      const float *a = blocks[i].values.data(), *b = blocks[j].values.data();
      if (a + n > b && b + n > a) [[unlikely]]
        check_apart(operation, {{blocks[i].name, blocks[i].values}}, {{blocks[j].name, blocks[j].values}},
                    Sharing::none);
    }
}

void check_number(const char* operation, const char* name, double value, double low, double high,
                  const char* expected) {
  if (!(value >= low && value < high))
    throw ValueError(std::string(operation) + ": " + name + " is " + std::to_string(value) + ", expected " + expected);
}

constexpr double kInfinity = INFINITY;

/// loop(first, count) over shares of n elements of so many arrays, all of which but `only_read` are written, too.
/// Shares end at multiples of 1024 elements, so threads do not meet in a cache line.
template <class Loop>
void split(const char* operation, std::size_t n, int arrays, int only_read, double nanoseconds_per_element,
           int requested, const Loop& loop) {
  const auto count = static_cast<Index>(n);
  const Record record(over_elements<float>, operation, "", count, 1, arrays, arrays - only_read);
  parallel(plan_threads(requested, static_cast<double>(count) * nanoseconds_per_element), [=](Member member) {
    const auto [first, end] = member.share(count, 1024);
    if (end > first) loop(first, end - first);
  });
}

void check_betas(const char* operation, double beta1, double beta2) {
  check_number(operation, "beta1", beta1, 0, 1, "0 <= beta1 < 1");
  check_number(operation, "beta2", beta2, 0, 1, "0 <= beta2 < 1");
}

void check_common(const char* operation, double lr, double eps, double weight_decay) {
  check_number(operation, "lr", lr, 0, kInfinity, "a finite number >= 0");
  check_number(operation, "eps", eps, 0, kInfinity, "a finite number >= 0");
  check_number(operation, "weight_decay", weight_decay, 0, kInfinity, "a finite number >= 0");
}

void check_correction(const char* operation, const char* name, double value) {
  if (!(value > 0 && value <= 1))
    throw ValueError(std::string(operation) + ": " + name + " is " + std::to_string(value) + ", expected 0 < " + name +
                     " <= 1");
}

void check_adam(const AdamStep& step, int num_threads) {
  constexpr const char* kName = "adam_update";
  check_betas(kName, step.beta1, step.beta2);
  check_common(kName, step.lr, step.eps, step.weight_decay);
  check_correction(kName, "bias_correction1", step.bias_correction1);
  check_correction(kName, "bias_correction2", step.bias_correction2);
  check_thread_count(kName, num_threads);
}

struct Decay {
  double coupled = 0, keep_weights = 1;
};

Decay decay_of(double lr, double weight_decay, bool decoupled) {
  return decoupled ? Decay{0, 1 - lr * weight_decay} : Decay{weight_decay, 1};
}

/// Checks the blocks, rounds the numbers once and runs a formula object over shares of the parameters.
template <std::size_t N>
void run(const char* operation, UpdateKind kind, std::span<float> parameters, std::span<const float> gradients,
         const std::array<State, N>& states, Decay decay, const std::array<double, 7>& c, int num_threads,
         const char* written_name = "parameters", const char* read_name = "gradients", bool updated_by_itself = false) {
  std::array<Block, N + 2> blocks{{{written_name, parameters}, {read_name, gradients}}};
  for (std::size_t i = 0; i < N; ++i) blocks[i + 2] = {states[i].name, states[i].values};
  check_blocks(operation, blocks, updated_by_itself);
  check_thread_count(operation, num_threads);
  UpdateNumbers numbers;
  numbers.coupled_decay = static_cast<float>(decay.coupled);
  numbers.keep_weights = static_cast<float>(decay.keep_weights);
  for (std::size_t i = 0; i < c.size(); ++i) numbers.c[i] = static_cast<float>(c[i]);
  const auto kernel = active_table().update.formula[static_cast<int>(kind)];
  // clip_value reads what it writes.
  const int only_read = gradients.data() == parameters.data() ? 0 : 1, arrays = static_cast<int>(N) + 1 + only_read;
  split(operation, parameters.size(), arrays, only_read, 0.15 * static_cast<double>(N + 1), num_threads,
        [=](Index first, Index count) {
          float* own[N + 1] = {};
          for (std::size_t i = 0; i < N; ++i) own[i] = states[i].values.data() + first;
          kernel(parameters.data() + first, gradients.data() + first, own, count, numbers);
        });
}

}  // namespace
}  // namespace detail

void sgd_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> buffer,
                const SgdStep& step, int num_threads) {
  using namespace detail;
  const DefaultFloatState state;
  constexpr const char* kName = "sgd_update";
  const Block p{"parameters", parameters}, g{"gradients", gradients};
  if (step.momentum != 0 || !buffer.empty())
    check_blocks<3>(kName, {p, g, {"buffer", buffer}});
  else
    check_blocks<2>(kName, {p, g});
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
  split(kName, parameters.size(), buffer.empty() ? 2 : 3, 1, 0.2, num_threads, [=](Index first, Index count) {
    kernel(parameters.data() + first, gradients.data() + first, buffer.empty() ? nullptr : buffer.data() + first, count,
           numbers);
  });
}

void adam_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> m, std::span<float> v,
                 const AdamStep& step, int num_threads) {
  using namespace detail;
  const DefaultFloatState state;
  check_blocks<4>("adam_update", {{{"parameters", parameters}, {"gradients", gradients}, {"m", m}, {"v", v}}});
  check_adam(step, num_threads);
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
  split("adam_update", parameters.size(), 4, 1, 0.4, num_threads, [=](Index first, Index count) {
    kernel(parameters.data() + first, gradients.data() + first, m.data() + first, v.data() + first, count, numbers);
  });
}

void adam_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> m, std::span<float> v,
                 std::span<float> max_v, const AdamStep& step, int num_threads) {
  using namespace detail;
  const DefaultFloatState state;
  check_adam(step, num_threads);
  run<3>("adam_update", UpdateKind::amsgrad, parameters, gradients, {{{"m", m}, {"v", v}, {"max_v", max_v}}},
         decay_of(step.lr, step.weight_decay, step.decoupled),
         {-step.lr / step.bias_correction1, step.beta2, 1 - step.beta1, 1 - step.beta2,
          1 / std::sqrt(step.bias_correction2), step.eps},
         num_threads);
}

void adamax_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> m,
                   std::span<float> u, const AdamaxStep& step, int num_threads) {
  using namespace detail;
  const DefaultFloatState state;
  constexpr const char* kName = "adamax_update";
  check_betas(kName, step.beta1, step.beta2);
  check_common(kName, step.lr, step.eps, step.weight_decay);
  check_correction(kName, "bias_correction1", step.bias_correction1);
  run<2>(kName, UpdateKind::adamax, parameters, gradients, {{{"m", m}, {"u", u}}},
         decay_of(step.lr, step.weight_decay, false),
         {-step.lr / step.bias_correction1, step.beta2, 1 - step.beta1, step.eps}, num_threads);
}

void nadam_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> m, std::span<float> v,
                  const NAdamStep& step, int num_threads) {
  using namespace detail;
  const DefaultFloatState state;
  constexpr const char* kName = "nadam_update";
  check_betas(kName, step.beta1, step.beta2);
  check_common(kName, step.lr, step.eps, step.weight_decay);
  check_number(kName, "mu", step.mu, 0, 1, "0 <= mu < 1");
  check_number(kName, "next_mu", step.next_mu, 0, 1, "0 <= next_mu < 1");
  check_number(kName, "mu_product", step.mu_product, 0, 1, "0 <= mu_product < 1");
  check_correction(kName, "bias_correction2", step.bias_correction2);
  run<2>(kName, UpdateKind::nadam, parameters, gradients, {{{"m", m}, {"v", v}}},
         decay_of(step.lr, step.weight_decay, step.decoupled),
         {step.beta2, 1 - step.beta1, 1 - step.beta2, 1 / std::sqrt(step.bias_correction2), step.eps,
          -step.lr * (1 - step.mu) / (1 - step.mu_product),
          -step.lr * step.next_mu / (1 - step.mu_product * step.next_mu)},
         num_threads);
}

double radam_rectification(double beta2, double beta2_power, double t) {
  const detail::DefaultFloatState state;
  beta2 = detail::settled(beta2), beta2_power = detail::settled(beta2_power), t = detail::settled(t);
  const double rho = 2 / (1 - beta2) - 1, rho_t = rho - 2 * t * beta2_power / (1 - beta2_power);
  return detail::settled(rho_t > 5 ? std::sqrt((rho_t - 4) * (rho_t - 2) * rho / ((rho - 4) * (rho - 2) * rho_t)) : 0);
}

void radam_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> m, std::span<float> v,
                  const RAdamStep& step, int num_threads) {
  using namespace detail;
  const DefaultFloatState state;
  constexpr const char* kName = "radam_update";
  check_betas(kName, step.beta1, step.beta2);
  check_common(kName, step.lr, step.eps, step.weight_decay);
  check_correction(kName, "bias_correction1", step.bias_correction1);
  check_correction(kName, "bias_correction2", step.bias_correction2);
  check_number(kName, "rectification", step.rectification, 0, kInfinity, "a finite number >= 0");
  const bool trusted = step.rectification > 0;
  const double factor = trusted ? step.rectification * std::sqrt(step.bias_correction2) : 1;
  run<2>(kName, UpdateKind::radam, parameters, gradients, {{{"m", m}, {"v", v}}},
         decay_of(step.lr, step.weight_decay, step.decoupled),
         {step.beta2, 1 - step.beta1, 1 - step.beta2, trusted ? 1.0 : 0.0, trusted ? step.eps : 1.0,
          -step.lr / step.bias_correction1 * factor},
         num_threads);
}

void rmsprop_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> v,
                    std::span<float> average, std::span<float> buffer, const RMSpropStep& step, int num_threads) {
  using namespace detail;
  const DefaultFloatState state;
  constexpr const char* kName = "rmsprop_update";
  check_common(kName, step.lr, step.eps, step.weight_decay);
  check_number(kName, "alpha", step.alpha, 0, 1, "0 <= alpha < 1");
  check_number(kName, "momentum", step.momentum, 0, kInfinity, "a finite number >= 0");
  const std::array<double, 7> numbers{-step.lr, step.alpha, 1 - step.alpha, step.eps, step.momentum};
  const Decay decay = decay_of(step.lr, step.weight_decay, false);
  const bool centered = !average.empty(), moves = step.momentum != 0;
  if (centered && moves)
    run<3>(kName, UpdateKind::rmsprop_centered_momentum, parameters, gradients,
           {{{"v", v}, {"average", average}, {"buffer", buffer}}}, decay, numbers, num_threads);
  else if (centered)
    run<2>(kName, UpdateKind::rmsprop_centered, parameters, gradients, {{{"v", v}, {"average", average}}}, decay,
           numbers, num_threads);
  else if (moves)
    run<2>(kName, UpdateKind::rmsprop_momentum, parameters, gradients, {{{"v", v}, {"buffer", buffer}}}, decay, numbers,
           num_threads);
  else
    run<1>(kName, UpdateKind::rmsprop, parameters, gradients, {{{"v", v}}}, decay, numbers, num_threads);
}

void adagrad_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> sum,
                    const AdagradStep& step, int num_threads) {
  using namespace detail;
  const DefaultFloatState state;
  constexpr const char* kName = "adagrad_update";
  check_common(kName, step.lr, step.eps, step.weight_decay);
  run<1>(kName, UpdateKind::adagrad, parameters, gradients, {{{"sum", sum}}},
         decay_of(step.lr, step.weight_decay, false), {-step.lr, step.eps}, num_threads);
}

void adadelta_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> v,
                     std::span<float> u, const AdadeltaStep& step, int num_threads) {
  using namespace detail;
  const DefaultFloatState state;
  constexpr const char* kName = "adadelta_update";
  check_common(kName, step.lr, step.eps, step.weight_decay);
  check_number(kName, "rho", step.rho, 0, 1, "0 <= rho < 1");
  run<2>(kName, UpdateKind::adadelta, parameters, gradients, {{{"v", v}, {"u", u}}},
         decay_of(step.lr, step.weight_decay, false), {-step.lr, step.rho, 1 - step.rho, step.eps}, num_threads);
}

void rprop_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> previous,
                  std::span<float> step_size, const RpropStep& step, int num_threads) {
  using namespace detail;
  const DefaultFloatState state;
  constexpr const char* kName = "rprop_update";
  check_number(kName, "eta_minus", step.eta_minus, std::nextafter(0.0, 1.0), 1, "0 < eta_minus < 1");
  check_number(kName, "eta_plus", step.eta_plus, std::nextafter(1.0, 2.0), kInfinity, "a finite number > 1");
  check_number(kName, "smallest", step.smallest, 0, kInfinity, "a finite number >= 0");
  check_number(kName, "largest", step.largest, step.smallest, kInfinity, "a finite number >= smallest");
  run<2>(kName, UpdateKind::rprop, parameters, gradients, {{{"previous", previous}, {"step_size", step_size}}}, {},
         {step.eta_minus, step.eta_plus, step.smallest, step.largest}, num_threads);
}

void lion_update(std::span<float> parameters, std::span<const float> gradients, std::span<float> m,
                 const LionStep& step, int num_threads) {
  using namespace detail;
  const DefaultFloatState state;
  constexpr const char* kName = "lion_update";
  check_betas(kName, step.beta1, step.beta2);
  check_common(kName, step.lr, 0, step.weight_decay);
  run<1>(kName, UpdateKind::lion, parameters, gradients, {{{"m", m}}}, decay_of(step.lr, step.weight_decay, true),
         {-step.lr, 1 - step.beta1, 1 - step.beta2}, num_threads);
}

void ema_update(std::span<float> average, std::span<const float> values, double decay, int num_threads) {
  using namespace detail;
  const DefaultFloatState state;
  if (!(decay >= 0 && decay <= 1))
    throw ValueError("ema_update: decay is " + std::to_string(decay) + ", expected 0 <= decay <= 1");
  run<0>("ema_update", UpdateKind::average, average, values, {}, {}, {1 - decay}, num_threads, "average", "values");
}

void add_penalty(std::span<float> gradients, std::span<const float> parameters, double l1, double l2, int num_threads) {
  using namespace detail;
  const DefaultFloatState state;
  check_number("add_penalty", "l1", l1, 0, kInfinity, "a finite number >= 0");
  check_number("add_penalty", "l2", l2, 0, kInfinity, "a finite number >= 0");
  run<0>("add_penalty", UpdateKind::penalty, gradients, parameters, {}, {}, {l1, l2}, num_threads, "gradients",
         "parameters");
}

void clip_value(std::span<float> gradients, double limit, int num_threads) {
  using namespace detail;
  const DefaultFloatState state;
  if (!(limit >= 0)) throw ValueError("clip_value: limit is " + std::to_string(limit) + ", expected >= 0");
  run<0>("clip_value", UpdateKind::clip, gradients, gradients, {}, {}, {1, limit}, num_threads, "gradients",
         "gradients", true);
}

double norm(std::span<const float> x, int num_threads) {
  using namespace detail;
  const DefaultFloatState state;
  check_count("norm", "x", x, static_cast<Index>(x.size()));
  check_thread_count("norm", num_threads);
  const auto n = static_cast<Index>(x.size()), blocks = (n + kSumBlockElements - 1) / kSumBlockElements;
  const Record record(over_elements<float>, "norm", "", n, 1, 1, 0);
  const auto dot = active_table().rows.dot;
  return settled(std::sqrt(ordered_sum(blocks, num_threads, static_cast<double>(n) * 0.05, [&](Index block) {
    const Index first = block * kSumBlockElements;
    return dot(x.data() + first, x.data() + first, std::min(kSumBlockElements, n - first));
  })));
}

double clip_norm(std::span<float> gradients, double max_norm, int num_threads) {
  using namespace detail;
  const DefaultFloatState state;
  check_number("clip_norm", "max_norm", max_norm, 0, kInfinity, "a finite number >= 0");
  check_count("clip_norm", "gradients", gradients, static_cast<Index>(gradients.size()));
  check_thread_count("clip_norm", num_threads);
  const double before = norm(gradients, num_threads), factor = max_norm / (before + 1e-6);
  if (!(factor >= 1))
    run<0>("clip_norm", UpdateKind::clip, gradients, gradients, {}, {}, {factor, kInfinity}, num_threads, "gradients",
           "gradients", true);
  return before;
}

}  // namespace tilewright
