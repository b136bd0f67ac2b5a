// SPDX-License-Identifier: MIT
// The errors that losses.hpp publishes, against the same formulas in double.
#include "tests/errors.hpp"

namespace tilewright {
namespace {

using namespace test;

struct LossAndSlope {
  double loss, slope;
};
/// The truth for an element, and bounds of the errors of its loss and of its slope.
struct PointTruth {
  LossAndSlope want, bound;
};

/// loss(x, target, dx, options) of n elements, whose values and slopes `truth` tells.
void check_points(const char* name, const Floats& x, const Floats& target, auto&& loss, auto&& truth) {
  Bound value_bound(std::string(name) + " values"), dx_bound(std::string(name) + " dx"), total_bound(name);
  const Index n = static_cast<Index>(x.size());
  for (const bool weighted : {false, true}) {
    const Floats weight = uniform(n, 8, 0.25F, 2);
    Floats dx(x.size()), values(x.size());
    LossOptions options{.values = view(values, 1)};
    if (weighted) options.weight = view(weight, 1);
    const double got = loss(view(x, 1), view(target, 1), view(dx, 1), options);
    double total = 0, total_error = 0, total_size = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double w = weighted ? static_cast<double>(weight[i]) : 1, more = weighted ? kU : 0;
      const PointTruth t = truth(static_cast<double>(x[i]), static_cast<double>(target[i]));
      const double value = w * t.want.loss, slope = w * t.want.slope;
      const double value_error = w * t.bound.loss + more * std::fabs(value);
      value_bound.check(values[i], value, value_error);
      dx_bound.check(dx[i] * static_cast<double>(n), slope, w * t.bound.slope + (more + 2 * kU) * std::fabs(slope));
      total += value, total_error += value_error, total_size += std::fabs(value) + value_error;
    }
    total_bound.check(got * static_cast<double>(n), total, total_error + s_of(n) * total_size);
  }
}

double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }
double logistic(double x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }
LossAndSlope relative(const LossAndSlope& want, double loss, double slope) {
  return {loss * kU * std::fabs(want.loss), slope * kU * std::fabs(want.slope)};
}

TEST(Errors, OfLossesOfElements) {
  for (const Index n : {1, 100, 5000})
    for (const Data data : kData) {
      const Floats x = numbers(n, 1, data), t = numbers(n, 2, data), p = uniform(n, 3, 0, 1), q = uniform(n, 4, 0, 1);
      Floats sides = uniform(n, 5);
      for (float& v : sides) v = v < 0 ? -1 : 1;
      check_points(
          "mse_loss", x, t, [](auto... a) { return mse_loss(a...); },
          [](double v, double w) {
            const LossAndSlope want{(v - w) * (v - w), 2 * (v - w)};
            return PointTruth{want, relative(want, 3, 1)};
          });
      check_points(
          "l1_loss", x, t, [](auto... a) { return l1_loss(a...); },
          [](double v, double w) {
            const LossAndSlope want{std::fabs(v - w), sign(v - w)};
            return PointTruth{want, relative(want, 1, 0)};
          });
      check_points(
          "smooth_l1_loss", x, t, [](auto a, auto b, auto c, const auto& o) { return smooth_l1_loss(a, b, c, 1.7, o); },
          [](double v, double w) {
            const double d = v - w, size = std::fabs(d);
            const LossAndSlope want =
                size < 1.7 ? LossAndSlope{d * d / 3.4, d / 1.7} : LossAndSlope{size - 0.85, sign(d)};
            return PointTruth{want, relative(want, 8, 4)};
          });
      check_points(
          "huber_loss", x, t, [](auto a, auto b, auto c, const auto& o) { return huber_loss(a, b, c, 1.7, o); },
          [](double v, double w) {
            const double d = v - w, size = std::fabs(d);
            const LossAndSlope want =
                size <= 1.7 ? LossAndSlope{d * d / 2, d} : LossAndSlope{1.7 * (size - 0.85), 1.7 * sign(d)};
            return PointTruth{want, relative(want, 8, 4)};
          });
      check_points(
          "bce_loss", p, q, [](auto... a) { return bce_loss(a...); },
          [](double v, double w) {
            const LossAndSlope want{-w * std::max(std::log(v), -100.0) - (1 - w) * std::max(std::log1p(-v), -100.0),
                                    (v - w) / std::max(v * (1 - v), 1e-12)};
            return PointTruth{want, relative(want, 6, 5)};
          });
      check_points(
          "bce_with_logits_loss", x, q, [](auto... a) { return bce_with_logits_loss(a...); },
          [](double v, double w) {
            const LossAndSlope want{softplus(v) - v * w, logistic(v) - w};
            return PointTruth{
                want, {kU * std::fabs(v * w) + 6 * kU * want.loss, 6 * kU * logistic(v) + kU * std::fabs(want.slope)}};
          });
      for (const float weight : {0.001F, 3.0F})
        check_points(
            "bce_with_logits_loss with pos_weight", x, q,
            [&](auto a, auto b, auto c, const auto& o) {
              return bce_with_logits_loss(a, b, c, o, 0, Floats(static_cast<std::size_t>(n), weight));
            },
            [&](double v, double w) {
              const double pos = weight, factor = 1 + (pos - 1) * w;
              return PointTruth{{(1 - w) * v + factor * softplus(-v), factor * logistic(v) - pos * w},
                                {8 * kU * (1 + pos) * softplus(-v) + 2 * kU * std::fabs(v), 10 * kU * (1 + pos)}};
            });
      const auto kl = [](bool logs) {
        return [logs](auto a, auto b, auto c, const auto& o) { return kl_div_loss(a, b, c, logs, o); };
      };
      check_points("kl_div_loss", x, q, kl(false), [](double v, double w) {
        const double size = w == 0 ? 0 : 4 * kU * w * (std::fabs(std::log(w)) + std::fabs(v));
        return PointTruth{{w == 0 ? 0 : w * (std::log(w) - v), -w}, {size, 0}};
      });
      check_points("kl_div_loss of logs", x, uniform(n, 6, -20, 1), kl(true), [](double v, double w) {
        const LossAndSlope want{std::exp(w) * (w - v), -std::exp(w)};
        return PointTruth{want, relative(want, 5, 3)};
      });
      check_points(
          "hinge_embedding_loss", x, sides,
          [](auto a, auto b, auto c, const auto& o) { return hinge_embedding_loss(a, b, c, 1.3, o); },
          [](double v, double w) {
            const LossAndSlope want =
                w == 1 ? LossAndSlope{v, 1} : LossAndSlope{std::max(0.0, 1.3 - v), v <= 1.3 ? -1.0 : 0.0};
            return PointTruth{want, {2 * kU * (1.3 + std::fabs(v)), 0}};
          });
      const Floats zero(x.size());
      check_points(
          "margin_ranking_loss", x, sides,
          [&](auto a, auto b, auto c, const auto& o) { return margin_ranking_loss(a, view(zero, 1), b, c, 0.3, o); },
          [](double v, double w) {
            const double gap = 0.3 - w * v;
            return PointTruth{{std::max(0.0, gap), gap >= 0 ? -w : 0.0}, {2 * kU * (0.3 + std::fabs(v)), 0}};
          });
    }
}

TEST(Errors, OfCrossEntropies) {
  Bound loss_bound("cross_entropy_loss values"), dx_bound("cross_entropy_loss dx"), mean_bound("cross_entropy_loss"),
      mix_bound("cross_entropy_loss of probabilities values"), mix_dx_bound("cross_entropy_loss of probabilities dx"),
      smooth_bound("cross_entropy_loss with smoothing values"), smooth_dx_bound("cross_entropy_loss with smoothing dx");
  for (const RowShape shape : kShapes)
    for (const Data data : {Data::plain, Data::positive, Data::far}) {
      const Index rows = shape.rows, cols = shape.cols;
      Floats x = numbers(rows * cols, 1, data);
      for (float& v : x) v = data == Data::positive ? v * 8 : v;
      const Floats shares = uniform(rows * cols, 2, 0, 2 / static_cast<float>(cols));
      const Floats weight = uniform(cols, 3, 0.25F, 2);
      std::vector<Index> classes(static_cast<std::size_t>(rows));
      for (Index i = 0; i < rows; ++i) classes[static_cast<std::size_t>(i)] = i * 7919 % cols;
      Floats dx(x.size()), mix_dx(x.size()), smooth_dx(x.size()), losses(classes.size()), mixed(classes.size()),
          smoothed(classes.size());
      const ClassLossOptions plain{.reduction = Reduction::sum, .weight = weight, .values = losses};
      const double got = cross_entropy_loss(view(x, rows), classes, view(dx, rows), plain);
      const ClassLossOptions mix{
          .reduction = Reduction::sum, .weight = weight, .label_smoothing = 0.1, .values = mixed};
      cross_entropy_loss(view(x, rows), view(shares, rows), view(mix_dx, rows), mix);
      const ClassLossOptions smooth{.reduction = Reduction::sum, .label_smoothing = 0.1, .values = smoothed};
      cross_entropy_loss(view(x, rows), classes, view(smooth_dx, rows), smooth);
      const double n = static_cast<double>(cols);
      double total = 0, total_bound = 0;
      for (std::size_t i = 0; i < classes.size(); ++i) {
        const std::size_t at = i * static_cast<std::size_t>(cols), its = static_cast<std::size_t>(classes[i]);
        const auto X = [&](std::size_t j) { return static_cast<double>(x[at + j]); };
        double largest = X(0);
        for (std::size_t j = 1; j < weight.size(); ++j) largest = std::max(largest, X(j));
        const double lse = largest + std::log(sum(cols, [&](std::size_t j) { return std::exp(X(j) - largest); }));
        const double w = weight[its], loss = lse - X(its);
        const double bound = w * ((2 * loss + n / 64 + 3 * std::log(n) + 14) * kU + kU * loss);
        loss_bound.check(losses[i], w * loss, bound);
        total += w * loss, total_bound += bound;
        // Targets after smoothing.
        const auto mix_of = [&](std::size_t j) { return (0.9 * shares[at + j] + 0.1 / n) * weight[j]; };
        const auto smooth_of = [&](std::size_t j) { return (j == its ? 0.9 : 0) + 0.1 / n; };
        const auto check_mix = [&](auto&& target, double value, const Floats& slopes, Bound& of_value, Bound& of_dx) {
          const double mass = sum(cols, target), want = sum(cols, [&](auto j) { return target(j) * (lse - X(j)); });
          const double size = sum(cols, [&](auto j) { return target(j) * (largest - X(j) + std::log(n) + 1); });
          of_value.check(value, want, (n / 64 + 20) * kU * size);
          for (std::size_t j = 0; j < weight.size(); ++j) {
            const double p = std::exp(X(j) - lse), slope = mass * p - target(j);
            of_dx.check(
                slopes[at + j], slope,
                6 * kU * target(j) + (largest - X(j) + n / 32 + 40) * kU * p * mass + 2 * kU * std::fabs(slope));
          }
        };
        check_mix(mix_of, mixed[i], mix_dx, mix_bound, mix_dx_bound);
        check_mix(smooth_of, smoothed[i], smooth_dx, smooth_bound, smooth_dx_bound);
        for (std::size_t j = 0; j < weight.size(); ++j) {
          const double p = std::exp(X(j) - lse), slope = w * (p - (j == its));
          dx_bound.check(dx[at + j], slope,
                         w * (largest - X(j) + n / 64 + 26) * kU * p + (j == its ? 4 : 3) * kU * std::fabs(slope));
        }
      }
      mean_bound.check(got, total, total_bound);
    }
}

TEST(Errors, OfCosineEmbedding) {
  Bound value_bound("cosine_embedding_loss"), dx_bound("cosine_embedding_loss dx");
  for (const auto [rows, cols] : kShapes)
    for (const Data data : kData) {
      if (cols == 1) continue;
      const Floats x = numbers(rows * cols, 1, data), y = numbers(rows * cols, 2, data);
      const Floats target(static_cast<std::size_t>(rows), 1.0F);
      Floats dx(x.size()), dy(x.size()), values(target.size());
      cosine_embedding_loss(view(x, rows), view(y, rows), target, view(dx, rows), view(dy, rows), 0,
                            {.reduction = Reduction::sum, .values = values});
      for (std::size_t i = 0; i < target.size(); ++i) {
        const std::size_t at = i * static_cast<std::size_t>(cols);
        const auto X = [&](std::size_t j) { return static_cast<double>(x[at + j]); };
        const auto Y = [&](std::size_t j) { return static_cast<double>(y[at + j]); };
        const double xx = std::sqrt(sum(cols, [&](auto j) { return X(j) * X(j); }) + 1e-12),
                     yy = std::sqrt(sum(cols, [&](auto j) { return Y(j) * Y(j); }) + 1e-12);
        const double cosine = sum(cols, [&](auto j) { return X(j) * Y(j); }) / (xx * yy), s = s_of(cols);
        value_bound.check(values[i], 1 - cosine, 2 * s + kU);
        for (std::size_t j = 0; j < static_cast<std::size_t>(cols); ++j) {
          dx_bound.check(dx[at + j], -Y(j) / (xx * yy) + X(j) * cosine / (xx * xx),
                         4 * s * (std::fabs(Y(j)) / (xx * yy) + std::fabs(X(j)) / (xx * xx)));
          dx_bound.check(dy[at + j], -X(j) / (xx * yy) + Y(j) * cosine / (yy * yy),
                         4 * s * (std::fabs(X(j)) / (xx * yy) + std::fabs(Y(j)) / (yy * yy)));
        }
      }
    }
}

}  // namespace
}  // namespace tilewright
