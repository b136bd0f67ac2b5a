// SPDX-License-Identifier: MIT
#include "tilewright/nn/normalisation.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "tilewright/elementwise.hpp"
#include "tilewright/rows.hpp"

namespace tilewright::nn {
namespace {

/// The same numbers with `cols` in a row.
template <class T>
MatrixView<T> in_rows_of(const char* name, MatrixView<T> v, Index cols) {
  if (v.cols == cols || v.data == nullptr) return v;
  if (!v.contiguous())
    throw ShapeError(std::string(name) + ": groups of " + std::to_string(cols) + " features in rows of " +
                     std::to_string(v.cols) + " must follow each other without gaps");
  return {v.data, v.rows * (v.cols / cols), cols};
}

std::span<float> numbers(MatrixView<float> saved, Index first, Index count) {
  return {saved.data + first, static_cast<std::size_t>(count)};
}

}  // namespace

AffineLayer::AffineLayer(const char* name, Index features, bool weight, bool bias, double eps)
    : name_(name), features_(features), weight_(weight), bias_(bias), eps_(eps) {
  if (features < 1)
    throw ValueError(std::string(name) + ": " + std::to_string(features) + " features, expected 1 or more");
  if (!(eps >= 0)) throw ValueError(std::string(name) + ": eps is " + std::to_string(eps) + ", expected 0 or more");
}

std::vector<ParameterSpec> AffineLayer::parameters() const {
  std::vector<ParameterSpec> specs;
  if (weight_) specs.push_back({"weight", {features_}});
  if (bias_) specs.push_back({"bias", {features_}});
  return specs;
}

void AffineLayer::reset_parameters(std::span<const Parameter> parameters, RandomStream) const {
  for (std::size_t i = 0; i < parameters.size(); ++i)
    std::ranges::fill(parameters[i].value, i == 0 && weight_ ? 1.0F : 0.0F);
}

Index AffineLayer::out_features(Index in_features) const {
  if (in_features < 1 || in_features % features_ != 0)
    throw ShapeError(std::string(name_) + ": expects a multiple of " + std::to_string(features_) +
                     " features but gets " + std::to_string(in_features));
  return in_features;
}

AffineLayer::Affine AffineLayer::affine(std::span<const Parameter> parameters) {
  Affine a;
  if (!parameters.empty()) a.weight = parameters[0].value, a.dweight = parameters[0].gradient;
  if (parameters.size() > 1) a.bias = parameters[1].value, a.dbias = parameters[1].gradient;
  return a;
}

template <class Call>
void AffineLayer::with_gradients(const BackwardPass& pass, Call call) {
  const bool adds = pass.accumulate && !pass.parameters.empty();
  if (adds && before_.size() == 0) before_ = Matrix<float>(2, features_);
  for (std::size_t i = 0; adds && i < pass.parameters.size(); ++i)
    std::ranges::copy(pass.parameters[i].gradient, &before_(static_cast<Index>(i), 0));
  call(affine(pass.parameters));
  for (std::size_t i = 0; adds && i < pass.parameters.size(); ++i)
    for (std::size_t j = 0; j < pass.parameters[i].gradient.size(); ++j)
      pass.parameters[i].gradient[j] += before_(static_cast<Index>(i), static_cast<Index>(j));
}

std::string LayerNorm::describe() const {
  std::ostringstream text;
  text << "LayerNorm(" << features_ << ", eps=" << eps_ << ", elementwise_affine=" << (weight_ ? "true)" : "false)");
  return text.str();
}

void LayerNorm::forward(const ForwardPass& pass) {
  const auto x = in_rows_of(name_, pass.x, features_);
  const Affine a = affine(pass.parameters);
  layer_norm(x, a.weight, a.bias, in_rows_of(name_, pass.y, features_), numbers(pass.saved, 0, x.rows),
             numbers(pass.saved, x.rows, x.rows), eps_);
}

void LayerNorm::backward(const BackwardPass& pass) {
  const auto x = in_rows_of(name_, pass.x, features_);
  with_gradients(pass, [&](const Affine& a) {
    layer_norm_backward(x, in_rows_of(name_, pass.dy, features_), a.weight, numbers(pass.saved, 0, x.rows),
                        numbers(pass.saved, x.rows, x.rows), in_rows_of(name_, pass.dx, features_), a.dweight, a.dbias);
  });
}

std::string RMSNorm::describe() const {
  std::ostringstream text;
  text << "RMSNorm(" << features_ << ", eps=" << eps_ << ", elementwise_affine=" << (weight_ ? "true)" : "false)");
  return text.str();
}

void RMSNorm::forward(const ForwardPass& pass) {
  const auto x = in_rows_of(name_, pass.x, features_);
  rms_norm(x, affine(pass.parameters).weight, in_rows_of(name_, pass.y, features_), numbers(pass.saved, 0, x.rows),
           eps_);
}

void RMSNorm::backward(const BackwardPass& pass) {
  const auto x = in_rows_of(name_, pass.x, features_);
  with_gradients(pass, [&](const Affine& a) {
    rms_norm_backward(x, in_rows_of(name_, pass.dy, features_), a.weight, numbers(pass.saved, 0, x.rows),
                      in_rows_of(name_, pass.dx, features_), a.dweight);
  });
}

BatchNorm1d::BatchNorm1d(Index features, double eps, double momentum, bool affine)
    : AffineLayer("BatchNorm1d", features, affine, affine, eps), momentum_(momentum), statistics_(4, features) {
  if (!(momentum >= 0 && momentum <= 1))
    throw ValueError("BatchNorm1d: momentum is " + std::to_string(momentum) + ", expected 0 .. 1");
}

std::string BatchNorm1d::describe() const {
  std::ostringstream text;
  text << "BatchNorm1d(" << features_ << ", eps=" << eps_ << ", momentum=" << momentum_
       << ", affine=" << (weight_ ? "true)" : "false)");
  return text.str();
}

std::vector<ParameterSpec> BatchNorm1d::buffers() const {
  return {{"running_mean", {features_}}, {"running_var", {features_}}, {"num_batches_tracked", {}}};
}

void BatchNorm1d::reset_buffers(std::span<const Parameter> buffers) const {
  std::ranges::fill(buffers[0].value, 0.0F);
  std::ranges::fill(buffers[1].value, 1.0F);
  buffers[2].value[0] = 0;
}

std::span<float> BatchNorm1d::statistics(Index row) {
  return {&statistics_(row, 0), static_cast<std::size_t>(features_)};
}

void BatchNorm1d::forward(const ForwardPass& pass) {
  const Affine a = affine(pass.parameters);
  if (!pass.training) {
    batch_norm_inference(pass.x, a.weight, a.bias, pass.buffers[0].value, pass.buffers[1].value, pass.y, eps_);
    return;
  }
  batch_norm(pass.x, a.weight, a.bias, pass.y, statistics(0), statistics(1), eps_,
             {pass.buffers[0].value, pass.buffers[1].value, momentum_});
  pass.buffers[2].value[0] += 1;
}

void BatchNorm1d::backward(const BackwardPass& pass) {
  with_gradients(pass, [&](const Affine& a) {
    if (pass.training) {
      batch_norm_backward(pass.x, pass.dy, a.weight, statistics(0), statistics(1), pass.dx, a.dweight, a.dbias);
      return;
    }
    // The statistics are constants: dx = dy weight / deviation.
    const std::span<const float> mean = pass.buffers[0].value, variance = pass.buffers[1].value;
    for (std::size_t j = 0; j < variance.size(); ++j)
      statistics(2)[j] = static_cast<float>(1 / std::sqrt(static_cast<double>(variance[j]) + eps_));
    if (weight_) batch_norm_backward(pass.x, pass.dy, a.weight, mean, statistics(2), {}, a.dweight, a.dbias);
    if (pass.dx.data != nullptr) batch_norm_inference(pass.dy, a.weight, {}, statistics(3), variance, pass.dx, eps_);
  });
}

GroupNorm::GroupNorm(Index groups, Index channels, double eps, bool affine)
    : AffineLayer("GroupNorm", channels, affine, affine, eps), groups_(groups) {
  if (groups < 1 || channels % groups != 0)
    throw ValueError("GroupNorm: " + std::to_string(channels) + " channels do not make " + std::to_string(groups) +
                     " equal groups");
}

std::string GroupNorm::describe() const {
  std::ostringstream text;
  text << "GroupNorm(" << groups_ << ", " << features_ << ", eps=" << eps_
       << ", affine=" << (weight_ ? "true)" : "false)");
  return text.str();
}

void GroupNorm::forward(const ForwardPass& pass) {
  const Affine a = affine(pass.parameters);
  const Index count = pass.x.rows * groups_;
  group_norm(pass.x, {features_, groups_}, a.weight, a.bias, pass.y, numbers(pass.saved, 0, count),
             numbers(pass.saved, count, count), eps_);
}

void GroupNorm::backward(const BackwardPass& pass) {
  const Index count = pass.x.rows * groups_;
  with_gradients(pass, [&](const Affine& a) {
    group_norm_backward(pass.x, pass.dy, {features_, groups_}, a.weight, numbers(pass.saved, 0, count),
                        numbers(pass.saved, count, count), pass.dx, a.dweight, a.dbias);
  });
}

Dropout::Dropout(double p) : p_(p) {
  if (!(p >= 0 && p <= 1)) throw ValueError("Dropout: p is " + std::to_string(p) + ", expected 0 .. 1");
}

std::string Dropout::describe() const {
  std::ostringstream text;
  text << "Dropout(p=" << p_ << ")";
  return text.str();
}

void Dropout::forward(const ForwardPass& pass) {
  if (pass.training)
    dropout(pass.x, pass.y, p_, pass.random);
  else
    copy(pass.x, pass.y);
}

void Dropout::backward(const BackwardPass& pass) {
  if (pass.dx.data == nullptr) return;
  if (pass.training)
    dropout(pass.dy, pass.dx, p_, pass.random);
  else
    copy(pass.dy, pass.dx);
}

PReLU::PReLU(Index num_parameters, double init) : AffineLayer("PReLU", num_parameters, true, false, 0), init_(init) {}

std::string PReLU::describe() const { return "PReLU(num_parameters=" + std::to_string(features_) + ")"; }

Index PReLU::out_features(Index in_features) const {
  if (features_ != 1 && in_features != features_)
    throw ShapeError("PReLU: expects " + std::to_string(features_) + " features but gets " +
                     std::to_string(in_features));
  return in_features;
}

void PReLU::reset_parameters(std::span<const Parameter> parameters, RandomStream) const {
  std::ranges::fill(parameters[0].value, static_cast<float>(init_));
}

void PReLU::forward(const ForwardPass& pass) { prelu(pass.x, pass.parameters[0].value, pass.y); }

void PReLU::backward(const BackwardPass& pass) {
  with_gradients(pass, [&](const Affine& a) { prelu_backward(pass.x, pass.dy, a.weight, pass.dx, a.dweight); });
}

}  // namespace tilewright::nn
