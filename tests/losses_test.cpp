// SPDX-License-Identifier: MIT
// Losses against references in double and against PyTorch over their options.
#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <numeric>
#include <sstream>

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
            "cross_entropy_loss: classes has 2 elements, expected 3 (x is 3x2)");
}

// ---- tests/data/make_losses.py: PyTorch's losses over their options

using Inputs = std::map<std::string, std::vector<float>>;
using Options = std::map<std::string, std::string>;

struct Outcome {
  double value;
  std::vector<float> values, gradient;
};

Outcome run_loss(const std::string& name, const Options& o, Inputs in) {
  const Index rows = 4, cols = 5;
  const auto view = [&](const char* key) { return MatrixView<const float>(in.at(key).data(), rows, cols); };
  const auto number = [&](const char* key, double otherwise) {
    return o.contains(key) ? std::stod(o.at(key)) : otherwise;
  };
  const std::string reduction = o.at("reduction");
  const Reduction r = reduction == "mean"   ? Reduction::mean
                      : reduction == "sum"  ? Reduction::sum
                      : reduction == "none" ? Reduction::none
                                            : Reduction::batch_mean;
  Matrix<float> values(rows, cols), dx(rows, cols), dy(rows, cols);
  std::vector<float> row_values(rows);
  LossOptions e{.reduction = r, .values = values};
  ClassLossOptions c{.reduction = r, .label_smoothing = number("label_smoothing", 0), .values = row_values};
  if (o.contains("weight")) e.weight = view("weights"), c.weight = in.at("weight");
  if (o.contains("ignore_index")) c.ignore_index = 4;
  std::vector<Index> classes;
  for (const float v : in.at("classes")) classes.push_back(static_cast<Index>(v));
  const auto x = view("x"), y = view("y"), p = view("p"), q = view("q"), signs = view("signs");
  bool by_rows = false, two = false;
  double value = NAN;
  if (name == "mse") value = mse_loss(x, y, dx, e);
  if (name == "l1") value = l1_loss(x, y, dx, e);
  if (name == "smooth_l1") value = smooth_l1_loss(x, y, dx, number("beta", 1), e);
  if (name == "huber") value = huber_loss(x, y, dx, number("delta", 1), e);
  if (name == "bce") value = bce_loss(p, q, dx, e);
  if (name == "bce_with_logits")
    value = bce_with_logits_loss(x, p, dx, e, 0, o.contains("pos_weight") ? in.at("weight") : std::span<const float>());
  if (name == "kl_div")
    value = o.contains("log_target") ? kl_div_loss(x, y, dx, true, e) : kl_div_loss(x, q, dx, false, e);
  if (name == "hinge_embedding") value = hinge_embedding_loss(x, signs, dx, number("margin", 1), e);
  if (name == "margin_ranking") {
    value = margin_ranking_loss(x, y, signs, dx, number("margin", 0), e);
    for (Index i = 0; i < dx.size(); ++i) dy.data()[i] = -dx.data()[i];
    two = true;
  }
  if (name == "cosine_embedding") {
    std::vector<float> target;
    for (Index i = 0; i < rows; ++i) target.push_back(signs(i, 0));
    value = cosine_embedding_loss(x, y, target, dx, dy, number("margin", 0), c);
    by_rows = two = true;
  }
  if (name == "nll") value = nll_loss(x, classes, dx, c), by_rows = true;
  if (name == "cross_entropy") value = cross_entropy_loss(x, classes, dx, c), by_rows = true;
  if (name == "cross_entropy_soft") value = cross_entropy_loss(x, q, dx, c), by_rows = true;
  Outcome result{value,
                 by_rows ? row_values : std::vector<float>(values.span().begin(), values.span().end()),
                 {dx.span().begin(), dx.span().end()}};
  if (two) result.gradient.insert(result.gradient.end(), dy.span().begin(), dy.span().end());
  return result;
}

TEST(Losses, FollowPyTorch) {
  std::ifstream file(TILEWRIGHT_TEST_DATA "/losses.txt");
  ASSERT_TRUE(file) << TILEWRIGHT_TEST_DATA;
  Inputs in;
  int cases = 0;
  for (std::string line, word, name; std::getline(file, line);) {
    std::istringstream words(line);
    words >> word >> name;
    const auto numbers = [&] {
      std::vector<float> v;
      for (std::string w; words >> w && w != "|";) v.push_back(std::stof(w));
      return v;
    };
    if (word == "input") {
      in[name] = numbers();
      continue;
    }
    Options options;
    for (std::string w; words >> w && w != "|";) options[w.substr(0, w.find('='))] = w.substr(w.find('=') + 1);
    const std::vector<float> want = numbers(), gradient = numbers();
    const Outcome got = run_loss(name, options, in);
    const auto near = [&](double a, double b) { EXPECT_NEAR(a, b, 3e-6 * (1 + std::fabs(b))) << line; };
    if (options.at("reduction") == "none") {
      ASSERT_EQ(got.values.size(), want.size()) << line;
      for (std::size_t i = 0; i < want.size(); ++i) near(got.values[i], want[i]);
      near(got.value, std::accumulate(want.begin(), want.end(), 0.0));
    } else {
      near(got.value, want[0]);
    }
    ASSERT_EQ(got.gradient.size(), gradient.size()) << line;
    for (std::size_t i = 0; i < gradient.size(); ++i) near(got.gradient[i], gradient[i]);
    ++cases;
  }
  EXPECT_EQ(cases, 107);
}

/// The logits that it never holds, and what becomes of them.
TEST(Losses, LinearCrossEntropyIsTheCrossEntropyOfAProduct) {
  for (const auto& [rows, classes, features] : {std::array<Index, 3>{7, 11, 5}, {19, 524289, 3}, {0, 4, 3}}) {
    Matrix<float> x(rows, features), w(classes, features), dx(rows, features), dw(classes, features);
    Matrix<float> logits(rows, classes), want_dx(rows, features), want_dw(classes, features);
    fill_uniform(x.span(), {1, 1}, -1, 1);
    fill_uniform(w.span(), {1, 2}, -1, 1);
    fill_uniform(dw.span(), {1, 3}, -1, 1);  // overwritten
    std::vector<Index> c(static_cast<std::size_t>(rows));
    for (std::size_t i = 0; i < c.size(); ++i) c[i] = i == 3 ? -100 : static_cast<Index>(i * 31) % classes;
    gemm(x, w.t(), logits);
    const double want = cross_entropy_loss(logits, c, logits);
    gemm(logits, w, want_dx);
    gemm(logits.t(), x, want_dw);
    const double got = linear_cross_entropy_loss(x, w, c, dx, dw);
    if (rows == 0) {
      EXPECT_TRUE(std::isnan(got));
    } else {
      EXPECT_NEAR(got, want, 1e-12 * want);
    }
    for (Index i = 0; i < dx.size(); ++i) ASSERT_NEAR(dx.data()[i], want_dx.data()[i], 1e-7);
    for (Index i = 0; i < dw.size(); ++i) ASSERT_NEAR(dw.data()[i], want_dw.data()[i], 1e-7) << rows;
    const double alone = linear_cross_entropy_loss(x, w, c, {}, {}, {}, 1);
    EXPECT_TRUE(alone == got || std::isnan(got));
    // One gradient without the other.
    Matrix<float> only_dx(rows, features), only_dw(classes, features);
    linear_cross_entropy_loss(x, w, c, only_dx, {});
    linear_cross_entropy_loss(x, w, c, {}, only_dw);
    EXPECT_EQ(Hash().add<float>(only_dx).value(), Hash().add<float>(dx).value());
    EXPECT_EQ(Hash().add<float>(only_dw).value(), Hash().add<float>(dw).value());
  }
}

/// Short rows are computed a register of rows at a time, with the bits of each row alone: its weight, its gradient, and
/// rows that do not count among them.
TEST(Losses, CrossEntropyOfShortRowsIsThatOfEachRow) {
  for (const Index cols : {1, 2, 3, 7, 8, 9, 10, 15, 16, 17})
    for (const Index rows : {7, 8, 9, 16, 35, 1000})
      for (const bool weighted : {false, true})
        for (const int threads : {1, 3}) {
          Matrix<float> x = test::random_matrix<float>(rows, cols, static_cast<std::uint64_t>(rows + cols));
          x(2, 0) = NAN;
          x(3, cols - 1) = INFINITY;
          for (Index j = 0; j < cols; ++j) x(4, j) = -INFINITY;
          std::vector<Index> classes;
          for (Index i = 0; i < rows; ++i) classes.push_back(i % 6 == 5 ? -100 : i * 7 % cols);
          std::vector<float> weight, values(static_cast<std::size_t>(rows)), one(1);
          for (Index j = 0; j < cols; ++j) weight.push_back(0.5F + static_cast<float>(j));
          ClassLossOptions o{.reduction = Reduction::sum, .values = values};
          if (weighted) o.weight = weight;
          Matrix<float> dx(rows, cols), want(1, cols);
          cross_entropy_loss(x, classes, dx, o, threads);
          o.values = one;
          for (Index i = 0; i < rows; ++i) {
            cross_entropy_loss(x.row_block(i, 1), std::span(classes).subspan(static_cast<std::size_t>(i), 1), want, o);
            ASSERT_EQ(test::hash_of(std::as_const(dx).row_block(i, 1)), test::hash_of(std::as_const(want).view()))
                << cols << " " << rows << " " << i;
            ASSERT_TRUE(values[static_cast<std::size_t>(i)] == one[0] || std::isnan(one[0])) << cols << " " << i;
            ASSERT_EQ(std::isnan(values[static_cast<std::size_t>(i)]), std::isnan(one[0])) << cols << " " << i;
          }
          // In place.
          cross_entropy_loss(x, classes, x, o = {.reduction = Reduction::sum, .weight = o.weight}, threads);
          ASSERT_EQ(test::hash_of(std::as_const(x).view()), test::hash_of(std::as_const(dx).view()));
        }
}

/// A sum over nothing is 0, a mean over nothing NaN.
TEST(Losses, OfNothing) {
  const MatrixView<const float> none(nullptr, 0, 3);
  const std::vector<float> targets;
  const std::vector<Index> classes;
  const auto both = [&](auto call) {
    ClassLossOptions options;
    EXPECT_TRUE(std::isnan(call(options)));
    options.reduction = Reduction::sum;
    EXPECT_EQ(call(options), 0);
  };
  both([&](const ClassLossOptions& o) { return cross_entropy_loss(none, classes, {}, o); });
  both([&](const ClassLossOptions& o) { return cross_entropy_loss(none, none, {}, o); });
  both([&](const ClassLossOptions& o) { return nll_loss(none, classes, {}, o); });
  both([&](const ClassLossOptions& o) { return cosine_embedding_loss(none, none, targets, {}, {}, 0, o); });
  EXPECT_TRUE(std::isnan(mse_loss(none, none, {})));
  EXPECT_EQ(mse_loss(none, none, {}, {.reduction = Reduction::sum}), 0);
}

/// 80 MB of logits, of which at most 32 MiB are held at a time.
TEST(Losses, LinearCrossEntropyHoldsFewLogits) {
  const Index rows = 1000, classes = 20000;
  const Matrix<float> x = test::random_matrix<float>(rows, 2, 1), w = test::random_matrix<float>(classes, 2, 2);
  const std::vector<Index> c(static_cast<std::size_t>(rows), 7);
  release_workspace();
  EXPECT_GT(linear_cross_entropy_loss(x, w, c, {}, {}), 0);
  EXPECT_LT(workspace_bytes(), std::size_t{40} << 20);
}

TEST(Losses, OptionsAndUnusualTargets) {
  Matrix<float> x(2, 3), dx(2, 3), q(2, 3), values(2, 3);
  const float inf = INFINITY;
  x(0, 0) = -inf;
  q(0, 1) = q(1, 2) = 1;
  // A target of 0 says nothing about an impossible class.
  EXPECT_NEAR(cross_entropy_loss(x, q, dx), (std::log(2.0) + std::log(3.0)) / 2, 1e-6);
  EXPECT_EQ(dx(0, 0), 0);
  EXPECT_EQ(cross_entropy_loss(x, q, dx, {.label_smoothing = 0.1}), static_cast<double>(inf));
  const std::vector<Index> ignored{-100, -100};
  EXPECT_TRUE(std::isnan(cross_entropy_loss(x, ignored, dx)));  // 0/0, as in PyTorch
  EXPECT_EQ(dx(0, 1), 0);
  EXPECT_EQ(cross_entropy_loss(x, ignored, dx, {.reduction = Reduction::sum}), 0);
  // One row of weights for all; operands with gaps.
  Matrix<float> weight(1, 3), every(2, 3);
  for (Index j = 0; j < 3; ++j) weight(0, j) = every(0, j) = every(1, j) = static_cast<float>(j + 1);
  fill_uniform(x.span(), {1, 1});
  const double all = mse_loss(x, q, dx, {.weight = every});
  EXPECT_EQ(mse_loss(x, q, {}, {.weight = MatrixView<const float>(weight.data(), 2, 3, 0)}), all);
  Guarded<float> gaps(2, 3, Order::column_major), out(2, 3, Order::both_strided);
  for (Index i = 0; i < 2; ++i)
    for (Index j = 0; j < 3; ++j) gaps(i, j) = x(i, j);
  EXPECT_EQ(mse_loss(gaps.view(), q, out.view(), {.reduction = Reduction::none, .weight = every, .values = values}),
            mse_loss(x, q, {}, {.reduction = Reduction::sum, .weight = every}));
  EXPECT_EQ(values(1, 2), 3 * (x(1, 2) - 1) * (x(1, 2) - 1));
  EXPECT_EQ(out(1, 2), 3 * (2 * (x(1, 2) - 1)));
  EXPECT_TRUE(out.padding_intact());
}

TEST(Losses, NewOnesGiveTheSameBitsOnAnyThreads) {
  const Index rows = 777, cols = 130;
  Matrix<float> x(rows, cols), y(rows, cols), p(rows, cols), signs(rows, cols), dx(rows, cols), dy(rows, cols);
  fill_uniform(x.span(), {1, 1}, -4, 4);
  fill_uniform(y.span(), {1, 2}, -4, 4);
  fill_uniform(p.span(), {1, 3}, 0.001F, 0.01F);
  for (Index i = 0; i < x.size(); ++i) signs.data()[i] = y.data()[i] < 0 ? -1.0F : 1.0F;
  const std::span<const float> weight = p.span().first(static_cast<std::size_t>(cols));
  std::vector<Index> classes(static_cast<std::size_t>(rows));
  for (Index i = 0; i < rows; ++i) classes[static_cast<std::size_t>(i)] = i * 7 % cols;
  Matrix<float> w(50, cols), dw(50, cols);
  fill_uniform(w.span(), {1, 4}, -1, 1);
  std::vector<Index> few(classes);
  for (Index& c : few) c %= 50;
  const auto hash = [&](int t) {
    Hash h;
    const auto keep = [&](double value) { h.add(value).add(dx.span()); };
    keep(l1_loss(x, y, dx, {}, t));
    keep(smooth_l1_loss(x, y, dx, 0.5, {}, t));
    keep(huber_loss(x, y, dx, 0.5, {}, t));
    keep(bce_loss(p, p, dx, {}, t));
    keep(bce_with_logits_loss(x, p, dx, {}, t, weight));
    keep(kl_div_loss(x, p, dx, false, {}, t));
    keep(kl_div_loss(x, y, dx, true, {}, t));
    keep(hinge_embedding_loss(x, signs, dx, 1, {}, t));
    keep(margin_ranking_loss(x, y, signs, dx, 0.1, {}, t));
    keep(cross_entropy_loss(x, classes, dx, {.weight = weight, .label_smoothing = 0.1}, t));
    keep(cross_entropy_loss(x, p, dx, {}, t));
    keep(cosine_embedding_loss(x, y, signs.span().first(static_cast<std::size_t>(rows)), dx, dy, 0.1, {}, t));
    h.add(dy.span());
    keep(linear_cross_entropy_loss(x, w, few, dx, dw, {}, t));
    h.add(dw.span());
    return h.value();
  };
  const auto expected = hash(1);
  for (const int threads : test::kThreadCounts) EXPECT_EQ(hash(threads), expected) << threads;
  if (active_isa() != Isa::sse2) {
    EXPECT_EQ(expected, 10941959676756772442U);
  }
}

TEST(Losses, OptionErrors) {
  Matrix<float> x(2, 3), t(3, 2);
  const std::vector<float> three(3), two(2);
  const std::vector<Index> classes{0, 2};
  EXPECT_EQ(message_of<ValueError>([&] { mse_loss(x, x, {}, {.reduction = Reduction::none}); }),
            "mse_loss: reduction none needs a place for the values");
  EXPECT_EQ(message_of<ShapeError>([&] { bce_loss(x, x, {}, {.weight = t}); }), "bce_loss: weight is 3x2 but x is 2x3");
  EXPECT_EQ(message_of<ValueError>([&] { huber_loss(x, x, {}, 0); }),
            "huber_loss: delta is 0.000000, expected a finite number > 0");
  EXPECT_EQ(message_of<ShapeError>([&] { bce_with_logits_loss(x, x, {}, {}, 0, two); }),
            "bce_with_logits_loss: pos_weight has 2 elements, expected 3");
  EXPECT_EQ(message_of<ShapeError>([&] { cross_entropy_loss(x, classes, {}, {.weight = two}); }),
            "cross_entropy_loss: weight has 2 elements, expected 3");
  EXPECT_EQ(message_of<ValueError>([&] { cross_entropy_loss(x, x, {}, {.label_smoothing = 1.5}); }),
            "cross_entropy_loss: label_smoothing is 1.500000, expected 0 <= label_smoothing <= 1");
  EXPECT_EQ(message_of<ShapeError>([&] { linear_cross_entropy_loss(x, t, classes, {}, {}); }),
            "linear_cross_entropy_loss: x is 2x3 but w is 3x2: they must have as many columns");
  EXPECT_EQ(message_of<ShapeError>([&] { cosine_embedding_loss(x, x, three, {}, {}); }),
            "cosine_embedding_loss: target has 3 elements, expected 2 (x is 2x3)");
}

}  // namespace
}  // namespace tilewright
