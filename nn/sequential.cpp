// SPDX-License-Identifier: MIT
#include "tilewright/nn/sequential.hpp"

#include <algorithm>

namespace tilewright::nn {
namespace {

/// Floats in a cache line: parameters and the parts of the arena start at lines of their own.
constexpr Index kLine = 16;
constexpr Index whole_lines(Index count) { return (count + kLine - 1) / kLine * kLine; }

std::string shape_of(const MatrixView<const float>& v) { return std::to_string(v.rows) + "x" + std::to_string(v.cols); }

}  // namespace

ParameterBlock::ParameterBlock(const std::vector<ParameterSpec>& specs) {
  Index total = 0;
  for (const auto& spec : specs) total += whole_lines(spec.shape.size());
  values_ = Matrix<float>(1, total);
  gradients_ = Matrix<float>(1, total);
  Index offset = 0;
  for (const auto& spec : specs) {
    const auto first = static_cast<std::size_t>(offset), size = static_cast<std::size_t>(spec.shape.size());
    parameters_.push_back(
        {spec.name, spec.shape, values_.span().subspan(first, size), gradients_.span().subspan(first, size)});
    offset += whole_lines(spec.shape.size());
  }
}

std::span<float> ParameterBlock::gradients() {
  if (stale_) {
    std::ranges::fill(gradients_.span(), 0.0F);
    stale_ = false;
  }
  return gradients_.span();
}

const Parameter& ParameterBlock::operator[](std::string_view name) const {
  std::string names;
  for (const Parameter& p : parameters_) {
    if (p.name == name) return p;
    names += " " + p.name;
  }
  throw ValueError("ParameterBlock: no \"" + std::string(name) + "\"; there are:" + names);
}

Index ParameterBlock::count() const {
  Index total = 0;
  for (const Parameter& p : parameters_) total += p.shape.size();
  return total;
}

void Sequential::build(std::vector<std::unique_ptr<Layer>> layers) {
  if (layers.empty()) throw ValueError("Sequential: no layers");
  for (const auto& layer : layers) {
    if (layer == nullptr) throw ValueError("Sequential: a layer is null");
    described_.push_back(layer->describe());
    if (in_ == 0) in_ = layer->in_features();
  }
  if (in_ == 0) throw ValueError("Sequential: no layer says how many input features there are");
  Index features = in_;
  std::vector<ParameterSpec> specs;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (!steps_.empty() && layers[i]->activation() != nullptr && steps_.back().layer->fuse(*layers[i]->activation()))
      continue;
    Step step{std::move(layers[i]), static_cast<Index>(i), features, 0, 0, 0, 0, static_cast<Index>(specs.size()), 0};
    step.out = step.layer->out_features(features);
    for (auto& spec : step.layer->parameters()) specs.push_back({std::to_string(i) + "." + spec.name, spec.shape});
    step.parameter_count = static_cast<Index>(specs.size()) - step.first_parameter;
    features = step.out;
    steps_.push_back(std::move(step));
  }
  for (Step& step : steps_) {  // after fusing, which decides what is saved
    step.saved = step.layer->saved_features(step.in);
    floats_per_sample_ += step.out + step.saved;
    widest_ = std::max({widest_, step.out, step.in});
  }
  floats_per_sample_ += 2 * widest_;
  block_ = ParameterBlock(specs);
  reset_parameters(0);
}

void Sequential::reset_parameters(std::uint64_t seed) {
  for (const Step& step : steps_)
    // Streams of a layer: its index in the high half, counting up for its parameters.
    step.layer->reset_parameters(parameters_of(step), {seed, static_cast<std::uint64_t>(step.index) << 32});
}

std::span<const Parameter> Sequential::parameters_of(const Step& step) const {
  return block_.parameters().subspan(static_cast<std::size_t>(step.first_parameter),
                                     static_cast<std::size_t>(step.parameter_count));
}

void Sequential::reserve(Index batch) {
  if (batch < 0) throw ValueError("Sequential: batch " + std::to_string(batch) + " is negative");
  if (batch <= capacity_) return;
  // place() rounds every part up to whole lines.
  const Index parts = 2 * static_cast<Index>(steps_.size()) + 2;
  arena_ = Matrix<float>();
  capacity_ = 0;
  arena_ = Matrix<float>(1, batch * floats_per_sample_ + parts * kLine);
  capacity_ = batch;
}

/// Lays the parts of the arena out for a batch, each from a line of its own.
void Sequential::place(Index batch) {
  reserve(batch);
  batch_ = batch;
  Index at = 0;
  const auto take = [&](Index features) {
    const Index here = at;
    at += whole_lines(batch * features);
    return here;
  };
  for (Step& step : steps_) {
    step.y_at = take(step.out);
    step.saved_at = take(step.saved);
  }
  for (Index& gradient : gradient_at_) gradient = take(widest_);
}

MatrixView<float> Sequential::arena_view(Index at, Index cols) const { return {arena_.data() + at, batch_, cols}; }

MatrixView<const float> Sequential::input_of(std::size_t step) const {
  return step == 0 ? x_ : MatrixView<const float>(arena_view(steps_[step - 1].y_at, steps_[step - 1].out));
}

MatrixView<const float> Sequential::forward(MatrixView<const float> x) {
  if (x.cols != in_)
    throw ShapeError("Sequential: x is " + shape_of(x) + " but the model takes " + std::to_string(in_) + " features");
  place(x.rows);
  x_ = x;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const Step& s = steps_[i];
    s.layer->forward({parameters_of(s), input_of(i), arena_view(s.y_at, s.out), arena_view(s.saved_at, s.saved)});
  }
  return arena_view(steps_.back().y_at, steps_.back().out);
}

void Sequential::backward(MatrixView<const float> dy, MatrixView<float> dx) {
  if (x_.data == nullptr) throw Error("Sequential: backward before forward");
  if (dy.rows != batch_ || dy.cols != out_features())
    throw ShapeError("Sequential: dy is " + shape_of(dy) + " but the output was " + std::to_string(batch_) + "x" +
                     std::to_string(out_features()));
  if (dx.data != nullptr && (dx.rows != batch_ || dx.cols != in_))
    throw ShapeError("Sequential: dx is " + shape_of(dx) + " but the input was " + shape_of(x_));
  const bool accumulate = !block_.gradients_are_zero();
  const auto gradient = [&](std::size_t of, Index cols) { return arena_view(gradient_at_[of % 2], cols); };
  // The last layer may overwrite its dy, so the caller's is copied.
  MatrixView<float> upper = gradient(steps_.size(), out_features());
  for (Index i = 0; i < batch_; ++i)
    for (Index j = 0; j < upper.cols; ++j) upper(i, j) = dy(i, j);
  bool done = false;
  for (std::size_t i = steps_.size(); i-- > 0;) {
    const Step& s = steps_[i];
    const MatrixView<float> lower = i > 0 ? gradient(i, s.in) : dx;
    BackwardPass pass{
        parameters_of(s), input_of(i), arena_view(s.y_at, s.out), arena_view(s.saved_at, s.saved), upper, lower,
        accumulate,       done};
    const Activation* before = i > 0 && s.layer->multiplies_derivative() ? steps_[i - 1].layer->fused() : nullptr;
    done = before != nullptr;
    if (done) {
      const Step& lower_step = steps_[i - 1];
      pass.before = *before;
      pass.before_saved = saves_input(before->kind) ? arena_view(lower_step.saved_at, lower_step.saved)
                                                    : arena_view(lower_step.y_at, lower_step.out);
    }
    s.layer->backward(pass);
    upper = lower;
  }
  block_.mark_gradients_written();
}

std::string Sequential::describe() const {
  std::string text = "Sequential(\n";
  for (std::size_t i = 0; i < described_.size(); ++i) text += "  (" + std::to_string(i) + "): " + described_[i] + "\n";
  return text + ")";
}

}  // namespace tilewright::nn
