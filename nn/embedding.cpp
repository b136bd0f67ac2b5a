// SPDX-License-Identifier: MIT
#include "tilewright/nn/embedding.hpp"

#include <algorithm>
#include <cmath>

#include "tilewright/elementwise.hpp"

namespace tilewright::nn {

Embedding::Embedding(Index num_embeddings, Index embedding_dim, Index padding_index)
    : Embedding("Embedding", num_embeddings, embedding_dim, padding_index) {}

Embedding::Embedding(const char* name, Index num_embeddings, Index embedding_dim, Index padding_index)
    : name_(name), count_(num_embeddings), dim_(embedding_dim), padding_(padding_index) {
  if (count_ < 1 || dim_ < 1 || count_ > 1 << 24)
    throw ValueError(std::string(name) + ": num_embeddings " + std::to_string(count_) + " and embedding_dim " +
                     std::to_string(dim_) + " must be positive, and the first at most 2^24");
  if (padding_ < -1 || padding_ >= count_)
    throw ValueError(std::string(name) + ": padding_index " + std::to_string(padding_) + " is not below " +
                     std::to_string(count_));
}

std::string Embedding::describe() const {
  return std::string(name_) + "(" + std::to_string(count_) + ", " + std::to_string(dim_) +
         (padding_ >= 0 ? ", padding_index=" + std::to_string(padding_) + ")" : ")");
}

void Embedding::reset_parameters(std::span<const Parameter> parameters, RandomStream stream) const {
  fill_normal(parameters[0].value, stream);
  if (padding_ >= 0) std::fill_n(&parameters[0].value_matrix()(padding_, 0), dim_, 0.0F);
}

std::span<const Index> Embedding::read_ids(MatrixView<const float> x) {
  const auto n = static_cast<std::size_t>(x.size());
  if (ids_.size() < n) ids_.resize(n);
  for (Index i = 0; i < x.rows; ++i)
    for (Index j = 0; j < x.cols; ++j) {
      const float v = x(i, j);
      if (!(v >= 0 && v < static_cast<float>(count_) && v == std::trunc(v)))
        throw ValueError(std::string(name_) + ": x(" + std::to_string(i) + "," + std::to_string(j) + ") is " +
                         std::to_string(v) + ", expected a whole number from 0 to " + std::to_string(count_ - 1));
      ids_[static_cast<std::size_t>(i * x.cols + j)] = static_cast<Index>(v);
    }
  return {ids_.data(), n};
}

MatrixView<float> Embedding::begin_backward(const BackwardPass& pass) const {
  const Parameter& weight = pass.parameters[0];
  if (!pass.accumulate) std::ranges::fill(weight.gradient, 0.0F);
  for (Index i = 0; pass.dx.data != nullptr && i < pass.dx.rows; ++i)
    for (Index j = 0; j < pass.dx.cols; ++j) pass.dx(i, j) = 0;
  return weight.gradient_matrix();
}

void Embedding::forward(const ForwardPass& pass) {
  const auto ids = read_ids(pass.x);
  embedding(pass.parameters[0].value_matrix(), ids, {pass.y.data, pass.x.size(), dim_});
}

void Embedding::backward(const BackwardPass& pass) {
  const MatrixView<float> dtable = begin_backward(pass);
  embedding_backward(MatrixView<const float>(pass.dy.data, pass.x.size(), dim_), read_ids(pass.x), dtable, padding_);
}

float EmbeddingBag::factor(std::span<const Index> bag) const {
  if (mode_ == Mode::sum) return 1;
  const auto real = static_cast<Index>(bag.size()) - std::ranges::count(bag, padding_);
  return real == 0 ? 0 : 1 / static_cast<float>(real);
}

void EmbeddingBag::forward(const ForwardPass& pass) {
  const auto ids = read_ids(pass.x);
  const auto width = static_cast<std::size_t>(pass.x.cols);
  const MatrixView<const float> table = pass.parameters[0].value_matrix();
  for (Index i = 0; i < pass.x.rows; ++i) {
    const auto bag = ids.subspan(static_cast<std::size_t>(i) * width, width);
    float* y = &pass.y(i, 0);
    std::fill_n(y, dim_, 0.0F);
    for (const Index id : bag)
      for (Index j = 0; id != padding_ && j < dim_; ++j) y[j] += table(id, j);
    const float f = factor(bag);
    for (Index j = 0; j < dim_; ++j) y[j] *= f;
  }
}

void EmbeddingBag::backward(const BackwardPass& pass) {
  const MatrixView<float> dtable = begin_backward(pass);
  const auto ids = read_ids(pass.x);
  const auto width = static_cast<std::size_t>(pass.x.cols);
  for (Index i = 0; i < pass.x.rows; ++i) {
    const auto bag = ids.subspan(static_cast<std::size_t>(i) * width, width);
    const float f = factor(bag);
    const float* dy = &pass.dy(i, 0);
    for (const Index id : bag)
      for (Index j = 0; id != padding_ && j < dim_; ++j) dtable(id, j) += f * dy[j];
  }
}

}  // namespace tilewright::nn
