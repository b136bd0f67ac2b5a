// SPDX-License-Identifier: MIT
// What is said to numbers, names and orders of calls that cannot be meant. The mistakes in operands are in
// calls_test.cpp, those in files in files_test.cpp, data_test.cpp and tables_test.cpp.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <functional>
#include <limits>

#include "tests/support.hpp"
#include "tilewright/nn/nn.hpp"

namespace tilewright::test {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(), kInfinity = std::numeric_limits<double>::infinity();

struct Mistaken {
  std::function<void()> call;
  const char* message;
};

TEST(Misuse, OfNumbersNamesAndOrder) {
  Matrix<float> x(3, 4), y(3, 4), square(3, 3);
  Matrix<double> xd(3, 4), yd(3, 4);
  std::vector<float> three(3), four(4), four_more(4), p(3), g(3), m(3), v(3), u(3);
  std::vector<Index> ids_out(2), classes(3);
  nn::Sequential model(nn::Linear(4, 3), nn::ReLU(), nn::Linear(3, 2));
  optim::Adam optimizer(model.parameters());
  nn::MSELoss mse;
  nn::Dataset data{Matrix<float>(3, 4), Matrix<float>(3, 2), {}};
  nn::DataLoader loader(data, {.batch_size = 2});
  const Mistaken table[] = {
      {[&] { activation_forward({static_cast<ActivationKind>(99)}, x, y); },
       "activation_forward: unknown activation 99"},
      {[&] { activation_forward(Activation::leaky_relu(-1), x, y); },
       "activation_forward: leaky_relu with a = -1.000000, b = 0.000000: not in the ranges of "
       "tilewright/activations.hpp"},
      {[&] { activation_forward(Activation::leaky_relu(kNaN), x, y); },
       "activation_forward: leaky_relu with a = nan, b = 0.000000: not in the ranges of tilewright/activations.hpp"},
      {[&] { activation_forward(Activation::elu(kNaN), x, y); },
       "activation_forward: elu with a = nan, b = 0.000000: not in the ranges of tilewright/activations.hpp"},
      {[&] { activation_forward(Activation::celu(0), x, y); },
       "activation_forward: celu with a = 0.000000, b = 0.000000: not in the ranges of tilewright/activations.hpp"},
      {[&] { activation_forward(Activation::softplus(0), x, y); },
       "activation_forward: softplus with a = 0.000000, b = 20.000000: not in the ranges of "
       "tilewright/activations.hpp"},
      {[&] { activation_forward(Activation::hardtanh(1, -1), x, y); },
       "activation_forward: hardtanh with a = 1.000000, b = -1.000000: not in the ranges of "
       "tilewright/activations.hpp"},
      {[&] { activation_forward(Activation::hardtanh(1, 1), x, y); },
       "activation_forward: hardtanh with a = 1.000000, b = 1.000000: not in the ranges of "
       "tilewright/activations.hpp"},
      {[&] { activation_forward(Activation::threshold(kNaN, 1), x, y); },
       "activation_forward: threshold with a = nan, b = 1.000000: not in the ranges of tilewright/activations.hpp"},
      {[&] { activation_forward(Activation::threshold(1, kNaN), x, y); },
       "activation_forward: threshold with a = 1.000000, b = nan: not in the ranges of tilewright/activations.hpp"},
      {[&] { activation_forward(Activation::softplus(1, kNaN), x, y); },
       "activation_forward: softplus with a = 1.000000, b = nan: not in the ranges of tilewright/activations.hpp"},
      {[&] { activation_forward(Activation::softshrink(-1), x, y); },
       "activation_forward: softshrink with a = -1.000000, b = 0.000000: not in the ranges of "
       "tilewright/activations.hpp"},
      {[&] { activation_backward(Activation::celu(kNaN), x, x, y); },
       "activation_backward: celu with a = nan, b = 0.000000: not in the ranges of tilewright/activations.hpp"},
      {[&] { function_forward(static_cast<FunctionKind>(-1), x, y); }, "function_forward: unknown function -1"},
      {[&] { function_forward(FunctionKind::sin, xd, yd); }, "function_forward: sin is for float only"},
      {[&] { gemm(x, x.t(), square, {.activation = Activation::celu(-1)}); },
       "gemm: celu with a = -1.000000, b = 0.000000: not in the ranges of tilewright/activations.hpp"},
      {[&] { gemm_strided_batched(-1, x, 12, x.t(), 12, square, 9); }, "gemm_strided_batched: count is -1"},
      {[&] { gemm_strided_batched(2, x, 12, x.t(), 12, square, 3); },
       "gemm_strided_batched: c_step is 3: the products would overlap"},
      {[&] { gemm_strided_batched(2, x, 12, x.t(), 12, square, 9, {.b_column_sums = three}); },
       "gemm_strided_batched: of the options only alpha, beta, bias, activation and num_threads "
       "apply to every product"},
      {[&] { gemm_strided_batched(3, x, Index{1} << 62, x.t(), 12, square, 9); },
       "gemm_strided_batched: a_step is 4611686018427387904: no memory is so large"},
      {[&] { gemm(x, PackedMatrix<float>(x.t()), square, {.b_column_sums = three}); },
       "gemm: b_column_sums needs b itself, not a PackedMatrix"},
      {[&] { (void)GemmPlan<float>(x, x.t(), square, {.bias = three}); },
       "GemmPlan: a plan has no bias and no activation"},
      {[&] { dropout(x, y, kNaN, {}); }, "dropout: p is nan, expected 0 <= p <= 1"},
      {[&] { dropout(x, y, 1.5, {}); }, "dropout: p is 1.500000, expected 0 <= p <= 1"},
      {[&] {
         embedding(x, std::vector<Index>{0, 3, 1}, y);
       },
       "embedding: ids[1] is 3, expected 0..2"},
      {[&] {
         embedding(x, std::vector<Index>{0, -1, 1}, y);
       },
       "embedding: ids[1] is -1, expected 0..2"},
      {[&] {
         embedding_backward(x, std::vector<Index>{0, 1, 3}, y);
       },
       "embedding_backward: ids[2] is 3, expected 0..2"},
      {[&] { row_argmax(Matrix<float>(2, 0), ids_out); }, "row_argmax: x is 2x0: rows must not be empty"},
      {[&] { row_variance(x, three, kNaN); }, "row_variance: correction is nan, expected a finite number >= 0"},
      {[&] { row_variance_backward(x, three, square, kNaN); },
       "row_variance_backward: correction is nan, expected a finite number >= 0"},
      {[&] { row_variance(x, three, -1); }, "row_variance: correction is -1.000000, expected a finite number >= 0"},
      {[&] { layer_norm(x, {}, {}, y, {}, {}, kNaN); }, "layer_norm: eps is nan, expected a finite number >= 0"},
      {[&] { layer_norm(x, {}, {}, y, {}, {}, -1); }, "layer_norm: eps is -1.000000, expected a finite number >= 0"},
      {[&] { rms_norm(x, {}, y, {}, kNaN); }, "rms_norm: eps is nan, expected a finite number >= 0"},
      {[&] {
         group_norm(x, {4, 3}, {}, {}, y, {}, {});
       },
       "group_norm: x has rows of 4 elements with 4 channels in 3 groups: they must divide each other"},
      {[&] {
         group_norm(x, {0, 0}, {}, {}, y, {}, {});
       },
       "group_norm: x has rows of 4 elements with 0 channels in 0 groups: they must divide each other"},
      {[&] { batch_norm(x, {}, {}, y, four, four_more, kNaN); },
       "batch_norm: eps is nan, expected a finite number >= 0"},
      {[&] {
         batch_norm(x, {}, {}, y, four, four_more, 1e-5, {{}, {}, 2});
       },
       "batch_norm: momentum is 2.000000, expected 0 <= momentum <= 1"},
      {[&] { batch_norm(x, four, {}, y, four, four_more); }, "batch_norm: mean overlaps gamma"},
      {[&] { (void)cross_entropy_loss(x, y, y); }, "cross_entropy_loss: dx overlaps target"},
      {[&] { (void)mse_loss(x, y, {}, {.values = x}); }, "mse_loss: values overlaps x"},
      {[&] { batch_norm_inference(x, {}, {}, four, four_more, y, -1); },
       "batch_norm_inference: eps is -1.000000, expected a finite number >= 0"},
      {[&] { (void)smooth_l1_loss(x, y, {}, kNaN); }, "smooth_l1_loss: beta is nan, expected a finite number >= 0"},
      {[&] { (void)smooth_l1_loss(x, y, {}, -1); }, "smooth_l1_loss: beta is -1.000000, expected a finite number >= 0"},
      {[&] { (void)huber_loss(x, y, {}, 0); }, "huber_loss: delta is 0.000000, expected a finite number > 0"},
      {[&] { (void)hinge_embedding_loss(x, y, {}, kNaN); },
       "hinge_embedding_loss: margin is nan, expected a finite number"},
      {[&] { (void)margin_ranking_loss(x, y, x, {}, kNaN); },
       "margin_ranking_loss: margin is nan, expected a finite number"},
      {[&] { (void)cosine_embedding_loss(x, y, three, {}, {}, kNaN); },
       "cosine_embedding_loss: margin is nan, expected a finite number"},
      {[&] { (void)mse_loss(x, y, {}, {.reduction = Reduction::none}); },
       "mse_loss: reduction none needs a place for the values"},
      {[&] {
         (void)cross_entropy_loss(x, std::vector<Index>{0, 4, 1}, {});
       },
       "cross_entropy_loss: classes[1] is 4, expected 0..3"},
      {[&] {
         (void)cross_entropy_loss(x, std::vector<Index>{0, -1, 1}, {});
       },
       "cross_entropy_loss: classes[1] is -1, expected 0..3"},
      {[&] { (void)cross_entropy_loss(x, classes, {}, {.label_smoothing = kNaN}); },
       "cross_entropy_loss: label_smoothing is nan, expected 0 <= label_smoothing <= 1"},
      {[&] { (void)cross_entropy_loss(x, classes, {}, {.label_smoothing = 1.5}); },
       "cross_entropy_loss: label_smoothing is 1.500000, expected 0 <= label_smoothing <= 1"},
      {[&] { (void)cross_entropy_loss(x, classes, {}, {.reduction = Reduction::none}); },
       "cross_entropy_loss: reduction none needs a place for the values"},
      {[&] { (void)cross_entropy_loss(x, classes, {}, {.weight = three}); },
       "cross_entropy_loss: weight has 3 elements, expected 4"},
      {[&] {
         (void)nll_loss(x, std::vector<Index>{0, 4, 1}, {});
       },
       "nll_loss: classes[1] is 4, expected 0..3"},
      {[&] {
         (void)linear_cross_entropy_loss(x, y, std::vector<Index>{0, 3, 1}, {}, {});
       },
       "linear_cross_entropy_loss: classes[1] is 3, expected 0..2"},
      {[&] { sgd_update(p, g, {}, {.lr = kNaN}); }, "sgd_update: lr is nan, expected a finite number >= 0"},
      {[&] { sgd_update(p, g, {}, {.weight_decay = -1}); },
       "sgd_update: weight_decay is -1.000000, expected a finite number >= 0"},
      {[&] { sgd_update(p, g, m, {.momentum = kNaN}); }, "sgd_update: momentum is nan, expected a finite number >= 0"},
      {[&] { sgd_update(p, g, m, {.momentum = 0.9, .dampening = kNaN}); },
       "sgd_update: dampening is nan, expected a finite number"},
      {[&] { sgd_update(p, g, m, {.momentum = 0.9, .dampening = 0.5, .nesterov = true}); },
       "sgd_update: nesterov needs momentum > 0 and dampening 0"},
      {[&] { adam_update(p, g, m, v, {.lr = -1}); }, "adam_update: lr is -1.000000, expected a finite number >= 0"},
      {[&] { adam_update(p, g, m, v, {.beta1 = kNaN}); }, "adam_update: beta1 is nan, expected 0 <= beta1 < 1"},
      {[&] { adam_update(p, g, m, v, {.beta2 = 1}); }, "adam_update: beta2 is 1.000000, expected 0 <= beta2 < 1"},
      {[&] { adam_update(p, g, m, v, {.eps = kNaN}); }, "adam_update: eps is nan, expected a finite number >= 0"},
      {[&] { adam_update(p, g, m, v, {.bias_correction1 = 0}); },
       "adam_update: bias_correction1 is 0.000000, expected 0 < bias_correction1 <= 1"},
      {[&] { adam_update(p, g, m, v, {.bias_correction2 = 2}); },
       "adam_update: bias_correction2 is 2.000000, expected 0 < bias_correction2 <= 1"},
      {[&] { adam_update(p, g, m, v, u, {.weight_decay = kNaN}); },
       "adam_update: weight_decay is nan, expected a finite number >= 0"},
      {[&] { adamax_update(p, g, m, v, {.lr = kInfinity}); },
       "adamax_update: lr is inf, expected a finite number >= 0"},
      {[&] { nadam_update(p, g, m, v, {.mu_product = 1}); },
       "nadam_update: mu_product is 1.000000, expected 0 <= mu_product < 1"},
      {[&] { nadam_update(p, g, m, v, {.next_mu = kNaN}); }, "nadam_update: next_mu is nan, expected 0 <= next_mu < 1"},
      {[&] { radam_update(p, g, m, v, {.rectification = kNaN}); },
       "radam_update: rectification is nan, expected a finite number >= 0"},
      {[&] { rmsprop_update(p, g, v, {}, {}, {.alpha = 1}); },
       "rmsprop_update: alpha is 1.000000, expected 0 <= alpha < 1"},
      {[&] { rmsprop_update(p, g, v, {}, m, {.momentum = kNaN}); },
       "rmsprop_update: momentum is nan, expected a finite number >= 0"},
      {[&] { adagrad_update(p, g, v, {.lr = kNaN}); }, "adagrad_update: lr is nan, expected a finite number >= 0"},
      {[&] { adadelta_update(p, g, v, u, {.rho = kNaN}); }, "adadelta_update: rho is nan, expected 0 <= rho < 1"},
      {[&] { rprop_update(p, g, m, v, {.eta_minus = 1}); },
       "rprop_update: eta_minus is 1.000000, expected 0 < eta_minus < 1"},
      {[&] { rprop_update(p, g, m, v, {.eta_plus = kNaN}); },
       "rprop_update: eta_plus is nan, expected a finite number > 1"},
      {[&] { rprop_update(p, g, m, v, {.smallest = 2, .largest = 1}); },
       "rprop_update: largest is 1.000000, expected a finite number >= smallest"},
      {[&] { lion_update(p, g, m, {.beta1 = kNaN}); }, "lion_update: beta1 is nan, expected 0 <= beta1 < 1"},
      {[&] { ema_update(p, g, kNaN); }, "ema_update: decay is nan, expected 0 <= decay <= 1"},
      {[&] { add_penalty(p, g, kNaN, 0); }, "add_penalty: l1 is nan, expected a finite number >= 0"},
      {[&] { add_penalty(p, g, 0, -1); }, "add_penalty: l2 is -1.000000, expected a finite number >= 0"},
      {[&] { clip_value(p, kNaN); }, "clip_value: limit is nan, expected >= 0"},
      {[&] { (void)clip_norm(p, -1); }, "clip_norm: max_norm is -1.000000, expected a finite number >= 0"},
      {[&] { (void)Matrix<float>(-1, 2); }, "Matrix: -1x2 is negative or has too many elements"},
      {[&] { (void)Matrix<float>(Index{1} << 40, Index{1} << 40); },
       "Matrix: 1099511627776x1099511627776 is negative or has too many elements"},
      {[&] { (void)(x.view().block(0, 0, 4, 4)); }, "block: 4x4 at (0, 0) is outside 3x4"},
      {[&] { (void)(x.row_block(2, 2)); }, "block: 2x4 at (2, 0) is outside 3x4"},
      {[&] {
         (void)Shape{2, -1};
       },
       "Shape: extent -1 is negative"},
      {[&] { (void)ThreadPool(0); }, "ThreadPool: 0 threads, expected 1 or more"},
      {[&] { set_num_threads(-1); }, "set_num_threads: num_threads is -1, expected 0..1024"},
      {[&] { set_num_threads(1025); }, "set_num_threads: num_threads is 1025, expected 0..1024"},
      {[&] { roof::stream(9, 9, {}, 1, 1); }, "stream: no loop reads 9 and writes 9 arrays"},
      {[&] { roof::divide(3, 1); }, "divide: 3 roots, expected 0..2"},
      {[&] { (void)measure_roofs(-1); }, "measure_roofs: num_threads is -1, expected 0..1024"},
      {[&] { (void)nn::Linear(0, 4); }, "Linear: in_features 0 and out_features 4 must be positive"},
      {[&] { (void)nn::Linear(3, -1); }, "Linear: in_features 3 and out_features -1 must be positive"},
      {[&] { (void)nn::Dropout(kNaN); }, "Dropout: p is nan, expected 0 .. 1"},
      {[&] { (void)nn::BatchNorm1d(0); }, "BatchNorm1d: 0 features, expected 1 or more"},
      {[&] { (void)nn::LayerNorm(0); }, "LayerNorm: 0 features, expected 1 or more"},
      {[&] { (void)nn::GroupNorm(3, 8); }, "GroupNorm: 8 channels do not make 3 equal groups"},
      {[&] { (void)nn::RMSNorm(-2); }, "RMSNorm: -2 features, expected 1 or more"},
      {[&] { (void)nn::Embedding(0, 3); },
       "Embedding: num_embeddings 0 and embedding_dim 3 must be positive, and the first at most 2^24"},
      {[&] { (void)nn::Sequential(nn::Linear(3, 4), nn::Linear(5, 1)); }, "Linear: expects 5 features but gets 4"},
      {[&] { (void)nn::CrossEntropyLoss({.reduction = Reduction::none}); },
       "CrossEntropyLoss: a loss object gives one number; call the function for reduction none"},
      {[&] { (void)nn::MSELoss(Reduction::none); },
       "Loss: a loss object gives one number; call the function for reduction none"},
      {[&] { (void)nn::MSELoss()(x, classes); }, "MSELoss: the target must be a matrix, not classes"},
      {[&] { model.backward(x); }, "Sequential: backward before forward"},
      {[&] { model.forward(Matrix<float>(2, 5)); }, "Sequential: x is 2x5 but the model takes 4 features"},
      {[&] { (void)model.parameters()["weight"]; },
       "ParameterBlock: no \"weight\"; there are: 0.weight 0.bias 2.weight 2.bias"},
      {[&] { model.parameters().freeze("9.*"); }, "ParameterBlock: no parameter is called \"9.*\""},
      {[&] { model.reserve(-1); }, "Sequential: batch -1 is negative"},
      {[&] { (void)optim::SGD(model.parameters(), {.lr = kNaN}); },
       "Optimizer: lr nan and weight_decay 0.000000 must be finite and 0 or more"},
      {[&] { (void)optim::SGD(model.parameters(), {.nesterov = true}); },
       "sgd_update: nesterov needs momentum > 0 and dampening 0"},
      {[&] { (void)optim::Adam(model.parameters(), {.lr = -1}); },
       "Optimizer: lr -1.000000 and weight_decay 0.000000 must be finite and 0 or more"},
      {[&] { (void)optim::Adam(model.parameters(), {.beta1 = kNaN}); },
       "adam_update: beta1 is nan, expected 0 <= beta1 < 1"},
      {[&] { (void)optim::AdamW(model.parameters(), {.weight_decay = kNaN}); },
       "Optimizer: lr 0.001000 and weight_decay nan must be finite and 0 or more"},
      {[&] { (void)optim::RMSprop(model.parameters(), {.alpha = 2}); },
       "rmsprop_update: alpha is 2.000000, expected 0 <= alpha < 1"},
      {[&] { (void)optim::Adam(model.parameters(), {}, {{.parameters = {"9.*"}}}); },
       "Optimizer: no parameter is called \"9.*\""},
      {[&] { (void)optim::Adam(model.parameters(), {}, {{.parameters = {"*.bias"}, .lr = kNaN}}); },
       "Optimizer: lr nan and weight_decay 0.000000 must be finite and 0 or more"},
      {[&] { optim::Adam(model.parameters()).set_lr(kNaN); }, "Optimizer: lr is nan, expected a finite number >= 0"},
      {[&] { (void)optim::clip_grad_norm(model.parameters(), kNaN); },
       "clip_norm: max_norm is nan, expected a finite number >= 0"},
      {[&] { optim::clip_grad_value(model.parameters(), kNaN); }, "clip_value: limit is nan, expected >= 0"},
      {[&] { optim::add_penalty(model.parameters(), kNaN); }, "add_penalty: l1 is nan, expected a finite number >= 0"},
      {[&] { (void)optim::WeightAverage(model.parameters(), 2); }, "WeightAverage: decay is 2.000000, expected 0 .. 1"},
      {[&] { (void)optim::StepLR(optimizer, 0); }, "StepLR: step_size is 0, expected 1 or more"},
      {[&] { (void)optim::StepLR(optimizer, 3, kNaN); }, "StepLR: gamma is nan, expected a finite number >= 0"},
      {[&] {
         (void)optim::MultiStepLR(optimizer, {3, 2}, kNaN);
       },
       "MultiStepLR: gamma is nan, expected a finite number >= 0"},
      {[&] { (void)optim::ExponentialLR(optimizer, kNaN); },
       "ExponentialLR: gamma is nan, expected a finite number >= 0"},
      {[&] { (void)optim::LinearLR(optimizer, kInfinity); },
       "LinearLR: start_factor is inf, expected a finite number >= 0"},
      {[&] { (void)optim::PolynomialLR(optimizer, 5, -1); },
       "PolynomialLR: power is -1.000000, expected a finite number >= 0"},
      {[&] { (void)optim::CosineAnnealingWarmRestarts(optimizer, 3, 0); },
       "CosineAnnealingWarmRestarts: t_mult is 0, expected 1 or more"},
      {[&] { (void)optim::SequentialSchedule(optimizer, {}, {3}); },
       "SequentialSchedule: 0 schedules want one milestone less, in ascending order, not 1"},
      {[&] { (void)optim::ReduceLROnPlateau(optimizer, {.factor = 1}); },
       "ReduceLROnPlateau: factor is 1.000000, expected 0 < factor < 1"},
      {[&] { (void)optim::ReduceLROnPlateau(optimizer, {.patience = -1}); },
       "ReduceLROnPlateau: patience -1 and cooldown 0 must be 0 or more"},
      {[&] { (void)optim::NAdam(model.parameters(), {.beta2 = 1}); },
       "nadam_update: beta2 is 1.000000, expected 0 <= beta2 < 1"},
      {[&] { (void)optim::Rprop(model.parameters(), {.eta_plus = 0.5}); },
       "rprop_update: eta_plus is 0.500000, expected a finite number > 1"},
      {[&] { (void)optim::Lion(model.parameters(), {.beta1 = -1}); },
       "lion_update: beta1 is -1.000000, expected 0 <= beta1 < 1"},
      {[&] { optimizer.groups()[0].lr = kNaN, optimizer.step(); },
       "Optimizer: lr nan and weight_decay 0.000000 must be finite and 0 or more"},
      {[&] { (void)optim::CosineAnnealingLR(optimizer, 0); }, "CosineAnnealingLR: t_max is 0, expected 1 or more"},
      {[&] { (void)optim::OneCycleLR(optimizer, -1, 10); },
       "OneCycleLR: max_lr is -1.000000, expected a finite number >= 0"},
      {[&] { (void)optim::OneCycleLR(optimizer, 1, 0); }, "OneCycleLR: total_steps is 0, expected 1 or more"},
      {[&] { (void)nn::DataLoader(data, {.batch_size = 0}); }, "DataLoader: 3 samples in batches of 0"},
      {[&] { (void)nn::k_fold(3, 4, 0); }, "k_fold: k is 4, expected 2 .. 3"},
      {[&] { (void)nn::fit(model, mse, optimizer, loader, {.epochs = -1}); },
       "fit: epochs -1, accumulate 1, checkpoint_every 0: too small"},
  };
  for (const Mistaken& mistake : table) {
    std::string message = "no error";
    try {
      mistake.call();
    } catch (const Error& error) {
      message = error.what();
    }
    EXPECT_EQ(message, mistake.message);
  }
}

/// Each number of each update, one after the other.
TEST(Misuse, EveryNumberOfEveryUpdate) {
  std::vector<float> p(3, 1), g(3, 1), a(3), b(3), c(3);
  const auto refuses = [](auto call, auto step, std::initializer_list<double decltype(step)::*> numbers) {
    for (const auto number : numbers)
      for (const double wrong : {std::numeric_limits<double>::quiet_NaN(), -1.0}) {
        auto copy = step;
        copy.*number = wrong;
        EXPECT_THROW(call(copy), ValueError);
      }
    call(step);
  };
  using S = SgdStep;
  refuses([&](const S& s) { sgd_update(p, g, a, s); }, S{.momentum = 0.9}, {&S::lr, &S::momentum, &S::weight_decay});
  using A = AdamStep;
  const A adam{.bias_correction1 = 0.1, .bias_correction2 = 0.1};
  const auto of_adam = {
      &A::lr, &A::beta1, &A::beta2, &A::eps, &A::weight_decay, &A::bias_correction1, &A::bias_correction2};
  refuses([&](const A& s) { adam_update(p, g, a, b, s); }, adam, of_adam);
  refuses([&](const A& s) { adam_update(p, g, a, b, c, s); }, adam, of_adam);
  using X = AdamaxStep;
  refuses([&](const X& s) { adamax_update(p, g, a, b, s); }, X{.bias_correction1 = 0.1},
          {&X::lr, &X::beta1, &X::beta2, &X::eps, &X::weight_decay, &X::bias_correction1});
  using N = NAdamStep;
  refuses([&](const N& s) { nadam_update(p, g, a, b, s); }, N{.bias_correction2 = 0.1},
          {&N::lr, &N::beta1, &N::beta2, &N::eps, &N::weight_decay, &N::mu, &N::next_mu, &N::mu_product,
           &N::bias_correction2});
  using R = RAdamStep;
  refuses([&](const R& s) { radam_update(p, g, a, b, s); }, R{.bias_correction1 = 0.1, .bias_correction2 = 0.1},
          {&R::lr, &R::beta1, &R::beta2, &R::eps, &R::weight_decay, &R::bias_correction1, &R::bias_correction2,
           &R::rectification});
  using M = RMSpropStep;
  refuses([&](const M& s) { rmsprop_update(p, g, a, b, c, s); }, M{.momentum = 0.9},
          {&M::lr, &M::alpha, &M::eps, &M::weight_decay, &M::momentum});
  using G = AdagradStep;
  refuses([&](const G& s) { adagrad_update(p, g, a, s); }, G{}, {&G::lr, &G::eps, &G::weight_decay});
  using D = AdadeltaStep;
  refuses([&](const D& s) { adadelta_update(p, g, a, b, s); }, D{}, {&D::lr, &D::rho, &D::eps, &D::weight_decay});
  using P = RpropStep;
  refuses([&](const P& s) { rprop_update(p, g, a, b, s); }, P{},
          {&P::eta_minus, &P::eta_plus, &P::smallest, &P::largest});
  using L = LionStep;
  refuses([&](const L& s) { lion_update(p, g, a, s); }, L{}, {&L::lr, &L::beta1, &L::beta2, &L::weight_decay});
}

/// A stride of 0 puts several results into one place, whatever the other stride is.
TEST(Misuse, ResultsThatShareAPlace) {
  std::vector<float> memory(100), x(100);
  for (const auto& [row_stride, col_stride] :
       {std::array<Index, 2>{0, 1}, {0, 7}, {0, -7}, {1, 0}, {7, 0}, {-7, 0}, {0, 0}, {2, 1}, {1, 2}, {3, 3}}) {
    const MatrixView<float> y(memory.data() + 50, 3, 4, row_stride, col_stride);
    EXPECT_THROW(activation_forward(ActivationKind::tanh, {x.data(), 3, 4}, y), ShapeError)
        << row_stride << " " << col_stride;
  }
  // Alone in its row or column an element has no second place.
  activation_forward(ActivationKind::tanh, {x.data(), 1, 4}, MatrixView<float>(memory.data(), 1, 4, 0, 2));
  activation_forward(ActivationKind::tanh, {x.data(), 3, 1}, MatrixView<float>(memory.data(), 3, 1, 5, 0));
}

/// Extents and strides that are fine alone but reach beyond memory together; and rows far apart that are in memory.
TEST(Misuse, HugeStrides) {
  float one = 0;
  const auto tanh_of = [](MatrixView<float> x) { activation_forward(ActivationKind::tanh, x, x, 1); };
  EXPECT_THROW(tanh_of({&one, Index{1} << 32, 2, Index{1} << 32, 1}), ShapeError);
  EXPECT_THROW(tanh_of({&one, 2, Index{1} << 32, 1, -(Index{1} << 32)}), ShapeError);
  const Index stride = Index{1} << 28;  // floats: a gibibyte
  const std::size_t bytes = static_cast<std::size_t>(stride + 8) * sizeof(float);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) GTEST_SKIP() << "no address space";
  const MatrixView<float> x(static_cast<float*>(memory), 2, 8, stride, 1);
  for (Index j = 0; j < 8; ++j) x(0, j) = 0.5F, x(1, j) = -0.5F;
  tanh_of(x);
  EXPECT_EQ(x(0, 7), -x(1, 0));
  EXPECT_NEAR(x(0, 0), std::tanh(0.5F), 1e-6F);
  munmap(memory, bytes);
}

}  // namespace
}  // namespace tilewright::test
