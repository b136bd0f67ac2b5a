// SPDX-License-Identifier: MIT
// Every layer, loss, optimizer and schedule beside PyTorch's, 50 steps each (tests/data/make_nn.py).
#include <fstream>
#include <functional>
#include <map>
#include <sstream>

#include "tests/support.hpp"
#include "tilewright/nn/nn.hpp"

namespace tilewright {
namespace {

using namespace nn;
using namespace optim;

constexpr Index kSteps = 50, kBatch = 8;

/// make_nn.py's draw().
double draw(std::uint32_t stream, Index k) {
  std::uint32_t h = static_cast<std::uint32_t>(k) * 0x9E3779B1U + stream * 0x85EBCA77U;
  h ^= h >> 15;
  h *= 0x2C1B3C6DU;
  h ^= h >> 12;
  return (h >> 8) / 16777216.0;
}

Matrix<float> drawn(std::uint32_t stream, Index rows, Index cols, const std::function<double(double)>& f) {
  Matrix<float> m(rows, cols);
  for (Index k = 0; k < m.size(); ++k) m.data()[k] = static_cast<float>(f(draw(stream, k)));
  return m;
}

using Numbers = std::map<std::string, std::vector<double>>;

const std::map<std::string, Numbers>& fixture() {
  static const std::map<std::string, Numbers> all = [] {
    std::map<std::string, Numbers> read;
    std::ifstream file(TILEWRIGHT_TEST_DATA "/nn.txt");
    for (std::string line, name, what; std::getline(file, line);) {
      std::istringstream words(line);
      words >> name >> what;
      auto& numbers = read[name][what];
      for (std::string v; words >> v;) numbers.push_back(std::stod(v));  // "nan" as well
    }
    return read;
  }();
  return all;
}

/// Everything within 1e-5 of the largest number beside it.
template <class T>
void expect_close(std::span<T> got, const std::vector<double>& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double scale = 0;
  for (const double v : want) scale = std::max(scale, std::fabs(v));
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(static_cast<double>(got[i]), want[i], 1e-5 * scale) << what << "[" << i << "]";
}

using MakeOptimizer = std::function<std::unique_ptr<Optimizer>(ParameterBlock&)>;
std::unique_ptr<Optimizer> sgd(ParameterBlock& b) {
  return std::make_unique<SGD>(b, SGDOptions{.lr = 0.05, .momentum = 0.9});
}
template <class O>
MakeOptimizer with(auto options) {
  return [=](ParameterBlock& b) { return std::make_unique<O>(b, options); };
}

enum class Target { numbers, signs, classes, distribution, minus_distribution };

struct Case {
  std::function<Sequential()> model;
  MakeOptimizer optimizer = sgd;
  std::function<std::unique_ptr<Loss>()> loss = [] { return std::make_unique<MSELoss>(); };
  Target target = Target::numbers;
  Index ids = 0;
  bool clip = false;
};

Sequential mlp() { return Sequential(Linear(6, 8), Tanh(), Linear(8, 3)); }

template <class A>
Case activation(A f) {
  return {[f] { return Sequential(Linear(6, 8), A(f), Linear(8, 3)); }};
}
template <class O>
Case optimizer(auto options) {
  return {mlp, with<O>(options)};
}
template <class L>
Case loss(Target target, auto... options) {
  return {mlp, with<SGD>(SGDOptions{.lr = 0.01}), [=] { return std::make_unique<L>(options...); }, target};
}

const std::map<std::string, Case>& cases() {
  using Mode = EmbeddingBag::Mode;
  const std::vector<float> weight{0.5F, 1, 2};
  static const std::map<std::string, Case> all{
      {"layer_norm", {[] { return Sequential(Linear(6, 8), LayerNorm(8), Linear(8, 3)); }}},
      {"layer_norm_plain", {[] { return Sequential(Linear(6, 8), LayerNorm(8, 1e-3, false), Linear(8, 3)); }}},
      {"layer_norm_no_bias", {[] { return Sequential(Linear(6, 8), LayerNorm(8, 1e-5, true, false), Linear(8, 3)); }}},
      {"rms_norm", {[] { return Sequential(Linear(6, 8), RMSNorm(8, 1e-6), Linear(8, 3)); }}},
      {"batch_norm", {[] { return Sequential(Linear(6, 8), BatchNorm1d(8), ReLU(), Linear(8, 3)); }}},
      {"batch_norm_plain", {[] { return Sequential(Linear(6, 8), BatchNorm1d(8, 1e-3, 0.3, false), Linear(8, 3)); }}},
      {"group_norm", {[] { return Sequential(Linear(6, 8), GroupNorm(2, 8), Linear(8, 3)); }}},
      {"prelu", {[] { return Sequential(Linear(6, 8), PReLU(), Linear(8, 3)); }}},
      {"prelu_each", {[] { return Sequential(Linear(6, 8), PReLU(8), Linear(8, 3)); }}},
      {"no_bias", {[] { return Sequential(Linear(6, 8, false), Tanh(), Flatten(), Linear(8, 3, false)); }}},
      {"residual", {[] {
         return Sequential(Linear(6, 8), Residual(LayerNorm(8), Linear(8, 8), GELU(), Linear(8, 8), Sigmoid()),
                           Linear(8, 3));
       }}},
      {"nested",
       {[] { return Sequential(Block(Linear(6, 8), SiLU()), Block(Linear(8, 8), Block(Tanh(), Linear(8, 3)))); }}},
      {"embedding", {[] { return Sequential(Embedding(9, 4), Linear(20, 3)); }, sgd, {}, {}, 9}},
      {"embedding_padding", {[] { return Sequential(Embedding(9, 4, 2), Linear(20, 3)); }, sgd, {}, {}, 9}},
      {"bag_mean", {[] { return Sequential(EmbeddingBag(9, 4), Linear(4, 3)); }, sgd, {}, {}, 9}},
      {"bag_sum_padding", {[] { return Sequential(EmbeddingBag(9, 4, Mode::sum, 2), Linear(4, 3)); }, sgd, {}, {}, 9}},
      {"bag_mean_padding",
       {[] { return Sequential(EmbeddingBag(9, 4, Mode::mean, 2), Linear(4, 3)); }, sgd, {}, {}, 9}},
      {"relu", activation(ReLU())},
      {"relu6", activation(ReLU6())},
      {"leaky_relu", activation(LeakyReLU(0.1))},
      {"elu", activation(ELU(0.7))},
      {"selu", activation(SELU())},
      {"celu", activation(CELU(0.7))},
      {"sigmoid", activation(Sigmoid())},
      {"log_sigmoid", activation(LogSigmoid())},
      {"gelu", activation(GELU())},
      {"gelu_tanh", activation(GELU("tanh"))},
      {"silu", activation(SiLU())},
      {"mish", activation(Mish())},
      {"softplus", activation(Softplus(2, 1.5))},
      {"softsign", activation(Softsign())},
      {"hardsigmoid", activation(Hardsigmoid())},
      {"hardswish", activation(Hardswish())},
      {"hardtanh", activation(Hardtanh(-0.6, 0.8))},
      {"tanhshrink", activation(Tanhshrink())},
      {"softshrink", activation(Softshrink(0.2))},
      {"threshold", activation(Threshold(0.1, -0.3))},
      {"optim_sgd", optimizer<SGD>(SGDOptions{.lr = 0.1})},
      {"optim_sgd_all",
       optimizer<SGD>(SGDOptions{.lr = 0.05, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true})},
      {"optim_sgd_dampening", optimizer<SGD>(SGDOptions{.lr = 0.05, .momentum = 0.8, .dampening = 0.3})},
      {"optim_adam", optimizer<Adam>(AdamOptions{.lr = 0.01})},
      {"optim_adam_all", optimizer<Adam>(AdamOptions{0.01, 0.8, 0.95, 1e-6, 0.02, true})},
      {"optim_adamw", optimizer<AdamW>(AdamOptions{.lr = 0.01, .weight_decay = 0.1})},
      {"optim_adamax", optimizer<Adamax>(AdamaxOptions{.lr = 0.01, .weight_decay = 0.01})},
      {"optim_nadam", optimizer<NAdam>(NAdamOptions{.lr = 0.01, .weight_decay = 0.01})},
      {"optim_nadam_decoupled", optimizer<NAdam>(NAdamOptions{.lr = 0.01, .weight_decay = 0.1, .decoupled = true})},
      {"optim_radam", optimizer<RAdam>(RAdamOptions{.lr = 0.01, .weight_decay = 0.01})},
      {"optim_rmsprop", optimizer<RMSprop>(RMSpropOptions{})},
      {"optim_rmsprop_all", optimizer<RMSprop>(RMSpropOptions{0.005, 0.9, 1e-6, 0.01, 0.5, true})},
      {"optim_adagrad", optimizer<Adagrad>(AdagradOptions{0.05, 0.01, 0.01, 0.1})},
      {"optim_adadelta", optimizer<Adadelta>(AdadeltaOptions{0.5, 0.8, 1e-5, 0.01})},
      {"optim_rprop", optimizer<Rprop>(RpropOptions{0.01, 0.6, 1.1, 1e-5, 0.5})},
      {"optim_groups",
       {mlp,
        [](ParameterBlock& b) {
          return std::make_unique<AdamW>(b, AdamOptions{.lr = 0.01, .weight_decay = 0.1},
                                         ParameterGroups{{.parameters = {"*.bias"}, .lr = 0.03, .weight_decay = 0}});
        }}},
      {"optim_clip", {mlp, sgd, {}, {}, 0, true}},
      {"loss_l1", loss<L1Loss>(Target::numbers)},
      {"loss_smooth_l1", loss<SmoothL1Loss>(Target::numbers, 0.3)},
      {"loss_huber", loss<HuberLoss>(Target::numbers, 0.4)},
      {"loss_mse_sum", loss<MSELoss>(Target::numbers, Reduction::sum)},
      {"loss_bce_with_logits", loss<BCEWithLogitsLoss>(Target::numbers)},
      {"loss_bce_pos_weight", loss<BCEWithLogitsLoss>(Target::numbers, weight)},
      {"loss_kl_div", loss<KLDivLoss>(Target::distribution, false, Reduction::batch_mean)},
      {"loss_kl_div_log", loss<KLDivLoss>(Target::minus_distribution, true)},
      {"loss_hinge", loss<HingeEmbeddingLoss>(Target::signs, 0.8)},
      {"loss_cross_entropy", loss<CrossEntropyLoss>(Target::classes)},
      {"loss_cross_entropy_all", loss<CrossEntropyLoss>(Target::classes, ClassLossSettings{weight, 1, 0.1})},
      {"loss_cross_entropy_probabilities", loss<CrossEntropyLoss>(Target::distribution)},
      {"loss_bce",
       {[] { return Sequential(Linear(6, 8), Tanh(), Linear(8, 3), Sigmoid()); }, sgd,
        [] { return std::make_unique<BCELoss>(); }}},
      {"loss_nll",
       {[] { return Sequential(Linear(6, 8), Tanh(), Linear(8, 3), LogSigmoid()); }, sgd,
        [weight] {
          return std::make_unique<NLLLoss>(ClassLossSettings{weight, 0});
        },
        Target::classes}},
  };
  return all;
}

class PyTorch : public testing::TestWithParam<std::string> {};

TEST_P(PyTorch, FiftySteps) {
  const Case& c = cases().at(GetParam());
  const auto found = fixture().find(GetParam());
  ASSERT_NE(found, fixture().end()) << "not in " TILEWRIGHT_TEST_DATA "/nn.txt";
  const Numbers& want = found->second;
  Sequential model = c.model();
  std::uint32_t stream = 100;
  for (const Parameter& p : model.parameters().parameters()) {
    for (std::size_t k = 0; k < p.value.size(); ++k) {
      const double u = draw(stream, static_cast<Index>(k));
      p.value[k] = static_cast<float>(p.shape.rank() == 2          ? (u - 0.5) * 2
                                      : p.name.ends_with("weight") ? u * 0.5 + 0.75
                                                                   : (u - 0.5) * 0.5);
    }
    ++stream;
  }
  const double ids = static_cast<double>(c.ids);
  Matrix<float> x = c.ids != 0 ? drawn(1, kBatch, 5, [&](double u) { return std::floor(u * ids); })
                               : drawn(1, kBatch, 6, [](double u) { return (u - 0.5) * 4; });
  Matrix<float> target = drawn(2, kBatch, 3, [&](double u) {
    if (c.target == Target::signs) return u < 0.5 ? -1.0 : 1.0;
    if (c.target == Target::distribution) return u / 1.5;
    return c.target == Target::minus_distribution ? -u / 1.5 : u;
  });
  std::vector<Index> classes;
  for (Index i = 0; i < kBatch; ++i) classes.push_back(static_cast<Index>(draw(2, i) * 3));
  const auto optimizer = c.optimizer(model.parameters());
  const auto criterion = c.loss ? c.loss() : std::make_unique<MSELoss>();
  std::vector<double> losses;
  Matrix<float> dx(kBatch, x.cols());
  for (Index step = 0; step < kSteps; ++step) {
    optimizer->zero_grad();
    const auto y = model.forward(x);
    losses.push_back(c.target == Target::classes ? (*criterion)(y, classes) : (*criterion)(y, target));
    model.backward(criterion->gradient(), dx);
    if (step == 0 && c.ids == 0) expect_close(dx.span(), want.at("dx"), "dx");
    if (c.clip) clip_grad_norm(model.parameters(), 0.05);
    optimizer->step();
  }
  expect_close(std::span(losses), want.at("loss"), "loss");
  for (const auto list : {model.parameters().parameters(), model.parameters().buffers()})
    for (const Parameter& p : list) expect_close(p.value, want.at(p.name), p.name);
  model.eval();
  const auto y = model.forward(x);
  expect_close(std::span(y.data, static_cast<std::size_t>(y.size())), want.at("y"), "y");
}

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const auto& [name, value] : cases()) names.push_back(name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(, PyTorch, testing::ValuesIn(case_names()), [](const auto& info) { return info.param; });

TEST(Schedules, MatchPyTorch) {
  Sequential model(Linear(1, 1));
  using Make = std::function<std::unique_ptr<Schedule>(Optimizer&)>;
  const auto make = [](auto f) { return Make(f); };
  std::vector<std::unique_ptr<Schedule>> parts;
  const std::map<std::string, Make> all{
      {"step", make([](Optimizer& o) { return std::make_unique<StepLR>(o, 7, 0.5); })},
      {"multi_step", make([](Optimizer& o) {
         return std::make_unique<MultiStepLR>(o, std::vector<Index>{5, 20, 21}, 0.3);
       })},
      {"exponential", make([](Optimizer& o) { return std::make_unique<ExponentialLR>(o, 0.93); })},
      {"linear", make([](Optimizer& o) { return std::make_unique<LinearLR>(o, 0.2, 0.9, 12); })},
      {"polynomial", make([](Optimizer& o) { return std::make_unique<PolynomialLR>(o, 30, 2); })},
      {"cosine", make([](Optimizer& o) { return std::make_unique<CosineAnnealingLR>(o, 20, 0.01); })},
      {"restarts", make([](Optimizer& o) { return std::make_unique<CosineAnnealingWarmRestarts>(o, 5, 2, 0.02); })},
      {"restarts_even", make([](Optimizer& o) { return std::make_unique<CosineAnnealingWarmRestarts>(o, 6); })},
      {"one_cycle", make([](Optimizer& o) {
         return std::make_unique<OneCycleLR>(o, 0.4, 50, OneCycleOptions{.cycle_momentum = false});
       })},
      {"chained", make([&](Optimizer& o) {
         parts.push_back(std::make_unique<LinearLR>(o, 0.1, 1, 10));
         parts.push_back(std::make_unique<ExponentialLR>(o, 0.95));
         return std::make_unique<ChainedSchedule>(o, std::vector<const Schedule*>{parts[0].get(), parts[1].get()});
       })},
      {"sequential", make([&](Optimizer& o) {
         parts.push_back(std::make_unique<LinearLR>(o, 0.1, 1, 8));
         parts.push_back(std::make_unique<CosineAnnealingLR>(o, 42));
         return std::make_unique<SequentialSchedule>(
             o, std::vector<const Schedule*>{parts.end()[-2].get(), parts.back().get()}, std::vector<Index>{8});
       })},
  };
  for (const auto& [name, f] : all) {
    SGD optimizer(model.parameters(), {.lr = 0.2});
    const auto schedule = f(optimizer);
    std::vector<double> rates;
    for (Index i = 0; i < kSteps; ++i) {
      rates.push_back(optimizer.lr());
      schedule->step();
    }
    expect_close(std::span(rates), fixture().at("schedule_" + name).at("lr"), name);
  }
  SGD optimizer(model.parameters(), {.lr = 0.2});
  ReduceLROnPlateau plateau(optimizer,
                            {.factor = 0.5, .patience = 2, .threshold = 1e-2, .cooldown = 3, .min_lr = 0.01});
  std::vector<double> rates;
  for (Index i = 0; i < kSteps; ++i) {
    rates.push_back(optimizer.lr());
    plateau.step(1 / (1 + static_cast<double>(i / 14)));
  }
  expect_close(std::span(rates), fixture().at("schedule_plateau").at("lr"), "plateau");
}

TEST(Schedules, OneCycleTakesTheMomentumAlong) {
  using Make = std::function<std::unique_ptr<Optimizer>(ParameterBlock&)>;
  const std::map<std::string, Make> all{
      {"SGD", [](auto& b) { return std::make_unique<SGD>(b, SGDOptions{.momentum = 0.9, .dampening = 0.1}); }},
      {"RMSprop", [](auto& b) { return std::make_unique<RMSprop>(b, RMSpropOptions{.momentum = 0.9}); }},
      {"Adam", [](auto& b) { return std::make_unique<Adam>(b); }},
      {"AdamW", [](auto& b) { return std::make_unique<AdamW>(b); }},
      {"Adamax", [](auto& b) { return std::make_unique<Adamax>(b); }},
      {"NAdam", [](auto& b) { return std::make_unique<NAdam>(b); }},
      {"RAdam", [](auto& b) { return std::make_unique<RAdam>(b); }},
  };
  for (const auto& [name, make] : all) {
    Sequential model(Linear(3, 1, false));
    ParameterBlock& block = model.parameters();
    const std::span<float> w = block["0.weight"].value;
    std::ranges::copy(std::array{1.0F, -2.0F, 0.5F}, w.begin());
    const auto optimizer = make(block);
    OneCycleLR schedule(*optimizer, 0.02, 50);
    std::vector<double> momentum;
    for (Index i = 0; i < kSteps; ++i) {
      if (i > 0) schedule.step();
      momentum.push_back(*optimizer->momentum());
      std::ranges::copy(block.values(), block.gradients().begin());
      optimizer->step();
    }
    expect_close(std::span(momentum), fixture().at("one_cycle_" + name).at("momentum"), name);
    expect_close(w, fixture().at("one_cycle_" + name).at("w"), name);
  }
  Sequential model(Linear(3, 1));
  SGD plain(model.parameters());
  EXPECT_EQ(plain.momentum(), std::nullopt);
  EXPECT_EQ(test::message_of<ValueError>([&] { OneCycleLR(plain, 1, 10); }),
            "OneCycleLR: SGD has no momentum; make it with one, or pass cycle_momentum = false");
  EXPECT_EQ(test::message_of<ValueError>([&] { plain.set_momentum(0.5); }), "SGD: there is no momentum to set");
  Adam adam(model.parameters());
  EXPECT_EQ(test::message_of<ValueError>([&] { adam.set_momentum(1); }),
            "Adam: momentum is 1.000000, expected 0 <= momentum < 1");
}

/// Warm-up leaves the momentum alone; then one cycle moves it, from inside of the schedule of both.
TEST(Schedules, MomentumOfPartsOfASchedule) {
  Sequential model(Linear(3, 1));
  Adam optimizer(model.parameters());
  const LinearLR warm_up(optimizer, 0.1, 1, 5);
  const OneCycleLR cycle(optimizer, 0.02, 20);
  SequentialSchedule both(optimizer, {&warm_up, &cycle}, {5});
  EXPECT_EQ(both.momentum(4), std::nullopt);
  both.set_time(10);
  EXPECT_EQ(optimizer.momentum(), cycle.momentum(5));
  EXPECT_EQ(optimizer.lr(), cycle.lr(1e-3, 5));
  ChainedSchedule chained(optimizer, {&cycle, &warm_up});
  EXPECT_EQ(optimizer.momentum(), 0.95);
}

}  // namespace
}  // namespace tilewright
