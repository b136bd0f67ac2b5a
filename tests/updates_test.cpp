// SPDX-License-Identifier: MIT
// Optimizers against PyTorch over their options, the updates without a counterpart there against their formulas, and
// the bits of all of them on any number of threads.
#include <array>
#include <fstream>
#include <map>
#include <sstream>

#include "kernels/core/table.hpp"
#include "tests/support.hpp"
#include "tilewright/nn/nn.hpp"

namespace tilewright {
namespace {

using test::Hash;
using test::message_of;
using Options = std::map<std::string, double>;
constexpr double kEps = 1.2e-7;

double get(const Options& o, const char* name, double otherwise) {
  const auto found = o.find(name);
  return found == o.end() ? otherwise : found->second;
}

/// The optimizer that PyTorch calls `name`, driven over the gradients.
std::vector<float> train(const std::string& name, const Options& o, const std::vector<float>& start,
                         const std::vector<std::vector<float>>& gradients) {
  nn::ParameterBlock block({{"p", {static_cast<Index>(start.size())}}});
  const std::span<float> p = block.parameters()[0].value;
  std::ranges::copy(start, p.begin());
  const auto run = [&](auto&& optimizer) {
    for (const auto& g : gradients) {
      std::ranges::copy(g, block.gradients().begin());
      block.mark_gradients_written();
      optimizer.step();
    }
  };
  const double lr = get(o, "lr", 0), eps = get(o, "eps", 1e-8), decay = get(o, "weight_decay", 0);
  const double beta1 = get(o, "betas0", 0.9), beta2 = get(o, "betas1", 0.999);
  const bool decoupled = get(o, "decoupled_weight_decay", 0) != 0, amsgrad = get(o, "amsgrad", 0) != 0;
  if (name == "SGD")
    run(optim::SGD(block, {lr, get(o, "momentum", 0), get(o, "dampening", 0), decay, get(o, "nesterov", 0) != 0}));
  else if (name == "Adam")
    run(optim::Adam(block, {lr, beta1, beta2, eps, decay, amsgrad}));
  else if (name == "AdamW")
    run(optim::AdamW(block, {lr, beta1, beta2, eps, decay, amsgrad}));
  else if (name == "Adamax")
    run(optim::Adamax(block, {get(o, "lr", 2e-3), beta1, beta2, eps, decay}));
  else if (name == "NAdam")
    run(optim::NAdam(block, {get(o, "lr", 2e-3), beta1, beta2, eps, decay, get(o, "momentum_decay", 4e-3), decoupled}));
  else if (name == "RAdam")
    run(optim::RAdam(block, {get(o, "lr", 1e-3), beta1, beta2, eps, decay, decoupled}));
  else if (name == "RMSprop")
    run(optim::RMSprop(block, {get(o, "lr", 1e-2), get(o, "alpha", 0.99), eps, decay, get(o, "momentum", 0),
                               get(o, "centered", 0) != 0}));
  else if (name == "Adagrad")
    run(optim::Adagrad(block, {get(o, "lr", 1e-2), get(o, "lr_decay", 0), decay, get(o, "initial_accumulator_value", 0),
                               get(o, "eps", 1e-10)}));
  else if (name == "Adadelta")
    run(optim::Adadelta(block, {get(o, "lr", 1), get(o, "rho", 0.9), get(o, "eps", 1e-6), decay}));
  else if (name == "Rprop")
    run(optim::Rprop(block, {get(o, "lr", 1e-2), get(o, "etas0", 0.5), get(o, "etas1", 1.2),
                             get(o, "step_sizes0", 1e-6), get(o, "step_sizes1", 50)}));
  else
    ADD_FAILURE() << "no optimizer " << name;
  return {p.begin(), p.end()};
}

/// tests/data/make_updates.py: 20 steps of every optimizer over its options.
TEST(Optimizers, FollowPyTorch) {
  std::ifstream file(TILEWRIGHT_TEST_DATA "/updates.txt");
  ASSERT_TRUE(file) << TILEWRIGHT_TEST_DATA;
  std::vector<float> start;
  std::vector<std::vector<float>> gradients;
  int cases = 0;
  double worst = 0;
  for (std::string line, name; std::getline(file, line);) {
    std::istringstream words(line);
    words >> name;
    const auto rest = [&] {
      std::vector<float> values;
      for (float v = 0; words >> v;) values.push_back(v);
      return values;
    };
    if (name == "start") {
      start = rest();
    } else if (name == "gradient") {
      gradients.push_back(rest());
    } else {
      std::size_t count = 0;
      words >> count;
      Options options;
      for (std::string word; options.size() < count && words >> word;) {
        const auto equals = word.find('=');
        options[word.substr(0, equals)] = std::stod(word.substr(equals + 1));
      }
      const std::vector<float> want = rest(), got = train(name, options, start, gradients);
      ASSERT_EQ(want.size(), got.size()) << line;
      for (std::size_t i = 0; i < want.size(); ++i) {
        const double error = std::fabs(got[i] - want[i]) / (1e-3 + std::fabs(want[i]));
        EXPECT_LE(error, 1e-5) << line << " [" << i << "]";
        worst = std::max(worst, error);
      }
      ++cases;
    }
  }
  EXPECT_EQ(cases, 29);
  std::printf("  largest relative difference from PyTorch's parameters: %.2g\n", worst);
}

TEST(Updates, LionAverageAndPenaltyMatchTheirFormulas) {
  const std::size_t n = 37;
  std::vector<float> p(n), g(n), m(n), average(n);
  fill_uniform(p, {1, 1}, -1, 1);
  fill_uniform(m, {1, 2}, -1, 1);
  std::vector<double> p64(p.begin(), p.end()), m64(m.begin(), m.end()), average64(n);
  for (std::uint64_t step = 0; step < 5; ++step) {
    fill_uniform(g, {1, 3 + step}, -1, 1);
    if (step == 0) g[0] = 0, m[0] = 0, m64[0] = 0;  // no direction: no step
    lion_update(p, g, m, {.lr = 0.01, .weight_decay = 0.1});
    ema_update(average, p, 0.9);
    for (std::size_t i = 0; i < n; ++i) {
      const double c = 0.9 * m64[i] + 0.1 * g[i];
      p64[i] = p64[i] * (1 - 0.001) - 0.01 * (c > 0 ? 1 : c < 0 ? -1 : 0);
      m64[i] += (1 - 0.99) * (g[i] - m64[i]);
      average64[i] += (1 - 0.9) * (p64[i] - average64[i]);
      ASSERT_NEAR(p[i], p64[i], 1e-6) << i;
      ASSERT_NEAR(m[i], m64[i], 1e-6) << i;
      ASSERT_NEAR(average[i], average64[i], 1e-6) << i;
    }
  }
  p[3] = 0;
  const std::vector<float> before = g;
  add_penalty(g, p, 0.25, 0.5);
  for (std::size_t i = 0; i < n; ++i)
    EXPECT_NEAR(g[i], before[i] + 0.25 * ((p[i] > 0) - (p[i] < 0)) + 0.5 * p[i], 1e-6) << i;
}

TEST(Updates, Clipping) {
  std::vector<float> g(10001);
  fill_uniform(g, {4, 1}, -2, 2);
  double squares = 0;
  for (const float v : g) squares += static_cast<double>(v) * v;
  std::vector<float> scaled = g, same = g, bounded = g;
  const double before = clip_norm(scaled, 3);
  EXPECT_NEAR(before, std::sqrt(squares), 1e-4);
  EXPECT_NEAR(norm(scaled), 3, 1e-5);
  EXPECT_NEAR(scaled[5], g[5] * 3 / before, 1e-8);
  clip_norm(same, 1e9);
  EXPECT_EQ(same, g);
  bounded[7] = NAN;
  clip_value(bounded, 0.5);
  for (std::size_t i = 0; i < g.size(); ++i) {
    if (i == 7)
      EXPECT_TRUE(std::isnan(bounded[i]));
    else
      EXPECT_EQ(bounded[i], std::min(0.5F, std::max(-0.5F, g[i])));
  }
  EXPECT_EQ(norm({}), 0);
}

/// The order is that of UpdateKind; every kernel with all the state it may want.
TEST(Updates, FormulasGiveTheSameBitsOnAnyThreads) {
  const std::size_t n = 100003;
  const auto hash = [&](int threads) {
    Hash all;
    std::vector<float> p(n), g(n), a(n), b(n), c(n);
    const auto fresh = [&] {
      fill_uniform(p, {1, 1}, -1, 1);
      fill_uniform(g, {1, 2}, -1, 1);
      for (std::vector<float>* s : {&a, &b, &c}) fill_uniform(*s, {1, 3}, 0.5F, 1);
    };
    const auto keep = [&] { all.add(p).add(a).add(b).add(c); };
    const auto each = [&](auto&&... calls) { ((fresh(), calls(), keep()), ...); };
    each([&] { adam_update(p, g, a, b, c, {.bias_correction1 = 0.1, .bias_correction2 = 0.001}, threads); },
         [&] { adamax_update(p, g, a, b, {.bias_correction1 = 0.1}, threads); },
         [&] { nadam_update(p, g, a, b, {.bias_correction2 = 0.001}, threads); },
         [&] { radam_update(p, g, a, b, {.rectification = 0.7}, threads); },
         [&] { radam_update(p, g, a, b, {.rectification = 0}, threads); },
         [&] { rmsprop_update(p, g, a, {}, {}, {}, threads); },
         [&] { rmsprop_update(p, g, a, {}, b, {.momentum = 0.5}, threads); },
         [&] { rmsprop_update(p, g, a, b, {}, {.weight_decay = 0.1}, threads); },
         [&] { rmsprop_update(p, g, a, b, c, {.momentum = 0.5}, threads); },
         [&] { adagrad_update(p, g, a, {}, threads); }, [&] { adadelta_update(p, g, a, b, {}, threads); },
         [&] { rprop_update(p, g, a, b, {}, threads); }, [&] { lion_update(p, g, a, {.weight_decay = 1}, threads); },
         [&] { ema_update(p, g, 0.99, threads); }, [&] { add_penalty(p, g, 0.1, 0.1, threads); },
         [&] { clip_value(p, 0.3, threads); }, [&] { all.add(clip_norm(p, 3, threads)); });
    return all.value();
  };
  const std::uint64_t alone = hash(1);
  for (const int threads : test::kThreadCounts) EXPECT_EQ(hash(threads), alone) << threads;
  if (active_isa() != Isa::sse2) {
    EXPECT_EQ(alone, 8133428482284175239U);
  }
}

/// PyTorch's formulas, one element at a time in double.
TEST(Updates, SgdMatchesReference) {
  for (const std::size_t n : {std::size_t{1}, std::size_t{15}, std::size_t{17}, std::size_t{1000}})
    for (const SgdStep& option : {SgdStep{.lr = 0.1}, SgdStep{.lr = 0.1, .momentum = 0.9},
                                  SgdStep{.lr = 0.05, .momentum = 0.8, .dampening = 0.3, .weight_decay = 0.01},
                                  SgdStep{.lr = 0.05, .momentum = 0.8, .weight_decay = 0.02, .nesterov = true}}) {
      std::vector<float> p(n), g(n), b(n);
      fill_uniform(p, {1, 1}, -1, 1);
      std::vector<double> p64(p.begin(), p.end()), b64(n);
      for (std::uint64_t step = 0; step < 5; ++step) {
        fill_uniform(g, {1, 2 + step}, -1, 1);
        SgdStep s = option;
        s.first = step == 0;
        sgd_update(p, g, s.momentum == 0 ? std::span<float>() : std::span<float>(b), s);
        for (std::size_t i = 0; i < n; ++i) {
          const double d = g[i] + s.weight_decay * p64[i];
          b64[i] = s.first ? d : s.momentum * b64[i] + (1 - s.dampening) * d;
          p64[i] -= s.lr * (s.momentum == 0 ? d : s.nesterov ? d + s.momentum * b64[i] : b64[i]);
          ASSERT_NEAR(p[i], p64[i], 20 * kEps) << n << " " << i;
        }
      }
    }
}

TEST(Updates, AdamMatchesReference) {
  for (const std::size_t n : {std::size_t{1}, std::size_t{15}, std::size_t{33}, std::size_t{1000}})
    for (const AdamStep& option :
         {AdamStep{}, AdamStep{.lr = 0.01, .beta1 = 0.8, .beta2 = 0.9, .eps = 1e-6, .weight_decay = 0.1},
          AdamStep{.lr = 0.01, .weight_decay = 0.1, .decoupled = true}}) {
      std::vector<float> p(n), g(n), m(n), v(n);
      fill_uniform(p, {1, 1}, -1, 1);
      std::vector<double> p64(p.begin(), p.end()), m64(n), v64(n);
      for (std::uint64_t step = 0; step < 5; ++step) {
        fill_uniform(g, {1, 2 + step}, -1, 1);
        AdamStep s = option;
        s.bias_correction1 = 1 - std::pow(s.beta1, static_cast<double>(step + 1));
        s.bias_correction2 = 1 - std::pow(s.beta2, static_cast<double>(step + 1));
        adam_update(p, g, m, v, s);
        for (std::size_t i = 0; i < n; ++i) {
          const double d = g[i] + (s.decoupled ? 0 : s.weight_decay * p64[i]);
          if (s.decoupled) p64[i] *= 1 - s.lr * s.weight_decay;
          m64[i] += (1 - s.beta1) * (d - m64[i]);
          v64[i] = s.beta2 * v64[i] + (1 - s.beta2) * d * d;
          p64[i] -= s.lr / s.bias_correction1 * m64[i] / (std::sqrt(v64[i] / s.bias_correction2) + s.eps);
          // A gradient near zero makes m / sqrt(v) sensitive; lr times a few hundred units is far below a step.
          ASSERT_NEAR(p[i], p64[i], 10 * kEps + s.lr * 2e-5) << n << " " << i;
        }
      }
    }
}

TEST(Updates, BitsDoNotDependOnThreads) {
  const std::size_t n = 300001;
  const auto hash = [&](int threads) {
    std::vector<float> p(n), g(n), m(n), v(n);
    fill_uniform(p, {1, 1}, -1, 1);
    fill_uniform(g, {1, 2}, -1, 1);
    adam_update(p, g, m, v, {.bias_correction1 = 0.1, .bias_correction2 = 0.001}, threads);
    sgd_update(p, g, m, {.momentum = 0.9}, threads);
    return Hash().add(p).add(m).add(v).value();
  };
  for (const int threads : test::kThreadCounts) EXPECT_EQ(hash(threads), hash(1)) << threads;
  if (active_isa() != Isa::sse2) {
    EXPECT_EQ(hash(1), 13500795400751557028U);
  }
}

TEST(Updates, Errors) {
  std::vector<float> p(3), g(3), m(3), v(3), two(2);
  EXPECT_EQ(message_of<ShapeError>([&] { adam_update(p, two, m, v, {}); }),
            "adam_update: gradients has 2 elements but parameters has 3");
  EXPECT_EQ(message_of<ValueError>([&] { adam_update(p, g, m, v, {.beta1 = 1}); }),
            "adam_update: beta1 is 1.000000, expected 0 <= beta1 < 1");
  EXPECT_EQ(message_of<ValueError>([&] { sgd_update(p, g, {}, {.lr = NAN}); }),
            "sgd_update: lr is nan, expected a finite number >= 0");
  EXPECT_EQ(message_of<ShapeError>([&] { sgd_update(p, g, {}, {.momentum = 0.9}); }),
            "sgd_update: buffer has 0 elements but parameters has 3");
  EXPECT_EQ(message_of<ShapeError>([&] { sgd_update(p, g, two, {}); }),
            "sgd_update: buffer has 2 elements but parameters has 3");
  EXPECT_EQ(message_of<ValueError>([&] { sgd_update(p, g, {}, {.nesterov = true}); }),
            "sgd_update: nesterov needs momentum > 0 and dampening 0");
  EXPECT_EQ(message_of<ShapeError>([&] { adam_update(p, g, m, m, {}); }), "adam_update: m overlaps v");
  EXPECT_EQ(message_of<ShapeError>([&] { sgd_update(p, p, {}, {}); }), "sgd_update: parameters overlaps gradients");
}

/// Tails of every length, with memory behind them that must stay as it is.
TEST(Updates, FormulasStayInside) {
  const detail::KernelTable& table = detail::active_table();
  for (int kind = 0; kind < detail::kUpdateKinds; ++kind)
    for (Index n = 0; n <= 35; ++n) {
      std::array<std::vector<float>, 5> all;
      for (auto& v : all) v.assign(static_cast<std::size_t>(n) + 16, 0.25F);
      float* states[] = {all[2].data(), all[3].data(), all[4].data()};
      detail::UpdateNumbers numbers;
      numbers.c[1] = numbers.c[3] = numbers.c[4] = 1;
      table.update.formula[kind](all[0].data(), all[1].data(), states, n, numbers);
      for (const auto& v : all)
        for (std::size_t i = static_cast<std::size_t>(n); i < v.size(); ++i) ASSERT_EQ(v[i], 0.25F) << kind << " " << n;
      for (Index i = 1; i < n; ++i) ASSERT_EQ(all[0][static_cast<std::size_t>(i)], all[0][0]) << kind << " " << n;
    }
}

TEST(Updates, FormulaErrors) {
  std::vector<float> p(3), g(3), m(3), v(3), two(2);
  EXPECT_EQ(message_of<ShapeError>([&] { rmsprop_update(p, g, m, two, {}, {}); }),
            "rmsprop_update: average has 2 elements but parameters has 3");
  EXPECT_EQ(message_of<ShapeError>([&] { rmsprop_update(p, g, m, {}, {}, {.momentum = 0.9}); }),
            "rmsprop_update: buffer has 0 elements but parameters has 3");
  EXPECT_EQ(message_of<ShapeError>([&] { adam_update(p, g, m, v, two, {}); }),
            "adam_update: max_v has 2 elements but parameters has 3");
  EXPECT_EQ(message_of<ValueError>([&] { nadam_update(p, g, m, v, {.mu = 1}); }),
            "nadam_update: mu is 1.000000, expected 0 <= mu < 1");
  EXPECT_EQ(message_of<ValueError>([&] { radam_update(p, g, m, v, {.bias_correction1 = 0}); }),
            "radam_update: bias_correction1 is 0.000000, expected 0 < bias_correction1 <= 1");
  EXPECT_EQ(message_of<ValueError>([&] { rprop_update(p, g, m, v, {.eta_plus = 1}); }),
            "rprop_update: eta_plus is 1.000000, expected a finite number > 1");
  EXPECT_EQ(message_of<ValueError>([&] { ema_update(p, g, 1.5); }),
            "ema_update: decay is 1.500000, expected 0 <= decay <= 1");
  EXPECT_NO_THROW(ema_update(p, g, 1));
  EXPECT_NO_THROW(ema_update(p, g, 0));
  EXPECT_EQ(message_of<ValueError>([&] { clip_norm(p, NAN); }),
            "clip_norm: max_norm is nan, expected a finite number >= 0");
}

/// The eps of each formula, large enough to be seen.
TEST(Updates, EpsStandsInTheDenominator) {
  std::vector<float> p(37, 1.0F), g(37, 2.0F), a(37, 5.0F), b(37, 12.0F);
  adagrad_update(p, g, a, {.lr = 1, .eps = 1});
  EXPECT_EQ(a[36], 9);
  EXPECT_EQ(p[36], 0.5F);  // 1 - 2 / (3 + 1)
  a.assign(37, 0.0F);
  rmsprop_update(p, g, a, {}, {}, {.lr = 1, .alpha = 0.75, .eps = 1});
  EXPECT_EQ(a[36], 1);
  EXPECT_EQ(p[36], -0.5F);  // 0.5 - 2 / (1 + 1)
  a.assign(37, 0.0F);
  adadelta_update(p, g, a, b, {.lr = 1, .rho = 0.25, .eps = 4});
  EXPECT_EQ(a[36], 3);
  EXPECT_NEAR(p[36], -0.5 - 4 / std::sqrt(7.0) * 2, 1e-6);
}

/// A NaN that one step met stays in the largest average, so that nobody takes the parameter for a number again.
TEST(Updates, LargestAverageKeepsNaN) {
  std::vector<float> p(37, 1.0F), g(37, 1.0F), m(37), v(37), most(37, 2.0F);
  g[5] = NAN;
  most[6] = NAN;
  adam_update(p, g, m, v, most, {});
  for (std::size_t i = 0; i < p.size(); ++i) {
    const bool is_number = i != 5 && i != 6;
    EXPECT_EQ(std::isnan(most[i]), !is_number) << i;
    EXPECT_EQ(std::isnan(p[i]), !is_number) << i;
    if (is_number) {
      EXPECT_EQ(most[i], 2) << i;
    }
  }
}

/// Averages fade to 0 and not through subnormal numbers, which CPUs are slow with; NaN stays, and so do the signs that
/// Lion lives by.
TEST(Updates, AveragesSkipSubnormalNumbers) {
  constexpr float kSmallest = 0x1p-126F;
  const auto fill = [](float value) { return std::vector<float>(37, value); };
  const std::vector<float> zero = fill(0);
  std::vector<float> p = fill(1), m = fill(kSmallest), v = fill(kSmallest);
  m[5] = v[5] = NAN;
  m[6] = -kSmallest;
  adam_update(p, zero, m, v, {});
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (i == 5) {
      EXPECT_TRUE(std::isnan(m[i]) && std::isnan(v[i]) && std::isnan(p[i]));
      continue;
    }
    EXPECT_EQ(m[i], 0) << i;
    EXPECT_EQ(v[i], 0) << i;
    EXPECT_EQ(p[i], 1) << i;
  }
  std::vector<float> b = fill(-kSmallest);
  sgd_update(p = fill(1), zero, b, {.momentum = 0.9});
  EXPECT_EQ(b, zero);
  m = fill(kSmallest), v = fill(kSmallest);
  nadam_update(p = fill(1), zero, m, v, {});
  EXPECT_EQ(m, zero);
  EXPECT_EQ(v, zero);
  v = fill(kSmallest);
  rmsprop_update(p = fill(1), zero, v, {}, {}, {});
  EXPECT_EQ(v, zero);
  m = fill(-kSmallest);
  lion_update(p = fill(1), zero, m, {});
  for (const float value : m) EXPECT_TRUE(value < 0 && value > -kSmallest);
  for (const float value : p) EXPECT_GT(value, 1);
}

}  // namespace
}  // namespace tilewright
