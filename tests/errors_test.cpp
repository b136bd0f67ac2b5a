// SPDX-License-Identifier: MIT
// The errors that rows.hpp, losses.hpp and updates.hpp publish, against the same formulas in double, on data that is
// hard in different ways.
#include <algorithm>
#include <functional>
#include <numeric>

#include "tests/row_reference.hpp"

namespace tilewright {
namespace {

using namespace test;

constexpr double kU = 0x1p-24;

/// Of numbers of the sizes that networks have; far from 0, so that differences lose digits; of very different sizes;
/// all of one sign.
enum class Data { plain, far, wide, positive };
constexpr Data kData[] = {Data::plain, Data::far, Data::wide, Data::positive};

Floats numbers(Index n, std::uint64_t stream, Data data) {
  Floats x = uniform(n, stream, -3, 3);
  const Floats sizes = uniform(n, stream + 1000, -9, 9);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (data == Data::far) x[i] += 1000;
    if (data == Data::wide) x[i] *= std::exp2(std::round(sizes[i]));
    if (data == Data::positive) x[i] = std::fabs(x[i]) + 0.125F;
  }
  return x;
}

/// A published bound: how much of it the worst error takes.
class Bound {
 public:
  explicit Bound(std::string what) : what_(std::move(what)) {}
  void check(double got, double want, double bound) {
    const double error = std::fabs(got - want);
    const double share = error == 0 ? 0 : error / bound;
    if (!(share <= worst_)) worst_ = share, at_ = std::to_string(got) + " for " + std::to_string(want);
  }
  ~Bound() { EXPECT_LE(worst_, 1) << what_ << ": " << at_; }
  Bound(const Bound&) = delete;
  Bound& operator=(const Bound&) = delete;

 private:
  std::string what_, at_;
  double worst_ = 0;
};

double sum(Index n, const std::function<double(std::size_t)>& term) {
  double total = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) total += term(i);
  return total;
}

double s_of(Index n) { return (static_cast<double>(std::min<Index>(n, 4096)) / 64 + 12) * kU; }
double c_of(Index m) {
  const double rows = static_cast<double>(m);
  return (std::min(rows, 64.0) + std::min(rows / 64, 512.0) + rows / 32768 + 6) * kU;
}

/// Rows of n elements: many where they are short, because those have kernels of their own.
struct Shape {
  Index rows, cols;
};
constexpr Shape kShapes[] = {{40, 1}, {33, 3}, {64, 16}, {3, 17}, {70, 64}, {5, 200}, {3, 1000}, {2, 4096}, {1, 50257}};

TEST(Errors, OfSoftmax) {
  Bound y_bound("softmax"), dx_bound("softmax_backward"), log_bound("log_softmax"),
      log_dx_bound("log_softmax_backward"), lse_bound("row_logsumexp"), lse_dx_bound("row_logsumexp_backward");
  for (const auto [rows, cols] : kShapes)
    for (const Data data : {Data::plain, Data::positive, Data::far}) {
      Floats x = numbers(rows * cols, 1, data);
      for (float& v : x) v = data == Data::positive ? v * 8 : v;  // some exponentials are tiny
      const Floats dy = numbers(rows * cols, 2, data), dout = uniform(rows, 3, 0.5F, 2);
      Floats y(x.size()), dx(x.size()), logs(x.size()), log_dx(x.size()), out(static_cast<std::size_t>(rows)),
          out_dx(x.size());
      softmax(view(x, rows), view(y, rows));
      softmax_backward(view(y, rows), view(dy, rows), view(dx, rows));
      log_softmax(view(x, rows), view(logs, rows));
      log_softmax_backward(view(logs, rows), view(dy, rows), view(log_dx, rows));
      row_logsumexp(view(x, rows), out);
      row_logsumexp_backward(view(x, rows), out, dout, view(out_dx, rows));
      const double n = static_cast<double>(cols), fixed = n / 64 + 3 * std::log(n) + 14;
      for (Index i = 0; i < rows; ++i) {
        const std::size_t at = static_cast<std::size_t>(i * cols);
        const auto X = [&](std::size_t j) { return static_cast<double>(x[at + j]); };
        const auto D = [&](std::size_t j) { return static_cast<double>(dy[at + j]); };
        const auto Y = [&](std::size_t j) { return static_cast<double>(y[at + j]); };
        double largest = X(0);
        for (Index j = 1; j < cols; ++j) largest = std::max(largest, X(j));
        const double lse = largest + std::log(sum(cols, [&](std::size_t j) { return std::exp(X(j) - largest); }));
        const double along = sum(cols, [&](std::size_t j) { return Y(j) * D(j); }),
                     size = sum(cols, [&](std::size_t j) { return std::fabs(Y(j) * D(j)); }),
                     all = sum(cols, [&](std::size_t j) { return D(j); }),
                     all_size = sum(cols, [&](std::size_t j) { return std::fabs(D(j)); });
        const double o = out[static_cast<std::size_t>(i)], d = dout[static_cast<std::size_t>(i)];
        lse_bound.check(o, lse, (std::fabs(lse) + fixed) * kU);
        for (std::size_t j = 0; j < static_cast<std::size_t>(cols); ++j) {
          const double p = std::exp(X(j) - lse), log_y = logs[at + j];
          y_bound.check(Y(j), p, (largest - X(j) + n / 64 + 24) * kU * p);
          dx_bound.check(dx[at + j], Y(j) * (D(j) - along), (n / 64 + 14) * kU * Y(j) * (std::fabs(D(j)) + size));
          log_bound.check(log_y, X(j) - lse, (2 * std::fabs(X(j) - lse) + fixed) * kU);
          const double log_slope = D(j) - std::exp(log_y) * all;
          log_dx_bound.check(log_dx[at + j], log_slope,
                             kU * std::fabs(log_slope) + (n / 64 + 14) * kU * std::exp(log_y) * all_size);
          const double slope = std::exp(X(j) - o) * d;
          lse_dx_bound.check(out_dx[at + j], slope, (std::fabs(X(j) - o) + 4) * kU * slope);
        }
      }
    }
}

TEST(Errors, OfSumsOfRows) {
  Bound sum_bound("row_sum"), mean_bound("row_mean"), variance_bound("row_variance"),
      mean_dx_bound("row_mean_backward"), variance_dx_bound("row_variance_backward"), norm_bound("norm");
  for (const auto [rows, cols] : kShapes)
    for (const Data data : kData) {
      const Floats x = numbers(rows * cols, 1, data), dy = uniform(rows, 3, 0.5F, 2);
      const std::size_t count = static_cast<std::size_t>(rows);
      Floats sums(count), means(count), variances(count), mean_dx(x.size()), variance_dx(x.size());
      row_sum(view(x, rows), sums);
      row_mean(view(x, rows), means);
      row_variance(view(x, rows), variances, 0.5);
      row_mean_backward(dy, view(mean_dx, rows));
      row_variance_backward(view(x, rows), dy, view(variance_dx, rows), 0.5);
      const double squares = sum(rows * cols, [&](std::size_t i) { return static_cast<double>(x[i]) * x[i]; });
      norm_bound.check(norm(x), std::sqrt(squares), s_of(rows * cols) / 2 * std::sqrt(squares));
      const double n = static_cast<double>(cols), s = s_of(cols);
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t at = i * static_cast<std::size_t>(cols);
        const auto X = [&](std::size_t j) { return static_cast<double>(x[at + j]); };
        const double total = sum(cols, X), size = sum(cols, [&](std::size_t j) { return std::fabs(X(j)); });
        const double mean = total / n, d = s * size / n, degrees = n - 0.5;
        const double variance = sum(cols, [&](std::size_t j) { return (X(j) - mean) * (X(j) - mean); }) / degrees;
        sum_bound.check(sums[i], total, s * size);
        mean_bound.check(means[i], mean, d);
        variance_bound.check(variances[i], variance, (s + 4 * kU) * variance + n / degrees * d * d);
        for (std::size_t j = 0; j < static_cast<std::size_t>(cols); ++j) {
          const double each = dy[i] / n, slope = 2 * static_cast<double>(dy[i]) / degrees, want = slope * (X(j) - mean);
          mean_dx_bound.check(mean_dx[at + j], each, 2 * kU * each);
          variance_dx_bound.check(variance_dx[at + j], want, 4 * kU * std::fabs(want) + slope * d);
        }
      }
    }
}

/// layer, rms and group norm of x: rows of `groups` parts, `size` elements that share a gamma.
void check_norms(Index rows, Index cols, Index groups, Index size, bool centered, Data data) {
  const Index channels = cols / size, n = cols / groups;
  const std::string name = (centered ? groups > 1 || size > 1 ? "group_norm" : "layer_norm" : "rms_norm") +
                           std::string(" ") + std::to_string(rows) + "x" + std::to_string(cols);
  Bound mean_bound(name + " mean"), rstd_bound(name + " rstd"), y_bound(name), dx_bound(name + " dx"),
      dgamma_bound(name + " dgamma"), dbeta_bound(name + " dbeta");
  const Floats x = numbers(rows * cols, 1, data), dy = numbers(rows * cols, 2, Data::plain);
  const Floats gamma = numbers(channels, 3, Data::plain), beta = numbers(channels, 4, Data::plain);
  const auto parts = static_cast<std::size_t>(rows * groups);
  Floats y(x.size()), dx(x.size()), mean(parts), rstd(parts), dgamma(gamma.size()), dbeta(gamma.size());
  const Groups shape{channels, groups};
  if (!centered) {
    rms_norm(view(x, rows), gamma, view(y, rows), rstd);
    rms_norm_backward(view(x, rows), view(dy, rows), gamma, rstd, view(dx, rows), dgamma);
  } else if (groups > 1 || size > 1) {
    group_norm(view(x, rows), shape, gamma, beta, view(y, rows), mean, rstd);
    group_norm_backward(view(x, rows), view(dy, rows), shape, gamma, mean, rstd, view(dx, rows), dgamma, dbeta);
  } else {
    layer_norm(view(x, rows), gamma, beta, view(y, rows), mean, rstd);
    layer_norm_backward(view(x, rows), view(dy, rows), gamma, mean, rstd, view(dx, rows), dgamma, dbeta);
  }
  const double s = s_of(n), c = c_of(rows) + (size > 1 ? s_of(size) : 0), count = static_cast<double>(n);
  Row dgammas(gamma.size()), dgamma_sizes(gamma.size()), dbetas(gamma.size()), dbeta_sizes(gamma.size());
  for (std::size_t part = 0; part < parts; ++part) {
    const std::size_t at = part * static_cast<std::size_t>(n), column = at % static_cast<std::size_t>(cols);
    const auto channel = [&](std::size_t j) { return (column + j) / static_cast<std::size_t>(size); };
    const auto X = [&](std::size_t j) { return static_cast<double>(x[at + j]); };
    const double size_of_x = sum(n, [&](std::size_t j) { return std::fabs(X(j)); }) / count;
    const double m = centered ? sum(n, X) / count : 0;
    const double variance = sum(n, [&](std::size_t j) { return (X(j) - m) * (X(j) - m); }) / count;
    const double r = 1 / std::sqrt(variance + 1e-5), d = centered ? s * r * size_of_x : 0;
    if (centered) mean_bound.check(mean[part], m, s * size_of_x);
    rstd_bound.check(rstd[part], r, (s / 2 + 2 * kU + d * d) * r);
    // What the backward pass takes for exact.
    const double m_given = centered ? static_cast<double>(mean[part]) : 0, r_given = rstd[part];
    const auto H = [&](std::size_t j) { return (X(j) - m_given) * r_given; };
    const auto G = [&](std::size_t j) { return static_cast<double>(dy[at + j]) * gamma[channel(j)]; };
    const double along = sum(n, [&](std::size_t j) { return G(j) * H(j); }) / count,
                 along_size = sum(n, [&](std::size_t j) { return std::fabs(G(j) * H(j)); }) / count,
                 offset = centered ? sum(n, G) / count : 0,
                 offset_size = centered ? sum(n, [&](std::size_t j) { return std::fabs(G(j)); }) / count : 0;
    for (std::size_t j = 0; j < static_cast<std::size_t>(n); ++j) {
      const std::size_t k = channel(j);
      const double g = gamma[k], h = (X(j) - m) * r, want = h * g + (centered ? beta[k] : 0);
      y_bound.check(y[at + j], want,
                    centered ? (s / 2 + 6 * kU) * std::fabs(h * g) + d * (1 + d * std::fabs(h)) * std::fabs(g) +
                                   kU * std::fabs(want)
                             : (s / 2 + 5 * kU) * std::fabs(want));
      dx_bound.check(dx[at + j], r_given * (G(j) - offset - H(j) * along),
                     (s + 8 * kU) * r_given * (std::fabs(G(j)) + offset_size + std::fabs(H(j)) * along_size));
      const double of_gamma = dy[at + j] * H(j), of_beta = dy[at + j];
      dgammas[k] += of_gamma, dgamma_sizes[k] += std::fabs(of_gamma);
      dbetas[k] += of_beta, dbeta_sizes[k] += std::fabs(of_beta);
    }
  }
  for (std::size_t k = 0; k < gamma.size(); ++k) {
    dgamma_bound.check(dgamma[k], dgammas[k], (c + 4 * kU) * dgamma_sizes[k]);
    if (centered) dbeta_bound.check(dbeta[k], dbetas[k], c * dbeta_sizes[k]);
  }
}

TEST(Errors, OfNormsOfRows) {
  for (const Data data : kData) {
    for (const auto [rows, cols] : kShapes)
      for (const bool centered : {false, true}) check_norms(rows, cols, 1, 1, centered, data);
    check_norms(64 * 512 + 100, 3, 1, 1, true, data);
    check_norms(9, 24, 2, 3, true, data);
    check_norms(70, 400, 4, 50, true, data);
  }
}

TEST(Errors, OfNormsOfColumns) {
  for (const auto [rows, cols] : {Shape{2, 3}, {64, 40}, {65, 17}, {700, 20}, {40000, 3}})
    for (const Data data : kData) {
      const std::string name = "batch_norm " + std::to_string(rows) + "x" + std::to_string(cols);
      Bound mean_bound(name + " mean"), rstd_bound(name + " rstd"), y_bound(name), inference_bound(name + " inference"),
          dx_bound(name + " dx"), dgamma_bound(name + " dgamma"), dbeta_bound(name + " dbeta"), prelu_bound("prelu"),
          total_bound("column_sums"), prelu_dx_bound("prelu dx"), dslope_bound("prelu dslope");
      const Floats x = numbers(rows * cols, 1, data), dy = numbers(rows * cols, 2, Data::plain);
      const Floats gamma = numbers(cols, 3, Data::plain), beta = numbers(cols, 4, Data::plain);
      Floats totals(gamma.size()), y(x.size()), dx(x.size()), inferred(x.size()), mean(gamma.size()),
          rstd(gamma.size()), variance(gamma.size()), dgamma(gamma.size()), dbeta(gamma.size()), bent(x.size()),
          bent_dx(x.size()), dslope(gamma.size()), single(1);
      column_sums(view(x, rows), totals);
      batch_norm(view(x, rows), gamma, beta, view(y, rows), mean, rstd);
      batch_norm_backward(view(x, rows), view(dy, rows), gamma, mean, rstd, view(dx, rows), dgamma, dbeta);
      for (std::size_t j = 0; j < variance.size(); ++j) variance[j] = 1 / (rstd[j] * rstd[j]);
      batch_norm_inference(view(x, rows), gamma, beta, mean, variance, view(inferred, rows));
      prelu(view(x, rows), gamma, view(bent, rows));
      prelu_backward(view(x, rows), view(dy, rows), gamma, view(bent_dx, rows), dslope);
      prelu_backward(view(x, rows), view(dy, rows), Floats{0.25F}, {}, single);
      const double m = static_cast<double>(rows), c = c_of(rows), k = (std::min(m, 512.0) + m / 512 + 4) * kU;
      double all_slopes = 0, all_sizes = 0;
      for (std::size_t j = 0; j < gamma.size(); ++j) {
        const auto at = [&](std::size_t i) { return i * gamma.size() + j; };
        const auto X = [&](std::size_t i) { return static_cast<double>(x[at(i)]); };
        const auto D = [&](std::size_t i) { return static_cast<double>(dy[at(i)]); };
        const auto H = [&](std::size_t i) { return (X(i) - mean[j]) * rstd[j]; };
        const double size = sum(rows, [&](std::size_t i) { return std::fabs(X(i)); }) / m, center = sum(rows, X) / m;
        const double v = sum(rows, [&](std::size_t i) { return (X(i) - center) * (X(i) - center); }) / m;
        const double r = 1 / std::sqrt(v + 1e-5), d = k * r * size, g = gamma[j], r_given = rstd[j];
        const double inverse = 1 / std::sqrt(static_cast<double>(variance[j]) + 1e-5);
        total_bound.check(totals[j], center * m, (k - 2 * kU) * size * m);
        mean_bound.check(mean[j], center, k * size);
        rstd_bound.check(r_given, r, (c / 2 + 3 * kU + d * d) * r);
        const double along = sum(rows, [&](std::size_t i) { return D(i) * H(i); }),
                     along_size = sum(rows, [&](std::size_t i) { return std::fabs(D(i) * H(i)); }), all = sum(rows, D),
                     all_size = sum(rows, [&](std::size_t i) { return std::fabs(D(i)); });
        dgamma_bound.check(dgamma[j], along, (c + 4 * kU) * along_size);
        dbeta_bound.check(dbeta[j], all, c * all_size);
        double slopes = 0, sizes = 0;
        for (std::size_t i = 0; i < static_cast<std::size_t>(rows); ++i) {
          const double h = (X(i) - center) * r, want = h * g + beta[j];
          y_bound.check(
              y[at(i)], want,
              (c / 2 + 6 * kU) * std::fabs(h * g) + d * (1 + d * std::fabs(h)) * std::fabs(g) + kU * std::fabs(want));
          const double given = (X(i) - mean[j]) * inverse * g, with_beta = given + beta[j];
          inference_bound.check(inferred[at(i)], with_beta, 4 * kU * std::fabs(given) + kU * std::fabs(with_beta));
          dx_bound.check(dx[at(i)], g * r_given * (D(i) - all / m - H(i) * along / m),
                         (c + 8 * kU) * std::fabs(g) * r_given *
                             (std::fabs(D(i)) + all_size / m + std::fabs(H(i)) * along_size / m));
          const double slope = X(i) > 0 ? 1 : g;
          prelu_bound.check(bent[at(i)], X(i) * slope, kU * std::fabs(X(i) * slope));
          prelu_dx_bound.check(bent_dx[at(i)], D(i) * slope, kU * std::fabs(D(i) * slope));
          if (X(i) <= 0) slopes += X(i) * D(i), sizes += std::fabs(X(i) * D(i));
        }
        dslope_bound.check(dslope[j], slopes, (c + 2 * kU) * sizes);
        all_slopes += slopes, all_sizes += sizes;
      }
      dslope_bound.check(single[0], all_slopes, (c + s_of(cols) + 2 * kU) * all_sizes);
    }
}

// ---- losses

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
double sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }
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
  for (const Shape shape : kShapes)
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

// ---- updates

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
