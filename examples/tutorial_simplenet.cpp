// SPDX-License-Identifier: MIT
// The tutorial's PyTorch network: Linear(10, 5), sigmoid, Linear(5, 1), sigmoid, mean squared error, Adam with its
// defaults, 1000 epochs.
#include <chrono>
#include <cstdio>

#include "tilewright/nn/nn.hpp"

using namespace tilewright;

int main() {
  Matrix<float> x(100, 10), target(100, 1);
  fill_normal(x.span(), {.seed = 1});
  fill_normal(target.span(), {.seed = 2});

  nn::Sequential model(nn::Linear(10, 5), nn::Sigmoid(), nn::Linear(5, 1), nn::Sigmoid());
  nn::MSELoss criterion;
  optim::Adam optimizer(model.parameters());

  const auto start = std::chrono::steady_clock::now();
  double first = 0, loss = 0;
  for (int epoch = 0; epoch < 1000; ++epoch) {
    optimizer.zero_grad();
    loss = criterion(model.forward(x), target);
    model.backward(criterion.gradient());
    optimizer.step();
    if (epoch == 0) first = loss;
    if (epoch % 100 == 0) std::printf("epoch %4d  loss %.6f\n", epoch, loss);
  }
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  std::printf("epoch 1000  loss %.6f\n1000 epochs in %.2f ms\n", loss, time.count());
  return loss < 0.95 * first ? 0 : 1;
}
