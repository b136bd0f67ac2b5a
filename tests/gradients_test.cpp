// SPDX-License-Identifier: MIT
// Gradient checks in double: every layer's, loss's and function's formula is written once more in double, as the
// textbooks have it; central differences of that are the truth to ten digits, and the library's gradients must agree.
#include <functional>
#include <map>
#include <numeric>

#include "tests/reference.hpp"
#include "tests/support.hpp"
#include "tilewright/nn/nn.hpp"

namespace tilewright {
namespace {

using namespace nn;

using Numbers = std::vector<double>;
/// A matrix of doubles, row by row.
struct Table {
  Index rows, cols;
  Numbers values;
  double& operator()(Index i, Index j) { return values[static_cast<std::size_t>(i * cols + j)]; }
  double operator()(Index i, Index j) const { return values[static_cast<std::size_t>(i * cols + j)]; }
  Table like(Index columns) const { return {rows, columns, Numbers(static_cast<std::size_t>(rows * columns))}; }
};
/// The parameters by name, as PyTorch's state_dict.
using State = std::map<std::string, Numbers>;
using Formula = std::function<Table(const State&, const Table&)>;
using Value = std::function<double(const Table&)>;

Table table(MatrixView<const float> m) {
  Table t{m.rows, m.cols, {}};
  for (Index i = 0; i < m.rows; ++i)
    for (Index j = 0; j < m.cols; ++j) t.values.push_back(static_cast<double>(m(i, j)));
  return t;
}

/// By the three points on each side, which leaves h^6: about 1e-12 of the function.
double derivative(double& place, const std::function<double()>& f) {
  constexpr double h = 1.0 / 512;
  const double keep = place;
  const auto at = [&](double d) {
    place = keep + d;
    return f();
  };
  const double d = (45 * (at(h) - at(-h)) - 9 * (at(2 * h) - at(-2 * h)) + (at(3 * h) - at(-3 * h))) / (60 * h);
  place = keep;
  return d;
}

/// What the library gave, against the truth: 1e-5 of each number, or of their root mean square where one is small.
void expect_near(std::span<const float> got, const Numbers& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double squares = 0;
  for (double w : want) squares += w * w;
  const double typical = std::sqrt(squares / static_cast<double>(want.size()));
  for (std::size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(static_cast<double>(got[i]), want[i], 1e-5 * std::max(std::fabs(want[i]), typical)) << what << " " << i;
}

/// x is in [-1, 1) away from the corners at 0 and, with `x` given, that.
void check_layer(Layers made, const Formula& formula, Matrix<float> x, bool differentiable = true) {
  Sequential model(std::move(made));
  const std::string name = model.describe();
  model.forward(x);  // Makes room, and whatever the width depends on.
  model.reset_parameters(7);
  for (const Parameter& p : model.parameters().parameters())
    fill_uniform(p.value, {17, static_cast<std::uint64_t>(p.value.size())}, 0.25F, 1.25F);
  const auto random = model.random_state();
  const auto y = model.forward(x);
  Matrix<float> dy(y.rows, y.cols), dx(x.rows(), x.cols());
  fill_uniform(dy.span(), {7, 1}, -1, 1);
  State state;
  for (const Parameter& p : model.parameters().parameters()) state[p.name] = {p.value.begin(), p.value.end()};
  Table input = table(x);
  const Table seed = table(dy);
  const auto value = [&] {
    const Table out = formula(state, input);
    EXPECT_EQ(out.values.size(), seed.values.size()) << name;
    return std::inner_product(out.values.begin(), out.values.end(), seed.values.begin(), 0.0);
  };
  const Table out = formula(state, input), library = table(y);
  for (std::size_t i = 0; i < out.values.size(); ++i)
    ASSERT_NEAR(out.values[i], library.values[i], 1e-5 * std::max(1.0, std::fabs(out.values[i]))) << name;
  model.set_random_state(random);
  model.forward(x);
  model.backward(dy, differentiable ? dx.view() : MatrixView<float>{});
  Numbers want;
  for (double& v : input.values) want.push_back(differentiable ? derivative(v, value) : 0);
  expect_near(dx.span(), want, name + " dx");
  const std::span<float> gradients = model.parameters().gradients();
  for (const Parameter& p : model.parameters().parameters()) {
    want.clear();
    for (double& v : state[p.name]) want.push_back(derivative(v, value));
    const auto begin = static_cast<std::size_t>(p.value.data() - model.parameters().values().data());
    expect_near(gradients.subspan(begin, p.value.size()), want, name + " " + p.name);
  }
}

/// Numbers of both signs, none nearer to `corners` than the differences reach.
Matrix<float> input(Index rows, Index cols, const Numbers& corners = {0}) {
  Matrix<float> x(rows, cols);
  fill_uniform(x.span(), {31, static_cast<std::uint64_t>(rows * cols)}, -2, 2);
  for (float& v : x.span())
    for (double c : corners)
      if (std::fabs(static_cast<double>(v) - c) < 0.01) v = static_cast<float>(c + 0.02);
  return x;
}

Table linear(const State& s, const Table& x, const std::string& prefix, Index out) {
  Table y = x.like(out);
  const Numbers& w = s.at(prefix + "weight");
  for (Index i = 0; i < y.rows; ++i)
    for (Index j = 0; j < out; ++j) {
      y(i, j) = s.contains(prefix + "bias") ? s.at(prefix + "bias")[static_cast<std::size_t>(j)] : 0;
      for (Index k = 0; k < x.cols; ++k) y(i, j) += x(i, k) * w[static_cast<std::size_t>(j * x.cols + k)];
    }
  return y;
}

Table map(Table x, Activation f) {
  for (double& v : x.values) v = test::reference<float, double>(f, v);
  return x;
}

/// (x - mean) / sqrt(variance + eps) of the places that belong together, times weight plus bias where there are any.
/// `group` says where a number belongs, `channel` which weight is its.
Table normalised(const State& s, Table x, double eps, bool centered, const std::function<Index(Index, Index)>& group,
                 const std::function<Index(Index)>& channel) {
  std::map<Index, std::array<double, 3>> sums;  // count, sum, squares
  const auto each = [&](auto&& f) {
    for (Index i = 0; i < x.rows; ++i)
      for (Index j = 0; j < x.cols; ++j) f(x(i, j), sums[group(i, j)], static_cast<std::size_t>(channel(j)));
  };
  each([](double v, auto& sum, std::size_t) { sum[0] += 1, sum[1] += v; });
  each([&](double& v, auto& sum, std::size_t) {
    v -= centered ? sum[1] / sum[0] : 0;
    sum[2] += v * v;
  });
  each([&](double& v, auto& sum, std::size_t c) {
    v /= std::sqrt(sum[2] / sum[0] + eps);
    if (s.contains("0.weight")) v *= s.at("0.weight")[c];
    if (s.contains("0.bias")) v += s.at("0.bias")[c];
  });
  return x;
}

TEST(Gradients, LayersWithWeights) {
  check_layer(
      layers(Linear(6, 5)), [](const State& s, const Table& x) { return linear(s, x, "0.", 5); }, input(7, 6));
  check_layer(
      layers(Linear(6, 5, false)), [](const State& s, const Table& x) { return linear(s, x, "0.", 5); }, input(7, 6));
  check_layer(
      layers(PReLU()),
      [](const State& s, Table x) {
        for (double& v : x.values) v = v > 0 ? v : v * s.at("0.weight")[0];
        return x;
      },
      input(5, 6));
  check_layer(
      layers(PReLU(6)),
      [](const State& s, Table x) {
        for (Index i = 0; i < x.rows; ++i)
          for (Index j = 0; j < x.cols; ++j) x(i, j) *= x(i, j) > 0 ? 1 : s.at("0.weight")[static_cast<std::size_t>(j)];
        return x;
      },
      input(5, 6));
}

TEST(Gradients, Tables) {
  Matrix<float> ids(4, 3);
  for (Index k = 0; k < 12; ++k) ids.data()[k] = static_cast<float>(k * k % 7);
  const auto row = [](const State& s, double id, Index j) {
    return s.at("0.weight")[static_cast<std::size_t>(static_cast<Index>(id) * 5 + j)];
  };
  check_layer(
      layers(Embedding(7, 5)),
      [&](const State& s, const Table& x) {
        Table y = x.like(15);
        for (Index i = 0; i < 4; ++i)
          for (Index k = 0; k < 15; ++k) y(i, k) = row(s, x(i, k / 5), k % 5);
        return y;
      },
      Matrix<float>(ids.view()), false);
  for (const auto mode : {EmbeddingBag::Mode::sum, EmbeddingBag::Mode::mean})
    check_layer(
        layers(EmbeddingBag(7, 5, mode)),
        [&](const State& s, const Table& x) {
          Table y = x.like(5);
          for (Index i = 0; i < 4; ++i)
            for (Index k = 0; k < 15; ++k)
              y(i, k % 5) += row(s, x(i, k / 5), k % 5) / (mode == EmbeddingBag::Mode::sum ? 1 : 3);
          return y;
        },
        Matrix<float>(ids.view()), false);
}

TEST(Gradients, Norms) {
  const auto sample = [](Index i, Index) { return i; };
  const auto self = [](Index j) { return j; };
  for (const bool affine : {true, false}) {
    check_layer(
        layers(LayerNorm(8, 1e-5, affine)),
        [&](const State& s, const Table& x) { return normalised(s, x, 1e-5, true, sample, self); }, input(5, 8));
    check_layer(
        layers(RMSNorm(8, 1e-3, affine)),
        [&](const State& s, const Table& x) { return normalised(s, x, 1e-3, false, sample, self); }, input(5, 8));
    check_layer(
        layers(BatchNorm1d(8, 1e-5, 0.1, affine)),
        [&](const State& s, const Table& x) {
          return normalised(
              s, x, 1e-5, true, [](Index, Index j) { return j; }, self);
        },
        input(5, 8));
    check_layer(
        layers(GroupNorm(2, 4, 1e-5, affine)),
        [](const State& s, const Table& x) {
          return normalised(
              s, x, 1e-5, true, [](Index i, Index j) { return 2 * i + j / 6; }, [](Index j) { return j / 3; });
        },
        input(5, 12));
  }
  check_layer(
      layers(LayerNorm(4)),
      [](const State& s, const Table& x) {
        return normalised(
            s, x, 1e-5, true, [](Index i, Index j) { return 2 * i + j / 4; }, [](Index j) { return j % 4; });
      },
      input(5, 8));
}

TEST(Gradients, LayersOfLayers) {
  check_layer(
      layers(Residual(Linear(6, 6), Tanh())),
      [](const State& s, const Table& x) {
        Table y = map(linear(s, x, "0.0.", 6), ActivationKind::tanh);
        for (std::size_t k = 0; k < y.values.size(); ++k) y.values[k] += x.values[k];
        return y;
      },
      input(5, 6));
  check_layer(
      layers(Linear(6, 4), GELU(), Flatten(), Block(Linear(4, 3), Sigmoid()), Linear(3, 2)),
      [](const State& s, const Table& x) {
        const Table y = map(linear(s, x, "0.", 4), ActivationKind::gelu);
        return linear(s, map(linear(s, y, "3.0.", 3), ActivationKind::sigmoid), "4.", 2);
      },
      input(5, 6));
}

/// What it dropped is seen in what it gives for ones.
TEST(Gradients, Dropout) {
  Sequential model(Dropout(0.3));
  const Matrix<float> x = input(6, 9);
  Matrix<float> ones(6, 9), dx(6, 9);
  std::ranges::fill(ones.span(), 1.0F);
  const auto state = model.random_state();
  const Table mask = table(model.forward(ones));
  EXPECT_GT(std::ranges::count(mask.values, 0.0), 0);
  model.set_random_state(state);
  model.forward(x);
  model.backward(ones, dx);
  expect_near(dx.span(), mask.values, "Dropout");
}

TEST(Gradients, EveryActivation) {
  for (int k = 0; k < kActivationKinds; ++k) {
    Activation f(static_cast<ActivationKind>(k));
    if (f.kind == ActivationKind::threshold) f = Activation::threshold(0.5, 0.5);
    SCOPED_TRACE(to_string(f.kind));
    const Matrix<float> x = input(9, 40, {-1, -0.5, 0, 0.5, 1});
    Matrix<float> y(9, 40), dy(9, 40), dx(9, 40);
    fill_uniform(dy.span(), {7, 3}, 0.5F, 1);
    activation_forward(f, x, y);
    activation_backward(f, saves_input(f.kind) ? x : y, dy, dx);
    Numbers want;
    for (Index i = 0; i < x.size(); ++i) {
      double place = static_cast<double>(x.data()[i]);
      want.push_back(static_cast<double>(dy.data()[i]) *
                     derivative(place, [&] { return test::reference<float, double>(f, place); }));
    }
    expect_near(dx.span(), want, "activation");
  }
}

TEST(Gradients, EveryFunction) {
  for (int k = 0; k < kFunctionKinds; ++k) {
    const auto f = static_cast<FunctionKind>(k);
    SCOPED_TRACE(to_string(f));
    Matrix<float> x(9, 40), dy(9, 40), dx(9, 40);
    const bool positive = f == FunctionKind::log || f == FunctionKind::log1p || f == FunctionKind::rsqrt;
    fill_uniform(x.span(), {7, 2}, positive ? 0.5F : -3, 3);
    fill_uniform(dy.span(), {7, 3}, 0.5F, 1);
    function_backward(f, x, dy, dx);
    Numbers want;
    for (Index i = 0; i < x.size(); ++i) {
      double place = static_cast<double>(x.data()[i]);
      want.push_back(static_cast<double>(dy.data()[i]) *
                     derivative(place, [&] { return test::reference<double>(f, place); }));
    }
    expect_near(dx.span(), want, "function");
  }
}

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

TEST(Gradients, LossesOfElements) {
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

TEST(Gradients, LossesOfRows) {
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
