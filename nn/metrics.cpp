// SPDX-License-Identifier: MIT
#include "tilewright/nn/metrics.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace tilewright::nn {
namespace {

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

void check_rows(const char* metric, MatrixView<const float> y, std::span<const Index> classes) {
  if (y.rows != static_cast<Index>(classes.size()))
    throw ShapeError(std::string(metric) + ": " + std::to_string(y.rows) + " rows but " +
                     std::to_string(classes.size()) + " classes");
}

Index largest(MatrixView<const float> y, Index row) {
  Index best = 0;
  for (Index j = 1; j < y.cols; ++j)
    if (y(row, j) > y(row, best)) best = j;
  return best;
}

double share(double part, double all) { return part / all; }

double share_or_zero(Index part, Index all) {
  return all == 0 ? 0 : static_cast<double>(part) / static_cast<double>(all);
}

template <class Value>
double mean_over(Index classes, Value value) {
  double sum = 0;
  for (Index i = 0; i < classes; ++i) sum += value(i);
  return sum / static_cast<double>(classes);
}

}  // namespace

double accuracy(MatrixView<const float> y, std::span<const Index> classes) {
  check_rows("accuracy", y, classes);
  Index right = 0;
  for (Index i = 0; i < y.rows; ++i) right += largest(y, i) == classes[at(i)];
  return share(static_cast<double>(right), static_cast<double>(y.rows));
}

double top_k_accuracy(MatrixView<const float> y, std::span<const Index> classes, Index k) {
  check_rows("top_k_accuracy", y, classes);
  Index right = 0;
  for (Index i = 0; i < y.rows; ++i) {
    const Index is = classes[at(i)];
    if (is < 0 || is >= y.cols)
      throw ValueError("top_k_accuracy: class " + std::to_string(is) + " of " + std::to_string(y.cols));
    Index above = 0;
    for (Index j = 0; j < y.cols; ++j) above += y(i, j) > y(i, is) || (y(i, j) == y(i, is) && j < is);
    right += above < k;
  }
  return share(static_cast<double>(right), static_cast<double>(y.rows));
}

double binary_accuracy(MatrixView<const float> y, std::span<const Index> classes, float threshold) {
  check_rows("binary_accuracy", y, classes);
  if (y.cols != 1) throw ShapeError("binary_accuracy: " + std::to_string(y.cols) + " columns, expected 1");
  Index right = 0;
  for (Index i = 0; i < y.rows; ++i) right += (y(i, 0) > threshold) == (classes[at(i)] == 1);
  return share(static_cast<double>(right), static_cast<double>(y.rows));
}

double area_under_curve(std::span<const float> scores, std::span<const Index> classes) {
  if (scores.size() != classes.size())
    throw ShapeError("area_under_curve: " + std::to_string(scores.size()) + " scores but " +
                     std::to_string(classes.size()) + " classes");
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) { return scores[a] < scores[b]; });
  double ranks = 0, positives = 0;
  for (std::size_t first = 0; first < order.size();) {
    std::size_t end = first;  // of those with the same score, who share their ranks
    while (end < order.size() && scores[order[end]] == scores[order[first]]) ++end;
    if (end == first) return NAN;  // a score is NaN
    const double rank = static_cast<double>(first + end + 1) / 2;
    for (; first < end; ++first)
      if (classes[order[first]] == 1) {
        ranks += rank;
        positives += 1;
      }
  }
  const double negatives = static_cast<double>(scores.size()) - positives;
  return (ranks - positives * (positives + 1) / 2) / (positives * negatives);
}

double r2_score(MatrixView<const float> y, MatrixView<const float> target) {
  if (y.rows != target.rows || y.cols != target.cols)
    throw ShapeError("r2_score: y is " + std::to_string(y.rows) + "x" + std::to_string(y.cols) + " but target is " +
                     std::to_string(target.rows) + "x" + std::to_string(target.cols));
  double sum = 0, rest = 0, all = 0;
  const auto each = [&](auto f) {
    for (Index i = 0; i < y.rows; ++i)
      for (Index j = 0; j < y.cols; ++j) f(static_cast<double>(y(i, j)), static_cast<double>(target(i, j)));
  };
  each([&](double, double t) { sum += t; });
  const double mean = sum / static_cast<double>(y.size());
  each([&](double v, double t) {
    rest += (t - v) * (t - v);
    all += (t - mean) * (t - mean);
  });
  return 1 - rest / all;
}

double perplexity(double cross_entropy) { return std::exp(cross_entropy); }

ConfusionMatrix::ConfusionMatrix(Index classes) : classes_(classes), counts_(at(classes * classes)) {}

void ConfusionMatrix::add(MatrixView<const float> y, std::span<const Index> classes) {
  check_rows("ConfusionMatrix", y, classes);
  if (y.cols != classes_)
    throw ShapeError("ConfusionMatrix: y has " + std::to_string(y.cols) + " columns, expected " +
                     std::to_string(classes_));
  for (const Index is : classes)
    if (is < 0 || is >= classes_)
      throw ValueError("ConfusionMatrix: class " + std::to_string(is) + " of " + std::to_string(classes_));
  for (Index i = 0; i < y.rows; ++i) ++counts_[at(classes[at(i)] * classes_ + largest(y, i))];
}

double ConfusionMatrix::accuracy() const {
  Index right = 0, all = 0;
  for (Index i = 0; i < classes_; ++i) right += (*this)(i, i);
  for (const Index n : counts_) all += n;
  return static_cast<double>(right) / static_cast<double>(all);
}

double ConfusionMatrix::precision(Index of) const {
  Index taken = 0;
  for (Index i = 0; i < classes_; ++i) taken += (*this)(i, of);
  return share_or_zero((*this)(of, of), taken);
}

double ConfusionMatrix::recall(Index of) const {
  Index are = 0;
  for (Index j = 0; j < classes_; ++j) are += (*this)(of, j);
  return share_or_zero((*this)(of, of), are);
}

double ConfusionMatrix::f1(Index of) const {
  const double p = precision(of), r = recall(of);
  return p + r == 0 ? 0 : 2 * p * r / (p + r);
}

double ConfusionMatrix::macro_precision() const {
  return mean_over(classes_, [&](Index i) { return precision(i); });
}
double ConfusionMatrix::macro_recall() const {
  return mean_over(classes_, [&](Index i) { return recall(i); });
}
double ConfusionMatrix::macro_f1() const {
  return mean_over(classes_, [&](Index i) { return f1(i); });
}

}  // namespace tilewright::nn
