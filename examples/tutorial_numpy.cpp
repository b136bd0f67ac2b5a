// SPDX-License-Identifier: MIT
// The tutorial's first network, written with matrices only: 10-5-1, sigmoid on both layers, 1000 plain gradient steps
// of size 1 on half the summed squared error (whose gradient is the error itself).
//
// The tutorial's listing has two mistakes: its backward pass uses the hidden activations, which only its forward pass
// knows, and it applies the derivative formula to sigmoid(value) although the value already is an output of the
// sigmoid. Here the hidden layer is kept, and activation_backward takes outputs.
#include <cmath>
#include <cstdio>

#include "tilewright/tilewright.hpp"

using namespace tilewright;

int main() {
  const Index samples = 100, inputs = 10, hidden = 5;
  Matrix<float> x(samples, inputs), target(samples, 1), w1(inputs, hidden), b1(1, hidden), w2(hidden, 1), b2(1, 1);
  std::uint64_t stream = 0;
  for (Matrix<float>* m : {&x, &target, &w1, &b1, &w2, &b2}) fill_normal(m->span(), {.seed = 42, .stream = stream++});

  Matrix<float> a1(samples, hidden), a2(samples, 1), d1(samples, hidden), d2(samples, 1);
  const Activation sigmoid = ActivationKind::sigmoid;
  double first = 0, loss = 0;
  for (int epoch = 0; epoch < 1000; ++epoch) {
    gemm(x, w1, a1, {.bias = b1.span(), .activation = sigmoid});   // forward: a1 = sigmoid(x w1 + b1)
    gemm(a1, w2, a2, {.bias = b2.span(), .activation = sigmoid});  //          a2 = sigmoid(a1 w2 + b2)

    loss = 0;
    for (Index i = 0; i < samples; ++i) {
      d2(i, 0) = a2(i, 0) - target(i, 0);
      loss += static_cast<double>(d2(i, 0) * d2(i, 0)) / 2;
    }
    if (epoch == 0) first = loss;

    activation_backward(sigmoid, a2, d2, d2);  // backward: d2 = (a2 - target) a2 (1 - a2)
    gemm(d2, w2.t(), d1);                      //           d1 = d2 w2^T a1 (1 - a1)
    activation_backward(sigmoid, a1, d1, d1);

    const float step = 1;
    gemm(a1.t(), d2, w2, {.alpha = -step, .beta = 1});  // w2 -= step a1^T d2, in one call
    gemm(x.t(), d1, w1, {.alpha = -step, .beta = 1});
    for (Index i = 0; i < samples; ++i) {
      b2(0, 0) -= step * d2(i, 0);
      for (Index j = 0; j < hidden; ++j) b1(0, j) -= step * d1(i, j);
    }
    if (epoch % 100 == 0) std::printf("epoch %4d  loss %.4f\n", epoch, loss);
  }
  std::printf("epoch 1000  loss %.4f\n", loss);
  return std::isfinite(loss) && loss < 0.9 * first ? 0 : 1;
}
