// SPDX-License-Identifier: MIT
// Models: gradients against finite differences in double, PyTorch's loss curve, bits, shapes and errors.
#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/reference.hpp"
#include "tests/support.hpp"
#include "tilewright/nn/nn.hpp"

namespace tilewright {
namespace {

using test::Hash;
using test::message_of;

/// A chain of Linear and activations in double: the specification of Sequential.
struct ReferenceModel {
  struct Layer {
    Index in = 0, out = 0;
    std::vector<double> weight, bias;
    ActivationKind activation = ActivationKind::identity;
  };
  std::vector<Layer> layers;

  std::vector<double> forward(std::vector<double> x, Index batch) const {
    for (const Layer& l : layers) {
      std::vector<double> y(static_cast<std::size_t>(batch * l.out));
      for (Index i = 0; i < batch; ++i)
        for (Index o = 0; o < l.out; ++o) {
          double sum = l.bias.empty() ? 0 : l.bias[static_cast<std::size_t>(o)];
          for (Index k = 0; k < l.in; ++k)
            sum += x[static_cast<std::size_t>(i * l.in + k)] * l.weight[static_cast<std::size_t>(o * l.in + k)];
          y[static_cast<std::size_t>(i * l.out + o)] = test::reference<float, double>(l.activation, sum);
        }
      x = std::move(y);
    }
    return x;
  }
};

/// sum_ij c_ij y_ij, whose gradient by y is c.
double weighted(const std::vector<double>& y, const Matrix<float>& c) {
  double sum = 0;
  for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * static_cast<double>(c.data()[i]);
  return sum;
}

TEST(Sequential, GradientsMatchFiniteDifferences) {
  const Index batch = 7;
  for (int kind = 0; kind < kActivationKinds; ++kind) {
    const auto activation = static_cast<ActivationKind>(kind);
    nn::Sequential model(nn::Linear(6, 9), nn::ActivationLayer(activation), nn::Linear(9, 4, false),
                         nn::ActivationLayer(activation), nn::Linear(4, 3));
    model.reset_parameters(static_cast<std::uint64_t>(kind) + 5);
    Matrix<float> x(batch, 6), c(batch, 3), dx(batch, 6);
    fill_uniform(x.span(), {2, 1}, -2, 2);
    fill_uniform(c.span(), {2, 2}, -1, 1);

    ReferenceModel reference;
    const auto copy = [&](const char* name) {
      const auto v = model.parameters()[name].value;
      return std::vector<double>(v.begin(), v.end());
    };
    reference.layers = {{6, 9, copy("0.weight"), copy("0.bias"), activation},
                        {9, 4, copy("2.weight"), {}, activation},
                        {4, 3, copy("4.weight"), copy("4.bias")}};
    std::vector<double> x64(x.data(), x.data() + x.size());

    const auto y = model.forward(x);
    const auto y64 = reference.forward(x64, batch);
    for (Index i = 0; i < y.size(); ++i)
      ASSERT_NEAR(y.data[i], y64[static_cast<std::size_t>(i)], 1e-5) << to_string(activation);
    model.parameters().zero_grad();
    model.backward(c, dx);

    const double h = 1e-5;
    const auto slope = [&](double& place) {
      const double keep = place;
      place = keep + h;
      const double above = weighted(reference.forward(x64, batch), c);
      place = keep - h;
      const double below = weighted(reference.forward(x64, batch), c);
      place = keep;
      return (above - below) / (2 * h);
    };
    const auto compare = [&](std::vector<double>& places, std::span<const float> got, const char* name) {
      for (std::size_t i = 0; i < places.size(); ++i) {
        const double want = slope(places[i]);
        ASSERT_NEAR(static_cast<double>(got[i]), want, 2e-5 * (1 + std::fabs(want)))
            << to_string(activation) << " " << name << "[" << i << "]";
      }
    };
    compare(reference.layers[0].weight, model.parameters()["0.weight"].gradient, "0.weight");
    compare(reference.layers[0].bias, model.parameters()["0.bias"].gradient, "0.bias");
    compare(reference.layers[1].weight, model.parameters()["2.weight"].gradient, "2.weight");
    compare(reference.layers[2].weight, model.parameters()["4.weight"].gradient, "4.weight");
    compare(reference.layers[2].bias, model.parameters()["4.bias"].gradient, "4.bias");
    compare(x64, dx.span(), "x");
  }
}

/// An activation that stands first, or second in a row, is a step of its own; with a Linear before it both become one.
/// The results agree.
TEST(Sequential, ActivationsNotFused) {
  nn::Sequential model(nn::SiLU(), nn::Linear(3, 3), nn::Tanh(), nn::GELU("tanh"));
  nn::Sequential first(nn::Linear(3, 3), nn::Tanh());
  std::ranges::copy(model.parameters().values(), first.parameters().values().begin());
  Matrix<float> x(5, 3), s(5, 3), y(5, 3), dy(5, 3), dx(5, 3), expected(5, 3);
  fill_uniform(x.span(), {2, 1}, -2, 2);
  fill_uniform(dy.span(), {2, 2}, -2, 2);
  activation_forward(ActivationKind::silu, x, s);
  const Matrix<float> t(first.forward(s));
  activation_forward(ActivationKind::gelu_tanh, t, y);
  const auto got = model.forward(x);
  for (Index i = 0; i < y.size(); ++i) EXPECT_EQ(got.data[i], y.data()[i]);
  model.backward(dy, dx);
  activation_backward(ActivationKind::gelu_tanh, t, dy, expected);
  first.backward(expected, expected);
  activation_backward(ActivationKind::silu, x, expected, expected);
  for (Index i = 0; i < y.size(); ++i) EXPECT_EQ(dx.data()[i], expected.data()[i]);
}

TEST(Sequential, GradientsAccumulateUntilZeroed) {
  nn::Sequential model(nn::Linear(4, 3), nn::ReLU(), nn::Linear(3, 2));
  Matrix<float> x(6, 4), dy(6, 2);
  fill_uniform(x.span(), {1, 1}, -1, 1);
  fill_uniform(dy.span(), {1, 2}, -1, 1);
  model.forward(x);
  model.backward(dy);
  const std::vector<float> once(model.parameters().gradients().begin(), model.parameters().gradients().end());
  model.backward(dy);
  for (std::size_t i = 0; i < once.size(); ++i) EXPECT_NEAR(model.parameters().gradients()[i], 2 * once[i], 1e-6F);
  model.parameters().zero_grad();
  EXPECT_EQ(*std::ranges::max_element(model.parameters().gradients()), 0);
  model.parameters().zero_grad();
  model.backward(dy);
  for (std::size_t i = 0; i < once.size(); ++i) EXPECT_EQ(model.parameters().gradients()[i], once[i]);
}

TEST(Sequential, ParametersAreOneBlockWithPyTorchsNames) {
  nn::Sequential model(nn::Linear(10, 5), nn::Sigmoid(), nn::Linear(5, 1), nn::Sigmoid());
  const auto all = model.parameters().parameters();
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(all[0].name, "0.weight");
  EXPECT_EQ(all[0].shape.to_string(), "5x10");
  EXPECT_EQ(all[3].name, "2.bias");
  EXPECT_EQ(model.parameters().count(), 61);
  for (const auto& p : all) {
    EXPECT_GE(p.value.data(), model.parameters().values().data());
    EXPECT_LE(p.value.data() + p.value.size(), model.parameters().values().data() + model.parameters().values().size());
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p.value.data()) % 64, 0U);
    const float bound = 1 / std::sqrt(p.name[0] == '0' ? 10.0F : 5.0F);
    for (const float v : p.value) EXPECT_TRUE(v >= -bound && v <= bound && v != 0) << p.name;
  }
  EXPECT_EQ(model.describe(),
            "Sequential(\n  (0): Linear(in_features=10, out_features=5)\n  (1): Sigmoid()\n  (2): "
            "Linear(in_features=5, out_features=1)\n  (3): Sigmoid()\n)");
}

TEST(Sequential, Errors) {
  EXPECT_EQ(message_of<ShapeError>([] { nn::Sequential(nn::Linear(3, 4), nn::ReLU(), nn::Linear(5, 1)); }),
            "Linear: expects 5 features but gets 4");
  EXPECT_EQ(message_of<ValueError>([] { nn::Linear(0, 4); }),
            "Linear: in_features 0 and out_features 4 must be positive");
  EXPECT_EQ(message_of<ValueError>([] { nn::GELU("fast"); }), "GELU: approximate is \"fast\", expected none or tanh");
  nn::Sequential model(nn::Linear(3, 2));
  Matrix<float> x(4, 2), right(4, 3), dy(4, 3);
  EXPECT_EQ(message_of<Error>([&] { model.backward(dy); }), "Sequential: backward before forward");
  EXPECT_EQ(message_of<ShapeError>([&] { model.forward(x); }), "Sequential: x is 4x2 but the model takes 3 features");
  model.forward(right);
  EXPECT_EQ(message_of<ShapeError>([&] { model.backward(dy); }), "Sequential: dy is 4x3 but the output was 4x2");
  EXPECT_EQ(message_of<ValueError>([&] { (void)model.parameters()["1.weight"]; }),
            "ParameterBlock: no \"1.weight\"; there are: 0.weight 0.bias");
}

/// From PyTorch's weights our curve follows PyTorch's for the tutorial's 1000 epochs (tests/data/make_simplenet.py).
TEST(Training, SimpleNetFollowsPyTorch) {
  std::ifstream file(TILEWRIGHT_TEST_DATA "/simplenet.txt");
  ASSERT_TRUE(file) << TILEWRIGHT_TEST_DATA;
  std::map<std::string, std::vector<float>> fixture;
  for (std::string line, name; std::getline(file, line);) {
    std::istringstream words(line);
    words >> name;
    for (float v = 0; words >> v;) fixture[name].push_back(v);
  }
  nn::Sequential model(nn::Linear(10, 5), nn::Sigmoid(), nn::Linear(5, 1), nn::Sigmoid());
  for (const auto& p : model.parameters().parameters()) std::ranges::copy(fixture.at(p.name), p.value.begin());
  const MatrixView<const float> x(fixture["x"].data(), 100, 10), target(fixture["target"].data(), 100, 1);
  nn::MSELoss criterion;
  optim::Adam optimizer(model.parameters());
  ASSERT_EQ(fixture["loss"].size(), 1000U);
  double worst = 0;
  for (const float expected : fixture["loss"]) {
    optimizer.zero_grad();
    const double loss = criterion(model.forward(x), target);
    worst = std::max(worst, std::fabs(loss - expected) / static_cast<double>(expected));
    model.backward(criterion.gradient());
    optimizer.step();
  }
  EXPECT_LT(worst, 1e-4);
  std::printf("  largest relative difference from PyTorch's loss over 1000 epochs: %.2g\n", worst);
}

/// 200 steps of an MLP, with everything it computes: outputs, losses, gradients and weights.
std::uint64_t training_hash(int threads, Index width, Index batch) {
  set_num_threads(threads);
  nn::Sequential model(nn::Linear(90, width), nn::GELU(), nn::Linear(width, width - 20), nn::ReLU(),
                       nn::Linear(width - 20, 33), nn::SiLU(), nn::Linear(33, 10));
  model.reset_parameters(3);
  nn::CrossEntropyLoss criterion;
  optim::Adam adam(model.parameters());
  optim::SGD sgd(model.parameters(), {.lr = 1e-2, .momentum = 0.9});
  Matrix<float> x(batch, 90), dx(batch, 90);
  std::vector<Index> classes(static_cast<std::size_t>(batch));
  Hash hash;
  for (std::uint64_t step = 0; step < 200; ++step) {
    fill_normal(x.span(), {4, step});
    for (std::size_t i = 0; i < classes.size(); ++i)
      classes[i] = static_cast<Index>(RandomStream{5, step}.below(i, 10));
    adam.zero_grad();
    const auto y = model.forward(x);
    hash.add(y).add(criterion(y, classes));
    model.backward(criterion.gradient(), dx);
    hash.add(dx.span()).add(model.parameters().gradients());
    if (step % 2 == 0)
      adam.step();
    else
      sgd.step();
  }
  set_num_threads(0);
  return hash.add(model.parameters().values()).value();
}

/// avx2, avx512 and neon agree on this number; sse2 has its own.
TEST(Training, BitsAreFixed) {
  const auto got = training_hash(1, 40, 31);
  if (active_isa() != Isa::sse2) {
    EXPECT_EQ(got, 5138487682400306405U);
  }
}

/// Wide enough for 64 threads to get work.
TEST(Training, BitsDoNotDependOnThreads) {
  if (test::kEmulated) GTEST_SKIP() << "too long on an emulated processor";
  const auto expected = training_hash(1, 200, 257);
  // Fewer than kThreadCounts, because each takes half a second.
  for (const int threads : {2, 7, 64}) EXPECT_EQ(training_hash(threads, 200, 257), expected) << threads << " threads";
}

TEST(Training, RowAloneEqualsRowInBatch) {
  nn::Sequential model(nn::Linear(100, 200), nn::GELU(), nn::Linear(200, 33), nn::Tanh());
  Matrix<float> x(97, 100);
  fill_normal(x.span(), {1, 1});
  const Matrix<float> all(model.forward(x));
  for (const Index i : {0, 13, 96}) {
    const auto one = model.forward(x.row_block(i, 1));
    for (Index j = 0; j < 33; ++j) EXPECT_EQ(one(0, j), all(i, j));
  }
}

}  // namespace
}  // namespace tilewright
