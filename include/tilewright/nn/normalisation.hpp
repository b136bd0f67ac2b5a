// SPDX-License-Identifier: MIT
// Layers over rows.hpp and elementwise.hpp: normalisation, dropout, prelu. PyTorch's names, defaults and formulas.
#pragma once

#include "tilewright/nn/layer.hpp"

namespace tilewright::nn {

/// What layers with a factor and perhaps an offset for each feature have in common: weight (ones), bias (zeros).
class TILEWRIGHT_API AffineLayer : public Layer {
 public:
  std::vector<ParameterSpec> parameters() const override;
  void reset_parameters(std::span<const Parameter> parameters, RandomStream stream) const override;
  Index out_features(Index in_features) const override;

 protected:
  /// Throws ValueError unless features is positive and eps a number >= 0.
  AffineLayer(const char* name, Index features, bool weight, bool bias, double eps);
  /// Values and gradients of weight and bias, empty where there is none.
  struct Affine {
    std::span<float> weight;   ///< values
    std::span<float> bias;     ///< values
    std::span<float> dweight;  ///< gradients
    std::span<float> dbias;    ///< gradients
  };
  /// Those of a pass.
  static Affine affine(std::span<const Parameter> parameters);
  /// What a call of a kernel overwrites is added to what was there before, if the pass accumulates.
  template <class Call>
  void with_gradients(const BackwardPass& pass, Call call);

  const char* name_;  ///< for messages
  Index features_;    ///< of weight and bias
  bool weight_;       ///< whether there is one
  bool bias_;         ///< whether there is one
  double eps_;        ///< beside the variance

 private:
  Matrix<float> before_;
};

/// Each group of `features` neighbouring numbers: (x - mean) / sqrt(variance + eps) weight + bias. Samples may have any
/// multiple of that many features, as PyTorch's inputs of several dimensions have.
class TILEWRIGHT_API LayerNorm final : public AffineLayer {
 public:
  /// Throws as AffineLayer.
  explicit LayerNorm(Index features, double eps = 1e-5, bool elementwise_affine = true, bool bias = true)
      : AffineLayer("LayerNorm", features, elementwise_affine, elementwise_affine && bias, eps) {}
  std::string describe() const override;
  bool keeps_features() const override { return true; }
  Index saved_features(Index in_features) const override { return 2 * in_features / features_; }
  void forward(const ForwardPass& pass) override;
  void backward(const BackwardPass& pass) override;
};

/// x / sqrt(mean(x^2) + eps) weight, by groups of `features` as LayerNorm.
class TILEWRIGHT_API RMSNorm final : public AffineLayer {
 public:
  /// Throws as AffineLayer.
  explicit RMSNorm(Index features, double eps = 1.1920928955078125e-7, bool elementwise_affine = true)
      : AffineLayer("RMSNorm", features, elementwise_affine, false, eps) {}
  std::string describe() const override;
  bool keeps_features() const override { return true; }
  Index saved_features(Index in_features) const override { return in_features / features_; }
  void forward(const ForwardPass& pass) override;
  void backward(const BackwardPass& pass) override;
};

/// Each feature over the batch, in training; with running averages otherwise. Buffers: running_mean, running_var,
/// num_batches_tracked. A batch of one is a ShapeError in training.
class TILEWRIGHT_API BatchNorm1d final : public AffineLayer {
 public:
  /// Throws as AffineLayer, and ValueError for a momentum outside 0 .. 1.
  explicit BatchNorm1d(Index features, double eps = 1e-5, double momentum = 0.1, bool affine = true);
  std::string describe() const override;
  Index in_features() const override { return features_; }
  std::vector<ParameterSpec> buffers() const override;
  void reset_buffers(std::span<const Parameter> buffers) const override;
  void forward(const ForwardPass& pass) override;
  void backward(const BackwardPass& pass) override;

 private:
  std::span<float> statistics(Index row);
  double momentum_;
  Matrix<float> statistics_;  ///< of the last batch: mean and 1 / deviation; 1 / running deviation; zeros
};

/// Samples are `channels` times the same number of features, channel by channel; `groups` equal groups of channels are
/// normalised each by its own mean and deviation. weight and bias are one number per channel.
class TILEWRIGHT_API GroupNorm final : public AffineLayer {
 public:
  /// Throws ValueError unless channels is a multiple of groups.
  explicit GroupNorm(Index groups, Index channels, double eps = 1e-5, bool affine = true);
  std::string describe() const override;
  bool keeps_features() const override { return true; }
  Index saved_features(Index) const override { return 2 * groups_; }
  void forward(const ForwardPass& pass) override;
  void backward(const BackwardPass& pass) override;

 private:
  Index groups_;
};

/// In training each number is 0 with probability p and multiplied by 1 / (1 - p) otherwise; else nothing happens.
class TILEWRIGHT_API Dropout final : public Layer {
 public:
  /// Throws ValueError unless 0 <= p <= 1.
  explicit Dropout(double p = 0.5);
  std::string describe() const override;
  Index out_features(Index in_features) const override { return in_features; }
  bool keeps_features() const override { return true; }
  void forward(const ForwardPass& pass) override;
  void backward(const BackwardPass& pass) override;

 private:
  double p_;
};

/// x > 0 ? x : weight x, with one weight, or one per feature.
class TILEWRIGHT_API PReLU final : public AffineLayer {
 public:
  /// num_parameters: 1 or the number of features. Throws ValueError for less.
  explicit PReLU(Index num_parameters = 1, double init = 0.25);
  std::string describe() const override;
  Index in_features() const override { return features_ == 1 ? 0 : features_; }
  Index out_features(Index in_features) const override;
  bool keeps_features() const override { return true; }
  void reset_parameters(std::span<const Parameter> parameters, RandomStream stream) const override;
  void forward(const ForwardPass& pass) override;
  void backward(const BackwardPass& pass) override;

 private:
  double init_;
};

}  // namespace tilewright::nn
