// SPDX-License-Identifier: MIT
// Losses: check, cut into blocks of a fixed size whatever the number of threads, add the blocks' sums in ascending
// order.
#include "tilewright/losses.hpp"

#include <limits>

#include "kernels/core/check.hpp"
#include "kernels/core/memory.hpp"
#include "kernels/core/parallel.hpp"
#include "kernels/core/table.hpp"

namespace tilewright {
namespace detail {
namespace {

/// Elements that one single-precision sum covers; part of the numerics.
constexpr Index kLossBlock = 4096;

void check_gradient(const char* operation, const MatrixView<const float>& x, const MatrixView<float>& dx) {
  if (dx.data == nullptr) return;
  check_same(operation, "dx", dx, "x", x);
  check_output(operation, "dx", dx);
}

/// part(i) for i in [0, parts), in parallel; the sum of its results in ascending order.
template <class Part>
double ordered_sum(Index parts, Threads threads, Part&& part) {
  if (threads.team <= 1) {
    double total = 0;
    for (Index i = 0; i < parts; ++i) total += part(i);
    return total;
  }
  double* sums = scratch<double>(parts);
  parallel(threads, [&](Member member) {
    const auto [first, end] = member.share(parts, 8);
    for (Index i = first; i < end; ++i) sums[i] = part(i);
  });
  double total = 0;
  for (Index i = 0; i < parts; ++i) total += sums[i];
  return total;
}

using PointwiseKernel = float (*)(const float*, const float*, float*, Index, float) noexcept;

struct PointwiseOperands {
  MatrixView<const float> x, target;
  MatrixView<float> dx;

  bool contiguous() const { return x.contiguous() && target.contiguous() && (dx.data == nullptr || dx.contiguous()); }
};

/// The kernel on elements [first, first + n) of the row-major order. Operands with gaps are copied to the side, so that
/// the blocks, and with them the bits of the sum, do not depend on strides.
float run_block(PointwiseKernel kernel, const PointwiseOperands& o, Index first, Index n, float scale) noexcept {
  if (o.contiguous())
    return kernel(o.x.data + first, o.target.data + first, o.dx.data == nullptr ? nullptr : o.dx.data + first, n,
                  scale);
  float x[kLossBlock], target[kLossBlock], dx[kLossBlock];
  for (Index e = 0; e < n; ++e) {
    const Index i = (first + e) / o.x.cols, j = (first + e) % o.x.cols;
    x[e] = o.x(i, j);
    target[e] = o.target(i, j);
  }
  const float sum = kernel(x, target, o.dx.data == nullptr ? nullptr : dx, n, scale);
  if (o.dx.data != nullptr)
    for (Index e = 0; e < n; ++e) o.dx((first + e) / o.x.cols, (first + e) % o.x.cols) = dx[e];
  return sum;
}

double pointwise(const char* operation, PointwiseKernel kernel, const PointwiseOperands& o,
                 double nanoseconds_per_element, int requested) {
  check_view(operation, "x", o.x);
  check_view(operation, "target", o.target);
  check_same(operation, "target", o.target, "x", o.x);
  check_gradient(operation, o.x, o.dx);
  check_thread_count(operation, requested);
  const Index n = o.x.size();
  if (n == 0) return std::numeric_limits<double>::quiet_NaN();
  const float scale = static_cast<float>(1.0 / static_cast<double>(n));
  const Threads threads = plan_threads(requested, static_cast<double>(n) * nanoseconds_per_element);
  const double sum = ordered_sum((n + kLossBlock - 1) / kLossBlock, threads, [&](Index block) {
    const Index first = block * kLossBlock;
    return static_cast<double>(run_block(kernel, o, first, std::min(kLossBlock, n - first), scale));
  });
  return sum / static_cast<double>(n);
}

}  // namespace
}  // namespace detail

double mse_loss(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx, int num_threads) {
  return detail::pointwise("mse_loss", detail::active_table().loss.squared_error, {x, target, dx}, 0.1, num_threads);
}

double bce_with_logits_loss(MatrixView<const float> x, MatrixView<const float> target, MatrixView<float> dx,
                            int num_threads) {
  return detail::pointwise("bce_with_logits_loss", detail::active_table().loss.logistic, {x, target, dx}, 0.5,
                           num_threads);
}

double cross_entropy_loss(MatrixView<const float> x, std::span<const Index> classes, MatrixView<float> dx,
                          int num_threads) {
  using namespace detail;
  constexpr const char* kName = "cross_entropy_loss";
  check_view(kName, "x", x);
  if (x.cols > 1 && x.col_stride != 1)
    throw ShapeError("cross_entropy_loss: columns of x must be neighbours (col_stride 1)");
  check_gradient(kName, x, dx);
  if (dx.data != nullptr && dx.cols > 1 && dx.col_stride != 1)
    throw ShapeError("cross_entropy_loss: columns of dx must be neighbours (col_stride 1)");
  if (static_cast<Index>(classes.size()) != x.rows)
    throw ShapeError("cross_entropy_loss: x is " + shape_of(x) + " but there are " + std::to_string(classes.size()) +
                     " classes");
  for (std::size_t i = 0; i < classes.size(); ++i)
    if (classes[i] < 0 || classes[i] >= x.cols)
      throw ValueError("cross_entropy_loss: classes[" + std::to_string(i) + "] is " + std::to_string(classes[i]) +
                       ", expected 0.." + std::to_string(x.cols - 1));
  check_thread_count(kName, num_threads);
  if (x.rows == 0) return std::numeric_limits<double>::quiet_NaN();
  const auto kernel = active_table().loss.cross_entropy_row;
  const float scale = static_cast<float>(1.0 / static_cast<double>(x.rows));
  const double row_nanoseconds = 30 + 0.4 * static_cast<double>(x.cols);
  const double sum =
      ordered_sum(x.rows, plan_threads(num_threads, row_nanoseconds * static_cast<double>(x.rows)), [&](Index i) {
        float* gradient = dx.data == nullptr ? nullptr : dx.data + i * dx.row_stride;
        return static_cast<double>(
            kernel(x.data + i * x.row_stride, gradient, x.cols, classes[static_cast<std::size_t>(i)], scale));
      });
  return sum / static_cast<double>(x.rows);
}

}  // namespace tilewright
