// SPDX-License-Identifier: MIT
// Looking inside of models: gradients by inputs, statistics, the outputs of layers.
#include <algorithm>

#include "tests/support.hpp"
#include "tilewright/nn/nn.hpp"

namespace tilewright {
namespace {

using namespace nn;
using test::message_of;

TEST(Inspect, GradientCheckOfEveryLayer) {
  const auto check = [](auto layer, Index in = 8) {
    return gradient_check(std::make_unique<decltype(layer)>(std::move(layer)), 5, in);
  };
  EXPECT_LT(check(Linear(8, 3)), 2e-3);
  EXPECT_LT(check(LayerNorm(8)), 5e-3);
  EXPECT_LT(check(LayerNorm(4)), 5e-3);
  EXPECT_LT(check(RMSNorm(8)), 5e-3);
  EXPECT_LT(check(BatchNorm1d(8)), 5e-3);
  EXPECT_LT(check(GroupNorm(2, 4)), 1e-2);
  EXPECT_LT(check(Dropout(0.5)), 2e-3);
  EXPECT_LT(check(Residual(Linear(8, 8), Tanh())), 2e-3);
  EXPECT_LT(check(Block(Linear(8, 4), GELU(), Block(Dropout(0.3), Linear(4, 6)))), 2e-3);
  EXPECT_LT(check(SiLU()), 2e-3);
  /// A wrong one must be seen.
  struct Wrong : Tanh {
    void backward(const BackwardPass& pass) override {
      Tanh::backward(pass);
      pass.dx(0, 0) *= 1.1F;
    }
    const Activation* activation() const override { return nullptr; }
    bool keeps_features() const override { return true; }
  };
  EXPECT_GT(check(Wrong()), 1e-2);
}

TEST(Inspect, SaliencyOfALinearModelIsItsWeights) {
  Sequential model(Linear(6, 3), Dropout(0.5));
  Matrix<float> x(4, 6);
  fill_normal(x.span(), {1, 1});
  const Matrix<float> g = input_gradient(model, x, 1), whole = integrated_gradients(model, x, 1);
  const auto w = model.parameters()["0.weight"].value_matrix();
  for (Index i = 0; i < 4; ++i)
    for (Index j = 0; j < 6; ++j) {
      EXPECT_EQ(g(i, j), w(1, j));
      EXPECT_NEAR(whole(i, j), x(i, j) * w(1, j), 1e-6);
    }
  Sequential curved(Linear(6, 9), Tanh(), Linear(9, 2));
  const Matrix<float> parts = integrated_gradients(curved, x, 0, {}, 200), y = predict(curved, x),
                      zero = predict(curved, Matrix<float>(1, 6));
  for (Index i = 0; i < 4; ++i) {
    double sum = 0;
    for (Index j = 0; j < 6; ++j) sum += parts(i, j);
    EXPECT_NEAR(sum, y(i, 0) - zero(0, 0), 1e-4);
  }
  const auto statistics = value_statistics(model.parameters());
  EXPECT_EQ(statistics[0].name, "0.weight");
  EXPECT_EQ(statistics[0].not_finite, 0);
  EXPECT_NE(to_table(gradient_statistics(model.parameters())).find("0.bias"), std::string::npos);
  EXPECT_EQ(message_of<ValueError>([&] { input_gradient(model, x, 3); }), "input_gradient: there is no output 3 of 3");
}

/// What the same layers give one after the other.
TEST(Inspect, OutputsOfLayers) {
  Sequential deep(Linear(4, 6), ReLU(), Residual(LayerNorm(6), Linear(6, 6), Tanh()), Linear(6, 2));
  EXPECT_EQ(message_of<Error>([&] { (void)activation_statistics(deep); }), "Sequential: outputs before forward");
  const Matrix<float> input = test::random_matrix<float>(7, 4, 5);
  deep.forward(input);
  const auto outputs = deep.outputs();
  ASSERT_EQ(outputs.size(), 5U);
  const char* names[] = {"1", "2.0", "2.2", "2", "3"};
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(outputs[i].name, names[i]);
  Sequential first(Linear(4, 6), ReLU());
  for (const char* name : {"0.weight", "0.bias"})
    std::ranges::copy(deep.parameters()[name].value, first.parameters()[name].value.begin());
  EXPECT_EQ(test::hash_of(first.forward(input)), test::hash_of(outputs[0].y));
  for (Index i = 0; i < 7; ++i)
    for (Index j = 0; j < 6; ++j)
      EXPECT_EQ(outputs[3].y(i, j), outputs[0].y(i, j) + outputs[2].y(i, j)) << "x + layers(x)";
  const auto seen = activation_statistics(deep);
  double zeros = 0;
  for (Index i = 0; i < 7; ++i)
    for (Index j = 0; j < 6; ++j) zeros += outputs[0].y(i, j) == 0;
  EXPECT_EQ(seen[0].zeros, zeros / 42);
  EXPECT_GT(zeros, 0);
  EXPECT_LE(seen[2].largest, 1);
}

}  // namespace
}  // namespace tilewright
