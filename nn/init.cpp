// SPDX-License-Identifier: MIT
#include "tilewright/nn/init.hpp"

#include <algorithm>
#include <cmath>

namespace tilewright::nn::init {
namespace {

struct Fans {
  double in, out;
};

Fans fans(const char* name, const Parameter& p) {
  if (p.shape.rank() != 2)
    throw ShapeError(std::string(name) + ": " + p.name + " is " + p.shape.to_string() + ", expected a matrix");
  return {static_cast<double>(p.shape[1]), static_cast<double>(p.shape[0])};
}

}  // namespace

double calculate_gain(std::string_view function, double slope) {
  if (function == "linear" || function == "sigmoid") return 1;
  if (function == "tanh") return 5.0 / 3;
  if (function == "relu") return std::sqrt(2.0);
  if (function == "leaky_relu") return std::sqrt(2 / (1 + slope * slope));
  if (function == "selu") return 0.75;
  throw ValueError("calculate_gain: no gain for \"" + std::string(function) +
                   "\", expected linear, sigmoid, tanh, relu, leaky_relu or selu");
}

void constant(const Parameter& p, float value) { std::ranges::fill(p.value, value); }

void uniform(const Parameter& p, RandomStream stream, float low, float high) {
  fill_uniform(p.value, stream, low, high);
}

void normal(const Parameter& p, RandomStream stream, float mean, float standard_deviation) {
  fill_normal(p.value, stream, mean, standard_deviation);
}

void xavier_uniform(const Parameter& p, RandomStream stream, double gain) {
  const Fans f = fans("xavier_uniform", p);
  const auto a = static_cast<float>(gain * std::sqrt(6 / (f.in + f.out)));
  fill_uniform(p.value, stream, -a, a);
}

void xavier_normal(const Parameter& p, RandomStream stream, double gain) {
  const Fans f = fans("xavier_normal", p);
  fill_normal(p.value, stream, 0, static_cast<float>(gain * std::sqrt(2 / (f.in + f.out))));
}

void kaiming_uniform(const Parameter& p, RandomStream stream, double gain, Fan fan) {
  const Fans f = fans("kaiming_uniform", p);
  const auto a = static_cast<float>(gain * std::sqrt(3 / (fan == Fan::in ? f.in : f.out)));
  fill_uniform(p.value, stream, -a, a);
}

void kaiming_normal(const Parameter& p, RandomStream stream, double gain, Fan fan) {
  const Fans f = fans("kaiming_normal", p);
  fill_normal(p.value, stream, 0, static_cast<float>(gain / std::sqrt(fan == Fan::in ? f.in : f.out)));
}

void orthogonal(const Parameter& p, RandomStream stream, double gain) {
  const Fans f = fans("orthogonal", p);
  // Gram and Schmidt, twice per vector, in double.
  const auto in = static_cast<std::size_t>(f.in), out = static_cast<std::size_t>(f.out);
  const std::size_t count = std::min(in, out), length = std::max(in, out);
  std::vector<float> drawn(count * length);
  fill_normal(drawn, stream);
  std::vector<double> v(drawn.begin(), drawn.end());
  for (std::size_t i = 0; i < count; ++i) {
    double* own = v.data() + i * length;
    for (int pass = 0; pass < 2; ++pass)
      for (std::size_t other = 0; other < i; ++other) {
        const double* unit = v.data() + other * length;
        double along = 0;
        for (std::size_t k = 0; k < length; ++k) along += own[k] * unit[k];
        for (std::size_t k = 0; k < length; ++k) own[k] -= along * unit[k];
      }
    double square = 0;
    for (std::size_t k = 0; k < length; ++k) square += own[k] * own[k];
    for (std::size_t k = 0; k < length; ++k) own[k] /= std::sqrt(square);
  }
  for (std::size_t i = 0; i < out; ++i)
    for (std::size_t j = 0; j < in; ++j)
      p.value[i * in + j] = static_cast<float>(gain * (out <= in ? v[i * length + j] : v[j * length + i]));
}

}  // namespace tilewright::nn::init
