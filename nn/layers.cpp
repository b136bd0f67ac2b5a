// SPDX-License-Identifier: MIT
#include <cmath>
#include <sstream>

#include "tilewright/gemm.hpp"
#include "tilewright/nn/layer.hpp"

namespace tilewright::nn {
namespace {

/// PyTorch's class and its arguments: "Softplus(beta=1, threshold=20)".
std::string describe_activation(const Activation& f) {
  using enum ActivationKind;
  const auto with = [&](const char* name, const char* first, const char* second = nullptr) {
    std::ostringstream text;
    text << name << '(' << first << '=' << f.a;
    if (second != nullptr) text << ", " << second << '=' << f.b;
    text << ')';
    return text.str();
  };
  switch (f.kind) {
    case identity:
      return "Identity()";
    case relu:
      return "ReLU()";
    case leaky_relu:
      return with("LeakyReLU", "negative_slope");
    case sigmoid:
      return "Sigmoid()";
    case ActivationKind::tanh:
      return "Tanh()";
    case gelu:
      return "GELU(approximate=none)";
    case gelu_tanh:
      return "GELU(approximate=tanh)";
    case silu:
      return "SiLU()";
    case relu6:
      return "ReLU6()";
    case elu:
      return with("ELU", "alpha");
    case selu:
      return "SELU()";
    case celu:
      return with("CELU", "alpha");
    case softplus:
      return with("Softplus", "beta", "threshold");
    case log_sigmoid:
      return "LogSigmoid()";
    case mish:
      return "Mish()";
    case softsign:
      return "Softsign()";
    case quick_gelu:
      return "QuickGELU()";
    case hardsigmoid:
      return "Hardsigmoid()";
    case hardswish:
      return "Hardswish()";
    case hardtanh:
      return with("Hardtanh", "min_val", "max_val");
    case tanhshrink:
      return "Tanhshrink()";
    case softshrink:
      return with("Softshrink", "lambda");
    case threshold:
      return with("Threshold", "threshold", "value");
  }
  return "?";
}

}  // namespace

Layer::~Layer() = default;

Linear::Linear(Index in_features, Index out_features, bool bias) : in_(in_features), out_(out_features), bias_(bias) {
  if (in_ < 1 || out_ < 1)
    throw ValueError("Linear: in_features " + std::to_string(in_) + " and out_features " + std::to_string(out_) +
                     " must be positive");
}

std::string Linear::describe() const {
  std::string text = "Linear(in_features=" + std::to_string(in_) + ", out_features=" + std::to_string(out_);
  text += bias_ ? ")" : ", bias=false)";
  if (activation_.kind != ActivationKind::identity) text += " + " + describe_activation(activation_);
  return text;
}

Index Linear::out_features(Index in_features) const {
  if (in_features != in_)
    throw ShapeError("Linear: expects " + std::to_string(in_) + " features but gets " + std::to_string(in_features));
  return out_;
}

Index Linear::saved_features(Index) const { return saves_input(activation_.kind) ? out_ : 0; }

std::vector<ParameterSpec> Linear::parameters() const {
  std::vector<ParameterSpec> specs{{"weight", {out_, in_}}};
  if (bias_) specs.push_back({"bias", {out_}});
  return specs;
}

void Linear::reset_parameters(std::span<const Parameter> parameters, RandomStream stream) const {
  // PyTorch's kaiming_uniform_ with a = sqrt(5), which is this bound for the weights and the bias alike.
  const float bound = static_cast<float>(1 / std::sqrt(static_cast<double>(in_)));
  for (const Parameter& p : parameters) {
    fill_uniform(p.value, stream, -bound, bound);
    ++stream.stream;
  }
}

bool Linear::fuse(Activation activation) {
  if (activation_.kind != ActivationKind::identity) return false;
  activation_ = activation;
  return true;
}

void Linear::forward(const ForwardPass& pass) {
  GemmOptions<float> options;
  if (bias_) options.bias = pass.parameters[1].value;
  options.activation = activation_;
  if (saves_input(activation_.kind)) options.pre_activation = pass.saved;
  gemm(pass.x, pass.parameters[0].value_matrix().t(), pass.y, options);
}

void Linear::backward(const BackwardPass& pass) {
  // dz = dy * f'(.), in place, unless the next layer did it; dW (+)= dz^T x; db (+)= column sums of dz; dx = dz W, by
  // the derivative of the activation before.
  if (!pass.dy_is_done && activation_.kind != ActivationKind::identity)
    activation_backward(activation_, saves_input(activation_.kind) ? pass.saved : pass.y, pass.dy, pass.dy);
  const Parameter& weight = pass.parameters[0];
  if (weight.trainable || (bias_ && pass.parameters[1].trainable)) {
    GemmOptions<float> weights;
    weights.beta = pass.accumulate ? 1.0F : 0.0F;
    if (bias_) weights.a_row_sums = pass.parameters[1].gradient;
    gemm(pass.dy.t(), pass.x, weight.gradient_matrix(), weights);
  }
  if (pass.dx.data == nullptr) return;
  GemmOptions<float> inputs;
  inputs.activation = pass.before;
  inputs.saved = pass.before_saved;
  gemm(pass.dy, weight.value_matrix(), pass.dx, inputs);
}

std::string ActivationLayer::describe() const { return describe_activation(activation_); }

void ActivationLayer::forward(const ForwardPass& pass) { activation_forward(activation_, pass.x, pass.y); }

void ActivationLayer::backward(const BackwardPass& pass) {
  if (pass.dx.data != nullptr)
    activation_backward(activation_, saves_input(activation_.kind) ? pass.x : pass.y, pass.dy, pass.dx);
}

std::string Flatten::describe() const { return "Flatten()"; }

GELU::GELU(std::string_view approximate)
    : ActivationLayer(approximate == "tanh" ? ActivationKind::gelu_tanh : ActivationKind::gelu) {
  if (approximate != "none" && approximate != "tanh")
    throw ValueError("GELU: approximate is \"" + std::string(approximate) + "\", expected none or tanh");
}

}  // namespace tilewright::nn
