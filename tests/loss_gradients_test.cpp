// SPDX-License-Identifier: MIT
// The gradients of losses against differences of their formulas in double.
#include <numeric>

#include "tests/differences.hpp"
#include "tests/reference.hpp"

namespace tilewright {
namespace {

using namespace test;

using Value = std::function<double(const Table&)>;

/// The library's gradient by x against differences of `value`, a function of x in double; the value itself, too.
void check_loss(const char* name, double got, MatrixView<const float> gradient, MatrixView<const float> at,
                const Value& value) {
  Table x = table(at);
  EXPECT_NEAR(got, value(x), 1e-5 * std::max(1.0, std::fabs(got))) << name;
  Numbers want;
  for (double& v : x.values) want.push_back(derivative(v, [&] { return value(x); }));
  const Matrix<float> dense(gradient);
  expect_near(dense.span(), want, name);
}

TEST(LossGradients, OfElements) {
  const Index rows = 5, cols = 6;
  const Matrix<float> x = input(rows, cols);
  Matrix<float> target(rows, cols), p(rows, cols), signs(rows, cols), weight(rows, cols), dx(rows, cols);
  fill_uniform(target.span(), {5, 1}, 0.1F, 0.9F);
  fill_uniform(p.span(), {5, 2}, 0.1F, 0.9F);
  fill_uniform(weight.span(), {5, 3}, 0.5F, 2);
  for (Index k = 0; k < signs.size(); ++k) signs.data()[k] = k % 3 == 0 ? -1.0F : 1.0F;
  // Away from the corners at |x - target| = 0 and 1.
  Matrix<float> z(rows, cols);
  for (Index k = 0; k < z.size(); ++k)
    z.data()[k] = target.data()[k] + std::array{0.3F, -0.6F, 1.5F, -1.7F, 0.05F}[static_cast<std::size_t>(k % 5)];
  const Table t = table(target), w = table(weight), s = table(signs);
  /// The mean of weighted losses of elements.
  const auto mean_of = [&](auto loss) {
    return [=](const Table& v) {
      double sum = 0;
      for (std::size_t k = 0; k < v.values.size(); ++k)
        sum += w.values[k] * loss(v.values[k], t.values[k], s.values[k]);
      return sum / static_cast<double>(v.values.size());
    };
  };
  const LossOptions options{.weight = weight};
  const auto check = [&](const char* name, const Matrix<float>& at, double got, auto loss) {
    check_loss(name, got, dx, at, mean_of(loss));
  };
  check("mse", x, mse_loss(x, target, dx, options), [](double a, double b, double) { return (a - b) * (a - b); });
  check("l1", z, l1_loss(z, target, dx, options), [](double a, double b, double) { return std::fabs(a - b); });
  check("smooth_l1", z, smooth_l1_loss(z, target, dx, 0.5, options), [](double a, double b, double) {
    const double d = std::fabs(a - b);
    return d < 0.5 ? d * d : d - 0.25;
  });
  check("huber", z, huber_loss(z, target, dx, 0.5, options), [](double a, double b, double) {
    const double d = std::fabs(a - b);
    return d <= 0.5 ? d * d / 2 : 0.5 * (d - 0.25);
  });
  check("bce", p, bce_loss(p, target, dx, options),
        [](double a, double b, double) { return -b * std::log(a) - (1 - b) * std::log1p(-a); });
  check("bce_with_logits", x, bce_with_logits_loss(x, target, dx, options), [](double a, double b, double) {
    return -b * std::log(test::logistic(a)) - (1 - b) * std::log(test::logistic(-a));
  });
  check("kl_div", x, kl_div_loss(x, target, dx, false, options),
        [](double a, double b, double) { return b * (std::log(b) - a); });
  check("kl_div of logs", x, kl_div_loss(x, target, dx, true, options),
        [](double a, double b, double) { return std::exp(b) * (b - a); });
  check("hinge_embedding", x, hinge_embedding_loss(x, signs, dx, 3, options),
        [](double a, double, double sign) { return sign > 0 ? a : std::max(0.0, 3 - a); });
  check("margin_ranking", z, margin_ranking_loss(z, target, signs, dx, 0.25, options),
        [](double a, double b, double sign) { return std::max(0.0, 0.25 - sign * (a - b)); });
  const std::vector<float> pos_weight = {0.5F, 1, 2, 3, 0.25F, 1.5F};
  check_loss("bce_with_logits, pos_weight", bce_with_logits_loss(x, target, dx, options, 0, pos_weight), dx, x,
             [&](const Table& v) {
               double sum = 0;
               for (std::size_t k = 0; k < v.values.size(); ++k)
                 sum += w.values[k] *
                        (-static_cast<double>(pos_weight[k % 6]) * t.values[k] * std::log(test::logistic(v.values[k])) -
                         (1 - t.values[k]) * std::log(test::logistic(-v.values[k])));
               return sum / 30;
             });
}

Numbers log_softmax(const Table& x, Index i) {
  Numbers row;
  double sum = 0;
  for (Index j = 0; j < x.cols; ++j) sum += std::exp(x(i, j));
  for (Index j = 0; j < x.cols; ++j) row.push_back(x(i, j) - std::log(sum));
  return row;
}

TEST(LossGradients, OfRows) {
  const Index rows = 6, cols = 5;
  const Matrix<float> x = input(rows, cols);
  Matrix<float> target(rows, cols), dx(rows, cols);
  fill_uniform(target.span(), {5, 1}, 0, 0.4F);
  const std::vector<Index> classes = {0, 4, 2, -100, 1, 4};
  const std::vector<float> weight = {0.5F, 1, 2, 0.75F, 1.5F};
  const double smoothing = 0.1;
  const ClassLossOptions options{.weight = weight, .label_smoothing = smoothing};
  const Table t = table(target);
  const auto w = [&](Index j) { return static_cast<double>(weight[static_cast<std::size_t>(j)]); };
  /// The sum over classes of target weight -log p of a row.
  const auto cross_entropy = [&](const Numbers& log_p, const std::function<double(Index)>& wanted) {
    double sum = 0;
    for (Index j = 0; j < cols; ++j)
      sum -= ((1 - smoothing) * wanted(j) + smoothing / static_cast<double>(cols)) * w(j) *
             log_p[static_cast<std::size_t>(j)];
    return sum;
  };
  const auto of_classes = [&](const Table& v) {
    double sum = 0, weights = 0;
    for (Index i = 0; i < rows; ++i) {
      const Index c = classes[static_cast<std::size_t>(i)];
      if (c < 0) continue;
      sum += cross_entropy(log_softmax(v, i), [&](Index j) { return j == c ? 1 : 0; });
      weights += w(c);
    }
    return sum / weights;
  };
  check_loss("cross_entropy", cross_entropy_loss(x, classes, dx, options), dx, x, of_classes);
  check_loss("cross_entropy of probabilities", cross_entropy_loss(x, target, dx, options), dx, x, [&](const Table& v) {
    double sum = 0;
    for (Index i = 0; i < rows; ++i) sum += cross_entropy(log_softmax(v, i), [&](Index j) { return t(i, j); });
    return sum / static_cast<double>(rows);
  });
  check_loss("nll", nll_loss(x, classes, dx, {.weight = weight}), dx, x, [&](const Table& v) {
    double sum = 0, weights = 0;
    for (Index i = 0; i < rows; ++i)
      if (const Index c = classes[static_cast<std::size_t>(i)]; c >= 0) sum -= w(c) * v(i, c), weights += w(c);
    return sum / weights;
  });

  // Logits x features^T of 3 features each.
  const Matrix<float> features = input(rows, 3), table_of_classes = input(cols, 3);
  Matrix<float> dfeatures(rows, 3), dclasses(cols, 3);
  const double value = linear_cross_entropy_loss(features, table_of_classes, classes, dfeatures, dclasses, options);
  const auto logits = [&](const Table& a, const Table& b) {
    Table v = a.like(cols);
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < cols; ++j)
        for (Index k = 0; k < 3; ++k) v(i, j) += a(i, k) * b(j, k);
    return v;
  };
  check_loss("linear_cross_entropy dx", value, dfeatures, features,
             [&](const Table& a) { return of_classes(logits(a, table(table_of_classes))); });
  check_loss("linear_cross_entropy dw", value, dclasses, table_of_classes,
             [&](const Table& b) { return of_classes(logits(table(features), b)); });

  const Matrix<float> y = Matrix<float>(target.view());
  const std::vector<float> signs = {1, -1, 1, -1, -1, 1};
  Matrix<float> dy(rows, cols);
  const double margin = -0.9;
  const double cosine = cosine_embedding_loss(x, y, signs, dx, dy, margin);
  const auto of_pairs = [&](const Table& a, const Table& b) {
    double sum = 0;
    for (Index i = 0; i < rows; ++i) {
      double ab = 0, aa = 1e-12, bb = 1e-12;
      for (Index j = 0; j < cols; ++j) ab += a(i, j) * b(i, j), aa += a(i, j) * a(i, j), bb += b(i, j) * b(i, j);
      const double cos = ab / std::sqrt(aa * bb);
      sum += signs[static_cast<std::size_t>(i)] > 0 ? 1 - cos : std::max(0.0, cos - margin);
    }
    return sum / static_cast<double>(rows);
  };
  check_loss("cosine_embedding dx", cosine, dx, x, [&](const Table& a) { return of_pairs(a, t); });
  check_loss("cosine_embedding dy", cosine, dy, y, [&](const Table& b) { return of_pairs(table(x), b); });
}

}  // namespace
}  // namespace tilewright
