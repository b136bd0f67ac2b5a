// SPDX-License-Identifier: MIT
// Suite train: one whole step (zero, forward, loss, backward, optimizer). The roof is the step's products at the
// multiply-add peak. The peer is PyTorch in Python, when it is on the machine.
#include <array>
#include <cmath>
#include <memory>

#include "bench/peers.hpp"
#include "tilewright/nn/nn.hpp"

namespace tilewright::bench {
namespace {

struct Training {
  nn::Sequential model;
  optim::AdamOptions options{};
  optim::Adam optimizer{model.parameters(), options};
  Matrix<float> x{}, target{};
  std::vector<Index> classes{};
  nn::MSELoss mse{};
  nn::CrossEntropyLoss cross_entropy{};

  double step() {
    optimizer.zero_grad();
    const auto y = model.forward(x);
    double loss = 0;
    if (classes.empty()) {
      loss = mse(y, target);
      model.backward(mse.gradient());
    } else {
      loss = cross_entropy(y, classes);
      model.backward(cross_entropy.gradient());
    }
    optimizer.step();
    return loss;
  }
};

std::shared_ptr<Training> simplenet() {
  std::shared_ptr<Training> t(
      new Training{nn::Sequential(nn::Linear(10, 5), nn::Sigmoid(), nn::Linear(5, 1), nn::Sigmoid())});
  t->x = Matrix<float>(100, 10);
  t->target = Matrix<float>(100, 1);
  fill_normal(t->target.span(), {1, 2});
  return t;
}

std::shared_ptr<Training> mlp() {
  std::shared_ptr<Training> t(new Training{
      nn::Sequential(nn::Linear(784, 512), nn::ReLU(), nn::Linear(512, 256), nn::ReLU(), nn::Linear(256, 10))});
  t->x = Matrix<float>(128, 784);
  t->classes.resize(128);
  for (std::size_t i = 0; i < 128; ++i) t->classes[i] = static_cast<Index>(i % 10);
  return t;
}

std::shared_ptr<Training> wide_mlp() {
  std::shared_ptr<Training> t(new Training{
      nn::Sequential(nn::Linear(1024, 4096), nn::GELU(), nn::Linear(4096, 4096), nn::GELU(), nn::Linear(4096, 1024)),
      optim::AdamW::kDefaults});
  t->x = Matrix<float>(256, 1024);
  t->target = Matrix<float>(256, 1024);
  fill_normal(t->target.span(), {1, 2});
  return t;
}

/// Forward, and two products of the same size backward for each layer but the first, which has one.
double step_flops(const std::vector<Index>& widths, Index batch) {
  double products = 0;
  for (std::size_t i = 0; i + 1 < widths.size(); ++i)
    products += static_cast<double>(widths[i] * widths[i + 1]) * (i == 0 ? 2 : 3);
  return 2 * products * static_cast<double>(batch);
}

void add_training(const std::string& name, const std::vector<Index>& widths, Index batch,
                  std::shared_ptr<Training> (*make)(), const char* torch) {
  for (const int threads : thread_counts()) {
    Case c{"train", name, raced_isas().back(), threads};
    c.flops = c.operations = step_flops(widths, batch);
    for (std::size_t i = 0; i + 1 < widths.size(); ++i)  // Adam's four arrays, three of them written
      c.bytes_read += 16.0 * static_cast<double>(widths[i] * widths[i + 1]);
    c.bytes_written = c.bytes_read * 3 / 4;
    add(c, [=] {
      const auto t = make();
      fill_normal(t->x.span(), {1, 1});
      Race race;
      const double first = t->step();
      for (int i = 0; i < 3; ++i) t->step();
      if (!(t->step() < first)) race.error = "the loss does not fall";
      race.ours = [=] { t->step(); };
      race.roof_seconds = compute_roof(c, c.flops, 4);
      add_torch(race, {torch});
      return race;
    });
  }
}

}  // namespace

void add_train(bool) {
  add_training("simplenet/batch:100", {10, 5, 1}, 100, simplenet, "simplenet");
  add_training("mlp_784_512_256_10/batch:128", {784, 512, 256, 10}, 128, mlp, "mlp");
  add_training("mlp_1024_4096_4096_1024/batch:256", {1024, 4096, 4096, 1024}, 256, wide_mlp, "wide_mlp");
}

}  // namespace tilewright::bench
