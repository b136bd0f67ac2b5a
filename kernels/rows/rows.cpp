// SPDX-License-Identifier: MIT
// Softmax and what reduces a row: check, share the rows among threads, call the kernels of softmax.hpp and reduce.hpp.
#include "tilewright/rows.hpp"

#include <cmath>

#include "kernels/core/profile.hpp"
#include "kernels/rows/share.hpp"

namespace tilewright {
namespace detail {
namespace {

/// narrow: takes many short rows at a time.
void map_rows(const char* operation, RowKernels::Forward kernel, void (*narrow)(const NarrowRows&) noexcept, View x,
              Output y, int requested) {
  check_neighbours(operation, "x", x);
  check_result(operation, "y", y, "x", x);
  check_apart(operation, "y", y, "x", x, Sharing::same);
  check_thread_count(operation, requested);
  const Call call(over_elements<float>, operation, "", x.rows, x.cols, 1, 1);
  if (is_narrow(x.rows, x.cols)) {
    parallel(plan_rows(x.rows, x.cols, 0.4, requested), [&](Member member) {
      const auto [first, end] = member.share(x.rows);
      narrow({row_of(x, first), row_of(y, first), x.row_stride, y.row_stride, end - first, x.cols});
    });
    return;
  }
  for_rows(x, 0.4, requested, [&](Index i) { kernel(row_of(x, i), row_of(y, i), x.cols); });
}

void map_rows_backward(const char* operation, RowKernels::Backward kernel, View y, View dy, Output dx, int requested) {
  check_neighbours(operation, "y", y);
  check_neighbours(operation, "dy", dy);
  check_same(operation, "dy", dy, "y", y);
  check_result(operation, "dx", dx, "y", y);
  check_apart(operation, "dx", dx, "y", y, Sharing::same);
  check_apart(operation, "dx", dx, "dy", dy, Sharing::same);
  check_thread_count(operation, requested);
  const Call call(over_elements<float>, operation, "", y.rows, y.cols, 2, 1);
  parallel(plan_rows(y.rows, y.cols, 0.2, requested), [&](Member member) {
    const auto [first, end] = member.share(y.rows);
    kernel({row_of(y, first), row_of(dy, first), row_of(dx, first), y.row_stride, dy.row_stride, dx.row_stride,
            end - first, y.cols});
  });
}

template <class T, class Body>
void reduce_rows(const char* operation, View x, std::span<T> out, int requested, Body&& body) {
  check_neighbours(operation, "x", x);
  const Place of_x("x", x);
  check_count(operation, "out", out, x.rows, &of_x);
  check_apart(operation, {{"out", out}}, {{"x", x}}, Sharing::none);
  check_thread_count(operation, requested);
  const Call call(over_elements<float>, operation, "", x.rows, x.cols, 1, 0);
  for_rows(x, 0.2, requested, [&](Index i) { out[static_cast<std::size_t>(i)] = body(row_of(x, i)); });
}

}  // namespace
}  // namespace detail

using namespace detail;

void softmax(View x, Output y, int num_threads) {
  const RowKernels& kernels = active_table().rows;
  map_rows("softmax", kernels.softmax, kernels.softmax_narrow, x, y, num_threads);
}
void softmax_backward(View y, View dy, Output dx, int num_threads) {
  map_rows_backward("softmax_backward", active_table().rows.softmax_backward, y, dy, dx, num_threads);
}
void log_softmax(View x, Output y, int num_threads) {
  const RowKernels& kernels = active_table().rows;
  map_rows("log_softmax", kernels.log_softmax, kernels.log_softmax_narrow, x, y, num_threads);
}
void log_softmax_backward(View y, View dy, Output dx, int num_threads) {
  map_rows_backward("log_softmax_backward", active_table().rows.log_softmax_backward, y, dy, dx, num_threads);
}

void row_logsumexp(View x, std::span<float> out, int num_threads) {
  const auto kernel = active_table().rows.logsumexp;
  reduce_rows("row_logsumexp", x, out, num_threads, [&](const float* row) { return kernel(row, nullptr, x.cols); });
}
void row_sum(View x, std::span<float> out, int num_threads) {
  const auto kernel = active_table().rows.sum;
  reduce_rows("row_sum", x, out, num_threads,
              [&](const float* row) { return static_cast<float>(kernel(row, x.cols)); });
}
void row_mean(View x, std::span<float> out, int num_threads) {
  const auto kernel = active_table().rows.sum;
  reduce_rows("row_mean", x, out, num_threads,
              [&](const float* row) { return static_cast<float>(kernel(row, x.cols) / static_cast<double>(x.cols)); });
}
void row_max(View x, std::span<float> out, int num_threads) {
  const auto kernel = active_table().rows.max;
  reduce_rows("row_max", x, out, num_threads, [&](const float* row) { return kernel(row, x.cols); });
}
void row_argmax(View x, std::span<Index> out, int num_threads) {
  if (x.cols == 0 && x.rows > 0) throw ShapeError("row_argmax: x is " + shape_of(x) + ": rows must not be empty");
  const RowKernels& kernels = active_table().rows;
  reduce_rows("row_argmax", x, out, num_threads,
              [&](const float* row) { return kernels.find(row, x.cols, kernels.max(row, x.cols)); });
}
void row_variance(View x, std::span<float> out, double correction, int num_threads) {
  if (!(std::isfinite(correction) && correction >= 0))
    throw ValueError("row_variance: correction is " + std::to_string(correction) + ", expected a finite number >= 0");
  const RowKernels& kernels = active_table().rows;
  const double n = static_cast<double>(x.cols);
  reduce_rows("row_variance", x, out, num_threads, [&](const float* row) {
    const double squares = kernels.squares(row, x.cols, static_cast<float>(kernels.sum(row, x.cols) / n));
    return static_cast<float>(squares / std::max(0.0, n - correction));
  });
}

}  // namespace tilewright
