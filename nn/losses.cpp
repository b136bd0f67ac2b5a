// SPDX-License-Identifier: MIT
#include "tilewright/nn/loss.hpp"

namespace tilewright::nn {
namespace {

void check_reduction(const char* name, Reduction reduction) {
  if (reduction == Reduction::none)
    throw ValueError(std::string(name) + ": a loss object gives one number; call the function for reduction none");
}

ClassLossOptions options_of(const ClassLossSettings& s) {
  return {s.reduction, s.weight, s.ignore_index, s.label_smoothing, {}};
}

}  // namespace

Loss::~Loss() = default;

MatrixView<float> Loss::prepare(MatrixView<const float> like) {
  if (like.rows * like.cols > storage_.size()) storage_ = Matrix<float>(like.rows, like.cols);
  gradient_ = {storage_.data(), like.rows, like.cols};
  return gradient_;
}

double Loss::operator()(MatrixView<const float>, MatrixView<const float>) {
  throw ValueError(std::string(name()) + ": the target must be classes, not a matrix");
}

double Loss::operator()(MatrixView<const float>, std::span<const Index>) {
  throw ValueError(std::string(name()) + ": the target must be a matrix, not classes");
}

ElementLoss::ElementLoss(Reduction reduction) {
  check_reduction("Loss", reduction);
  options_.reduction = reduction;
}

double ElementLoss::operator()(MatrixView<const float> prediction, MatrixView<const float> target) {
  return compute(prediction, target, prepare(prediction), options_);
}

double MSELoss::compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                        const LossOptions& options) {
  return mse_loss(x, target, dx, options);
}
double L1Loss::compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                       const LossOptions& options) {
  return l1_loss(x, target, dx, options);
}
double SmoothL1Loss::compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                             const LossOptions& options) {
  return smooth_l1_loss(x, target, dx, beta_, options);
}
double HuberLoss::compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                          const LossOptions& options) {
  return huber_loss(x, target, dx, delta_, options);
}
double BCELoss::compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                        const LossOptions& options) {
  return bce_loss(x, target, dx, options);
}
double BCEWithLogitsLoss::compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                                  const LossOptions& options) {
  return bce_with_logits_loss(x, target, dx, options, 0, pos_weight_);
}
double KLDivLoss::compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                          const LossOptions& options) {
  return kl_div_loss(x, target, dx, log_target_, options);
}
double HingeEmbeddingLoss::compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                                   const LossOptions& options) {
  return hinge_embedding_loss(x, target, dx, margin_, options);
}

CrossEntropyLoss::CrossEntropyLoss(ClassLossSettings settings) : settings_(std::move(settings)) {
  check_reduction("CrossEntropyLoss", settings_.reduction);
}

double CrossEntropyLoss::operator()(MatrixView<const float> logits, std::span<const Index> classes) {
  return cross_entropy_loss(logits, classes, prepare(logits), options_of(settings_));
}

double CrossEntropyLoss::operator()(MatrixView<const float> logits, MatrixView<const float> probabilities) {
  return cross_entropy_loss(logits, probabilities, prepare(logits), options_of(settings_));
}

NLLLoss::NLLLoss(ClassLossSettings settings) : settings_(std::move(settings)) {
  check_reduction("NLLLoss", settings_.reduction);
}

double NLLLoss::operator()(MatrixView<const float> x, std::span<const Index> classes) {
  return nll_loss(x, classes, prepare(x), options_of(settings_));
}

}  // namespace tilewright::nn
