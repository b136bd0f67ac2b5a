// SPDX-License-Identifier: MIT
// The errors that updates.hpp publishes, against the same formulas in double, one step of each.
#include "tests/errors.hpp"

namespace tilewright {
namespace {

using namespace test;

/// What an update is given and what it leaves, one element at a time.
struct UpdateCase {
  static constexpr Index kCount = 3000;
  Floats p, g, before, after;              // parameters before and after, and gradients
  std::vector<Floats> old_states, states;  // before and after
  explicit UpdateCase(std::size_t count, Data data, bool square_second)
      : p(numbers(kCount, 1, data)), g(numbers(kCount, 2, data)), before(p), after(p) {
    for (std::size_t k = 0; k < count; ++k) {
      old_states.push_back(numbers(kCount, 3 + k, data));
      if (k > 0 || square_second)
        for (float& v : old_states.back()) v = v * v + 1e-3F;
    }
    states = old_states;
  }
};

double mean_after(double m, double g, double w) { return m + w * (g - m); }
double mean_bound(double m, double g, double w) {
  return kU * std::fabs(mean_after(m, g, w)) + 3 * kU * w * std::fabs(g - m);
}
double square_after(double v, double g, double keep) { return keep * v + (1 - keep) * g * g; }

TEST(Errors, OfUpdates) {
  constexpr double kDecay = 0.01, kLr = 0.02, kBeta1 = 0.9, kBeta2 = 0.999;
  for (const Data data : kData) {
    const auto n = static_cast<std::size_t>(UpdateCase::kCount);
    // p after, given what it moves by: terms, and their sizes.
    const auto moved = [&](Bound& bound, const UpdateCase& u, std::size_t i, double by, double size, bool decoupled) {
      const double start = u.p[i] * (decoupled ? 1 - kLr * kDecay : 1), want = start - by;
      bound.check(u.after[i], want, 8 * kU * size + kU * std::fabs(want) + (decoupled ? 2 * kU * std::fabs(start) : 0));
    };
    for (const bool decoupled : {false, true}) {
      UpdateCase u(2, data, false);
      adam_update(u.after, u.g, u.states[0], u.states[1],
                  {.lr = kLr,
                   .weight_decay = decoupled ? kDecay : 0,
                   .decoupled = decoupled,
                   .bias_correction1 = 0.3,
                   .bias_correction2 = 0.02});
      Bound m_bound("adam m"), v_bound("adam v"), p_bound("adam p");
      for (std::size_t i = 0; i < n; ++i) {
        const double m = u.old_states[0][i], v = u.old_states[1][i], g = u.g[i];
        m_bound.check(u.states[0][i], mean_after(m, g, 1 - kBeta1), mean_bound(m, g, 1 - kBeta1));
        const double square = square_after(v, g, kBeta2);
        v_bound.check(u.states[1][i], square, 4 * kU * square);
        const double by =
            kLr / 0.3 * u.states[0][i] / (std::sqrt(static_cast<double>(u.states[1][i])) / std::sqrt(0.02) + 1e-8);
        moved(p_bound, u, i, by, std::fabs(by), decoupled);
      }
    }
    {
      UpdateCase u(3, data, false);
      adam_update(u.after, u.g, u.states[0], u.states[1], u.states[2],
                  {.lr = kLr, .bias_correction1 = 0.3, .bias_correction2 = 0.02});
      Bound p_bound("amsgrad p");
      for (std::size_t i = 0; i < n; ++i) {
        const double by =
            kLr / 0.3 * u.states[0][i] / (std::sqrt(static_cast<double>(u.states[2][i])) / std::sqrt(0.02) + 1e-8);
        moved(p_bound, u, i, by, std::fabs(by), false);
      }
    }
    for (const bool nesterov : {false, true}) {
      UpdateCase u(1, data, false);
      sgd_update(u.after, u.g, u.states[0], {.lr = kLr, .momentum = 0.9, .weight_decay = kDecay, .nesterov = nesterov});
      Bound b_bound("sgd buffer"), p_bound("sgd p");
      for (std::size_t i = 0; i < n; ++i) {
        const double g = static_cast<double>(u.g[i]) + kDecay * u.p[i], b = u.old_states[0][i];
        const double size = std::fabs(u.g[i]) + std::fabs(kDecay * u.p[i]);
        b_bound.check(u.states[0][i], 0.9 * b + g, 4 * kU * (std::fabs(0.9 * b) + size));
        const double velocity = u.states[0][i], by = kLr * (nesterov ? g + 0.9 * velocity : velocity);
        moved(p_bound, u, i, by, kLr * (nesterov ? size + std::fabs(0.9 * velocity) : std::fabs(velocity)), false);
      }
    }
    {
      UpdateCase u(2, data, false);
      adamax_update(u.after, u.g, u.states[0], u.states[1], {.lr = kLr, .bias_correction1 = 0.3});
      Bound u_bound("adamax u"), p_bound("adamax p");
      for (std::size_t i = 0; i < n; ++i) {
        const double largest = std::max(kBeta2 * u.old_states[1][i], std::fabs(u.g[i]) + 1e-8);
        u_bound.check(u.states[1][i], largest, 4 * kU * largest);
        const double by = kLr / 0.3 * u.states[0][i] / u.states[1][i];
        moved(p_bound, u, i, by, std::fabs(by), false);
      }
    }
    for (const bool decoupled : {false, true}) {
      UpdateCase u(2, data, false);
      nadam_update(u.after, u.g, u.states[0], u.states[1],
                   {.lr = kLr,
                    .weight_decay = decoupled ? kDecay : 0,
                    .decoupled = decoupled,
                    .mu = 0.5,
                    .next_mu = 0.6,
                    .mu_product = 0.4,
                    .bias_correction2 = 0.02});
      Bound p_bound("nadam p");
      for (std::size_t i = 0; i < n; ++i) {
        const double d = std::sqrt(static_cast<double>(u.states[1][i]) / 0.02) + 1e-8;
        const double of_g = kLr * 0.5 / 0.6 * u.g[i] / d, of_m = kLr * 0.6 / (1 - 0.24) * u.states[0][i] / d;
        moved(p_bound, u, i, of_g + of_m, std::fabs(of_g) + std::fabs(of_m), decoupled);
      }
    }
    for (const double rectification : {0.0, 0.7}) {
      UpdateCase u(2, data, false);
      radam_update(u.after, u.g, u.states[0], u.states[1],
                   {.lr = kLr, .bias_correction1 = 0.3, .bias_correction2 = 0.02, .rectification = rectification});
      Bound p_bound("radam p");
      for (std::size_t i = 0; i < n; ++i) {
        const double root = std::sqrt(static_cast<double>(u.states[1][i])) + 1e-8;
        const double by = kLr / 0.3 * u.states[0][i] * (rectification > 0 ? rectification * std::sqrt(0.02) / root : 1);
        moved(p_bound, u, i, by, std::fabs(by), false);
      }
    }
    for (const bool moves : {false, true}) {
      UpdateCase u(2, data, true);
      rmsprop_update(u.after, u.g, u.states[0], {}, moves ? std::span(u.states[1]) : std::span<float>{},
                     {.lr = kLr, .momentum = moves ? 0.8 : 0});
      Bound v_bound("rmsprop v"), p_bound("rmsprop p");
      for (std::size_t i = 0; i < n; ++i) {
        const double v = square_after(u.old_states[0][i], u.g[i], 0.99);
        v_bound.check(u.states[0][i], v, 4 * kU * v);
        const double direct = u.g[i] / (std::sqrt(static_cast<double>(u.states[0][i])) + 1e-8);
        const double by = kLr * (direct + (moves ? 0.8 * u.old_states[1][i] : 0));
        moved(p_bound, u, i, by, kLr * (std::fabs(direct) + (moves ? std::fabs(0.8 * u.old_states[1][i]) : 0)), false);
      }
    }
    if (data == Data::plain || data == Data::positive) {  // else nothing is left of v - average^2
      UpdateCase u(2, data, true);
      for (std::size_t i = 0; i < n; ++i)
        u.old_states[0][i] = u.states[0][i] = u.states[1][i] * u.states[1][i] * 1.5F + 1;
      rmsprop_update(u.after, u.g, u.states[0], u.states[1], {}, {.lr = kLr});
      Bound average_bound("rmsprop average"), p_bound("centered rmsprop p");
      for (std::size_t i = 0; i < n; ++i) {
        const double v = u.states[0][i], average = u.states[1][i], variance = v - average * average;
        average_bound.check(average, mean_after(u.old_states[1][i], u.g[i], 0.01),
                            mean_bound(u.old_states[1][i], u.g[i], 0.01));
        const double by = kLr * u.g[i] / (std::sqrt(variance) + 1e-8);
        moved(p_bound, u, i, by, std::fabs(by) * (1 + v / variance / 8), false);  // 2 u v, halved by the root
      }
    }
    {
      UpdateCase u(2, data, true);
      u.old_states[0] = u.states[0] = numbers(UpdateCase::kCount, 9, data);  // the gradient before
      rprop_update(u.after, u.g, u.states[0], u.states[1], {});
      Bound size_bound("rprop step_size"), p_bound("rprop p");
      for (std::size_t i = 0; i < n; ++i) {
        const double same = static_cast<double>(u.g[i]) * u.old_states[0][i], factor = same > 0   ? 1.2
                                                                                       : same < 0 ? 0.5
                                                                                                  : 1;
        const double size = std::clamp(u.old_states[1][i] * factor, 1e-6, 50.0);
        size_bound.check(u.states[1][i], size, 4 * kU * size);
        moved(p_bound, u, i, same < 0 ? 0 : sign(u.g[i]) * u.states[1][i], u.states[1][i], false);
      }
    }
    {
      UpdateCase u(1, data, true);
      adagrad_update(u.after, u.g, u.states[0], {.lr = kLr});
      Bound sum_bound("adagrad sum"), p_bound("adagrad p");
      for (std::size_t i = 0; i < n; ++i) {
        const double all = u.old_states[0][i] + static_cast<double>(u.g[i]) * u.g[i];
        sum_bound.check(u.states[0][i], all, 4 * kU * all);
        const double by = kLr * u.g[i] / (std::sqrt(static_cast<double>(u.states[0][i])) + 1e-10);
        moved(p_bound, u, i, by, std::fabs(by), false);
      }
    }
    {
      UpdateCase u(2, data, true);
      adadelta_update(u.after, u.g, u.states[0], u.states[1], {.lr = kLr});
      Bound v_bound("adadelta v"), p_bound("adadelta p");
      for (std::size_t i = 0; i < n; ++i) {
        const double v = square_after(u.old_states[0][i], u.g[i], 0.9);
        v_bound.check(u.states[0][i], v, 4 * kU * v);
        const double root = std::sqrt(u.old_states[1][i] + 1e-6) / std::sqrt(u.states[0][i] + 1e-6);
        moved(p_bound, u, i, kLr * root * u.g[i], std::fabs(kLr * root * u.g[i]), false);
      }
    }
    {
      UpdateCase u(1, data, false);
      lion_update(u.after, u.g, u.states[0], {.lr = kLr, .weight_decay = kDecay});
      Bound m_bound("lion m"), p_bound("lion p"), average_bound("ema"), penalty_bound("penalty");
      Floats average = u.p, gradients = u.g;
      ema_update(average, u.g, 0.99);
      add_penalty(gradients, u.p, 0.25, 0.5);
      for (std::size_t i = 0; i < n; ++i) {
        const double m = u.old_states[0][i], g = u.g[i], p = u.p[i];
        m_bound.check(u.states[0][i], mean_after(m, g, 0.01), mean_bound(m, g, 0.01));
        moved(p_bound, u, i, kLr * sign(0.9 * m + 0.1 * g), kLr, true);
        average_bound.check(average[i], mean_after(p, g, 0.01), mean_bound(p, g, 0.01));
        const double want = g + 0.25 * sign(p) + 0.5 * p;
        penalty_bound.check(gradients[i], want, kU * std::fabs(want) + 2 * kU * (0.25 + 0.5 * std::fabs(p)));
      }
    }
  }
}

}  // namespace
}  // namespace tilewright
