// SPDX-License-Identifier: MIT
#include "tilewright/nn/block.hpp"

#include <algorithm>

#include "tilewright/elementwise.hpp"
#include "tilewright/profile.hpp"

namespace tilewright::nn {
namespace {

/// Floats in a cache line: the parts of `saved` start at multiples of it.
constexpr Index whole_lines(Index count) { return (count + 15) / 16 * 16; }

MatrixView<float> part_of(MatrixView<float> saved, Index at, Index cols) {
  return {saved.data + saved.rows * at, saved.rows, cols};
}

/// The stream of a block's layer. Those of the outermost block are 2^32 apart.
RandomStream stream_of(RandomStream block, std::size_t index) {
  if (block.stream == 0) return {block.seed, static_cast<std::uint64_t>(index) << 32};
  return {block.seed, (block.stream + index + 1) * 0x9e3779b97f4a7c15};
}

}  // namespace

Block::Block(Layers all) {
  if (all.empty()) throw ValueError("Sequential: no layers");
  for (const auto& layer : all) {
    if (layer == nullptr) throw ValueError("Sequential: a layer is null");
    described_.push_back(layer->describe());
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    Layer& layer = *all[i];
    if (!steps_.empty() && layer.activation() != nullptr && steps_.back().layer->fuse(*layer.activation())) continue;
    const std::string prefix = std::to_string(i) + ".",
                      name = prefix + described_[i].substr(0, described_[i].find('('));
    Step step{nullptr, i, parameters_.size(), 0, buffers_.size(), 0, name + " forward", name + " backward"};
    for (auto& spec : layer.parameters()) parameters_.push_back({prefix + spec.name, spec.shape});
    for (auto& spec : layer.buffers()) buffers_.push_back({prefix + spec.name, spec.shape});
    step.parameters = parameters_.size() - step.first_parameter;
    step.buffers = buffers_.size() - step.first_buffer;
    step.layer = std::move(all[i]);
    steps_.push_back(std::move(step));
  }
  if (const Index in = Block::in_features(); in != 0) plan(in);
}

Index Block::in_features() const {
  for (const Step& step : steps_) {
    if (const Index in = step.layer->in_features(); in != 0) return in;
    if (!step.layer->keeps_features()) return 0;
  }
  return 0;
}

const Block::Plan& Block::plan(Index in_features) const {
  if (plan_.in == in_features) return plan_;
  Plan plan;
  Index features = in_features, widest = 0;
  const auto take = [&](Index count) { return std::exchange(plan.floats, plan.floats + whole_lines(count)); };
  for (const Step& step : steps_) {
    Place p{features, step.layer->out_features(features), step.layer->saved_features(features), 0, 0};
    if (&step != &steps_.back()) {
      p.y_at = take(p.out);
      widest = std::max(widest, p.out);
    }
    p.saved_at = take(p.saved);
    features = p.out;
    plan.places.push_back(p);
  }
  for (Index& at : plan.gradient_at) at = take(widest);
  plan.in = in_features;
  plan.out = features;
  plan_ = std::move(plan);
  return plan_;
}

Index Block::out_features(Index in_features) const { return plan(in_features).out; }
Index Block::saved_features(Index in_features) const { return plan(in_features).floats; }

void Block::reset_parameters(std::span<const Parameter> parameters, RandomStream stream) const {
  for (const Step& s : steps_)
    s.layer->reset_parameters(part(parameters, s.first_parameter, s.parameters), stream_of(stream, s.index));
}

void Block::reset_buffers(std::span<const Parameter> buffers) const {
  for (const Step& s : steps_) s.layer->reset_buffers(part(buffers, s.first_buffer, s.buffers));
}

void Block::forward(const ForwardPass& pass) {
  const Plan& plan = this->plan(pass.x.cols);
  MatrixView<const float> x = pass.x;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const Step& s = steps_[i];
    const profile::Region region(s.forward_name);
    const Place& p = plan.places[i];
    const MatrixView<float> y = i + 1 == steps_.size() ? pass.y : part_of(pass.saved, p.y_at, p.out);
    s.layer->forward({part(pass.parameters, s.first_parameter, s.parameters),
                      part(pass.buffers, s.first_buffer, s.buffers), x, y, part_of(pass.saved, p.saved_at, p.saved),
                      pass.training, stream_of(pass.random, s.index)});
    x = y;
  }
}

void Block::backward(const BackwardPass& pass) {
  const Plan& plan = this->plan(pass.x.cols);
  const auto output = [&](std::size_t i) {
    const Place& p = plan.places[i];
    return i + 1 == steps_.size() ? pass.y : MatrixView<const float>(part_of(pass.saved, p.y_at, p.out));
  };
  MatrixView<float> upper = pass.dy;
  bool done = pass.dy_is_done;
  for (std::size_t i = steps_.size(); i-- > 0;) {
    const Step& s = steps_[i];
    const profile::Region region(s.backward_name);
    const Place& p = plan.places[i];
    const MatrixView<float> lower = i > 0 ? part_of(pass.saved, plan.gradient_at[i % 2], p.in) : pass.dx;
    BackwardPass step{part(pass.parameters, s.first_parameter, s.parameters),
                      part(pass.buffers, s.first_buffer, s.buffers),
                      i > 0 ? output(i - 1) : pass.x,
                      output(i),
                      part_of(pass.saved, p.saved_at, p.saved),
                      upper,
                      lower,
                      pass.accumulate,
                      pass.training,
                      stream_of(pass.random, s.index),
                      done};
    const Activation* before = i > 0 && s.layer->multiplies_derivative() ? steps_[i - 1].layer->fused() : nullptr;
    done = before != nullptr;
    if (done) {
      const Place& below = plan.places[i - 1];
      step.before = *before;
      step.before_saved = saves_input(before->kind)
                              ? MatrixView<const float>(part_of(pass.saved, below.saved_at, below.saved))
                              : output(i - 1);
    }
    s.layer->backward(step);
    upper = lower;
  }
}

std::string Block::describe() const {
  std::string text = std::string(name()) + "(\n";
  for (std::size_t i = 0; i < described_.size(); ++i) {
    text += "  (" + std::to_string(i) + "): ";
    for (const char c : described_[i]) {
      text += c;
      if (c == '\n') text += "  ";  // what a layer holds stands further in
    }
    text += '\n';
  }
  return text + ")";
}

std::vector<Block::Line> Block::lines(Index in_features) const {
  const Plan& plan = this->plan(in_features);
  std::vector<Line> lines;
  std::size_t step = 0;
  for (std::size_t i = 0; i < described_.size(); ++i) {
    if (step + 1 < steps_.size() && steps_[step + 1].index <= i) ++step;
    const bool own = steps_[step].index == i;
    Line line{std::to_string(i), described_[i], plan.places[step].out, 0, 0};
    if (const auto* inner = own ? dynamic_cast<const Block*>(steps_[step].layer.get()) : nullptr) {
      line.description = inner->name();
      lines.push_back(line);
      for (Line& below : inner->lines(plan.places[step].in)) {
        below.name = line.name + "." + below.name;
        lines.push_back(std::move(below));
      }
      continue;
    }
    for (std::size_t k = 0; own && k < steps_[step].parameters; ++k) {
      const Shape& shape = parameters_[steps_[step].first_parameter + k].shape;
      line.parameters += shape.size();
      if (shape.rank() == 2 && shape[1] == plan.places[step].in) line.flops += 2.0 * static_cast<double>(shape.size());
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<Block::Output> Block::outputs(Index in_features, MatrixView<float> saved, MatrixView<const float> y) const {
  const Plan& plan = this->plan(in_features);
  std::vector<Output> all;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const bool last = i + 1 == steps_.size();
    const Place& p = plan.places[i];
    const MatrixView<const float> own = last ? y : MatrixView<const float>(part_of(saved, p.y_at, p.out));
    if (const auto* inner = dynamic_cast<const Block*>(steps_[i].layer.get()))
      for (Output& below : inner->outputs(p.in, part_of(saved, p.saved_at, p.saved), own))
        all.push_back({std::to_string(steps_[i].index) + "." + below.name, below.y});
    // The place of the activation that a layer took in is the one before the next layer's.
    all.push_back({std::to_string((last ? described_.size() : steps_[i + 1].index) - 1), own});
  }
  return all;
}

// saved: the layers' own, their output, and a copy of dy, which they may overwrite.

Index Residual::out_features(Index in_features) const {
  const Index out = Block::out_features(in_features);
  if (out != in_features)
    throw ShapeError("Residual: its layers turn " + std::to_string(in_features) + " features into " +
                     std::to_string(out) + ", which cannot be added");
  return out;
}

Index Residual::saved_features(Index in_features) const {
  return Block::saved_features(in_features) + 2 * whole_lines(in_features);
}

void Residual::forward(const ForwardPass& pass) {
  const Index inner = Block::saved_features(pass.x.cols);
  ForwardPass own = pass;
  own.y = part_of(pass.saved, inner, pass.x.cols);
  Block::forward(own);
  add(pass.x, own.y, pass.y);
}

std::vector<Block::Output> Residual::outputs(Index in_features, MatrixView<float> saved,
                                             MatrixView<const float>) const {
  return Block::outputs(in_features, saved, part_of(saved, Block::saved_features(in_features), in_features));
}

void Residual::backward(const BackwardPass& pass) {
  const Index inner = Block::saved_features(pass.x.cols), cols = pass.x.cols;
  BackwardPass own = pass;
  own.y = part_of(pass.saved, inner, cols);
  own.dy = part_of(pass.saved, inner + whole_lines(cols), cols);
  copy(pass.dy, own.dy);
  Block::backward(own);
  if (pass.dx.data != nullptr) add(pass.dx, pass.dy, pass.dx);
}

}  // namespace tilewright::nn
