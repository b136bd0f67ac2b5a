// SPDX-License-Identifier: MIT
// Tables of vectors. Inputs are ids: whole numbers as floats, exact up to 2^24; anything else throws ValueError.
#pragma once

#include "tilewright/nn/layer.hpp"

namespace tilewright::nn {

/// L ids in, L * embedding_dim features out: PyTorch's Embedding and Flatten. weight: num_embeddings x embedding_dim
/// from N(0, 1); the row of padding_index is zeros and stays so.
class TILEWRIGHT_API Embedding : public Layer {
 public:
  /// Throws ValueError unless the sizes are positive and padding_index is -1 or an id.
  Embedding(Index num_embeddings, Index embedding_dim, Index padding_index = -1);
  std::string describe() const override;
  Index out_features(Index in_features) const override { return in_features * dim_; }
  std::vector<ParameterSpec> parameters() const override { return {{"weight", {count_, dim_}}}; }
  void reset_parameters(std::span<const Parameter> parameters, RandomStream stream) const override;
  void forward(const ForwardPass& pass) override;
  void backward(const BackwardPass& pass) override;

 protected:
  /// For EmbeddingBag.
  Embedding(const char* name, Index num_embeddings, Index embedding_dim, Index padding_index);
  /// x as whole numbers, checked.
  std::span<const Index> read_ids(MatrixView<const float> x);
  /// The gradient by the table, zeros unless the pass accumulates; and dx, which is nothing.
  MatrixView<float> begin_backward(const BackwardPass& pass) const;

  const char* name_;        ///< for messages
  Index count_;             ///< ids
  Index dim_;               ///< features of an id
  Index padding_;           ///< the id that is zeros, or -1
  std::vector<Index> ids_;  ///< of the last pass
};

/// The sum or the mean of the vectors of a sample's ids, without those of padding_index (none left: zeros).
class TILEWRIGHT_API EmbeddingBag final : public Embedding {
 public:
  /// What becomes of a sample's vectors.
  enum class Mode { mean, sum };
  /// Throws as Embedding.
  EmbeddingBag(Index num_embeddings, Index embedding_dim, Mode mode = Mode::mean, Index padding_index = -1)
      : Embedding("EmbeddingBag", num_embeddings, embedding_dim, padding_index), mode_(mode) {}
  Index out_features(Index) const override { return dim_; }
  void forward(const ForwardPass& pass) override;
  void backward(const BackwardPass& pass) override;

 private:
  float factor(std::span<const Index> bag) const;
  Mode mode_;
};

}  // namespace tilewright::nn
