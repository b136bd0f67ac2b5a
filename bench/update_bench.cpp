// SPDX-License-Identifier: MIT
// Suite update: optimizer steps and what goes with them, held against bare loops over the same streams, and against
// PyTorch's fused kernels where PyTorch is on the machine.
#include <algorithm>
#include <cmath>

#include "bench/peers.hpp"
#include "bench/streaming.hpp"

namespace tilewright::bench {
namespace {

/// The element whose new value is compared.
constexpr std::size_t kProbe = 5;

struct Update {
  std::string name;
  int arrays, reads, writes;
  int roots;  // square roots that go with its division; -1: it does not divide
  void (*run)(Arrays&);
  /// The parameter after the first run, from what the arrays' elements were before; state begins positive.
  double (*want)(double p, double g, double m, double v);
};

std::span<float> span(Arrays& a, std::size_t i) { return a[i].span(); }

double decayed(double state, double value, double rate) { return rate * state + (1 - rate) * value; }

const Update kUpdates[] = {
    {"sgd_momentum", 3, 3, 2, -1,
     [](Arrays& a) { sgd_update(span(a, 0), span(a, 1), span(a, 2), {.lr = 1e-4, .momentum = 0.9}); },
     [](double p, double g, double b, double) { return p - 1e-4 * (0.9 * b + g); }},
    {"adam", 4, 4, 3, 1, [](Arrays& a) { adam_update(span(a, 0), span(a, 1), span(a, 2), span(a, 3), {.lr = 1e-4}); },
     [](double p, double g, double m, double v) {
       return p - 1e-4 * decayed(m, g, 0.9) / (std::sqrt(decayed(v, g * g, 0.999)) + 1e-8);
     }},
    {"adamw", 4, 4, 3, 1,
     [](Arrays& a) {
       adam_update(span(a, 0), span(a, 1), span(a, 2), span(a, 3),
                   {.lr = 1e-4, .weight_decay = 0.01, .decoupled = true});
     },
     [](double p, double g, double m, double v) {
       return p * (1 - 1e-6) - 1e-4 * decayed(m, g, 0.9) / (std::sqrt(decayed(v, g * g, 0.999)) + 1e-8);
     }},
    {"adamax", 4, 4, 3, 0,
     [](Arrays& a) { adamax_update(span(a, 0), span(a, 1), span(a, 2), span(a, 3), {.lr = 1e-4}); },
     [](double p, double g, double m, double u) {
       return p - 1e-4 * decayed(m, g, 0.9) / std::max(0.999 * u, std::fabs(g) + 1e-8);
     }},
    {"nadam", 4, 4, 3, 1, [](Arrays& a) { nadam_update(span(a, 0), span(a, 1), span(a, 2), span(a, 3), {.lr = 1e-4}); },
     [](double p, double g, double m, double v) {
       const double d = std::sqrt(decayed(v, g * g, 0.999)) + 1e-8;
       const double mu = 0.9, next = 0.9, product = 0.9;  // NAdamStep's
       return p - 1e-4 * ((1 - mu) / (1 - product) * g + next / (1 - product * next) * decayed(m, g, 0.9)) / d;
     }},
    {"radam", 4, 4, 3, 1, [](Arrays& a) { radam_update(span(a, 0), span(a, 1), span(a, 2), span(a, 3), {.lr = 1e-4}); },
     [](double p, double g, double m, double v) {
       return p - 1e-4 * decayed(m, g, 0.9) / (std::sqrt(decayed(v, g * g, 0.999)) + 1e-8);
     }},
    {"rmsprop", 3, 3, 2, 1, [](Arrays& a) { rmsprop_update(span(a, 0), span(a, 1), span(a, 2), {}, {}, {.lr = 1e-4}); },
     [](double p, double g, double v, double) { return p - 1e-4 * g / (std::sqrt(decayed(v, g * g, 0.99)) + 1e-8); }},
    {"adagrad", 3, 3, 2, 1, [](Arrays& a) { adagrad_update(span(a, 0), span(a, 1), span(a, 2), {.lr = 1e-4}); },
     [](double p, double g, double sum, double) { return p - 1e-4 * g / (std::sqrt(sum + g * g) + 1e-10); }},
    {"adadelta", 4, 4, 3, 2,
     [](Arrays& a) { adadelta_update(span(a, 0), span(a, 1), span(a, 2), span(a, 3), {.lr = 1e-4}); },
     [](double p, double g, double v, double u) {
       return p - 1e-4 * std::sqrt(u + 1e-6) / std::sqrt(decayed(v, g * g, 0.9) + 1e-6) * g;
     }},
    {"rprop", 4, 4, 3, -1,
     [](Arrays& a) { rprop_update(span(a, 0), span(a, 1), span(a, 2), span(a, 3), {.largest = 1e-2}); },
     [](double p, double g, double,
        double step) {  // the gradient before is positive; one that changes sign counts as 0
       return g > 0 ? p - std::min(1e-2, 1.2 * step) : p;
     }},
    {"lion", 3, 3, 2, -1, [](Arrays& a) { lion_update(span(a, 0), span(a, 1), span(a, 2), {}); },
     [](double p, double g, double m, double) { return p - std::copysign(1e-4, decayed(m, g, 0.9)); }},
    {"ema", 2, 2, 1, -1, [](Arrays& a) { ema_update(span(a, 0), span(a, 1), 0.99); },
     [](double p, double g, double, double) { return decayed(p, g, 0.99); }},
    {"clip_value", 1, 1, 1, -1, [](Arrays& a) { clip_value(span(a, 0), 1); },
     [](double p, double, double, double) { return std::clamp(p, -1.0, 1.0); }},
};

Race update_race(const Update& update, Index n) {
  const auto a = arrays(static_cast<std::size_t>(update.arrays), n);
  for (std::size_t i = 2; i < a->size(); ++i)
    for (float& v : span(*a, i)) v = std::fabs(v);
  double before[4] = {};
  for (std::size_t i = 0; i < a->size(); ++i) before[i] = static_cast<double>(span(*a, i)[kProbe]);
  Race race;
  race.ours = [=] { update.run(*a); };
  race.ours();
  const double want = update.want(before[0], before[1], before[2], before[3]);
  if (!(std::fabs(span(*a, 0)[kProbe] - want) <= 1e-6)) race.error = "wrong update";
  return race;
}

Race norm_race(Index n) {
  const auto a = arrays(1, n);
  double want = 0;
  for (const float v : span(*a, 0)) want += static_cast<double>(v) * static_cast<double>(v);
  Race race;
  if (!(std::fabs(norm(span(*a, 0)) - std::sqrt(want)) <= 1e-6 * std::sqrt(want))) race.error = "wrong norm";
  race.ours = [=] { benchmark::DoNotOptimize(norm(span(*a, 0))); };
  return race;
}

}  // namespace

void add_update(bool full) {
  const Isa best = raced_isas().back();
  for (const Index n : {10000, 1000000, 20000000}) {
    const std::string tail = "/n:" + std::to_string(n);
    for (const Update& update : kUpdates) {
      const bool usual = update.name == "sgd_momentum" || update.name.starts_with("adam");
      if (!full && !usual && n != 1000000) continue;
      add_streaming(
          "update", update.name + tail, best, update.reads, update.writes, n, 4 * update.writes,
          [=] {
            Race race = update_race(update, n);
            const bool races_torch = update.name == "sgd_momentum" || update.name == "adam" || update.name == "adamw";
            if (races_torch && (full || n == 1000000)) add_torch(race, {update.name, std::to_string(n)});
            return race;
          },
          true, update.roots);
    }
    add_streaming("update", "norm" + tail, best, 1, 0, n, 2, [=] { return norm_race(n); });
  }
}

}  // namespace tilewright::bench
