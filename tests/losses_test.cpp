// SPDX-License-Identifier: MIT
// Losses and updates against references in double.
#include <algorithm>
#include <array>

#include "tests/support.hpp"

namespace tilewright {
namespace {

using test::Guarded;
using test::Hash;
using test::message_of;
using Order = Guarded<float>::Order;
constexpr double kEps = 1.2e-7;

double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }
double logistic(double x) { return 1 / (1 + std::exp(-x)); }

TEST(Losses, MseMatchesReference) {
  for (const auto [rows, cols] : {std::array<Index, 2>{1, 1}, {100, 1}, {7, 9}, {64, 64}, {65, 127}, {300, 301}})
    for (const auto order : {Order::row_major, Order::column_major, Order::both_strided}) {
      Guarded<float> x(rows, cols, order), t(rows, cols, order), dx(rows, cols, order);
      x.fill_uniform(1, -3, 3);
      t.fill_uniform(2);
      const double value = mse_loss(x.view(), t.view(), dx.view());
      double sum = 0;
      const double n = static_cast<double>(rows * cols);
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < cols; ++j) {
          const double d = static_cast<double>(x(i, j)) - static_cast<double>(t(i, j));
          sum += d * d;
          ASSERT_NEAR(dx(i, j), 2 * d / n, 3 * kEps * std::fabs(2 * d / n) + 1e-30);
        }
      // Within a block of 4096 each of 64 lanes adds 64 terms and six foldings follow.
      EXPECT_NEAR(value, sum / n, 72 * kEps * sum / n);
      EXPECT_TRUE(dx.padding_intact());
      EXPECT_EQ(mse_loss(x.view(), t.view(), {}), value);
    }
}

TEST(Losses, BceWithLogitsMatchesReferenceAndKeepsItsDigits) {
  Guarded<float> x(41, 53, Order::row_major), t(41, 53, Order::row_major), dx(41, 53, Order::row_major);
  x.fill_uniform(1, -30, 30);
  t.fill_uniform(2, 0, 1);
  const double value = bce_with_logits_loss(x.view(), t.view(), dx.view());
  const double n = 41 * 53;
  double sum = 0;
  for (Index i = 0; i < 41; ++i)
    for (Index j = 0; j < 53; ++j) {
      const double v = x(i, j), target = t(i, j);
      sum += softplus(v) - v * target;
      ASSERT_NEAR(dx(i, j) * n, logistic(v) - target, 4 * kEps);
    }
  EXPECT_NEAR(value, sum / n, 80 * kEps * std::fabs(sum / n));
  // Far out nothing overflows and the small side keeps its relative accuracy.
  for (const float v : {-100.0F, -50.0F, 0.0F, 50.0F, 1000.0F}) {
    Matrix<float> one(1, 1), zero(1, 1), d(1, 1);
    one(0, 0) = v;
    EXPECT_NEAR(bce_with_logits_loss(one, zero, d), softplus(v), 3 * kEps * softplus(v) + 1.4e-45) << v;
    EXPECT_NEAR(d(0, 0), logistic(v), 3 * kEps * logistic(v) + 1.4e-45) << v;
  }
}

TEST(Losses, CrossEntropyMatchesReference) {
  for (const auto [rows, cols] :
       {std::array<Index, 2>{1, 1}, {5, 2}, {128, 10}, {33, 63}, {16, 64}, {9, 65}, {20, 1000}, {3, 5003}}) {
    Guarded<float> x(rows, cols, Order::row_major), dx(rows, cols, Order::row_major);
    x.fill_uniform(1, -20, 20);
    std::vector<Index> classes(static_cast<std::size_t>(rows));
    for (Index i = 0; i < rows; ++i) classes[static_cast<std::size_t>(i)] = i * 7 % cols;
    const double value = cross_entropy_loss(x.view(), classes, dx.view());
    double total = 0, size = 0;
    for (Index i = 0; i < rows; ++i) {
      double largest = -INFINITY, sum = 0;
      for (Index j = 0; j < cols; ++j) largest = std::max<double>(largest, x(i, j));
      for (Index j = 0; j < cols; ++j) sum += std::exp(static_cast<double>(x(i, j)) - largest);
      const Index c = classes[static_cast<std::size_t>(i)];
      total += std::log(sum) + largest - static_cast<double>(x(i, c));
      size += std::fabs(std::log(sum)) + std::fabs(largest - static_cast<double>(x(i, c)));
      const double tolerance = (10 + static_cast<double>(cols) / 64) * kEps / static_cast<double>(rows);
      for (Index j = 0; j < cols; ++j) {
        const double p = std::exp(static_cast<double>(x(i, j)) - largest) / sum;
        ASSERT_NEAR(dx(i, j), (p - (j == c)) / static_cast<double>(rows), tolerance) << rows << "x" << cols;
      }
    }
    EXPECT_NEAR(value, total / static_cast<double>(rows),
                (10 + static_cast<double>(cols) / 64) * kEps * (size + 1) / static_cast<double>(rows));
    EXPECT_TRUE(dx.padding_intact());
    // In place.
    EXPECT_EQ(cross_entropy_loss(x.view(), classes, x.view()), value);
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < cols; ++j) ASSERT_EQ(x(i, j), dx(i, j));
  }
}

TEST(Losses, CrossEntropyOfUnusualRows) {
  const auto loss = [](std::vector<float> row, Index c, Matrix<float>& dx) {
    dx = Matrix<float>(1, static_cast<Index>(row.size()));
    const std::array<Index, 1> classes{c};
    return cross_entropy_loss(MatrixView<const float>(row.data(), 1, dx.cols()), classes, dx);
  };
  const float inf = INFINITY;
  Matrix<float> dx;
  EXPECT_DOUBLE_EQ(loss({5}, 0, dx), 0);
  EXPECT_EQ(dx(0, 0), 0);
  EXPECT_NEAR(loss({-inf, 0, 0}, 1, dx), std::log(2.0), kEps);
  EXPECT_EQ(dx(0, 0), 0);
  EXPECT_EQ(loss({-inf, 0}, 0, dx), static_cast<double>(inf));
  EXPECT_TRUE(std::isnan(loss({-inf, -inf}, 0, dx)));
  EXPECT_TRUE(std::isnan(loss({inf, 0}, 1, dx)));
  EXPECT_TRUE(std::isnan(loss({NAN, 0}, 1, dx)));
  EXPECT_NEAR(loss({1e30F, 0}, 0, dx), 0, 1e-30);
  EXPECT_TRUE(std::isnan(mse_loss(Matrix<float>(0, 3), Matrix<float>(0, 3), {})));
}

TEST(Losses, BitsDoNotDependOnThreadsOrStrides) {
  const Index rows = 1000, cols = 520;
  Matrix<float> x(rows, cols), t(rows, cols), dx(rows, cols);
  fill_uniform(x.span(), {1, 1}, -4, 4);
  fill_uniform(t.span(), {1, 2});
  Guarded<float> xs(rows, cols, Order::column_major), ts(rows, cols, Order::both_strided);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) xs(i, j) = x(i, j), ts(i, j) = t(i, j);
  std::vector<Index> classes(1000);
  for (Index i = 0; i < rows; ++i) classes[static_cast<std::size_t>(i)] = i % cols;
  const auto hash = [&](int threads) {
    Hash h;
    h.add(mse_loss(x, t, dx, {}, threads)).add(dx.span());
    h.add(bce_with_logits_loss(x, t, dx, {}, threads)).add(dx.span());
    h.add(cross_entropy_loss(x, classes, dx, {}, threads)).add(dx.span());
    return h.value();
  };
  const auto expected = hash(1);
  for (const int threads : test::kThreadCounts) EXPECT_EQ(hash(threads), expected) << threads;
  EXPECT_EQ(mse_loss(xs.view(), ts.view(), {}), mse_loss(x, t, {}));
  EXPECT_EQ(bce_with_logits_loss(xs.view(), ts.view(), {}), bce_with_logits_loss(x, t, {}));
  if (active_isa() != Isa::sse2) {  // fixed numerics, the same on every FMA ISA
    EXPECT_EQ(expected, 14922904634312752180U);
  }
}

TEST(Losses, Errors) {
  Matrix<float> x(2, 3), t(3, 2);
  EXPECT_EQ(message_of<ShapeError>([&] { mse_loss(x, t, {}); }), "mse_loss: target is 3x2 but x is 2x3");
  EXPECT_EQ(message_of<ShapeError>([&] { mse_loss(x, x, t); }), "mse_loss: dx is 3x2 but x is 2x3");
  const std::vector<Index> classes{0, 3};
  EXPECT_EQ(message_of<ValueError>([&] { cross_entropy_loss(x, classes, {}); }),
            "cross_entropy_loss: classes[1] is 3, expected 0..2");
  EXPECT_EQ(message_of<ShapeError>([&] { cross_entropy_loss(t, classes, {}); }),
            "cross_entropy_loss: x is 3x2 but there are 2 classes");
}

/// PyTorch's formulas, one element at a time in double.
TEST(Updates, SgdMatchesReference) {
  for (const std::size_t n : {std::size_t{1}, std::size_t{15}, std::size_t{17}, std::size_t{1000}})
    for (const SgdStep& option : {SgdStep{.lr = 0.1}, SgdStep{.lr = 0.1, .momentum = 0.9},
                                  SgdStep{.lr = 0.05, .momentum = 0.8, .dampening = 0.3, .weight_decay = 0.01},
                                  SgdStep{.lr = 0.05, .momentum = 0.8, .weight_decay = 0.02, .nesterov = true}}) {
      std::vector<float> p(n), g(n), b(n);
      fill_uniform(p, {1, 1}, -1, 1);
      std::vector<double> p64(p.begin(), p.end()), b64(n);
      for (std::uint64_t step = 0; step < 5; ++step) {
        fill_uniform(g, {1, 2 + step}, -1, 1);
        SgdStep s = option;
        s.first = step == 0;
        sgd_update(p, g, s.momentum == 0 ? std::span<float>() : std::span<float>(b), s);
        for (std::size_t i = 0; i < n; ++i) {
          const double d = g[i] + s.weight_decay * p64[i];
          b64[i] = s.first ? d : s.momentum * b64[i] + (1 - s.dampening) * d;
          p64[i] -= s.lr * (s.momentum == 0 ? d : s.nesterov ? d + s.momentum * b64[i] : b64[i]);
          ASSERT_NEAR(p[i], p64[i], 20 * kEps) << n << " " << i;
        }
      }
    }
}

TEST(Updates, AdamMatchesReference) {
  for (const std::size_t n : {std::size_t{1}, std::size_t{15}, std::size_t{33}, std::size_t{1000}})
    for (const AdamStep& option :
         {AdamStep{}, AdamStep{.lr = 0.01, .beta1 = 0.8, .beta2 = 0.9, .eps = 1e-6, .weight_decay = 0.1},
          AdamStep{.lr = 0.01, .weight_decay = 0.1, .decoupled = true}}) {
      std::vector<float> p(n), g(n), m(n), v(n);
      fill_uniform(p, {1, 1}, -1, 1);
      std::vector<double> p64(p.begin(), p.end()), m64(n), v64(n);
      for (std::uint64_t step = 0; step < 5; ++step) {
        fill_uniform(g, {1, 2 + step}, -1, 1);
        AdamStep s = option;
        s.bias_correction1 = 1 - std::pow(s.beta1, static_cast<double>(step + 1));
        s.bias_correction2 = 1 - std::pow(s.beta2, static_cast<double>(step + 1));
        adam_update(p, g, m, v, s);
        for (std::size_t i = 0; i < n; ++i) {
          const double d = g[i] + (s.decoupled ? 0 : s.weight_decay * p64[i]);
          if (s.decoupled) p64[i] *= 1 - s.lr * s.weight_decay;
          m64[i] += (1 - s.beta1) * (d - m64[i]);
          v64[i] = s.beta2 * v64[i] + (1 - s.beta2) * d * d;
          p64[i] -= s.lr / s.bias_correction1 * m64[i] / (std::sqrt(v64[i] / s.bias_correction2) + s.eps);
          // A gradient near zero makes m / sqrt(v) sensitive; lr times a few hundred units is far below a step.
          ASSERT_NEAR(p[i], p64[i], 10 * kEps + s.lr * 2e-5) << n << " " << i;
        }
      }
    }
}

TEST(Updates, BitsDoNotDependOnThreads) {
  const std::size_t n = 300001;
  const auto hash = [&](int threads) {
    std::vector<float> p(n), g(n), m(n), v(n);
    fill_uniform(p, {1, 1}, -1, 1);
    fill_uniform(g, {1, 2}, -1, 1);
    adam_update(p, g, m, v, {.bias_correction1 = 0.1, .bias_correction2 = 0.001}, threads);
    sgd_update(p, g, m, {.momentum = 0.9}, threads);
    return Hash().add(p).add(m).add(v).value();
  };
  for (const int threads : test::kThreadCounts) EXPECT_EQ(hash(threads), hash(1)) << threads;
  if (active_isa() != Isa::sse2) {
    EXPECT_EQ(hash(1), 13500795400751557028U);
  }
}

TEST(Updates, Errors) {
  std::vector<float> three(3), two(2);
  EXPECT_EQ(message_of<ShapeError>([&] { adam_update(three, two, three, three, {}); }),
            "adam_update: gradients has 2 elements but parameters has 3");
  EXPECT_EQ(message_of<ValueError>([&] { adam_update(three, three, three, three, {.beta1 = 1}); }),
            "adam_update: beta1 is 1.000000, expected 0 <= beta1 < 1");
  EXPECT_EQ(message_of<ValueError>([&] { sgd_update(three, three, {}, {.lr = NAN}); }),
            "sgd_update: lr is nan, expected a finite number >= 0");
  EXPECT_EQ(message_of<ShapeError>([&] { sgd_update(three, three, {}, {.momentum = 0.9}); }),
            "sgd_update: buffer has 0 elements but parameters has 3");
  EXPECT_EQ(message_of<ValueError>([&] { sgd_update(three, three, {}, {.nesterov = true}); }),
            "sgd_update: nesterov needs momentum > 0 and dampening 0");
}

}  // namespace
}  // namespace tilewright
