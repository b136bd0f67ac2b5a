// SPDX-License-Identifier: MIT
#include "tilewright/nn/sequential.hpp"

#include <algorithm>
#include <cstdio>

#include "tilewright/elementwise.hpp"

namespace tilewright::nn {
namespace {

/// Floats in a cache line: parameters and the parts of the arena start at lines of their own.
constexpr Index kLine = 16;
constexpr Index whole_lines(Index count) { return (count + kLine - 1) / kLine * kLine; }

std::string shape_of(const MatrixView<const float>& v) { return std::to_string(v.rows) + "x" + std::to_string(v.cols); }

Index whole_lines(const std::vector<ParameterSpec>& specs) {
  Index total = 0;
  for (const auto& spec : specs) total += whole_lines(spec.shape.size());
  return total;
}

}  // namespace

bool name_matches(std::string_view pattern, std::string_view name) {
  const std::size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  if (!name.starts_with(pattern.substr(0, star))) return false;
  const std::string_view rest = pattern.substr(star + 1);
  for (std::size_t from = star; from <= name.size(); ++from)
    if (name_matches(rest, name.substr(from))) return true;
  return false;
}

ParameterBlock::ParameterBlock(const std::vector<ParameterSpec>& specs, const std::vector<ParameterSpec>& buffers)
    : values_(1, whole_lines(specs)), gradients_(1, whole_lines(specs)), buffer_values_(1, whole_lines(buffers)) {
  std::size_t at = 0;
  for (const auto& spec : specs) {
    const auto size = static_cast<std::size_t>(spec.shape.size());
    parameters_.push_back(
        {spec.name, spec.shape, values_.span().subspan(at, size), gradients_.span().subspan(at, size)});
    at += static_cast<std::size_t>(whole_lines(spec.shape.size()));
  }
  at = 0;
  for (const auto& spec : buffers) {
    const auto size = static_cast<std::size_t>(spec.shape.size());
    buffers_.push_back({spec.name, spec.shape, buffer_values_.span().subspan(at, size), {}, false});
    at += static_cast<std::size_t>(whole_lines(spec.shape.size()));
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
  for (const auto* list : {&parameters_, &buffers_})
    for (const Parameter& p : *list) {
      if (p.name == name) return p;
      names += " " + p.name;
    }
  throw ValueError("ParameterBlock: no \"" + std::string(name) + "\"; there are:" + names);
}

Index ParameterBlock::count() const {
  Index total = 0;
  for (const Parameter& p : parameters_)
    if (p.trainable) total += p.shape.size();
  return total;
}

void ParameterBlock::set_trainable(std::string_view pattern, bool trainable) {
  bool found = false;
  for (Parameter& p : parameters_)
    if (name_matches(pattern, p.name)) {
      found = true;
      p.trainable = trainable;
    }
  if (!found) throw ValueError("ParameterBlock: no parameter is called \"" + std::string(pattern) + "\"");
  ++version_;
}

Sequential::Sequential(Layers all) : root_(std::make_unique<Block>(std::move(all))), in_(root_->in_features()) {
  block_ = std::make_unique<ParameterBlock>(root_->parameters(), root_->buffers());
  reset_parameters(0);
}

void Sequential::reset_parameters(std::uint64_t seed) {
  std::ranges::fill(block_->buffer_values(), 0.0F);
  root_->reset_parameters(block_->parameters(), {seed, 0});
  root_->reset_buffers(block_->buffers());
  random_ = {seed, 0};
}

void Sequential::reserve(Index batch) {
  if (batch < 0) throw ValueError("Sequential: batch " + std::to_string(batch) + " is negative");
  if (in_ == 0) throw Error("Sequential: reserve before the number of input features is known");
  const Index out = root_->out_features(in_), need = batch * root_->saved_features(in_) + 2 * whole_lines(batch * out);
  if (need <= arena_.size()) return;
  arena_ = Matrix<float>();  // the old one goes before the new one comes
  x_ = {};
  arena_ = Matrix<float>(1, need);
}

/// Lays the parts of the arena out for a batch.
void Sequential::place(Index batch, Index features) {
  in_ = features;
  reserve(batch);
  const Index out = root_->out_features(features), saved = root_->saved_features(features);
  float* at = arena_.data();
  saved_ = {at, batch, saved};
  y_ = {at + batch * saved, batch, out};
  dy_ = {y_.data + whole_lines(batch * out), batch, out};
}

MatrixView<const float> Sequential::forward(MatrixView<const float> x) {
  if (const Index in = root_->in_features(); x.cols < 1 || (in != 0 && x.cols != in))
    throw ShapeError("Sequential: x is " + shape_of(x) + " but the model takes " + std::to_string(in) + " features");
  place(x.rows, x.cols);
  if (training_) {
    // A key of its own for every pass.
    const auto low = [](std::uint64_t v) { return static_cast<std::uint32_t>(v); };
    const auto words = philox4x32({low(random_.passes), low(random_.passes >> 32), 0x64726f70, 0},
                                  {low(random_.seed), low(random_.seed >> 32)});
    stream_ = {std::uint64_t{words[1]} << 32 | words[0], 0};
    ++random_.passes;
  }
  x_ = {};
  root_->forward({block_->parameters(), block_->buffers(), x, y_, saved_, training_, stream_});
  x_ = x;
  return y_;
}

std::vector<Block::Output> Sequential::outputs() const {
  if (x_.data == nullptr) throw Error("Sequential: outputs before forward");
  return root_->outputs(x_.cols, saved_, y_);
}

void Sequential::backward(MatrixView<const float> dy, MatrixView<float> dx) {
  if (x_.data == nullptr) throw Error("Sequential: backward before forward");
  if (dy.rows != y_.rows || dy.cols != y_.cols)
    throw ShapeError("Sequential: dy is " + shape_of(dy) + " but the output was " + shape_of(y_));
  if (dx.data != nullptr && (dx.rows != x_.rows || dx.cols != x_.cols))
    throw ShapeError("Sequential: dx is " + shape_of(dx) + " but the input was " + shape_of(x_));
  copy(dy, dy_);  // layers may overwrite it
  root_->backward({block_->parameters(), block_->buffers(), x_, y_, saved_, dy_, dx, !block_->gradients_are_zero(),
                   training_, stream_});
  block_->mark_gradients_written();
}

std::string Sequential::summary() const {
  const auto lines = in_ == 0 ? std::vector<Block::Line>() : root_->lines(in_);
  std::size_t width = 12;
  for (const auto& line : lines) width = std::max(width, line.name.size() + line.description.size() + 4);
  std::string text;
  char row[160];
  const auto print = [&](const std::string& name, auto... rest) {
    text += name + std::string(width - std::min(width, name.size()), ' ');
    std::snprintf(row, sizeof row, rest...);
    text += std::string(row) + "\n";
  };
  print("layer", " %10s %12s %14s", "features", "parameters", "FLOPs/sample");
  double flops = 0;
  for (const auto& line : lines) {
    print("(" + line.name + ") " + line.description, " %10td %12td %14.0f", line.out, line.parameters, line.flops);
    flops += line.flops;
  }
  Index all = 0;
  for (const Parameter& p : block_->parameters()) all += p.shape.size();
  const double mib = 4.0 / (1 << 20);
  print("all", " %10td %12td %14.0f", out_features(), all, flops);
  std::snprintf(row, sizeof row, "trainable %td; parameters %.2f MiB; %.1f KiB a sample in training\n", block_->count(),
                static_cast<double>(all) * mib,
                in_ == 0 ? 0.0 : 4.0 * static_cast<double>(root_->saved_features(in_) + 2 * out_features()) / 1024);
  return text + row;
}

}  // namespace tilewright::nn
