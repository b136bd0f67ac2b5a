// SPDX-License-Identifier: MIT
#include "tilewright/nn/loss.hpp"

namespace tilewright::nn {

MatrixView<float> Loss::prepare(Index rows, Index cols) {
  if (rows * cols > storage_.size()) storage_ = Matrix<float>(rows, cols);
  gradient_ = {storage_.data(), rows, cols};
  return gradient_;
}

double MSELoss::operator()(MatrixView<const float> prediction, MatrixView<const float> target) {
  return mse_loss(prediction, target, prepare(prediction.rows, prediction.cols));
}

double BCEWithLogitsLoss::operator()(MatrixView<const float> logits, MatrixView<const float> target) {
  return bce_with_logits_loss(logits, target, prepare(logits.rows, logits.cols));
}

double CrossEntropyLoss::operator()(MatrixView<const float> logits, std::span<const Index> classes) {
  return cross_entropy_loss(logits, classes, prepare(logits.rows, logits.cols));
}

}  // namespace tilewright::nn
