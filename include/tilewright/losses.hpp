// SPDX-License-Identifier: MIT
// Losses: the value and the gradient in one call and one pass. All of them are means, as PyTorch's reduction='mean'.
// Sums over elements use 64 virtual lanes in single precision within 4096 elements and double beyond (docs/design.md),
// so the value depends on the data only.
//
// dx may be empty (data == nullptr) when only the value is wanted, and may be x. Operands of different shapes or an
// output that overlaps itself throw ShapeError. An empty batch gives NaN, as 0/0. NaN in x or target gives NaN.
#pragma once

#include <span>

#include "tilewright/export.hpp"
#include "tilewright/matrix.hpp"

namespace tilewright {

/// mean((x - target)^2), any strides; dx = 2 (x - target) / n, n the number of elements.
TILEWRIGHT_API double mse_loss(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                               int num_threads = 0);

/// mean(max(x, 0) - x * target + log(1 + exp(-|x|))), that is the cross-entropy of sigmoid(x) with targets in [0, 1],
/// without overflow, any strides; dx = (sigmoid(x) - target) / n.
TILEWRIGHT_API double bce_with_logits_loss(MatrixView<const float> x, MatrixView<const float> target,
                                           MatrixView<float> dx, int num_threads = 0);

/// mean over rows of (log(sum_j exp(x(i,j))) - x(i, classes[i])); dx = (softmax(x(i,:)) - onehot(classes[i])) / rows.
/// The columns of x and dx must be neighbours (ShapeError). Throws ValueError when a class is outside [0, cols).
/// A row whose maximum is not finite (all -inf, or any +inf or NaN) has loss NaN and gradient NaN.
TILEWRIGHT_API double cross_entropy_loss(MatrixView<const float> x, std::span<const Index> classes,
                                         MatrixView<float> dx, int num_threads = 0);

}  // namespace tilewright
