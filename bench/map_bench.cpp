// SPDX-License-Identifier: MIT
// Suites map (activations forward and backward), rows (column sums), loss and update: all held against bare loops over
// the same streams.
#include <algorithm>
#include <cmath>
#include <memory>

#include "bench/race.hpp"
#include "tests/reference.hpp"

namespace tilewright::bench {
namespace {

double reference(ActivationKind kind, double x) { return test::reference<float, double>(kind, x); }

using Arrays = std::vector<Matrix<float>>;

/// Arrays of n floats in [-4, 4), shared by the calls of a race.
std::shared_ptr<Arrays> arrays(std::size_t count, Index n) {
  auto all = std::make_shared<Arrays>();
  for (std::size_t i = 0; i < count; ++i) {
    all->emplace_back(1, n);
    fill_uniform(all->back().span(), {1, i}, -4, 4);
  }
  return all;
}

/// A case whose traffic is reads + writes arrays of n floats, for every thread count.
void add_streaming(const std::string& suite, const std::string& name, Isa isa, int reads, int writes, Index n,
                   const std::function<Race()>& prepare) {
  for (const int threads : thread_counts()) {
    Case c{suite, name, isa, threads};
    c.bytes = 4.0 * static_cast<double>(reads + writes) * static_cast<double>(n);
    add(c, [=] {
      Race race = prepare();
      race.roof_seconds = stream_roof(c, reads, writes, n);
      return race;
    });
  }
}

Race forward_race(ActivationKind kind, Index n) {
  const auto a = arrays(2, n);
  Race race;
  race.ours = [=] { activation_forward(kind, (*a)[0], (*a)[1]); };
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
  race.ours = [=] { activation_backward(kind, (*a)[0], (*a)[1], (*a)[2]); };
  race.ours();
  for (Index i = 0; i < n; i += std::max<Index>(1, n / 64)) {
    const double at = x(0, i), h = 1e-4;
    const double want = (*a)[1](0, i) * (reference(kind, at + h) - reference(kind, at - h)) / (2 * h);
    if (std::fabs(at) > 2 * h && !(std::fabs((*a)[2](0, i) - want) <= 1e-4 * (1 + std::fabs(want))))
      race.error = "wrong derivative";
  }
  return race;
}

}  // namespace

void add_map(bool full) {
  const Isa best = available_isas().back();
  for (int k = 1; k < kActivationKinds; ++k) {
    const auto kind = static_cast<ActivationKind>(k);
    for (const Index n : {1 << 10, 1 << 16, 1 << 20, 1 << 24}) {
      // The quick selection: the usual activations in and beyond the caches, the others in a cache.
      if (!full && n != 1 << 16 && (kind > ActivationKind::silu || n != 1 << 24)) continue;
      const std::string tail = "/" + std::string(to_string(kind)) + "/n:" + std::to_string(n);
      add_streaming("map", "forward" + tail, best, 1, 1, n, [=] { return forward_race(kind, n); });
      if (n <= 1 << 20) add_streaming("map", "backward" + tail, best, 2, 1, n, [=] { return backward_race(kind, n); });
    }
    for (const Isa isa : available_isas())
      if (isa != best)
        add_streaming("map", "forward/" + std::string(to_string(kind)) + "/n:65536", isa, 1, 1, 1 << 16,
                      [=] { return forward_race(kind, 1 << 16); });
  }
}

void add_rows(bool) {
  const Isa best = available_isas().back();
  const Index shapes[][2] = {{128, 10}, {128, 512}, {512, 768}, {4096, 1024}};
  for (const auto& [rows, cols] : shapes)
    add_streaming("rows", "column_sums/rows:" + std::to_string(rows) + "/cols:" + std::to_string(cols), best, 1, 0,
                  rows * cols, [rows = rows, cols = cols] {
                    const auto a = arrays(2, rows * cols);
                    const MatrixView<const float> x((*a)[0].data(), rows, cols);
                    const auto sums = (*a)[1].span().first(static_cast<std::size_t>(cols));
                    Race race;
                    race.ours = [=] {
                      (void)a;
                      column_sums(x, sums);
                    };
                    race.ours();
                    double want = 0;
                    for (Index i = 0; i < rows; ++i) want += x(i, cols - 1);
                    if (std::fabs(sums.back() - want) > 1e-3 * std::sqrt(static_cast<double>(rows)))
                      race.error = "wrong sum";
                    return race;
                  });
}

void add_loss(bool) {
  const Isa best = available_isas().back();
  for (const Index n : {100, 1 << 16, 1 << 20}) {
    add_streaming("loss", "mse/n:" + std::to_string(n), best, 2, 1, n, [n] {
      const auto a = arrays(3, n);
      Race race;
      race.ours = [=] { benchmark::DoNotOptimize(mse_loss((*a)[0], (*a)[1], (*a)[2])); };
      race.ours();
      const double want = 2.0 / static_cast<double>(n) * static_cast<double>((*a)[0](0, n - 1) - (*a)[1](0, n - 1));
      if (std::fabs((*a)[2](0, n - 1) - want) > 1e-6 * std::fabs(want)) race.error = "wrong gradient";
      return race;
    });
    add_streaming("loss", "bce_with_logits/n:" + std::to_string(n), best, 2, 1, n, [n] {
      const auto a = arrays(3, n);
      Race race;
      race.ours = [=] { benchmark::DoNotOptimize(bce_with_logits_loss((*a)[0], (*a)[1], (*a)[2])); };
      race.ours();
      const double want =
          (reference(ActivationKind::sigmoid, (*a)[0](0, n - 1)) - (*a)[1](0, n - 1)) / static_cast<double>(n);
      if (std::fabs((*a)[2](0, n - 1) - want) > 1e-5 * std::fabs(want)) race.error = "wrong gradient";
      return race;
    });
  }
  const Index shapes[][2] = {{128, 10}, {256, 1000}, {64, 50257}};
  for (const auto& [rows, cols] : shapes)
    add_streaming("loss", "cross_entropy/rows:" + std::to_string(rows) + "/cols:" + std::to_string(cols), best, 1, 1,
                  rows * cols, [rows = rows, cols = cols] {
                    const auto a = arrays(2, rows * cols);
                    const auto classes = std::make_shared<std::vector<Index>>(static_cast<std::size_t>(rows), cols / 2);
                    const MatrixView<const float> x((*a)[0].data(), rows, cols);
                    const MatrixView<float> dx((*a)[1].data(), rows, cols);
                    Race race;
                    race.ours = [=] {
                      (void)a;
                      benchmark::DoNotOptimize(cross_entropy_loss(x, *classes, dx));
                    };
                    race.ours();
                    double sum = 0;
                    for (Index j = 0; j < cols; ++j) sum += std::exp(static_cast<double>(x(0, j)));
                    const double want = std::exp(static_cast<double>(x(0, 0))) / sum / static_cast<double>(rows);
                    if (std::fabs(dx(0, 0) - want) > 1e-4 * want) race.error = "wrong gradient";
                    return race;
                  });
}

void add_update(bool) {
  const Isa best = available_isas().back();
  for (const Index n : {10000, 1000000, 20000000}) {
    add_streaming("update", "sgd_momentum/n:" + std::to_string(n), best, 3, 2, n, [n] {
      const auto a = arrays(3, n);
      const float p = (*a)[0](0, 5), g = (*a)[1](0, 5), b = (*a)[2](0, 5);
      Race race;
      race.ours = [=] { sgd_update((*a)[0].span(), (*a)[1].span(), (*a)[2].span(), {.lr = 1e-4, .momentum = 0.9}); };
      race.ours();
      if (std::fabs((*a)[0](0, 5) - (p - 1e-4 * (0.9 * b + g))) > 1e-6) race.error = "wrong update";
      return race;
    });
    add_streaming("update", "adam/n:" + std::to_string(n), best, 4, 3, n, [n] {
      const auto a = arrays(4, n);
      for (float& v : (*a)[3].span()) v = std::fabs(v);
      const double p = (*a)[0](0, 5), g = (*a)[1](0, 5), m = (*a)[2](0, 5), v = (*a)[3](0, 5);
      Race race;
      race.ours = [=] { adam_update((*a)[0].span(), (*a)[1].span(), (*a)[2].span(), (*a)[3].span(), {.lr = 1e-4}); };
      race.ours();
      const double want = p - 1e-4 * (m + 0.1 * (g - m)) / (std::sqrt(0.999 * v + 0.001 * g * g) + 1e-8);
      if (std::fabs((*a)[0](0, 5) - want) > 1e-6) race.error = "wrong update";
      return race;
    });
  }
}

}  // namespace tilewright::bench
