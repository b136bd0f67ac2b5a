// SPDX-License-Identifier: MIT
// Loss objects over losses.hpp: a call computes the value and keeps the gradient. Means, as in PyTorch. They allocate
// when a batch is larger than any before.
#pragma once

#include "tilewright/losses.hpp"

namespace tilewright::nn {

/// Holds the gradient of the last call.
class TILEWRIGHT_API Loss {
 public:
  /// By the prediction; its shape. Empty before the first call.
  MatrixView<const float> gradient() const { return gradient_; }

 protected:
  MatrixView<float> prepare(Index rows, Index cols);

 private:
  Matrix<float> storage_;
  MatrixView<float> gradient_;
};

/// mean((prediction - target)^2)
class TILEWRIGHT_API MSELoss : public Loss {
 public:
  double operator()(MatrixView<const float> prediction, MatrixView<const float> target);
};

/// Cross-entropy of sigmoid(logits) with targets in [0, 1].
class TILEWRIGHT_API BCEWithLogitsLoss : public Loss {
 public:
  double operator()(MatrixView<const float> logits, MatrixView<const float> target);
};

/// Cross-entropy of softmax(logits) with class numbers.
class TILEWRIGHT_API CrossEntropyLoss : public Loss {
 public:
  double operator()(MatrixView<const float> logits, std::span<const Index> classes);
};

}  // namespace tilewright::nn
