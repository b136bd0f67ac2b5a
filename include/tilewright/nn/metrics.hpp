// SPDX-License-Identifier: MIT
// How good predictions are. All throw ShapeError when the operands do not belong together; over nothing they are NaN.
#pragma once

#include <span>
#include <vector>

#include "tilewright/matrix.hpp"

namespace tilewright::nn {

/// The share of rows whose largest number is that of their class.
TILEWRIGHT_API double accuracy(MatrixView<const float> y, std::span<const Index> classes);
/// The share of rows whose class is among the k largest numbers.
TILEWRIGHT_API double top_k_accuracy(MatrixView<const float> y, std::span<const Index> classes, Index k);
/// One number per row, and classes 0 and 1: the share of rows with (y > threshold) == class.
TILEWRIGHT_API double binary_accuracy(MatrixView<const float> y, std::span<const Index> classes, float threshold = 0);
/// The area under the curve of true over false positives: the probability that a row of class 1 has a larger number
/// than one of class 0, equal numbers counting half.
TILEWRIGHT_API double area_under_curve(std::span<const float> scores, std::span<const Index> classes);
/// 1 - sum (target - y)^2 / sum (target - mean)^2 over all elements.
TILEWRIGHT_API double r2_score(MatrixView<const float> y, MatrixView<const float> target);
/// exp of a mean cross-entropy.
TILEWRIGHT_API double perplexity(double cross_entropy);

/// counts(is, seen): how often a class was taken for another.
class TILEWRIGHT_API ConfusionMatrix {
 public:
  /// Zeros.
  explicit ConfusionMatrix(Index classes);
  /// Rows of y by their largest numbers.
  void add(MatrixView<const float> y, std::span<const Index> classes);
  /// How many of class `is` were taken for `seen`.
  Index operator()(Index is, Index seen) const { return counts_[static_cast<std::size_t>(is * classes_ + seen)]; }
  /// Number of classes.
  Index classes() const { return classes_; }
  /// The share that was taken for what it is.
  double accuracy() const;
  /// Of what was taken for the class, the share that is; of what is, the share that was found; and their harmonic mean.
  /// 0 where nothing was taken, or is.
  double precision(Index of) const;
  /// See precision().
  double recall(Index of) const;
  /// See precision().
  double f1(Index of) const;
  /// Means over the classes.
  double macro_precision() const;
  /// The mean of recall().
  double macro_recall() const;
  /// The mean of f1().
  double macro_f1() const;

 private:
  Index classes_;
  std::vector<Index> counts_;
};

}  // namespace tilewright::nn
