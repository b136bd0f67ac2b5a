// SPDX-License-Identifier: MIT
// A model: layers with one block of parameters, one block of gradients and one arena for everything between input and
// output.
#pragma once

#include "tilewright/nn/block.hpp"

namespace tilewright::nn {

/// All parameters of a model in one aligned block and all gradients in another, so that an optimizer step is one call.
/// Each parameter starts at a multiple of 64 bytes; the gaps hold zeros. Buffers (running averages) have a block of
/// their own.
class TILEWRIGHT_API ParameterBlock {
 public:
  ParameterBlock() = default;
  /// Zeros, in the order of the specifications.
  explicit ParameterBlock(const std::vector<ParameterSpec>& specs, const std::vector<ParameterSpec>& buffers = {});
  /// Moves.
  ParameterBlock(ParameterBlock&&) = default;
  /// Moves.
  ParameterBlock& operator=(ParameterBlock&&) = default;

  /// All parameters, with the gaps.
  std::span<float> values() { return values_.span(); }
  /// All parameters, with the gaps.
  std::span<const float> values() const { return values_.span(); }
  /// Zeros after zero_grad() until the next backward pass.
  std::span<float> gradients();
  /// Marks the gradients as zero; the next backward pass overwrites them, so nothing is filled.
  void zero_grad() { stale_ = true; }
  /// Whether nothing was added since zero_grad().
  bool gradients_are_zero() const { return stale_; }
  /// For backward passes.
  void mark_gradients_written() { stale_ = false; }

  /// In the order of the layers.
  std::span<const Parameter> parameters() const { return parameters_; }
  /// In the order of the layers.
  std::span<const Parameter> buffers() const { return buffers_; }
  /// All buffers, with the gaps.
  std::span<float> buffer_values() { return buffer_values_.span(); }
  /// By name, for example "0.weight", buffers too; throws ValueError with the names that exist.
  const Parameter& operator[](std::string_view name) const;
  /// Numbers that are trained, gaps not counted.
  Index count() const;

  /// Optimizers leave the parameters alone whose names match: "2.bias", or "0.*" for everything of layer 0. Throws
  /// ValueError when none does. Their gradients mean nothing.
  void freeze(std::string_view pattern) { set_trainable(pattern, false); }
  /// The other way.
  void unfreeze(std::string_view pattern) { set_trainable(pattern, true); }
  /// Grows with every change of what is trained.
  Index version() const { return version_; }

 private:
  void set_trainable(std::string_view pattern, bool trainable);
  Matrix<float> values_, gradients_, buffer_values_;
  std::vector<Parameter> parameters_, buffers_;
  Index version_ = 0;
  bool stale_ = true;
};

/// Whether `name` matches `pattern`, in which * stands for anything.
TILEWRIGHT_API bool name_matches(std::string_view pattern, std::string_view name);

/// Layers one after the other:
///
///   nn::Sequential model(nn::Linear(784, 128), nn::ReLU(), nn::Dropout(0.2), nn::Linear(128, 10));
///
/// A Linear layer and the activation behind it run as one. forward and backward allocate on the first call of a batch
/// size larger than any before, and never after. Parameters are initialised with seed 0; reset_parameters(seed) draws
/// others. Begins in training mode, as in PyTorch. Not copyable; one thread at a time may use a model.
class TILEWRIGHT_API Sequential {
 public:
  /// With layers in their order.
  template <class... L>
  requires(sizeof...(L) > 0 &&
           (std::derived_from<std::remove_cvref_t<L>, Layer> && ...)) explicit Sequential(L&&... all)
      : Sequential(layers(std::forward<L>(all)...)) {}
  /// Throws ValueError when empty, ShapeError when one layer's output does not fit the next one.
  explicit Sequential(Layers all);
  /// Moves.
  Sequential(Sequential&&) = default;
  /// Moves.
  Sequential& operator=(Sequential&&) = default;

  /// y = model(x), batch x out_features, valid until the next forward. x must stay as it is until backward has run.
  MatrixView<const float> forward(MatrixView<const float> x);
  /// Adds the gradients by the parameters to parameters().gradients(), given dy, the gradient by the output of the last
  /// forward. Throws Error when there was none.
  void backward(MatrixView<const float> dy) { backward(dy, {}); }
  /// The same, and dx = gradient by the input, unless dx is empty.
  void backward(MatrixView<const float> dy, MatrixView<float> dx);

  /// What every layer gave in the last forward pass, valid until the next. Throws Error when there was none.
  std::vector<Block::Output> outputs() const;

  /// In training, dropout drops and batch norm uses the batch's statistics.
  void train(bool training = true) { training_ = training; }
  /// train(false).
  void eval() { training_ = false; }
  /// Whether it is in training mode, as it begins.
  bool training() const { return training_; }

  /// What optimizers train and files hold.
  ParameterBlock& parameters() { return *block_; }
  /// What optimizers train and files hold.
  const ParameterBlock& parameters() const { return *block_; }
  /// Fresh parameters, buffers and random numbers.
  void reset_parameters(std::uint64_t seed);
  /// What dropout's numbers depend on: the seed and how many passes there were. A checkpoint holds it.
  struct RandomState {
    std::uint64_t seed = 0;    ///< of reset_parameters()
    std::uint64_t passes = 0;  ///< forward passes in training
  };
  /// Before the next pass.
  RandomState random_state() const { return random_; }
  /// Goes on from there.
  void set_random_state(RandomState state) { random_ = state; }

  /// 0 while nothing says it: no layer does, and there was no forward.
  Index in_features() const { return in_; }
  /// 0 while nothing says it.
  Index out_features() const { return in_ == 0 ? 0 : root_->out_features(in_); }
  /// Makes room for batches of up to this many samples.
  void reserve(Index batch);
  /// All layers in one line.
  std::string describe() const { return root_->describe(); }
  /// A table: layers, output widths, parameters, memory, FLOPs per sample.
  std::string summary() const;

 private:
  void place(Index batch, Index features);

  // On the heap, so that optimizers and views stay valid when the model moves.
  std::unique_ptr<Block> root_;
  std::unique_ptr<ParameterBlock> block_;
  Index in_ = 0;
  Matrix<float> arena_;
  MatrixView<const float> x_;
  MatrixView<float> y_, dy_, saved_;
  bool training_ = true;
  RandomState random_;
  RandomStream stream_;  ///< of the last pass
};

}  // namespace tilewright::nn
