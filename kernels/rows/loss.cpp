// SPDX-License-Identifier: MIT
// Losses: check, cut into blocks of a fixed size whatever the number of threads, add the blocks' sums in ascending
// order.
#include "tilewright/losses.hpp"

#include <cmath>
#include <limits>

#include "kernels/core/ordered_sum.hpp"
#include "kernels/core/profile.hpp"
#include "kernels/rows/share.hpp"
#include "tilewright/gemm.hpp"
#include "tilewright/memory.hpp"

namespace tilewright {
namespace detail {
namespace {

void check_gradient(const char* operation, const MatrixView<const float>& x, const MatrixView<float>& dx) {
  if (dx.data == nullptr) return;
  check_same(operation, "dx", dx, "x", x);
  check_output(operation, "dx", dx);
}

/// dx may be x; nothing else that is written may be anything else.
void check_loss_apart(const char* operation, const MatrixView<const float>& x, const MatrixView<float>& dx,
                      const Place& values, std::initializer_list<Place> others) {
  check_apart(operation, "dx", dx, "x", x, Sharing::same);
  check_apart(operation, {values}, {{"x", x}}, Sharing::none);
  check_apart(operation, {{"dx", dx}, values}, others, Sharing::none);
}

struct PointOperands {
  const char* operation;
  PointLoss kind;
  MatrixView<const float> x, target, other;
  MatrixView<float> dx;
  double parameter = 0;
  const char* other_name = "other";
};

/// What the reductions divide by.
double divisor(Reduction reduction, double mean, Index rows) {
  switch (reduction) {
    case Reduction::mean:
      return mean;
    case Reduction::batch_mean:
      return static_cast<double>(rows);
    default:
      return 1;
  }
}

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
  if (n == 0) return 0 / count;
  const LossKernels::Point kernel = active_table().loss.point[static_cast<int>(o.kind)];
  const float scale = static_cast<float>(1.0 / count);
  const auto fits = [](const auto& view) { return view.data == nullptr || view.contiguous(); };
  const bool contiguous =
      fits(o.x) && fits(o.target) && fits(o.other) && fits(o.dx) && fits(options.weight) && fits(options.values);
  const int threads = plan_threads(requested, static_cast<double>(n) * nanoseconds_per_element);
  const double sum = ordered_sum((n + kSumBlockElements - 1) / kSumBlockElements, threads, [&](Index block) {
    const Index first = block * kSumBlockElements;
    return static_cast<double>(
        run_block(kernel, o, options, contiguous, first, std::min(kSumBlockElements, n - first), scale));
  });
  return sum / count;
}

void check_number(const char* operation, const char* name, double value, bool good, const char* expected) {
  if (!(std::isfinite(value) && good))
    throw ValueError(std::string(operation) + ": " + name + " is " + std::to_string(value) + ", expected " + expected);
}

// ---- losses of rows

void check_values(const char* operation, const ClassLossOptions& options, Index rows) {
  if (options.values.data() == nullptr && options.reduction == Reduction::none && rows > 0)
    throw ValueError(std::string(operation) + ": reduction none needs a place for the values");
  if (options.values.data() != nullptr) check_count(operation, "values", options.values, rows);
}

void check_class_options(const char* operation, const ClassLossOptions& options, Index rows, Index cols) {
  check_values(operation, options, rows);
  if (!options.weight.empty()) check_count(operation, "weight", options.weight, cols);
  check_number(operation, "label_smoothing", options.label_smoothing,
               options.label_smoothing >= 0 && options.label_smoothing <= 1, "0 <= label_smoothing <= 1");
}

void check_classes(const char* operation, std::span<const Index> classes, const ClassLossOptions& options,
                   const MatrixView<const float>& x, Index cols) {
  const Place of_x("x", x);
  check_count(operation, "classes", classes, x.rows, &of_x);
  for (std::size_t i = 0; i < classes.size(); ++i)
    if (classes[i] != options.ignore_index && (classes[i] < 0 || classes[i] >= cols))
      throw ValueError(std::string(operation) + ": classes[" + std::to_string(i) + "] is " +
                       std::to_string(classes[i]) + ", expected 0.." + std::to_string(cols - 1));
}

float weight_of(const ClassLossOptions& options, Index c) {
  return options.weight.empty() ? 1 : options.weight[static_cast<std::size_t>(c)];
}

/// The sum of the weights of the rows that count.
double counted(std::span<const Index> classes, const ClassLossOptions& options) {
  double sum = 0;
  for (const Index c : classes)
    if (c != options.ignore_index) sum += static_cast<double>(weight_of(options, c));
  return sum;
}

/// sum_of_rows() of short rows and classes without smoothing.
double sum_of_narrow_rows(MatrixView<const float> x, std::span<const Index> classes, MatrixView<float> dx,
                          const ClassLossOptions& o, float scale, int threads) {
  float* losses = scratch<float>(x.rows);
  const auto kernel = active_table().loss.cross_entropy_narrow;
  parallel(threads, [&](Member member) {
    const auto [first, end] = member.share(x.rows, kNarrowLosses);
    for (Index i = first; i < end; i += kNarrowLosses) {
      const Index rows = std::min(kNarrowLosses, end - i);
      const Index* its_classes = classes.data() + i;
      Index targets[kNarrowLosses];
      float scales[kNarrowLosses];
      for (Index k = 0; k < rows; ++k) {
        const bool counts = its_classes[k] != o.ignore_index;
        targets[k] = counts ? its_classes[k] : 0;
        scales[k] = counts ? weight_of(o, targets[k]) * scale : 0;
      }
      float* gradient = dx.data == nullptr ? nullptr : dx.data + i * dx.row_stride;
      kernel({x.data + i * x.row_stride, gradient, x.row_stride, dx.row_stride, rows, x.cols, targets, scales,
              losses + i});
      for (Index k = 0; k < rows; ++k) {
        losses[i + k] = its_classes[k] == o.ignore_index ? 0 : weight_of(o, targets[k]) * losses[i + k];
        if (its_classes[k] == o.ignore_index && gradient != nullptr)
          std::fill_n(gradient + k * dx.row_stride, x.cols, 0.0F);
      }
    }
  });
  double sum = 0;
  for (Index i = 0; i < x.rows; ++i) sum += static_cast<double>(losses[i]);
  if (o.values.data() != nullptr) std::copy_n(losses, x.rows, o.values.data());
  return sum;
}

/// The sum of the rows' losses; dx is their derivative times scale. Everything is checked.
double sum_of_rows(MatrixView<const float> x, std::span<const Index> classes, MatrixView<const float> probabilities,
                   MatrixView<float> dx, const ClassLossOptions& o, float scale, int requested) {
  const LossKernels& kernels = active_table().loss;
  const double row_nanoseconds = 30 + 0.4 * static_cast<double>(x.cols);
  const int threads = plan_threads(requested, row_nanoseconds * static_cast<double>(x.rows));
  const float smoothing = static_cast<float>(o.label_smoothing);
  const bool plain = classes.data() != nullptr && smoothing == 0;
  if (plain && is_narrow(x.rows, x.cols)) return sum_of_narrow_rows(x, classes, dx, o, scale, threads);
  return ordered_sum(x.rows, threads, [&](Index i) {
    const float* row = x.data + i * x.row_stride;
    float* gradient = dx.data == nullptr ? nullptr : dx.data + i * dx.row_stride;
    const Index c = classes.data() == nullptr ? -1 : classes[static_cast<std::size_t>(i)];
    float loss = 0;
    if (classes.data() != nullptr && c == o.ignore_index) {
      if (gradient != nullptr) std::fill_n(gradient, x.cols, 0.0F);
    } else if (plain) {
      const float weight = weight_of(o, c);
      loss = weight * kernels.cross_entropy_row(row, gradient, x.cols, c, weight * scale);
    } else {
      MixRow m{};
      m.x = row;
      m.dx = gradient;
      m.n = x.cols;
      m.target = c;
      m.weight = o.weight.empty() ? nullptr : o.weight.data();
      m.probabilities = probabilities.data == nullptr ? nullptr : probabilities.data + i * probabilities.row_stride;
      m.uniform = smoothing / static_cast<float>(x.cols);
      m.share = 1 - smoothing;
      m.picked = c < 0 ? 0 : (1 - smoothing) * weight_of(o, c);
      m.scale = scale;
      loss = kernels.cross_entropy_mix(m);
    }
    if (o.values.data() != nullptr) o.values[static_cast<std::size_t>(i)] = loss;
    return static_cast<double>(loss);
  });
}

/// Workspace for the products of linear_cross_entropy_loss, so that none of them fails when others are done: `block`
/// rows at a time, and what is left of them.
void reserve_products(const MatrixView<const float>& x, const MatrixView<const float>& w, float* memory, Index block,
                      const MatrixView<float>& dx, const MatrixView<float>& dw, int num_threads) {
  const GemmOptions<float> options{.num_threads = num_threads};
  std::size_t bytes = static_cast<std::size_t>(block) * sizeof(double);  // sum_of_rows
  for (const Index rows : {std::min(block, x.rows), x.rows % block}) {
    const MatrixView<float> logits(memory, rows, w.rows);
    const auto part = x.row_block(0, rows);
    bytes = std::max(bytes, gemm_workspace(part, w.t(), logits, options));
    if (dx.data != nullptr) bytes = std::max(bytes, gemm_workspace(logits, w, dx.row_block(0, rows), options));
    if (dw.data != nullptr)
      bytes = std::max(bytes, gemm_workspace(MatrixView<const float>(logits).t(), part, dw, options));
  }
  reserve_workspace(bytes);
}

/// Logits that linear_cross_entropy_loss holds at a time; part of the numerics of dw.
constexpr Index kLogits = 8 << 20;

}  // namespace
}  // namespace detail

using detail::PointLoss;

double mse_loss(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                const LossOptions& options, int num_threads) {
  return detail::pointwise({"mse_loss", PointLoss::squared, x, target, {}, dx}, options, 0.1, num_threads);
}

double l1_loss(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
               const LossOptions& options, int num_threads) {
  return detail::pointwise({"l1_loss", PointLoss::absolute, x, target, {}, dx}, options, 0.1, num_threads);
}

double smooth_l1_loss(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx, double beta,
                      const LossOptions& options, int num_threads) {
  detail::check_number("smooth_l1_loss", "beta", beta, beta >= 0, "a finite number >= 0");
  const PointLoss kind = beta == 0 ? PointLoss::absolute : PointLoss::smooth_absolute;
  return detail::pointwise({"smooth_l1_loss", kind, x, target, {}, dx, beta}, options, 0.1, num_threads);
}

double huber_loss(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx, double delta,
                  const LossOptions& options, int num_threads) {
  detail::check_number("huber_loss", "delta", delta, delta > 0, "a finite number > 0");
  return detail::pointwise({"huber_loss", PointLoss::huber, x, target, {}, dx, delta}, options, 0.1, num_threads);
}

double bce_loss(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                const LossOptions& options, int num_threads) {
  return detail::pointwise({"bce_loss", PointLoss::binary_cross_entropy, x, target, {}, dx}, options, 0.8, num_threads);
}

double bce_with_logits_loss(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                            const LossOptions& options, int num_threads, std::span<const float> pos_weight) {
  constexpr const char* kName = "bce_with_logits_loss";
  if (pos_weight.empty())
    return detail::pointwise({kName, PointLoss::logistic, x, target, {}, dx}, options, 0.5, num_threads);
  detail::check_count(kName, "pos_weight", pos_weight, x.cols);
  const MatrixView<const float> weights(pos_weight.data(), x.rows, x.cols, 0, 1);
  return detail::pointwise({kName, PointLoss::weighted_logistic, x, target, weights, dx, 0, "pos_weight"}, options, 0.5,
                           num_threads);
}

double kl_div_loss(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx, bool of_logs,
                   const LossOptions& options, int num_threads) {
  const PointLoss kind = of_logs ? PointLoss::kl_divergence_of_logs : PointLoss::kl_divergence;
  return detail::pointwise({"kl_div_loss", kind, x, target, {}, dx}, options, 0.5, num_threads);
}

double hinge_embedding_loss(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                            double margin, const LossOptions& options, int num_threads) {
  detail::check_number("hinge_embedding_loss", "margin", margin, true, "a finite number");
  return detail::pointwise({"hinge_embedding_loss", PointLoss::hinge_embedding, x, target, {}, dx, margin}, options,
                           0.1, num_threads);
}

double margin_ranking_loss(MatrixView<const float> x, MatrixView<const float> other, MatrixView<const float> target,
                           MatrixView<float> dx, double margin, const LossOptions& options, int num_threads) {
  detail::check_number("margin_ranking_loss", "margin", margin, true, "a finite number");
  if (other.data == nullptr && !x.empty()) throw ValueError("margin_ranking_loss: the data of other is null");
  return detail::pointwise({"margin_ranking_loss", PointLoss::margin_ranking, x, target, other, dx, margin}, options,
                           0.1, num_threads);
}

double cross_entropy_loss(MatrixView<const float> x, std::span<const Index> classes, MatrixView<float> dx,
                          const ClassLossOptions& options, int num_threads) {
  using namespace detail;
  constexpr const char* kName = "cross_entropy_loss";
  check_neighbours(kName, "x", x);
  check_gradient(kName, x, dx);
  if (dx.data != nullptr) check_neighbours(kName, "dx", dx);
  check_class_options(kName, options, x.rows, x.cols);
  check_classes(kName, classes, options, x, x.cols);
  check_loss_apart(kName, x, dx, {"values", options.values}, {{"classes", classes}, {"weight", options.weight}});
  check_thread_count(kName, num_threads);
  const Call call(over_elements<float>, kName, "", x.rows, x.cols, 1, dx.data == nullptr ? 0 : 1);
  const double count = divisor(options.reduction, counted(classes, options), x.rows);
  if (x.rows == 0) return 0 / count;
  const float scale = static_cast<float>(1.0 / count);
  return sum_of_rows(x, classes, {}, dx, options, scale, num_threads) / count;
}

double cross_entropy_loss(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                          const ClassLossOptions& options, int num_threads) {
  using namespace detail;
  constexpr const char* kName = "cross_entropy_loss";
  check_neighbours(kName, "x", x);
  check_neighbours(kName, "target", target);
  check_same(kName, "target", target, "x", x);
  check_gradient(kName, x, dx);
  if (dx.data != nullptr) check_neighbours(kName, "dx", dx);
  check_class_options(kName, options, x.rows, x.cols);
  check_loss_apart(kName, x, dx, {"values", options.values}, {{"target", target}, {"weight", options.weight}});
  check_thread_count(kName, num_threads);
  const Call call(over_elements<float>, kName, "", x.rows, x.cols, 2, dx.data == nullptr ? 0 : 1);
  const double count = divisor(options.reduction, static_cast<double>(x.rows), x.rows);
  if (x.rows == 0) return 0 / count;
  const float scale = static_cast<float>(1.0 / count);
  return sum_of_rows(x, {}, target, dx, options, scale, num_threads) / count;
}

double nll_loss(MatrixView<const float> x, std::span<const Index> classes, MatrixView<float> dx,
                const ClassLossOptions& options, int num_threads) {
  using namespace detail;
  constexpr const char* kName = "nll_loss";
  check_view(kName, "x", x);
  check_gradient(kName, x, dx);
  check_class_options(kName, options, x.rows, x.cols);
  check_classes(kName, classes, options, x, x.cols);
  check_loss_apart(kName, x, dx, {"values", options.values}, {{"classes", classes}, {"weight", options.weight}});
  check_thread_count(kName, num_threads);
  const Call call(over_elements<float>, kName, "", x.rows, x.cols, 1, dx.data == nullptr ? 0 : 1);
  const double count = divisor(options.reduction, counted(classes, options), x.rows);
  const float scale = static_cast<float>(1.0 / count);
  double sum = 0;
  for (Index i = 0; i < x.rows; ++i) {
    const Index c = classes[static_cast<std::size_t>(i)];
    const bool counts = c != options.ignore_index;
    const float weight = counts ? weight_of(options, c) : 0, loss = counts ? -weight * x(i, c) : 0;
    if (dx.data != nullptr) {
      for (Index j = 0; j < x.cols; ++j) dx(i, j) = 0;
      if (counts) dx(i, c) = -weight * scale;
    }
    if (options.values.data() != nullptr) options.values[static_cast<std::size_t>(i)] = loss;
    sum += static_cast<double>(loss);
  }
  return sum / count;
}

double linear_cross_entropy_loss(MatrixView<const float> x, MatrixView<const float> w, std::span<const Index> classes,
                                 MatrixView<float> dx, MatrixView<float> dw, const ClassLossOptions& options,
                                 int num_threads) {
  using namespace detail;
  constexpr const char* kName = "linear_cross_entropy_loss";
  check_view(kName, "x", x);
  check_view(kName, "w", w);
  if (x.cols != w.cols)
    throw ShapeError(std::string(kName) + ": x is " + shape_of(x) + " but w is " + shape_of(w) +
                     ": they must have as many columns");
  check_gradient(kName, x, dx);
  if (dw.data != nullptr) {
    check_same(kName, "dw", dw, "w", w);
    check_output(kName, "dw", dw);
  }
  const Index cols = w.rows;
  check_class_options(kName, options, x.rows, cols);
  check_classes(kName, classes, options, x, cols);
  check_loss_apart(kName, x, dx, {"values", options.values},
                   {{"w", w}, {"classes", classes}, {"weight", options.weight}});
  check_apart(
      kName, {{"dw", dw}},
      {{"dx", dx}, {"values", options.values}, {"x", x}, {"w", w}, {"classes", classes}, {"weight", options.weight}},
      Sharing::none);
  check_thread_count(kName, num_threads);
  const Call call([&] { return CallInfo{kName, "", 4, {x.rows, cols, x.cols}}; });  // its products count for themselves
  const double count = divisor(options.reduction, counted(classes, options), x.rows);
  const float scale = static_cast<float>(1.0 / count);
  const Index block = std::clamp<Index>(kLogits / std::max<Index>(cols, 1), 16, std::max<Index>(x.rows, 16));
  float* memory = scratch<float>(std::min(block, std::max<Index>(x.rows, 1)) * cols, Scratch::outer);
  const bool wants_gradient = dx.data != nullptr || dw.data != nullptr;
  reserve_products(x, w, memory, block, dx, dw, num_threads);
  for (Index i = 0; x.rows == 0 && dw.data != nullptr && i < cols; ++i)
    for (Index j = 0; j < dw.cols; ++j) dw(i, j) = 0;
  double sum = 0;
  for (Index i = 0; i < x.rows; i += block) {
    const Index rows = std::min(block, x.rows - i);
    const auto part = x.row_block(i, rows);
    const MatrixView<float> logits(memory, rows, cols);
    ClassLossOptions mine = options;
    if (mine.values.data() != nullptr)
      mine.values = mine.values.subspan(static_cast<std::size_t>(i), static_cast<std::size_t>(rows));
    gemm(part, w.t(), logits, {.num_threads = num_threads});
    sum += sum_of_rows(logits, classes.subspan(static_cast<std::size_t>(i), static_cast<std::size_t>(rows)), {},
                       wants_gradient ? logits : MatrixView<float>(), mine, scale, num_threads);
    if (dw.data != nullptr)
      gemm(MatrixView<const float>(logits).t(), part, dw, {.beta = i == 0 ? 0.0F : 1.0F, .num_threads = num_threads});
    if (dx.data != nullptr) gemm(logits, w, dx.row_block(i, rows), {.num_threads = num_threads});
  }
  return sum / count;
}

double cosine_embedding_loss(MatrixView<const float> x, MatrixView<const float> y, std::span<const float> target,
                             MatrixView<float> dx, MatrixView<float> dy, double margin, const ClassLossOptions& options,
                             int num_threads) {
  using namespace detail;
  constexpr const char* kName = "cosine_embedding_loss";
  check_neighbours(kName, "x", x);
  check_neighbours(kName, "y", y);
  check_same(kName, "y", y, "x", x);
  check_gradient(kName, x, dx);
  if (dx.data != nullptr) check_neighbours(kName, "dx", dx);
  if (dy.data != nullptr) {
    check_same(kName, "dy", dy, "x", x);
    check_output(kName, "dy", dy);
    check_neighbours(kName, "dy", dy);
  }
  const Place of_x("x", x);
  check_count(kName, "target", target, x.rows, &of_x);
  check_values(kName, options, x.rows);
  check_apart(kName, {{"dx", dx}, {"dy", dy}, {"values", options.values}}, {{"x", x}, {"y", y}, {"target", target}},
              Sharing::none);
  check_number(kName, "margin", margin, true, "a finite number");
  check_thread_count(kName, num_threads);
  const Call call(over_elements<float>, kName, "", x.rows, x.cols, 2, dx.data == nullptr ? 0 : 1);
  const double count = divisor(options.reduction, static_cast<double>(x.rows), x.rows);
  if (x.rows == 0) return 0 / count;
  const RowKernels& kernels = active_table().rows;
  const int threads = plan_threads(num_threads, static_cast<double>(x.rows) * (50 + 0.5 * static_cast<double>(x.cols)));
  const double sum = ordered_sum(x.rows, threads, [&](Index i) {
    const float *a = x.data + i * x.row_stride, *b = y.data + i * y.row_stride;
    constexpr double kLeast = 1e-12;
    const double aa = kernels.dot(a, a, x.cols) + kLeast, bb = kernels.dot(b, b, x.cols) + kLeast;
    const double length = std::sqrt(aa * bb), cosine = kernels.dot(a, b, x.cols) / length;
    const bool similar = target[static_cast<std::size_t>(i)] == 1.0F;
    const double loss = similar ? 1 - cosine : cosine - margin < 0 ? 0 : cosine - margin;
    const double slope = (similar ? -1 : cosine - margin < 0 ? 0 : 1) / count;
    const auto cross = static_cast<float>(slope / length);
    const auto along_a = static_cast<float>(-slope * cosine / aa), along_b = static_cast<float>(-slope * cosine / bb);
    if (dx.data != nullptr) kernels.combine(b, a, cross, along_a, dx.data + i * dx.row_stride, x.cols);
    if (dy.data != nullptr) kernels.combine(a, b, cross, along_b, dy.data + i * dy.row_stride, x.cols);
    if (options.values.data() != nullptr) options.values[static_cast<std::size_t>(i)] = static_cast<float>(loss);
    return loss;
  });
  return sum / count;
}

}  // namespace tilewright
