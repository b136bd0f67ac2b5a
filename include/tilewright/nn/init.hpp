// SPDX-License-Identifier: MIT
// Initial values for parameters, PyTorch's torch.nn.init. fan_in is the last extent, fan_out the first.
//
//   nn::init::kaiming_normal(model.parameters()["0.weight"], {.seed = 7});
#pragma once

#include "tilewright/nn/layer.hpp"

namespace tilewright::nn::init {

/// The factor that keeps a signal's size through a function: "linear" and "sigmoid" 1, "tanh" 5/3, "relu" sqrt(2),
/// "leaky_relu" sqrt(2 / (1 + slope^2)), "selu" 3/4. ValueError for others.
TILEWRIGHT_API double calculate_gain(std::string_view function, double slope = 0.01);

TILEWRIGHT_API void constant(const Parameter& p, float value);
inline void zeros(const Parameter& p) { constant(p, 0); }
inline void ones(const Parameter& p) { constant(p, 1); }
TILEWRIGHT_API void uniform(const Parameter& p, RandomStream stream, float low = 0, float high = 1);
TILEWRIGHT_API void normal(const Parameter& p, RandomStream stream, float mean = 0, float standard_deviation = 1);
/// U(-a, a), a = gain sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010)
TILEWRIGHT_API void xavier_uniform(const Parameter& p, RandomStream stream, double gain = 1);
/// N(0, gain^2 2 / (fan_in + fan_out))
TILEWRIGHT_API void xavier_normal(const Parameter& p, RandomStream stream, double gain = 1);
enum class Fan { in, out };
/// U(-a, a), a = gain sqrt(3 / fan) (He et al., 2015)
TILEWRIGHT_API void kaiming_uniform(const Parameter& p, RandomStream stream, double gain = 1.4142135623730951,
                                    Fan fan = Fan::in);
/// N(0, gain^2 / fan)
TILEWRIGHT_API void kaiming_normal(const Parameter& p, RandomStream stream, double gain = 1.4142135623730951,
                                   Fan fan = Fan::in);
/// Orthonormal rows (or columns, where there are more rows), times gain (Saxe et al., 2013).
TILEWRIGHT_API void orthogonal(const Parameter& p, RandomStream stream, double gain = 1);

}  // namespace tilewright::nn::init
