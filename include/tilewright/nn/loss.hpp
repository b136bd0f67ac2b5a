// SPDX-License-Identifier: MIT
// Loss objects over losses.hpp: a call computes the value and keeps the gradient. Means by default, as in PyTorch. They
// allocate when a batch is larger than any before.
#pragma once

#include <vector>

#include "tilewright/losses.hpp"

namespace tilewright::nn {

/// Holds the gradient of the last call. A loss takes numbers or classes as its target; the other one throws ValueError.
class TILEWRIGHT_API Loss {
 public:
  virtual ~Loss();
  /// The value; keeps the gradient.
  virtual double operator()(MatrixView<const float> prediction, MatrixView<const float> target);
  /// The value; keeps the gradient.
  virtual double operator()(MatrixView<const float> prediction, std::span<const Index> classes);
  /// By the prediction; its shape. Empty before the first call.
  MatrixView<const float> gradient() const { return gradient_; }
  /// PyTorch's.
  virtual const char* name() const = 0;

 protected:
  Loss() = default;
  /// Moves.
  Loss(Loss&&) = default;
  /// Moves.
  Loss& operator=(Loss&&) = default;
  /// Room for the gradient.
  MatrixView<float> prepare(MatrixView<const float> like);

 private:
  Matrix<float> storage_;
  MatrixView<float> gradient_;
};

/// Losses of elements. A mean divides by the number of elements, batch_mean by the number of rows.
class TILEWRIGHT_API ElementLoss : public Loss {
 public:
  using Loss::operator();
  double operator()(MatrixView<const float> prediction, MatrixView<const float> target) override;

 protected:
  /// Throws ValueError for Reduction::none, which is not a number: call the function.
  explicit ElementLoss(Reduction reduction);
  /// The value and dx.
  virtual double compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                         const LossOptions& options) = 0;

 private:
  LossOptions options_;
};

/// (prediction - target)^2
class TILEWRIGHT_API MSELoss final : public ElementLoss {
 public:
  /// Throws as ElementLoss.
  explicit MSELoss(Reduction reduction = Reduction::mean) : ElementLoss(reduction) {}
  const char* name() const override { return "MSELoss"; }

 private:
  double compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                 const LossOptions& options) override;
};

/// |prediction - target|
class TILEWRIGHT_API L1Loss final : public ElementLoss {
 public:
  /// Throws as ElementLoss.
  explicit L1Loss(Reduction reduction = Reduction::mean) : ElementLoss(reduction) {}
  const char* name() const override { return "L1Loss"; }

 private:
  double compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                 const LossOptions& options) override;
};

/// smooth_l1_loss()
class TILEWRIGHT_API SmoothL1Loss final : public ElementLoss {
 public:
  /// Throws as ElementLoss.
  explicit SmoothL1Loss(double beta = 1, Reduction reduction = Reduction::mean) : ElementLoss(reduction), beta_(beta) {}
  const char* name() const override { return "SmoothL1Loss"; }

 private:
  double compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                 const LossOptions& options) override;
  double beta_;
};

/// huber_loss()
class TILEWRIGHT_API HuberLoss final : public ElementLoss {
 public:
  /// Throws as ElementLoss.
  explicit HuberLoss(double delta = 1, Reduction reduction = Reduction::mean) : ElementLoss(reduction), delta_(delta) {}
  const char* name() const override { return "HuberLoss"; }

 private:
  double compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                 const LossOptions& options) override;
  double delta_;
};

/// Of probabilities.
class TILEWRIGHT_API BCELoss final : public ElementLoss {
 public:
  /// Throws as ElementLoss.
  explicit BCELoss(Reduction reduction = Reduction::mean) : ElementLoss(reduction) {}
  const char* name() const override { return "BCELoss"; }

 private:
  double compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                 const LossOptions& options) override;
};

/// Cross-entropy of sigmoid(logits) with targets in [0, 1]. pos_weight: one factor per column, or none.
class TILEWRIGHT_API BCEWithLogitsLoss final : public ElementLoss {
 public:
  /// Throws as ElementLoss.
  explicit BCEWithLogitsLoss(std::vector<float> pos_weight = {}, Reduction reduction = Reduction::mean)
      : ElementLoss(reduction), pos_weight_(std::move(pos_weight)) {}
  const char* name() const override { return "BCEWithLogitsLoss"; }

 private:
  double compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                 const LossOptions& options) override;
  std::vector<float> pos_weight_;
};

/// Of log-probabilities. PyTorch's default is a mean over elements; batch_mean is the mathematical one.
class TILEWRIGHT_API KLDivLoss final : public ElementLoss {
 public:
  /// Throws as ElementLoss.
  explicit KLDivLoss(bool log_target = false, Reduction reduction = Reduction::mean)
      : ElementLoss(reduction), log_target_(log_target) {}
  const char* name() const override { return "KLDivLoss"; }

 private:
  double compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                 const LossOptions& options) override;
  bool log_target_;
};

/// hinge_embedding_loss()
class TILEWRIGHT_API HingeEmbeddingLoss final : public ElementLoss {
 public:
  /// Throws as ElementLoss.
  explicit HingeEmbeddingLoss(double margin = 1, Reduction reduction = Reduction::mean)
      : ElementLoss(reduction), margin_(margin) {}
  const char* name() const override { return "HingeEmbeddingLoss"; }

 private:
  double compute(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                 const LossOptions& options) override;
  double margin_;
};

/// Options of losses of classes; the weights are kept.
struct ClassLossSettings {
  std::vector<float> weight = {};         ///< a factor for each class, or empty
  Index ignore_index = -100;              ///< the class of samples that do not count
  double label_smoothing = 0;             ///< 0 .. 1, CrossEntropyLoss only
  Reduction reduction = Reduction::mean;  ///< not none
};

/// Cross-entropy of softmax(logits) with class numbers, or with probabilities.
class TILEWRIGHT_API CrossEntropyLoss final : public Loss {
 public:
  /// Throws ValueError for Reduction::none, which is not a number: call cross_entropy_loss().
  explicit CrossEntropyLoss(ClassLossSettings settings = {});
  double operator()(MatrixView<const float> logits, std::span<const Index> classes) override;
  double operator()(MatrixView<const float> logits, MatrixView<const float> probabilities) override;
  const char* name() const override { return "CrossEntropyLoss"; }

 private:
  ClassLossSettings settings_;
};

/// -x[class] of log-probabilities.
class TILEWRIGHT_API NLLLoss final : public Loss {
 public:
  /// Throws as CrossEntropyLoss.
  explicit NLLLoss(ClassLossSettings settings = {});
  using Loss::operator();
  double operator()(MatrixView<const float> x, std::span<const Index> classes) override;
  const char* name() const override { return "NLLLoss"; }

 private:
  ClassLossSettings settings_;
};

}  // namespace tilewright::nn
