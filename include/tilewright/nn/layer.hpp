// SPDX-License-Identifier: MIT
// What a layer is: it says which parameters it has and how wide its output is, and computes forward and backward passes
// over views that the model gives it. A layer owns no memory for data; the model plans it (sequential.hpp). Samples are
// rows; whatever shape a sample has in PyTorch, here it is flat. docs/extending.md writes one.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tilewright/activations.hpp"
#include "tilewright/matrix.hpp"
#include "tilewright/random.hpp"

namespace tilewright::nn {

/// A named part of a model's parameter block, and the same part of its gradient block. Names and shapes are PyTorch's:
/// "0.weight" is out x in.
struct Parameter {
  std::string name;           ///< in the model
  Shape shape;                ///< outermost first
  std::span<float> value;     ///< a piece of the model's block
  std::span<float> gradient;  ///< empty for buffers
  bool trainable = true;      ///< see ParameterBlock::freeze

  /// The last extent as columns.
  MatrixView<float> value_matrix() const { return matrix(value); }
  /// Likewise.
  MatrixView<float> gradient_matrix() const { return matrix(gradient); }

 private:
  MatrixView<float> matrix(std::span<float> data) const {
    const Index cols = shape.rank() == 0 ? 1 : shape[shape.rank() - 1];
    return {data.data(), cols == 0 ? 0 : static_cast<Index>(data.size()) / cols, cols};
  }
};

/// A parameter that a layer wants.
struct ParameterSpec {
  std::string name;  ///< in the layer
  Shape shape;       ///< outermost first
};

/// What a layer gets to compute y.
struct ForwardPass {
  std::span<const Parameter> parameters;  ///< in the order of Layer::parameters()
  std::span<const Parameter> buffers;     ///< in the order of Layer::buffers()
  MatrixView<const float> x;              ///< batch x in_features
  MatrixView<float> y;                    ///< batch x out_features
  MatrixView<float> saved;                ///< batch x saved_features, contiguous, kept for the backward pass
  bool training = false;                  ///< train() or eval()
  RandomStream random = {};               ///< of this layer in this pass; a new one for every pass in training
};

/// What a layer gets to compute the gradients.
struct BackwardPass {
  std::span<const Parameter> parameters;  ///< in the order of Layer::parameters()
  std::span<const Parameter> buffers;     ///< in the order of Layer::buffers()
  MatrixView<const float> x;              ///< as the forward pass left it
  MatrixView<const float> y;              ///< as the forward pass left them
  MatrixView<float> saved;                ///< as the forward pass left it
  MatrixView<float> dy;                   ///< gradient by y; may be overwritten
  MatrixView<float> dx;                   ///< gradient by x to fill, or empty when nobody needs it
  bool accumulate;                        ///< add to the parameters' gradients, or overwrite them
  bool training = false;                  ///< train() or eval()
  RandomStream random = {};               ///< the forward pass's
  /// dy is the gradient before this layer's fused activation: the next layer has applied its derivative.
  bool dy_is_done = false;
  /// What this layer does likewise for the one before: multiply dx by the derivative of the activation `before`, given
  /// what that saved. Set only for layers whose multiplies_derivative() is true.
  Activation before = {};
  MatrixView<const float> before_saved = {};  ///< see `before`
};

/// A function with parameters. docs/extending.md shows how to write one.
class TILEWRIGHT_API Layer {
 public:
  virtual ~Layer();
  /// "Linear(in_features=10, out_features=5)"
  virtual std::string describe() const = 0;
  /// Throws ShapeError when the layer cannot take this many input features.
  virtual Index out_features(Index in_features) const = 0;
  /// Features an input must have, or 0 when any number will do.
  virtual Index in_features() const { return 0; }
  /// Floats per sample that forward wants kept besides x and y.
  virtual Index saved_features(Index) const { return 0; }
  /// Whether the output is as wide as the input, which may be of any width.
  virtual bool keeps_features() const { return activation() != nullptr; }
  /// What it wants to be trained; none by default.
  virtual std::vector<ParameterSpec> parameters() const { return {}; }
  /// Numbers that belong to the layer but are not trained; zeros at first.
  virtual std::vector<ParameterSpec> buffers() const { return {}; }
  /// Fills fresh parameters and buffers; `stream` is the layer's own.
  virtual void reset_parameters(std::span<const Parameter>, RandomStream) const {}
  /// Likewise for buffers; they are zeros before.
  virtual void reset_buffers(std::span<const Parameter>) const {}
  /// Fills y.
  virtual void forward(const ForwardPass& pass) = 0;
  /// Fills dx, if it is there, and the gradients of the parameters.
  virtual void backward(const BackwardPass& pass) = 0;
  /// Takes the activation that follows into this layer; false when it cannot.
  virtual bool fuse(Activation) { return false; }
  /// The activation taken in, or null.
  virtual const Activation* fused() const { return nullptr; }
  /// Whether backward can multiply dx by the derivative of the activation before it, as it goes.
  virtual bool multiplies_derivative() const { return false; }
  /// The function this layer is when it is nothing but an activation.
  virtual const Activation* activation() const { return nullptr; }
};

/// y = x W^T + b, W out x in. Followed by an activation in a Sequential, both run as one product with an epilogue.
/// Parameters: weight (out x in) and bias (out), from U(-1/sqrt(in), 1/sqrt(in)).
class TILEWRIGHT_API Linear final : public Layer {
 public:
  /// Throws ValueError unless both are positive.
  Linear(Index in_features, Index out_features, bool bias = true);
  std::string describe() const override;
  Index out_features(Index in_features) const override;
  Index in_features() const override { return in_; }
  Index saved_features(Index in_features) const override;
  std::vector<ParameterSpec> parameters() const override;
  void reset_parameters(std::span<const Parameter> parameters, RandomStream stream) const override;
  void forward(const ForwardPass& pass) override;
  void backward(const BackwardPass& pass) override;
  bool fuse(Activation activation) override;
  const Activation* fused() const override {
    return activation_.kind == ActivationKind::identity ? nullptr : &activation_;
  }
  bool multiplies_derivative() const override { return true; }

 private:
  Index in_, out_;
  bool bias_;
  Activation activation_;
};

/// Any of the functions of activations.hpp as a layer.
class TILEWRIGHT_API ActivationLayer : public Layer {
 public:
  /// Throws ValueError for numbers outside of their ranges.
  ActivationLayer(Activation activation) : activation_(activation) {}
  std::string describe() const override;
  Index out_features(Index in_features) const override { return in_features; }
  void forward(const ForwardPass& pass) override;
  void backward(const BackwardPass& pass) override;
  const Activation* activation() const override { return &activation_; }

 private:
  Activation activation_;
};

/// The activations of activations.hpp under PyTorch's names.
struct Identity : ActivationLayer {
  Identity() : ActivationLayer(ActivationKind::identity) {}
};
/// max(x, 0)
struct ReLU : ActivationLayer {
  ReLU() : ActivationLayer(ActivationKind::relu) {}
};
/// min(max(x, 0), 6)
struct ReLU6 : ActivationLayer {
  ReLU6() : ActivationLayer(ActivationKind::relu6) {}
};
/// Samples are flat already: nothing to do, and nothing is done.
struct TILEWRIGHT_API Flatten : ActivationLayer {
  Flatten() : ActivationLayer(ActivationKind::identity) {}
  std::string describe() const override;
};
/// 1 / (1 + exp(-x))
struct Sigmoid : ActivationLayer {
  Sigmoid() : ActivationLayer(ActivationKind::sigmoid) {}
};
/// tanh(x)
struct Tanh : ActivationLayer {
  Tanh() : ActivationLayer(ActivationKind::tanh) {}
};
/// x sigmoid(x)
struct SiLU : ActivationLayer {
  SiLU() : ActivationLayer(ActivationKind::silu) {}
};
/// Scaled exponential linear unit, see activations.hpp.
struct SELU : ActivationLayer {
  SELU() : ActivationLayer(ActivationKind::selu) {}
};
/// log(sigmoid(x))
struct LogSigmoid : ActivationLayer {
  LogSigmoid() : ActivationLayer(ActivationKind::log_sigmoid) {}
};
/// x tanh(softplus(x))
struct Mish : ActivationLayer {
  Mish() : ActivationLayer(ActivationKind::mish) {}
};
/// x / (1 + |x|)
struct Softsign : ActivationLayer {
  Softsign() : ActivationLayer(ActivationKind::softsign) {}
};
/// x sigmoid(1.702 x)
struct QuickGELU : ActivationLayer {
  QuickGELU() : ActivationLayer(ActivationKind::quick_gelu) {}
};
/// min(max(x + 3, 0), 6) / 6
struct Hardsigmoid : ActivationLayer {
  Hardsigmoid() : ActivationLayer(ActivationKind::hardsigmoid) {}
};
/// x min(max(x + 3, 0), 6) / 6
struct Hardswish : ActivationLayer {
  Hardswish() : ActivationLayer(ActivationKind::hardswish) {}
};
/// x - tanh(x)
struct Tanhshrink : ActivationLayer {
  Tanhshrink() : ActivationLayer(ActivationKind::tanhshrink) {}
};
/// x > 0 ? x : negative_slope x
struct LeakyReLU : ActivationLayer {
  /// See Activation::leaky_relu.
  explicit LeakyReLU(double negative_slope = 0.01) : ActivationLayer(Activation::leaky_relu(negative_slope)) {}
};
/// x > 0 ? x : alpha (exp(x) - 1)
struct ELU : ActivationLayer {
  /// See Activation::elu.
  explicit ELU(double alpha = 1) : ActivationLayer(Activation::elu(alpha)) {}
};
/// x > 0 ? x : alpha (exp(x / alpha) - 1)
struct CELU : ActivationLayer {
  /// See Activation::celu.
  explicit CELU(double alpha = 1) : ActivationLayer(Activation::celu(alpha)) {}
};
/// beta x > threshold ? x : log(1 + exp(beta x)) / beta
struct Softplus : ActivationLayer {
  /// See Activation::softplus.
  explicit Softplus(double beta = 1, double threshold = 20) : ActivationLayer(Activation::softplus(beta, threshold)) {}
};
/// min(max(x, min_val), max_val)
struct Hardtanh : ActivationLayer {
  /// See Activation::hardtanh.
  explicit Hardtanh(double min_val = -1, double max_val = 1)
      : ActivationLayer(Activation::hardtanh(min_val, max_val)) {}
};
/// x > lambda ? x - lambda : x < -lambda ? x + lambda : 0
struct Softshrink : ActivationLayer {
  /// See Activation::softshrink.
  explicit Softshrink(double lambda = 0.5) : ActivationLayer(Activation::softshrink(lambda)) {}
};
/// x > threshold ? x : value
struct Threshold : ActivationLayer {
  /// See Activation::threshold.
  explicit Threshold(double threshold, double value) : ActivationLayer(Activation::threshold(threshold, value)) {}
};
/// approximate: "none" (erf) or "tanh"; anything else throws ValueError.
struct TILEWRIGHT_API GELU : ActivationLayer {
  /// "none" or "tanh".
  explicit GELU(std::string_view approximate = "none");
};

}  // namespace tilewright::nn
