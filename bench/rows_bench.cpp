// SPDX-License-Identifier: MIT
// Suites rows (sums, softmax, norms) and loss, held against bare loops over the same streams.
#include <algorithm>
#include <numeric>

#include "bench/peers.hpp"
#include "bench/streaming.hpp"
#include "tests/reference.hpp"

namespace tilewright::bench {
namespace {

struct Operands {
  std::shared_ptr<Arrays> memory;
  MatrixView<float> x, y, dy, dx;
  std::span<float> gamma, beta, dgamma, dbeta, mean, rstd;
};

Operands operands(Index rows, Index cols) {
  Operands o{arrays(10, std::max(rows * cols, rows + cols)), {}, {}, {}, {}, {}, {}, {}, {}, {}, {}};
  Arrays& a = *o.memory;
  const auto view = [&](std::size_t i) { return MatrixView<float>(a[i].data(), rows, cols); };
  const auto part = [&](std::size_t i, Index n) { return a[i].span().first(static_cast<std::size_t>(n)); };
  o.x = view(0), o.y = view(1), o.dy = view(2), o.dx = view(3);
  o.gamma = part(4, cols), o.beta = part(5, cols), o.dgamma = part(6, cols), o.dbeta = part(7, cols);
  o.mean = part(8, rows), o.rstd = part(9, rows);
  return o;
}

/// softmax of row 0 in double.
double softmax_at(const MatrixView<float>& x, Index j) {
  double sum = 0;
  for (Index k = 0; k < x.cols; ++k) sum += std::exp(static_cast<double>(x(0, k)));
  return std::exp(static_cast<double>(x(0, j))) / sum;
}

std::string wrong(double got, double want, const char* what) {
  return std::fabs(got - want) <= 1e-4 * (1e-2 + std::fabs(want)) ? "" : what;
}

Race row_race(const std::string& name, Index rows, Index cols) {
  const Operands o = operands(rows, cols);
  Race race;
  const Index j = cols / 3;
  const auto run = [&race](auto call) {
    race.ours = call;
    race.ours();
  };
  if (name == "softmax" || name == "log_softmax") {
    const bool log = name == "log_softmax";
    run([=] { log ? log_softmax(o.x, o.y) : softmax(o.x, o.y); });
    const double p = softmax_at(o.x, j);
    race.error = wrong(o.y(0, j), log ? std::log(p) : p, "wrong softmax");
  } else if (name == "softmax_backward") {
    softmax(o.x, o.y);
    run([=] { softmax_backward(o.y, o.dy, o.dx); });
    double dot = 0;
    for (Index k = 0; k < cols; ++k) dot += static_cast<double>(o.y(0, k)) * o.dy(0, k);
    race.error = wrong(o.dx(0, j), o.y(0, j) * (o.dy(0, j) - dot), "wrong gradient");
  } else {
    const bool rms = name.starts_with("rms"), backward = name.ends_with("backward");
    double mean = 0, squares = 0;
    for (Index k = 0; k < cols; ++k) mean += o.x(0, k) / static_cast<double>(cols);
    if (rms) mean = 0;
    for (Index k = 0; k < cols; ++k) squares += (o.x(0, k) - mean) * (o.x(0, k) - mean);
    const double r = 1 / std::sqrt(squares / static_cast<double>(cols) + 1e-5);
    const double want = (o.x(0, j) - mean) * r * o.gamma[j] + (rms ? 0 : o.beta[j]);
    run([=] { rms ? rms_norm(o.x, o.gamma, o.y, o.rstd) : layer_norm(o.x, o.gamma, o.beta, o.y, o.mean, o.rstd); });
    race.error = wrong(o.y(0, j), want, "wrong norm");
    if (backward) {
      run([=] {
        rms ? rms_norm_backward(o.x, o.dy, o.gamma, o.rstd, o.dx, o.dgamma)
            : layer_norm_backward(o.x, o.dy, o.gamma, o.mean, o.rstd, o.dx, o.dgamma, o.dbeta);
      });
      double dgamma = 0, size = 0;
      for (Index i = 0; i < rows; ++i) {
        const double h = (o.x(i, j) - (rms ? 0.0F : o.mean[i])) * o.rstd[i];
        dgamma += o.dy(i, j) * h;
        size += std::fabs(o.dy(i, j) * h);
      }
      if (std::fabs(o.dgamma[j] - dgamma) > 1e-5 * size) race.error = "wrong gradient";
    }
  }
  add_onednn_rows(race.peers, name,
                  {rows, cols, o.x.data, o.y.data, o.dy.data, o.dx.data, o.gamma.data(), o.beta.data()});
  (void)o.memory;
  return race;
}

}  // namespace

void add_rows(bool full) {
  const Isa best = raced_isas().back();
  for (const char* name : {"softmax", "softmax_backward", "log_softmax", "layer_norm", "layer_norm_backward",
                           "rms_norm", "rms_norm_backward"})
    for (const auto& [rows, cols] :
         {std::pair<Index, Index>{128, 10}, {256, 1000}, {512, 768}, {4096, 1024}, {64, 50257}}) {
      if (!full && cols != 10 && cols != 768) continue;
      const int reads = std::string(name).ends_with("backward") ? 2 : 1;
      add_streaming("rows", std::string(name) + "/rows:" + std::to_string(rows) + "/cols:" + std::to_string(cols), best,
                    reads, 1, rows * cols, std::string(name).find("norm") == std::string::npos ? 14 : 8,
                    [name, rows = rows, cols = cols] { return row_race(name, rows, cols); });
    }
  const Index shapes[][2] = {{128, 10}, {128, 512}, {512, 768}, {4096, 1024}};
  for (const auto& [rows, cols] : shapes)
    add_streaming("rows", "column_sums/rows:" + std::to_string(rows) + "/cols:" + std::to_string(cols), best, 1, 0,
                  rows * cols, 1, [rows = rows, cols = cols] {
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
  const Isa best = raced_isas().back();
  for (const Index n : {100, 1 << 16, 1 << 20}) {
    add_streaming("loss", "mse/n:" + std::to_string(n), best, 2, 1, n, 4, [n] {
      const auto a = arrays(3, n);
      Race race;
      race.ours = [=] { benchmark::DoNotOptimize(mse_loss((*a)[0], (*a)[1], (*a)[2])); };
      race.ours();
      const double want = 2.0 / static_cast<double>(n) * static_cast<double>((*a)[0](0, n - 1) - (*a)[1](0, n - 1));
      if (std::fabs((*a)[2](0, n - 1) - want) > 1e-6 * std::fabs(want)) race.error = "wrong gradient";
      add_torch(race, {"mse", std::to_string(n)});
      return race;
    });
    add_streaming("loss", "bce_with_logits/n:" + std::to_string(n), best, 2, 1, n, 28, [n] {
      const auto a = arrays(3, n);
      Race race;
      race.ours = [=] { benchmark::DoNotOptimize(bce_with_logits_loss((*a)[0], (*a)[1], (*a)[2])); };
      race.ours();
      const double want = (test::logistic<double>((*a)[0](0, n - 1)) - (*a)[1](0, n - 1)) / static_cast<double>(n);
      if (std::fabs((*a)[2](0, n - 1) - want) > 1e-5 * std::fabs(want)) race.error = "wrong gradient";
      add_torch(race, {"bce_with_logits", std::to_string(n)});
      return race;
    });
  }
  const Index shapes[][2] = {{128, 10}, {256, 1000}, {64, 50257}};
  for (const auto& [rows, cols] : shapes)
    add_streaming("loss", "cross_entropy/rows:" + std::to_string(rows) + "/cols:" + std::to_string(cols), best, 1, 1,
                  rows * cols, 15, [rows = rows, cols = cols] {
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
                    add_torch(race, {"cross_entropy", std::to_string(rows), std::to_string(cols)});
                    return race;
                  });
}

}  // namespace tilewright::bench
