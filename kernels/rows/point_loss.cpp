// SPDX-License-Identifier: MIT
// Losses of elements: check, cut into blocks of a fixed size whatever the number of threads, add the blocks' sums in
// ascending order.
#include <limits>

#include "kernels/core/ordered_sum.hpp"
#include "kernels/core/profile.hpp"
#include "kernels/core/table.hpp"
#include "kernels/rows/loss_checks.hpp"

namespace tilewright {
namespace detail {
namespace {

struct PointOperands {
  const char* operation;
  PointLoss kind;
  const MatrixView<const float>&x, target, other;
  MatrixView<float> dx;
  double parameter = 0;
  const char* other_name = "other";
};

/// Elements [first, first + n) of the row-major order. Operands with gaps are copied to the side, so that the blocks,
/// and with them the bits of the sum, do not depend on strides.
float run_block(LossKernels::Point kernel, const PointOperands& o, const LossOptions& options, bool contiguous,
                Index first, Index n, float scale) noexcept {
  PointBlock b{};
  b.n = n;
  b.scale = scale;
  b.parameter = static_cast<float>(o.parameter);
  const auto from = [&](auto* data) { return data == nullptr ? nullptr : data + first; };
  if (contiguous) {
    b.x = from(o.x.data), b.target = from(o.target.data), b.other = from(o.other.data);
    b.weight = from(options.weight.data), b.dx = from(o.dx.data), b.values = from(options.values.data);
    return kernel(b);
  }
  float memory[6][kSumBlockElements];
  const auto place = [&](Index e) { return std::pair{(first + e) / o.x.cols, (first + e) % o.x.cols}; };
  const auto gather = [&](const MatrixView<const float>& view, float* to) -> const float* {
    if (view.data == nullptr) return nullptr;
    for (Index e = 0; e < n; ++e) to[e] = view(place(e).first, place(e).second);
    return to;
  };
  const auto scatter = [&](const float* values, const MatrixView<float>& to) {
    for (Index e = 0; to.data != nullptr && e < n; ++e) to(place(e).first, place(e).second) = values[e];
  };
  b.x = gather(o.x, memory[0]), b.target = gather(o.target, memory[1]), b.other = gather(o.other, memory[2]);
  b.weight = gather(options.weight, memory[3]);
  b.dx = o.dx.data == nullptr ? nullptr : memory[4];
  b.values = options.values.data == nullptr ? nullptr : memory[5];
  const float sum = kernel(b);
  scatter(b.dx, o.dx);
  scatter(b.values, options.values);
  return sum;
}

double pointwise(const PointOperands& o, const LossOptions& options, double nanoseconds_per_element, int requested) {
  const char* operation = o.operation;
  check_view(operation, "x", o.x);
  check_view(operation, "target", o.target);
  check_same(operation, "target", o.target, "x", o.x);
  if (o.other.data != nullptr) {
    check_view(operation, o.other_name, o.other);
    check_same(operation, o.other_name, o.other, "x", o.x);
  }
  if (options.weight.data != nullptr) {
    check_view(operation, "weight", options.weight);
    check_same(operation, "weight", options.weight, "x", o.x);
  }
  check_gradient(operation, o.x, o.dx);
  if (options.values.data != nullptr) {
    check_same(operation, "values", options.values, "x", o.x);
    check_output(operation, "values", options.values);
  } else if (options.reduction == Reduction::none && !o.x.empty()) {
    throw ValueError(std::string(operation) + ": reduction none needs a place for the values");
  }
  check_loss_apart(operation, o.x, o.dx, {"values", options.values},
                   {{"target", o.target}, {o.other_name, o.other}, {"weight", options.weight}});
  check_thread_count(operation, requested);
  const Call call(over_elements<float>, operation, "", o.x.rows, o.x.cols, o.other.data == nullptr ? 2 : 3,
                  (o.dx.data != nullptr) + (options.values.data != nullptr));
  const Index n = o.x.size();
  const double count = divisor(options.reduction, static_cast<double>(n), o.x.rows);
  if (n == 0) return settled(0 / count);
  const LossKernels::Point kernel = active_table().loss.point[static_cast<int>(o.kind)];
  const float scale = static_cast<float>(1.0 / count);
  const auto fits = [](const auto& view) { return view.data == nullptr || view.contiguous(); };
  const bool contiguous =
      fits(o.x) && fits(o.target) && fits(o.other) && fits(o.dx) && fits(options.weight) && fits(options.values);
  const Index blocks = (n + kSumBlockElements - 1) / kSumBlockElements;
  const double sum = ordered_sum(blocks, requested, static_cast<double>(n) * nanoseconds_per_element, [&](Index block) {
    const Index first = block * kSumBlockElements;
    return static_cast<double>(
        run_block(kernel, o, options, contiguous, first, std::min(kSumBlockElements, n - first), scale));
  });
  return settled(sum / count);
}

}  // namespace
}  // namespace detail

using detail::PointLoss;

double mse_loss(const MatrixView<const float>& x, const MatrixView<const float>& target, const MatrixView<float>& dx,
                const LossOptions& options, int num_threads) {
  return detail::pointwise({"mse_loss", PointLoss::squared, x, target, {}, dx}, options, 0.1, num_threads);
}

double l1_loss(const MatrixView<const float>& x, const MatrixView<const float>& target, const MatrixView<float>& dx,
               const LossOptions& options, int num_threads) {
  return detail::pointwise({"l1_loss", PointLoss::absolute, x, target, {}, dx}, options, 0.1, num_threads);
}

double smooth_l1_loss(const MatrixView<const float>& x, const MatrixView<const float>& target,
                      const MatrixView<float>& dx, double beta, const LossOptions& options, int num_threads) {
  detail::check_number("smooth_l1_loss", "beta", beta, beta >= 0, "a finite number >= 0");
  const PointLoss kind = beta == 0 ? PointLoss::absolute : PointLoss::smooth_absolute;
  return detail::pointwise({"smooth_l1_loss", kind, x, target, {}, dx, beta}, options, 0.1, num_threads);
}

double huber_loss(const MatrixView<const float>& x, const MatrixView<const float>& target, const MatrixView<float>& dx,
                  double delta, const LossOptions& options, int num_threads) {
  detail::check_number("huber_loss", "delta", delta, delta > 0, "a finite number > 0");
  return detail::pointwise({"huber_loss", PointLoss::huber, x, target, {}, dx, delta}, options, 0.1, num_threads);
}

double bce_loss(const MatrixView<const float>& x, const MatrixView<const float>& target, const MatrixView<float>& dx,
                const LossOptions& options, int num_threads) {
  return detail::pointwise({"bce_loss", PointLoss::binary_cross_entropy, x, target, {}, dx}, options, 0.8, num_threads);
}

double bce_with_logits_loss(const MatrixView<const float>& x, const MatrixView<const float>& target,
                            const MatrixView<float>& dx, const LossOptions& options, int num_threads,
                            std::span<const float> pos_weight) {
  constexpr const char* kName = "bce_with_logits_loss";
  if (pos_weight.empty())
    return detail::pointwise({kName, PointLoss::logistic, x, target, {}, dx}, options, 0.5, num_threads);
  detail::check_count(kName, "pos_weight", pos_weight, x.cols);
  const MatrixView<const float> weights(pos_weight.data(), x.rows, x.cols, 0, 1);
  return detail::pointwise({kName, PointLoss::weighted_logistic, x, target, weights, dx, 0, "pos_weight"}, options, 0.5,
                           num_threads);
}

double kl_div_loss(const MatrixView<const float>& x, const MatrixView<const float>& target, const MatrixView<float>& dx,
                   bool of_logs, const LossOptions& options, int num_threads) {
  const PointLoss kind = of_logs ? PointLoss::kl_divergence_of_logs : PointLoss::kl_divergence;
  return detail::pointwise({"kl_div_loss", kind, x, target, {}, dx}, options, 0.5, num_threads);
}

double hinge_embedding_loss(const MatrixView<const float>& x, const MatrixView<const float>& target,
                            const MatrixView<float>& dx, double margin, const LossOptions& options, int num_threads) {
  detail::check_number("hinge_embedding_loss", "margin", margin, true, "a finite number");
  return detail::pointwise({"hinge_embedding_loss", PointLoss::hinge_embedding, x, target, {}, dx, margin}, options,
                           0.1, num_threads);
}

double margin_ranking_loss(const MatrixView<const float>& x, const MatrixView<const float>& other,
                           const MatrixView<const float>& target, const MatrixView<float>& dx, double margin,
                           const LossOptions& options, int num_threads) {
  detail::check_number("margin_ranking_loss", "margin", margin, true, "a finite number");
  if (other.data == nullptr && !x.empty()) throw ValueError("margin_ranking_loss: the data of other is null");
  return detail::pointwise({"margin_ranking_loss", PointLoss::margin_ranking, x, target, other, dx, margin}, options,
                           0.1, num_threads);
}

}  // namespace tilewright
