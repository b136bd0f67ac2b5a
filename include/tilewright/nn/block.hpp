// SPDX-License-Identifier: MIT
// Layers that hold layers: a row of them, and a row with a connection around it.
#pragma once

#include <concepts>

#include "tilewright/nn/layer.hpp"

namespace tilewright::nn {

using Layers = std::vector<std::unique_ptr<Layer>>;

/// The layers in their order, for constructors.
template <class... L>
requires(sizeof...(L) > 0 && (std::derived_from<std::remove_cvref_t<L>, Layer> && ...)) Layers layers(L&&... all) {
  Layers list;
  (list.push_back(std::make_unique<std::remove_cvref_t<L>>(std::forward<L>(all))), ...);
  return list;
}

/// Layers one after the other, as one layer: PyTorch's Sequential inside of another. Parameters are named "0.weight",
/// by the layers' places. A Linear layer and the activation behind it run as one.
class TILEWRIGHT_API Block : public Layer {
 public:
  /// With layers in their order; throws as the other constructor.
  template <class... L>
  requires(sizeof...(L) > 0 && (std::derived_from<std::remove_cvref_t<L>, Layer> && ...)) explicit Block(L&&... all)
      : Block(layers(std::forward<L>(all)...)) {}
  /// Throws ValueError when empty or when one is null; ShapeError when the layers do not fit.
  explicit Block(Layers all);

  std::string describe() const override;
  Index in_features() const override;
  Index out_features(Index in_features) const override;
  Index saved_features(Index in_features) const override;
  std::vector<ParameterSpec> parameters() const override { return parameters_; }
  std::vector<ParameterSpec> buffers() const override { return buffers_; }
  void reset_parameters(std::span<const Parameter> parameters, RandomStream stream) const override;
  void reset_buffers(std::span<const Parameter> buffers) const override;
  void forward(const ForwardPass& pass) override;
  void backward(const BackwardPass& pass) override;

  /// The layers as they were given, one line each, for summaries.
  struct Line {
    std::string name;         ///< the place, "0"
    std::string description;  ///< the layer's describe()
    Index out;                ///< features per sample
    Index parameters;         ///< how many numbers
    double flops;             ///< forward, per sample
  };
  /// For inputs of this width.
  std::vector<Line> lines(Index in_features) const;

  /// What a layer gave in the last forward pass; a Linear layer and the activation behind it give one.
  struct Output {
    std::string name;           ///< the layer's place: "3", or "2.0" in a layer of layers
    MatrixView<const float> y;  ///< batch x features
  };
  /// Given what the pass saved, and its y.
  virtual std::vector<Output> outputs(Index in_features, MatrixView<float> saved, MatrixView<const float> y) const;

 protected:
  /// What describe() begins with.
  virtual const char* name() const { return "Sequential"; }

 private:
  /// A layer (with the activation that it took in), and its part of the names.
  struct Step {
    std::unique_ptr<Layer> layer;
    std::size_t index;  ///< in the user's counting
    std::size_t first_parameter, parameters, first_buffer, buffers;
    std::string forward_name, backward_name;  ///< for the profiler
  };
  /// Where a step's numbers lie in `saved`, in floats per sample; the last step's y is the block's.
  struct Place {
    Index in, out, saved, y_at, saved_at;
  };
  struct Plan {
    Index in = -1, out = 0, floats = 0, gradient_at[2] = {};
    std::vector<Place> places;
  };
  const Plan& plan(Index in_features) const;
  std::span<const Parameter> part(std::span<const Parameter> all, std::size_t first, std::size_t count) const {
    return all.subspan(first, count);
  }

  std::vector<Step> steps_;
  std::vector<std::string> described_;
  std::vector<ParameterSpec> parameters_, buffers_;
  mutable Plan plan_;
};

/// y = x + layers(x), which must be as wide as x.
class TILEWRIGHT_API Residual final : public Block {
 public:
  using Block::Block;
  Index out_features(Index in_features) const override;
  Index saved_features(Index in_features) const override;
  void forward(const ForwardPass& pass) override;
  void backward(const BackwardPass& pass) override;
  std::vector<Output> outputs(Index in_features, MatrixView<float> saved, MatrixView<const float> y) const override;

 private:
  const char* name() const override { return "Residual"; }
};

}  // namespace tilewright::nn
