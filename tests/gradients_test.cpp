// SPDX-License-Identifier: MIT
// The gradients of layers and functions against differences of their formulas in double.
#include <map>
#include <numeric>

#include "tests/differences.hpp"
#include "tests/reference.hpp"
#include "tilewright/nn/nn.hpp"

namespace tilewright {
namespace {

using namespace nn;
using namespace test;

/// The parameters by name, as PyTorch's state_dict.
using State = std::map<std::string, Numbers>;
using Formula = std::function<Table(const State&, const Table&)>;

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

}  // namespace
}  // namespace tilewright
