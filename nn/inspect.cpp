// SPDX-License-Identifier: MIT
#include "tilewright/nn/inspect.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace tilewright::nn {
namespace {

Statistics statistics_of(const std::string& name, MatrixView<const float> values) {
  Statistics s{name, 0, 0, INFINITY, -INFINITY, 0, 0};
  double sum = 0, squares = 0;
  for (Index i = 0; i < values.rows; ++i)
    for (Index j = 0; j < values.cols; ++j) {
      const double v = static_cast<double>(values(i, j));
      if (!std::isfinite(v)) {
        ++s.not_finite;
        continue;
      }
      sum += v;
      squares += v * v;
      s.smallest = std::min(s.smallest, v);
      s.largest = std::max(s.largest, v);
      s.zeros += v == 0 ? 1 : 0;
    }
  const double n = static_cast<double>(values.size()) - static_cast<double>(s.not_finite);
  s.mean = sum / n;
  s.deviation = std::sqrt(std::max(0.0, squares / n - s.mean * s.mean));
  s.zeros /= n;
  return s;
}

/// One model of one layer.
Sequential model_of(std::unique_ptr<Layer> layer) {
  Layers list;
  list.push_back(std::move(layer));
  return Sequential(std::move(list));
}

}  // namespace

Matrix<float> input_gradient(Sequential& model, MatrixView<const float> x, Index of) {
  const bool before = model.training();
  model.eval();
  const auto y = model.forward(x);
  if (of < 0 || of >= y.cols) {
    model.train(before);
    throw ValueError("input_gradient: there is no output " + std::to_string(of) + " of " + std::to_string(y.cols));
  }
  Matrix<float> dy(y.rows, y.cols), dx(x.rows, x.cols);
  for (Index i = 0; i < y.rows; ++i) dy(i, of) = 1;
  model.backward(dy, dx);
  model.parameters().zero_grad();  // the parameters' gradients were not asked for
  model.train(before);
  return dx;
}

Matrix<float> integrated_gradients(Sequential& model, MatrixView<const float> x, Index of,
                                   MatrixView<const float> baseline, Index steps) {
  if (steps < 1) throw ValueError("integrated_gradients: steps is " + std::to_string(steps));
  if (baseline.data != nullptr && (baseline.rows != 1 || baseline.cols != x.cols))
    throw ShapeError("integrated_gradients: the baseline is " + std::to_string(baseline.rows) + "x" +
                     std::to_string(baseline.cols) + ", expected 1x" + std::to_string(x.cols));
  const auto from = [&](Index j) { return baseline.data == nullptr ? 0.0F : baseline(0, j); };
  Matrix<double> sums(x.rows, x.cols);
  Matrix<float> between(x.rows, x.cols);
  for (Index s = 0; s < steps; ++s) {
    const float share = (static_cast<float>(s) + 0.5F) / static_cast<float>(steps);
    for (Index i = 0; i < x.rows; ++i)
      for (Index j = 0; j < x.cols; ++j) between(i, j) = from(j) + share * (x(i, j) - from(j));
    const Matrix<float> g = input_gradient(model, between, of);
    for (Index k = 0; k < g.size(); ++k) sums.data()[k] += static_cast<double>(g.data()[k]);
  }
  for (Index i = 0; i < x.rows; ++i)
    for (Index j = 0; j < x.cols; ++j)
      between(i, j) =
          static_cast<float>(static_cast<double>(x(i, j) - from(j)) * sums(i, j) / static_cast<double>(steps));
  return between;
}

std::vector<Statistics> value_statistics(const ParameterBlock& block) {
  std::vector<Statistics> all;
  for (const Parameter& p : block.parameters()) all.push_back(statistics_of(p.name, p.value_matrix()));
  return all;
}

std::vector<Statistics> gradient_statistics(ParameterBlock& block) {
  block.gradients();  // zeros after zero_grad()
  std::vector<Statistics> all;
  for (const Parameter& p : block.parameters()) all.push_back(statistics_of(p.name, p.gradient_matrix()));
  return all;
}

std::vector<Statistics> activation_statistics(const Sequential& model) {
  std::vector<Statistics> all;
  for (const Block::Output& output : model.outputs()) all.push_back(statistics_of(output.name, output.y));
  return all;
}

std::string to_table(const std::vector<Statistics>& statistics) {
  std::string text = "name                       mean  deviation   smallest    largest   zeros  not finite\n";
  for (const Statistics& s : statistics) {
    char row[200];
    std::snprintf(row, sizeof row, "%-20s %10.3g %10.3g %10.3g %10.3g %6.1f%% %11td\n", s.name.c_str(), s.mean,
                  s.deviation, s.smallest, s.largest, 100 * s.zeros, s.not_finite);
    text += row;
  }
  return text;
}

double gradient_check(std::unique_ptr<Layer> layer, Index batch, Index in_features, std::uint64_t seed, float step) {
  Sequential model = model_of(std::move(layer));
  model.reset_parameters(seed);
  Matrix<float> x(batch, in_features);
  fill_uniform(x.span(), {seed, 1}, -1, 1);
  const auto y = model.forward(x);
  Matrix<float> dy(y.rows, y.cols), dx(batch, in_features);
  fill_uniform(dy.span(), {seed, 2}, -1, 1);
  const auto state = model.random_state();
  const auto value = [&] {
    model.set_random_state(state);
    const auto out = model.forward(x);
    double sum = 0;
    for (Index k = 0; k < out.size(); ++k) sum += static_cast<double>(out.data[k]) * static_cast<double>(dy.data()[k]);
    return sum;
  };
  value();
  model.backward(dy, dx);
  double worst = 0;
  const auto compare = [&](float& place, float gradient) {
    const float keep = place;
    place = keep + step;
    const double above = value(), up = static_cast<double>(place);
    place = keep - step;
    const double below = value(), down = static_cast<double>(place);
    place = keep;
    const double difference = (above - below) / (up - down);
    worst =
        std::max(worst, std::fabs(static_cast<double>(gradient) - difference) / std::max(1.0, std::fabs(difference)));
  };
  const Matrix<float> gradients(MatrixView<const float>(model.parameters().gradients().data(), 1,
                                                        static_cast<Index>(model.parameters().gradients().size())));
  for (const Parameter& p : model.parameters().parameters())
    for (std::size_t k = 0; k < p.value.size(); ++k)
      compare(p.value[k], gradients.data()[p.value.data() + k - model.parameters().values().data()]);
  for (Index k = 0; k < x.size(); ++k) compare(x.data()[k], dx.data()[k]);
  return worst;
}

}  // namespace tilewright::nn
