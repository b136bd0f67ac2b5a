// SPDX-License-Identifier: MIT
// Losses of rows: each row is one sum, the rows' sums are added in ascending order.
#include <cmath>
#include <limits>

#include "kernels/core/ordered_sum.hpp"
#include "kernels/core/profile.hpp"
#include "kernels/rows/loss_checks.hpp"
#include "kernels/rows/share.hpp"
#include "tilewright/gemm.hpp"
#include "tilewright/memory.hpp"

namespace tilewright {
namespace detail {
namespace {

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
double sum_of_narrow_rows(const MatrixView<const float>& x, std::span<const Index> classes, const MatrixView<float>& dx,
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
double sum_of_rows(const MatrixView<const float>& x, std::span<const Index> classes,
                   const MatrixView<const float>& probabilities, const MatrixView<float>& dx, const ClassLossOptions& o,
                   float scale, int requested) {
  const LossKernels& kernels = active_table().loss;
  const double nanoseconds = static_cast<double>(x.rows) * (30 + 0.4 * static_cast<double>(x.cols));
  const float smoothing = static_cast<float>(o.label_smoothing);
  const bool plain = classes.data() != nullptr && smoothing == 0;
  if (plain && is_narrow(x.rows, x.cols))
    return sum_of_narrow_rows(x, classes, dx, o, scale, plan_threads(requested, nanoseconds));
  return ordered_sum(x.rows, requested, nanoseconds, [&](Index i) {
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

double cross_entropy_loss(const MatrixView<const float>& x, std::span<const Index> classes, const MatrixView<float>& dx,
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
  if (x.rows == 0) return settled(0 / count);
  const float scale = static_cast<float>(1.0 / count);
  return settled(sum_of_rows(x, classes, {}, dx, options, scale, num_threads) / count);
}

double cross_entropy_loss(const MatrixView<const float>& x, const MatrixView<const float>& target,
                          const MatrixView<float>& dx, const ClassLossOptions& options, int num_threads) {
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
  if (x.rows == 0) return settled(0 / count);
  const float scale = static_cast<float>(1.0 / count);
  return settled(sum_of_rows(x, {}, target, dx, options, scale, num_threads) / count);
}

double nll_loss(const MatrixView<const float>& x, std::span<const Index> classes, const MatrixView<float>& dx,
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
  return settled(sum / count);
}

double linear_cross_entropy_loss(const MatrixView<const float>& x, const MatrixView<const float>& w,
                                 std::span<const Index> classes, const MatrixView<float>& dx,
                                 const MatrixView<float>& dw, const ClassLossOptions& options, int num_threads) {
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
  return settled(sum / count);
}

double cosine_embedding_loss(const MatrixView<const float>& x, const MatrixView<const float>& y,
                             std::span<const float> target, const MatrixView<float>& dx, const MatrixView<float>& dy,
                             double margin, const ClassLossOptions& options, int num_threads) {
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
  if (x.rows == 0) return settled(0 / count);
  const RowKernels& kernels = active_table().rows;
  const double nanoseconds = static_cast<double>(x.rows) * (50 + 0.5 * static_cast<double>(x.cols));
  const double sum = ordered_sum(x.rows, num_threads, nanoseconds, [&](Index i) {
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
  return settled(sum / count);
}

}  // namespace tilewright
