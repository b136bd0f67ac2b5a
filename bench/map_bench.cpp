// SPDX-License-Identifier: MIT
// Suite map: functions, activations forward and backward, held against bare loops over the same streams.
#include <algorithm>
#include <cmath>
#include <memory>

#include "bench/peers.hpp"
#include "bench/streaming.hpp"
#include "tests/reference.hpp"

namespace tilewright::bench {
namespace {

/// Shorter calls are mostly Python's there.
constexpr Index kLongForTorch = 1 << 16;
void add_torch(Race& race, const char* way, std::string_view name, Index n) {
  if (n >= kLongForTorch) add_torch(race, {way, std::string(name), std::to_string(n)});
}

double reference(ActivationKind kind, double x) { return test::reference<float, double>(kind, x); }

// Views are made once, as the peers' descriptions of theirs are.

Race forward_race(ActivationKind kind, Index n) {
  const auto a = arrays(2, n);
  Race race;
  race.ours = [a, f = Activation(kind), x = MatrixView<const float>((*a)[0]), y = MatrixView<float>((*a)[1])] {
    activation_forward(f, x, y);
  };
  race.peers = map_peers(kind, (*a)[0].data(), nullptr, (*a)[1].data(), n);
  add_torch(race, "forward", to_string(kind), n);
  race.ours();
  for (Index i = 0; i < n; i += std::max<Index>(1, n / 64)) {
    const double want = reference(kind, (*a)[0](0, i));
    if (!(std::fabs((*a)[1](0, i) - want) <= 1e-5 * std::fabs(want) + 1e-30)) race.error = "wrong value";
  }
  return race;
}

Race backward_race(ActivationKind kind, Index n) {
  const auto a = arrays(3, n);
  const Matrix<float> x = (*a)[0];
  if (!saves_input(kind)) activation_forward(kind, x, (*a)[0]);
  Race race;
  race.ours = [a, f = Activation(kind), saved = MatrixView<const float>((*a)[0]), dy = MatrixView<const float>((*a)[1]),
               dx = MatrixView<float>((*a)[2])] { activation_backward(f, saved, dy, dx); };
  race.peers = map_peers(kind, (*a)[0].data(), (*a)[1].data(), (*a)[2].data(), n);
  add_torch(race, "backward", to_string(kind), n);
  race.ours();
  for (Index i = 0; i < n; i += std::max<Index>(1, n / 64)) {
    const double at = x(0, i), h = 1e-4;
    const double want = (*a)[1](0, i) * (reference(kind, at + h) - reference(kind, at - h)) / (2 * h);
    if (std::fabs(at) > 2 * h && !(std::fabs((*a)[2](0, i) - want) <= 1e-4 * (1 + std::fabs(want))))
      race.error = "wrong derivative";
  }
  return race;
}

Race function_race(FunctionKind kind, Index n) {
  const auto a = arrays(2, n);
  for (float& v : (*a)[0].span()) v = std::fabs(v) + 1e-3F;
  Race race;
  race.ours = [a, kind, from = MatrixView<const float>((*a)[0]), to = MatrixView<float>((*a)[1])] {
    function_forward(kind, from, to);
  };
  race.peers = map_peers(kind, (*a)[0].data(), (*a)[1].data(), n);
  add_torch(race, "forward", to_string(kind), n);
  race.ours();
  for (Index i = 0; i < n; i += std::max<Index>(1, n / 64)) {
    const double want = test::reference(kind, static_cast<double>((*a)[0](0, i)));
    if (!(std::fabs((*a)[1](0, i) - want) <= 1e-6 * (1 + std::fabs(want)))) race.error = "wrong value";
  }
  return race;
}

/// Nominal, see add_streaming: pieces of straight lines, and what has an exponential in it.
constexpr double kCurve = 12;
double operations_of(ActivationKind kind) {
  using enum ActivationKind;
  for (const ActivationKind straight :
       {relu, leaky_relu, relu6, hardsigmoid, hardswish, hardtanh, softshrink, threshold})
    if (kind == straight) return 2;
  return kind == softsign ? 3 : kCurve;
}

}  // namespace

void add_map(bool full) {
  const Isa best = raced_isas().back();
  for (int k = 0; k < kFunctionKinds; ++k) {
    const auto kind = static_cast<FunctionKind>(k);
    for (const Index n : {1 << 10, 1 << 16, 1 << 20})
      if (full || n == 1 << 16)
        add_streaming("map", std::string(to_string(kind)) + "/n:" + std::to_string(n), best, 1, 1, n, kCurve,
                      [=] { return function_race(kind, n); });
  }
  for (int k = 1; k < kActivationKinds; ++k) {
    const auto kind = static_cast<ActivationKind>(k);
    for (const Index n : {1 << 10, 1 << 16, 1 << 20, 1 << 24}) {
      // The quick selection: the usual activations in and beyond the caches, the others in a cache.
      if (!full && n != 1 << 16 && (kind > ActivationKind::silu || n != 1 << 24)) continue;
      const std::string tail = "/" + std::string(to_string(kind)) + "/n:" + std::to_string(n);
      add_streaming("map", "forward" + tail, best, 1, 1, n, operations_of(kind), [=] { return forward_race(kind, n); });
      if (n <= 1 << 20)
        add_streaming("map", "backward" + tail, best, 2, 1, n, operations_of(kind) + 1,
                      [=] { return backward_race(kind, n); });
    }
    const bool usual = kind == ActivationKind::relu || kind == ActivationKind::sigmoid ||
                       kind == ActivationKind::tanh || kind == ActivationKind::gelu || kind == ActivationKind::silu;
    for (const Isa isa : raced_isas())
      if (isa != best && (full || usual))
        add_streaming("map", "forward/" + std::string(to_string(kind)) + "/n:65536", isa, 1, 1, 1 << 16,
                      operations_of(kind), [=] { return forward_race(kind, 1 << 16); });
  }
}

}  // namespace tilewright::bench
