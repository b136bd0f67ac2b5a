// SPDX-License-Identifier: MIT
// A chain of layers with one block of parameters, one block of gradients and one arena for everything between input and
// output.
#pragma once

#include "tilewright/nn/layer.hpp"

namespace tilewright::nn {

/// All parameters of a model in one aligned block and all gradients in another, so that an optimizer step is one call.
/// Each parameter starts at a multiple of 64 bytes; the gaps hold zeros.
class TILEWRIGHT_API ParameterBlock {
 public:
  ParameterBlock() = default;
  explicit ParameterBlock(const std::vector<ParameterSpec>& specs);
  ParameterBlock(ParameterBlock&&) = default;
  ParameterBlock& operator=(ParameterBlock&&) = default;

  std::span<float> values() { return values_.span(); }
  std::span<const float> values() const { return values_.span(); }
  /// Zeros after zero_grad() until the next backward pass.
  std::span<float> gradients();
  /// Marks the gradients as zero; the next backward pass overwrites them, so nothing is filled.
  void zero_grad() { stale_ = true; }
  bool gradients_are_zero() const { return stale_; }
  void mark_gradients_written() { stale_ = false; }

  std::span<const Parameter> parameters() const { return parameters_; }
  /// By name, for example "0.weight"; throws ValueError with the names that exist.
  const Parameter& operator[](std::string_view name) const;
  /// Numbers that are trained, gaps not counted.
  Index count() const;

 private:
  Matrix<float> values_, gradients_;
  std::vector<Parameter> parameters_;
  bool stale_ = true;
};

/// Layers one after the other:
///
///   nn::Sequential model(nn::Linear(784, 128), nn::ReLU(), nn::Linear(128, 10));
///
/// A Linear layer and the activation behind it run as one. forward and backward allocate on the first call of a batch
/// size larger than any before, and never after. Parameters are initialised with seed 0; reset_parameters(seed) draws
/// others. Not copyable; one thread at a time may use a model.
class TILEWRIGHT_API Sequential {
 public:
  template <class... L>
  requires(sizeof...(L) > 0 &&
           (std::derived_from<std::remove_cvref_t<L>, Layer> && ...)) explicit Sequential(L&&... layers) {
    std::vector<std::unique_ptr<Layer>> all;
    (all.push_back(std::make_unique<std::remove_cvref_t<L>>(std::forward<L>(layers))), ...);
    build(std::move(all));
  }
  /// Throws ValueError when empty, ShapeError when one layer's output does not fit the next one.
  explicit Sequential(std::vector<std::unique_ptr<Layer>> layers) { build(std::move(layers)); }
  Sequential(Sequential&&) = default;
  Sequential& operator=(Sequential&&) = default;

  /// y = model(x), batch x out_features, valid until the next forward. x must stay as it is until backward has run.
  MatrixView<const float> forward(MatrixView<const float> x);
  /// Adds the gradients by the parameters to parameters().gradients(), given dy, the gradient by the output of the last
  /// forward. Throws Error when there was none.
  void backward(MatrixView<const float> dy) { backward(dy, {}); }
  /// The same, and dx = gradient by the input, unless dx is empty.
  void backward(MatrixView<const float> dy, MatrixView<float> dx);

  ParameterBlock& parameters() { return block_; }
  const ParameterBlock& parameters() const { return block_; }
  void reset_parameters(std::uint64_t seed);
  Index in_features() const { return in_; }
  Index out_features() const { return steps_.back().out; }
  /// Makes room for batches of up to this many samples.
  void reserve(Index batch);
  std::string describe() const;

 private:
  /// A layer (with the activation that it took in), its widths, and its places in the arena and among the parameters.
  struct Step {
    std::unique_ptr<Layer> layer;
    Index index;  // of the layer, in the user's counting
    Index in, out, saved;
    Index y_at, saved_at;
    Index first_parameter, parameter_count;
  };
  void build(std::vector<std::unique_ptr<Layer>> layers);
  std::span<const Parameter> parameters_of(const Step& step) const;
  void place(Index batch);
  MatrixView<float> arena_view(Index at, Index cols) const;
  MatrixView<const float> input_of(std::size_t step) const;

  std::vector<Step> steps_;
  std::vector<std::string> described_;
  ParameterBlock block_;
  Index in_ = 0;
  // The arena: outputs and saved values of every step, and two gradients of the widest step, used in turn.
  Index floats_per_sample_ = 0;
  Index widest_ = 0;
  std::array<Index, 2> gradient_at_{};
  mutable Matrix<float> arena_;
  Index capacity_ = 0, batch_ = 0;
  MatrixView<const float> x_;
};

}  // namespace tilewright::nn
