// SPDX-License-Identifier: MIT
// Looking inside of a model.
#pragma once

#include <functional>

#include "tilewright/nn/loss.hpp"
#include "tilewright/nn/sequential.hpp"

namespace tilewright::nn {

/// The gradient of output `of` (of each sample) by its inputs, in evaluation mode: saliency.
TILEWRIGHT_API Matrix<float> input_gradient(Sequential& model, MatrixView<const float> x, Index of);
/// (x - baseline) times the mean of that gradient on `steps` points between baseline and x (Sundararajan, Taly and Yan,
/// 2017), by the midpoint rule. The rows of the result add up to output(x) - output(baseline), nearly. baseline: one
/// row, or empty for zeros.
TILEWRIGHT_API Matrix<float> integrated_gradients(Sequential& model, MatrixView<const float> x, Index of,
                                                  MatrixView<const float> baseline = {}, Index steps = 50);

/// Of a set of numbers.
struct Statistics {
  std::string name;  ///< the parameter's or the layer's
  double mean;       ///< of all numbers
  double deviation;  ///< the standard one
  double smallest;   ///< of all numbers
  double largest;    ///< of all numbers
  double zeros;      ///< share of exact zeros: dead units
  Index not_finite;  ///< how many are NaN or infinite
};
/// Of every parameter's values, or gradients.
TILEWRIGHT_API std::vector<Statistics> value_statistics(const ParameterBlock& block);
TILEWRIGHT_API std::vector<Statistics> gradient_statistics(ParameterBlock& block);
/// Of every layer's output in the last forward pass; the last is the model's. Many zeros behind a ReLU are dead units.
TILEWRIGHT_API std::vector<Statistics> activation_statistics(const Sequential& model);
/// As a table.
TILEWRIGHT_API std::string to_table(const std::vector<Statistics>& statistics);

/// Holds a layer's backward pass (one's own, for example) against differences of its forward pass: random parameters,
/// x and dy in [-1, 1). Returns the largest |gradient - difference| / max(1, |difference|) of x and all parameters;
/// about 1e-3 is what single precision allows with this step. Layers must be smooth there.
TILEWRIGHT_API double gradient_check(std::unique_ptr<Layer> layer, Index batch, Index in_features,
                                     std::uint64_t seed = 1, float step = 1e-2F);

}  // namespace tilewright::nn
