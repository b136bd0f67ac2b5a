// SPDX-License-Identifier: MIT
// The errors that rows.hpp publishes, and those of column_sums and norm, against the same formulas in double.
#include "tests/errors.hpp"

namespace tilewright {
namespace {

using namespace test;

double c_of(Index m) {
  const double rows = static_cast<double>(m);
  return (std::min(rows, 64.0) + std::min(rows / 64, 512.0) + rows / 32768 + 6) * kU;
}

TEST(Errors, OfSoftmax) {
  Bound y_bound("softmax"), dx_bound("softmax_backward"), log_bound("log_softmax"),
      log_dx_bound("log_softmax_backward"), lse_bound("row_logsumexp"), lse_dx_bound("row_logsumexp_backward");
  for (const auto [rows, cols] : kShapes)
    for (const Data data : {Data::plain, Data::positive, Data::far}) {
      Floats x = numbers(rows * cols, 1, data);
      for (float& v : x) v = data == Data::positive ? v * 25 : v;  // some exponentials are tiny
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
  for (const auto [rows, cols] : {RowShape{2, 3}, {64, 40}, {65, 17}, {700, 20}, {40000, 3}})
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

}  // namespace
}  // namespace tilewright
