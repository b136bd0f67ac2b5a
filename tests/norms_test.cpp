// SPDX-License-Identifier: MIT
// Norms and prelu against formulas in double, their gradients against differences of those formulas.
#include <numeric>

#include "tests/row_reference.hpp"

namespace tilewright {
namespace {

using namespace test;

/// (x - mean) / sqrt(variance + eps) over all of x; not centered: x / sqrt(mean square + eps).
Row normal_of(const Row& x, bool centered = true, double eps = 1e-5) {
  const double n = static_cast<double>(x.size());
  const double mean = centered ? std::accumulate(x.begin(), x.end(), 0.0) / n : 0;
  double squares = 0;
  for (const double v : x) squares += (v - mean) * (v - mean);
  Row y;
  for (const double v : x) y.push_back((v - mean) / std::sqrt(squares / n + eps));
  return y;
}
/// Layer, rms and group norm are one function of this shape.
void check_norm(Index rows, Index channels, Index groups, Index size, bool centered) {
  const Index cols = channels * size, n = cols / groups;
  const Floats x = uniform(rows * cols, 4, -2, 3), dy = uniform(rows * cols, 5);
  const Floats gamma = uniform(channels, 6, 0.5, 2), beta = uniform(channels, 7);
  Floats y(x.size()), dx(x.size()), mean(rows * groups), rstd(rows * groups), dgamma(channels), dbeta(channels);
  const bool rms = !centered, group = groups > 1 || size > 1;
  const auto formula = [&](const Row& v, const Row& g, const Row& b) {
    Row all = by_rows(v, rows * groups, [&](const Row& r) { return normal_of(r, centered); });
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::size_t c = i % cols / size;
      all[i] = all[i] * g[c] + (rms ? 0 : b[c]);
    }
    return all;
  };
  const Groups shape{channels, groups};
  if (rms) {
    rms_norm(view(x, rows), gamma, view(y, rows), rstd);
    rms_norm_backward(view(x, rows), view(dy, rows), gamma, rstd, view(dx, rows), dgamma);
  } else if (group) {
    group_norm(view(x, rows), shape, gamma, beta, view(y, rows), mean, rstd);
    group_norm_backward(view(x, rows), view(dy, rows), shape, gamma, mean, rstd, view(dx, rows), dgamma, dbeta);
  } else {
    layer_norm(view(x, rows), gamma, beta, view(y, rows), mean, rstd);
    layer_norm_backward(view(x, rows), view(dy, rows), gamma, mean, rstd, view(dx, rows), dgamma, dbeta);
  }
  const Row wx = wide(x), wg = wide(gamma), wb = wide(beta), wdy = wide(dy);
  // A row of one element is 0 whatever it is, with derivatives of 1 / sqrt(eps) to cancel.
  const double tolerance = n == 1 ? 1e-4 : n <= 3 ? 2e-5 : 5e-6;
  expect_near(y, formula(wx, wg, wb), tolerance, "y");
  expect_near(dx, differences([&](const Row& v) { return formula(v, wg, wb); }, wx, wdy), 20 * tolerance, "dx");
  expect_near(dgamma, differences([&](const Row& v) { return formula(wx, v, wb); }, wg, wdy), 10 * tolerance, "dgamma");
  if (!rms)
    expect_near(dbeta, differences([&](const Row& v) { return formula(wx, wg, v); }, wb, wdy), tolerance, "dbeta");
}

TEST(Norms, MatchReference) {
  for (const Index cols : {2, 3, 16, 37, 128}) {
    check_norm(3, cols, 1, 1, true);
    check_norm(3, cols, 1, 1, false);
  }
  check_norm(70, 5, 1, 1, true);  // more than a block of rows
  check_norm(2, 6, 3, 1, true);
  check_norm(2, 6, 2, 5, true);
  check_norm(66, 4, 4, 3, true);
}

TEST(Norms, TakeWhatIsMissing) {
  const Index rows = 2, cols = 19;
  const Floats x = uniform(rows * cols, 4), ones(cols, 1.0F), zeros(cols);
  Floats y(x.size()), other(x.size()), mean(rows), rstd(rows), dx(x.size());
  layer_norm(view(x, rows), {}, {}, view(y, rows), {}, {});
  layer_norm(view(x, rows), ones, zeros, view(other, rows), mean, rstd);
  EXPECT_EQ(y, other);
  layer_norm(view(x, rows), {}, zeros, view(other, rows), {}, {});
  EXPECT_EQ(y, other);
  layer_norm_backward(view(x, rows), view(y, rows), {}, mean, rstd, view(dx, rows), {}, {});
  layer_norm_backward(view(x, rows), view(y, rows), ones, mean, rstd, view(other, rows), {}, {});
  EXPECT_EQ(dx, other);
  Floats dbeta(cols);
  layer_norm_backward(view(x, rows), view(y, rows), {}, mean, rstd, {}, {}, dbeta);
  for (std::size_t j = 0; j < dbeta.size(); ++j) EXPECT_EQ(dbeta[j], y[j] + y[j + cols]);
}

TEST(Norms, BatchNormMatchesReference) {
  for (const Index rows : {2, 5, 64, 131}) {
    const Index cols = 21;
    const Floats x = uniform(rows * cols, 4, -2, 3), dy = uniform(rows * cols, 5);
    const Floats gamma = uniform(cols, 6, 0.5, 2), beta = uniform(cols, 7);
    Floats y(x.size()), dx(x.size()), mean(cols), rstd(cols), dgamma(cols), dbeta(cols), inferred(x.size());
    Floats running_mean(cols, 1.0F), running_variance(cols, 1.0F);
    const auto formula = [&](const Row& v, const Row& g, const Row& b) {
      Row all(v.size());
      for (std::size_t j = 0; j < static_cast<std::size_t>(cols); ++j) {
        Row column;
        for (std::size_t i = 0; i < static_cast<std::size_t>(rows); ++i) column.push_back(v[i * cols + j]);
        const Row normal = normal_of(column);
        for (std::size_t i = 0; i < normal.size(); ++i) all[i * cols + j] = normal[i] * g[j] + b[j];
      }
      return all;
    };
    batch_norm(view(x, rows), gamma, beta, view(y, rows), mean, rstd, 1e-5, {running_mean, running_variance, 0.25});
    batch_norm_backward(view(x, rows), view(dy, rows), gamma, mean, rstd, view(dx, rows), dgamma, dbeta);
    const Row wx = wide(x), wg = wide(gamma), wb = wide(beta), wdy = wide(dy);
    expect_near(y, formula(wx, wg, wb), 1e-5, "y");
    if (rows < 100) expect_near(dx, differences([&](const Row& v) { return formula(v, wg, wb); }, wx, wdy), 5e-4, "dx");
    expect_near(dgamma, differences([&](const Row& v) { return formula(wx, v, wb); }, wg, wdy), 1e-4, "dgamma");
    expect_near(dbeta, differences([&](const Row& v) { return formula(wx, wg, v); }, wb, wdy), 1e-5, "dbeta");
    Floats variance(cols);
    for (std::size_t j = 0; j < variance.size(); ++j) {
      variance[j] = 1 / (rstd[j] * rstd[j]) - 1e-5F;
      EXPECT_NEAR(running_mean[j], 0.75 + 0.25 * mean[j], 1e-6);
      const double unbiased = variance[j] * static_cast<double>(rows) / (static_cast<double>(rows) - 1);
      EXPECT_NEAR(running_variance[j], 0.75 + 0.25 * unbiased, 1e-5);
    }
    batch_norm_inference(view(x, rows), gamma, beta, mean, variance, view(inferred, rows));
    expect_near(inferred, wide(y), 2e-5, "inference");
  }
}

TEST(Norms, PreluMatchesReference) {
  const Index rows = 70, cols = 13;
  const Floats x = uniform(rows * cols, 4), dy = uniform(rows * cols, 5);
  for (const Index slopes : {Index{1}, cols}) {
    const Floats slope = uniform(slopes, 6, 0.1F, 0.5F);
    Floats y(x.size()), dx(x.size()), dslope(slope.size());
    prelu(view(x, rows), slope, view(y, rows));
    prelu_backward(view(x, rows), view(dy, rows), slope, view(dx, rows), dslope);
    Row want(dslope.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t j = slopes == 1 ? 0 : i % cols;
      EXPECT_EQ(y[i], x[i] > 0 ? x[i] : x[i] * slope[j]);
      EXPECT_EQ(dx[i], x[i] > 0 ? dy[i] : dy[i] * slope[j]);
      if (x[i] <= 0) want[j] += static_cast<double>(x[i]) * dy[i];
    }
    expect_near(dslope, want, 1e-5, "dslope");
  }
}
/// More blocks of rows than one chain adds.
TEST(Norms, ColumnTotalsOfManyRows) {
  const Index rows = 64 * 512 + 100, cols = 3;
  const Matrix<float> x = test::random_matrix<float>(rows, cols, 1), dy = test::random_matrix<float>(rows, cols, 2);
  Matrix<float> y(rows, cols), dx(rows, cols);
  const Floats ones(3, 1.0F);
  Floats mean(static_cast<std::size_t>(rows)), rstd = mean, dgamma(3), dbeta(3);
  layer_norm(x, ones, {}, y, mean, rstd);
  layer_norm_backward(x, dy, ones, mean, rstd, dx, dgamma, dbeta);
  for (Index j = 0; j < cols; ++j) {
    double gamma = 0, beta = 0;
    for (Index i = 0; i < rows; ++i) {
      gamma += static_cast<double>(dy(i, j)) * static_cast<double>(y(i, j));
      beta += static_cast<double>(dy(i, j));
    }
    EXPECT_NEAR(dgamma[static_cast<std::size_t>(j)], gamma, 1e-2) << j;
    EXPECT_NEAR(dbeta[static_cast<std::size_t>(j)], beta, 1e-2) << j;
  }
}
/// Gradients in place, over either operand, and one at a time are those of the whole, however rows are grouped and
/// passed over.
TEST(Norms, GradientsInPlaceAndInPartsAreTheSame) {
  for (const Index n : {7, 16, 100, 300, 832, 833, 1024, 4096, 4097})
    for (const Index rows : {1, 5, 16, 37}) {
      const auto x = test::random_matrix<float>(rows, n, 1), dy = test::random_matrix<float>(rows, n, 2);
      const Floats gamma = uniform(n, 3), beta = uniform(n, 4);
      Floats mean(static_cast<std::size_t>(rows)), rstd = mean;
      Matrix<float> y(rows, n), dx(rows, n);
      layer_norm(x, gamma, beta, y, mean, rstd);
      Floats dgamma(static_cast<std::size_t>(n)), dbeta = dgamma;
      layer_norm_backward(x, dy, gamma, mean, rstd, dx, dgamma, dbeta);
      const auto with_copies = [&](auto&& call) {
        Matrix<float> over_x = x, over_dy = dy;
        Floats other_gamma(dgamma.size()), other_beta = other_gamma;
        call(over_x, over_dy, other_gamma, other_beta);
      };
      const std::uint64_t want = test::hash_of<float>(dx);
      with_copies([&](Matrix<float>& a, Matrix<float>& b, Floats& g, Floats& h) {
        layer_norm_backward(a, b, gamma, mean, rstd, a, g, h);
        ASSERT_EQ(test::hash_of<float>(a), want) << rows << "x" << n;
        ASSERT_TRUE(g == dgamma && h == dbeta) << rows << "x" << n;
      });
      with_copies([&](Matrix<float>& a, Matrix<float>& b, Floats& g, Floats& h) {
        layer_norm_backward(a, b, gamma, mean, rstd, b, g, h);
        ASSERT_EQ(test::hash_of<float>(b), want) << rows << "x" << n;
        ASSERT_TRUE(g == dgamma && h == dbeta) << rows << "x" << n;
      });
      with_copies([&](Matrix<float>& a, Matrix<float>& b, Floats& g, Floats& h) {
        layer_norm_backward(a, b, gamma, mean, rstd, b, {}, {});
        ASSERT_EQ(test::hash_of<float>(b), want) << rows << "x" << n;
        layer_norm_backward(x, dy, gamma, mean, rstd, {}, g, {});
        layer_norm_backward(x, dy, gamma, mean, rstd, {}, {}, h);
        ASSERT_TRUE(g == dgamma && h == dbeta) << rows << "x" << n;
      });
      layer_norm(x, gamma, beta, dx, {}, {});
      with_copies([&](Matrix<float>& a, Matrix<float>&, Floats&, Floats&) {
        layer_norm(a, gamma, beta, a, {}, {});
        ASSERT_EQ(test::hash_of<float>(a), test::hash_of<float>(dx)) << rows << "x" << n;
      });
    }
}

/// Few rows of several groups, which threads would share by columns if they were one.
TEST(Norms, GroupsHaveTheBitsOfOneThread) {
  const Index rows = 30, channels = 12, size = 500, cols = channels * size;
  const Floats x = uniform(rows * cols, 1), dy = uniform(rows * cols, 2), gamma = uniform(channels, 3);
  const auto hash = [&](int threads) {
    Floats y(x.size()), dx(x.size()), mean(static_cast<std::size_t>(rows * 3)), rstd = mean, dgamma(gamma.size()),
                                                                                dbeta(gamma.size());
    group_norm(view(x, rows), {channels, 3}, gamma, gamma, view(y, rows), mean, rstd, 1e-5, threads);
    group_norm_backward(view(x, rows), view(dy, rows), {channels, 3}, gamma, mean, rstd, view(dx, rows), dgamma, dbeta,
                        threads);
    return Hash().add(y).add(dx).add(dgamma).add(dbeta).value();
  };
  const std::uint64_t want = hash(1);
  for (const int threads : kThreadCounts) EXPECT_EQ(hash(threads), want) << threads;
}

}  // namespace
}  // namespace tilewright
