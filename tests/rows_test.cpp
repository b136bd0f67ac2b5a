// SPDX-License-Identifier: MIT
// Functions of rows against formulas in double, their gradients against differences of those formulas, unusual rows,
// and the bits on any number of threads.
#include <functional>
#include <numeric>

#include "kernels/core/table.hpp"
#include "tests/support.hpp"

namespace tilewright {
namespace {

using test::Guarded;
using test::Hash;
using test::message_of;
using Row = std::vector<double>;
using Floats = std::vector<float>;

Floats uniform(Index n, std::uint64_t stream, float low = -1, float high = 1) {
  Floats v(static_cast<std::size_t>(n));
  fill_uniform(v, {11, stream}, low, high);
  return v;
}
Row wide(std::span<const float> v) { return {v.begin(), v.end()}; }
MatrixView<float> view(Floats& v, Index rows) { return {v.data(), rows, static_cast<Index>(v.size()) / rows}; }
MatrixView<const float> view(const Floats& v, Index rows) {
  return {v.data(), rows, static_cast<Index>(v.size()) / rows};
}

/// The derivative of sum(dy * f(x)) with respect to every x, by central differences in double.
Row differences(const std::function<Row(const Row&)>& f, Row x, const Row& dy) {
  Row dx(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double h = 1e-6, at = x[i];
    x[i] = at + h;
    const Row above = f(x);
    x[i] = at - h;
    const Row below = f(x);
    x[i] = at;
    for (std::size_t k = 0; k < dy.size(); ++k) dx[i] += dy[k] * (above[k] - below[k]) / (2 * h);
  }
  return dx;
}

void expect_near(std::span<const float> got, const Row& want, double tolerance, const char* what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (std::size_t i = 0; i < want.size(); ++i)
    ASSERT_NEAR(got[i], want[i], tolerance * (1 + std::fabs(want[i]))) << what << " [" << i << "]";
}

/// f on every row of x.
Row by_rows(const Row& x, std::size_t rows, const std::function<Row(const Row&)>& f) {
  Row y;
  const std::size_t n = x.size() / rows;
  for (std::size_t i = 0; i < rows; ++i) {
    const Row one = f(Row(x.begin() + i * n, x.begin() + (i + 1) * n));
    y.insert(y.end(), one.begin(), one.end());
  }
  return y;
}

double logsumexp_of(const Row& x) {
  const double m = *std::ranges::max_element(x);
  double sum = 0;
  for (const double v : x) sum += std::exp(v - m);
  return m + std::log(sum);
}
Row softmax_of(const Row& x) {
  const double all = logsumexp_of(x);
  Row y;
  for (const double v : x) y.push_back(std::exp(v - all));
  return y;
}
Row log_softmax_of(const Row& x) {
  const double all = logsumexp_of(x);
  Row y;
  for (const double v : x) y.push_back(v - all);
  return y;
}

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

TEST(Rows, SoftmaxAndGradientsMatchReference) {
  for (const Index cols : {1, 2, 7, 16, 33, 100, 261}) {
    const Index rows = 3;
    const Floats x = uniform(rows * cols, 1, -6, 6), dy = uniform(rows * cols, 2);
    Floats y(x.size()), dx(x.size()), sums(rows);
    softmax(view(x, rows), view(y, rows));
    const auto all = [&](Row (*f)(const Row&)) { return [=](const Row& v) { return by_rows(v, rows, f); }; };
    expect_near(y, all(softmax_of)(wide(x)), 1e-6, "softmax");
    softmax_backward(view(y, rows), view(dy, rows), view(dx, rows));
    expect_near(dx, differences(all(softmax_of), wide(x), wide(dy)), 2e-6, "softmax_backward");
    log_softmax(view(x, rows), view(y, rows));
    expect_near(y, all(log_softmax_of)(wide(x)), 1e-6, "log_softmax");
    log_softmax_backward(view(y, rows), view(dy, rows), view(dx, rows));
    expect_near(dx, differences(all(log_softmax_of), wide(x), wide(dy)), 4e-6, "log_softmax_backward");
    row_logsumexp(view(x, rows), sums);
    expect_near(sums, by_rows(wide(x), rows, [](const Row& r) { return Row{logsumexp_of(r)}; }), 1e-6, "logsumexp");
  }
}

TEST(Rows, SoftmaxWithinPublishedError) {
  for (const Index cols : {1, 10, 1000, 50257}) {
    Floats x = uniform(cols, 7, -30, 30), y(x.size());
    const Row want = softmax_of(wide(x));
    softmax(view(x, 1), view(y, 1));
    const double largest = *std::ranges::max_element(x);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double bound = (largest - x[i] + static_cast<double>(cols) / 64 + 24) * 0x1p-24;
      ASSERT_NEAR(y[i], want[i], bound * want[i]) << cols << " [" << i << "]";
    }
  }
}

TEST(Rows, UnusualRowsOfSoftmax) {
  const float inf = INFINITY;
  const auto run = [](Floats x, auto f) {
    f(view(x, 1), view(x, 1), 1);
    return x;
  };
  EXPECT_EQ(run({-inf, 0, 0, -inf}, softmax), (Floats{0, 0.5F, 0.5F, 0}));
  EXPECT_EQ(run({42}, softmax), Floats{1});
  EXPECT_EQ(run({42}, log_softmax), Floats{0});
  EXPECT_EQ(run({-inf, 3}, log_softmax), (Floats{-inf, 0}));
  EXPECT_EQ(run({3e38F, -3e38F, 3e38F}, softmax), (Floats{0.5F, 0, 0.5F}));
  for (const Floats& bad : {Floats{-inf, -inf}, Floats{1, inf}, Floats{1, NAN, 2}})
    for (const float v : run(bad, softmax)) EXPECT_TRUE(std::isnan(v));
  for (const Floats& bad : {Floats{-inf, -inf}, Floats{NAN, 2}})
    for (const float v : run(bad, log_softmax)) EXPECT_TRUE(std::isnan(v));
  const auto logsumexp = [](Floats x) {
    Floats out(1);
    row_logsumexp(MatrixView<const float>(x.data(), 1, static_cast<Index>(x.size())), out);
    return out[0];
  };
  EXPECT_EQ(logsumexp({-inf, -inf}), -inf);
  EXPECT_EQ(logsumexp({1, inf}), inf);
  EXPECT_EQ(logsumexp({}), -inf);
  EXPECT_TRUE(std::isnan(logsumexp({1, NAN})));
}

TEST(Rows, SumsAndExtremes) {
  for (const Index cols : {1, 5, 16, 31, 64, 1000, 4097, 20000}) {
    const Index rows = 4;
    Floats x = uniform(rows * cols, 3, 0, 2), out(rows);
    std::vector<Index> at(rows);
    for (std::size_t i = 0; i < 4; ++i) x[i * cols + (i * 7919) % cols] = 5;  // the largest
    const auto each = [&](auto f) { return by_rows(wide(x), rows, [&](const Row& r) { return Row{f(r)}; }); };
    const auto sum = [](const Row& r) { return std::accumulate(r.begin(), r.end(), 0.0); };
    const double n = static_cast<double>(cols);
    row_sum(view(x, rows), out);
    expect_near(out, each(sum), 1e-6, "row_sum");
    row_mean(view(x, rows), out);
    expect_near(out, each([&](const Row& r) { return sum(r) / n; }), 1e-6, "row_mean");
    row_max(view(x, rows), out);
    expect_near(out, Row(4, 5), 0, "row_max");
    row_argmax(view(x, rows), at);
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(at[i], static_cast<Index>((i * 7919) % cols));
    for (const double correction : {0.0, 1.0}) {
      row_variance(view(x, rows), out, correction);
      const Row want = each([&](const Row& r) {
        const double mean = sum(r) / n;
        double squares = 0;
        for (const double v : r) squares += (v - mean) * (v - mean);
        return squares / (n - correction);
      });
      for (std::size_t i = 0; i < 4; ++i) {
        if (cols == 1 && correction == 1)
          EXPECT_TRUE(std::isnan(out[i]));
        else
          EXPECT_NEAR(out[i], want[i], 1e-6 * (1 + want[i])) << cols;
      }
    }
  }
  Floats odd = {1, NAN, 7, NAN}, out(1);
  std::vector<Index> at(1);
  row_argmax(view(odd, 1), at);
  EXPECT_EQ(at[0], 1);
  row_max(view(odd, 1), out);
  EXPECT_TRUE(std::isnan(out[0]));
  Floats equal(40, 2.0F);
  row_argmax(view(equal, 1), at);
  EXPECT_EQ(at[0], 0);
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

TEST(Rows, NormsMatchReference) {
  for (const Index cols : {2, 3, 16, 37, 128}) {
    check_norm(3, cols, 1, 1, true);
    check_norm(3, cols, 1, 1, false);
  }
  check_norm(70, 5, 1, 1, true);  // more than a block of rows
  check_norm(2, 6, 3, 1, true);
  check_norm(2, 6, 2, 5, true);
  check_norm(66, 4, 4, 3, true);
}

TEST(Rows, NormsTakeWhatIsMissing) {
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

TEST(Rows, BatchNormMatchesReference) {
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

TEST(Rows, PreluMatchesReference) {
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

/// Everything that sums, on so many rows.
std::uint64_t hash_of_all(Index rows, Index cols, int threads, Guarded<float>::Order order) {
  Guarded<float> x(rows, cols, order), dy(rows, cols, order), y(rows, cols, order), dx(rows, cols, order);
  x.fill_uniform(1, -5, 5);
  dy.fill_uniform(2);
  const auto dirty = [](Index n) { return Floats(static_cast<std::size_t>(n), NAN); };  // all are overwritten
  Floats gamma = uniform(cols, 3), mean = dirty(rows), rstd = dirty(rows), dgamma = dirty(cols), dbeta = dirty(cols),
         columns = dirty(cols), more = dirty(cols);
  Hash hash;
  const auto keep = [&] { hash.add<float>(y.view()).add<float>(dx.view()); };
  softmax(x, y, threads);
  softmax_backward(y, dy, dx, threads);
  keep();
  log_softmax(x, y, threads);
  log_softmax_backward(y, dy, dx, threads);
  keep();
  row_logsumexp(x, mean, threads);
  hash.add(mean);
  row_variance(x, mean, 1, threads);
  hash.add(mean);
  layer_norm(x, gamma, gamma, y, mean, rstd, 1e-5, threads);
  layer_norm_backward(x, dy, gamma, mean, rstd, dx, dgamma, dbeta, threads);
  keep();
  hash.add(dgamma).add(dbeta);
  batch_norm(x, gamma, gamma, y, columns, more, 1e-5, {}, threads);
  batch_norm_backward(x, dy, gamma, columns, more, dx, dgamma, dbeta, threads);
  keep();
  hash.add(dgamma).add(dbeta);
  prelu_backward(x, dy, gamma, dx, dgamma, threads);
  hash.add(dgamma);
  EXPECT_TRUE(x.padding_intact() && y.padding_intact() && dx.padding_intact());
  return hash.value();
}

TEST(Rows, BitsDoNotDependOnThreads) {
  const auto order = Guarded<float>::Order::row_major;
  const std::uint64_t narrow = hash_of_all(3000, 10, 1, order), broad = hash_of_all(150, 777, 1, order);
  const std::uint64_t long_rows = hash_of_all(60, 9001, 1, order);  // of which threads share the columns
  for (const int threads : test::kThreadCounts) {
    EXPECT_EQ(hash_of_all(60, 9001, threads, order), long_rows) << threads;
    EXPECT_EQ(hash_of_all(3000, 10, threads, order), narrow) << threads;
    EXPECT_EQ(hash_of_all(150, 777, threads, order), broad) << threads;
  }
  if (active_isa() != Isa::sse2) {
    EXPECT_EQ(narrow, 14238092025818040550U);
    EXPECT_EQ(broad, 9099608127066711091U);
  }
}

/// A row alone gives what it gives inside many, and every length leaves its surroundings as they are.
TEST(Rows, TailsStayInside) {
  const auto order = Guarded<float>::Order::row_major;
  for (Index cols = 1; cols <= 70; ++cols) hash_of_all(2, cols, 1, order);
  Guarded<float> x(5, 45, order), y(5, 45, order), one(1, 45, order);
  x.fill_uniform(1, -5, 5);
  softmax(x, y);
  softmax(x.view().row(3), one);
  for (Index j = 0; j < 45; ++j) EXPECT_EQ(one(0, j), y(3, j));
}

TEST(Rows, Errors) {
  Matrix<float> x(2, 6), y(6, 2), z(2, 6);
  Floats two(2), six(6), none;
  std::vector<Index> at(2);
  EXPECT_EQ(message_of<ShapeError>([&] { softmax(x, y); }), "softmax: y is 6x2 but x is 2x6");
  EXPECT_EQ(message_of<ShapeError>([&] { softmax(y.t(), z); }),
            "softmax: columns of x must be neighbours (col_stride 1)");
  EXPECT_EQ(message_of<ShapeError>([&] { row_sum(x, six); }), "row_sum: out has 6 elements, expected 2 (x is 2x6)");
  EXPECT_EQ(message_of<ShapeError>([&] { row_argmax(MatrixView<const float>(x.data(), 2, 0), at); }),
            "row_argmax: x is 2x0: rows must not be empty");
  EXPECT_EQ(message_of<ShapeError>([&] { layer_norm(x, two, six, z, two, two); }),
            "layer_norm: gamma has 2 elements, expected 6 (x is 2x6)");
  EXPECT_EQ(message_of<ShapeError>([&] { layer_norm_backward(x, z, six, two, none, z, six, six); }),
            "layer_norm_backward: rstd has 0 elements, expected 2 (x is 2x6)");
  EXPECT_EQ(message_of<ValueError>([&] { rms_norm(x, six, z, two, NAN); }),
            "rms_norm: eps is nan, expected a finite number >= 0");
  EXPECT_EQ(message_of<ShapeError>([&] {
              group_norm(x, {3, 2}, six, six, z, two, two);
            }),
            "group_norm: x has rows of 6 elements with 3 channels in 2 groups: they must divide each other");
  Matrix<float> none_wide(2, 0);
  EXPECT_EQ(message_of<ShapeError>([&] {
              group_norm(none_wide, {2, 1}, two, two, none_wide, two, two);
            }),
            "group_norm: x has rows of 0 elements with 2 channels in 1 groups: they must divide each other");
  EXPECT_EQ(message_of<ShapeError>([&] {
              std::vector<float> a(6), b(6), c(6), d(6);
              batch_norm(x.row_block(0, 1), six, six, z.row_block(0, 1), a, b, 1e-5, {c, d, 0.1});
            }),
            "batch_norm: x is 1x6: too few rows for a mean and a variance");
  EXPECT_EQ(message_of<ValueError>([&] { row_variance(x, two, -1); }),
            "row_variance: correction is -1.000000, expected a finite number >= 0");
  EXPECT_EQ(message_of<ShapeError>([&] { prelu(x, two, z); }), "prelu: slope has 2 elements, expected 6 (x is 2x6)");
}

/// More blocks of rows than one chain adds.
TEST(Rows, ColumnTotalsOfManyRows) {
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

/// Short rows are computed a register of rows at a time, with the bits of each row alone.
TEST(Rows, NarrowRowsAreThoseOfEachRowAlone) {
  const detail::RowKernels& kernels = detail::active_table().rows;
  if (kernels.norm_narrow == nullptr) GTEST_SKIP() << to_string(active_isa()) << " computes each row alone";
  for (Index n = 1; n <= detail::kNarrow; ++n)
    for (const Index rows : {1, 2, 7, 8, 9, 16, 35})
      for (const bool centered : {false, true}) {
        Matrix<float> x = test::random_matrix<float>(rows, n + 3, static_cast<std::uint64_t>(n * 100 + rows));
        x(0, 0) = -0.0F;
        if (rows > 7) {
          x(3, n / 2) = NAN;
          x(4, n - 1) = INFINITY;
          for (Index j = 0; j < n; ++j) x(5, j) = -0.0F;
          for (Index j = 0; j < n; ++j) x(6, j) = 1e30F;
        }
        const Matrix<float> scale = test::random_matrix<float>(2, n, 3);
        Matrix<float> y(rows, n + 5), want(rows, n + 5), numbers(2, 2 * rows), wanted(2, 2 * rows);
        detail::NormRows t{
            x.data(), &scale(0, 0), &scale(1, 0), y.data(), &numbers(0, 0), &numbers(1, 0), n + 3, n + 5, 2, rows,
            n,        centered,     1e-5};
        kernels.norm_narrow(t);
        t.y = want.data(), t.mean = &wanted(0, 0), t.rstd = &wanted(1, 0);
        kernels.norm(t);
        const auto same = [](float a, float b) {
          return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (std::isnan(a) && std::isnan(b));
        };
        ASSERT_TRUE(std::ranges::equal(y.span(), want.span(), same)) << n << " " << rows << " " << centered;
        ASSERT_TRUE(std::ranges::equal(numbers.span(), wanted.span(), same)) << n << " " << rows << " " << centered;
        kernels.softmax_narrow({x.data(), y.data(), n + 3, n + 5, rows, n});
        for (Index i = 0; i < rows; ++i) kernels.softmax(&x(i, 0), &want(i, 0), n);
        ASSERT_TRUE(std::ranges::equal(y.span(), want.span(), same)) << n << " " << rows;
        kernels.log_softmax_narrow({x.data(), y.data(), n + 3, n + 5, rows, n});
        for (Index i = 0; i < rows; ++i) kernels.log_softmax(&x(i, 0), &want(i, 0), n);
        ASSERT_TRUE(std::ranges::equal(y.span(), want.span(), same)) << n << " " << rows;
      }
}

}  // namespace
}  // namespace tilewright
