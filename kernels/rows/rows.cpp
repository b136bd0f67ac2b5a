// SPDX-License-Identifier: MIT
// Softmax and what reduces a row: check, share the rows among threads, call the kernels of softmax.hpp and reduce.hpp.
#include "tilewright/rows.hpp"

#include <cmath>

#include "kernels/core/profile.hpp"
#include "kernels/rows/share.hpp"

namespace tilewright {
namespace detail {
namespace {

/// narrow: for short rows.
void map_rows(const char* operation, RowKernels::Forward kernel, RowKernels::Forward narrow, const View& x,
              const Output& y, int requested) {
  check_neighbours(operation, "x", x);
  check_result(operation, "y", y, "x", x);
  check_apart(operation, "y", y, "x", x, Sharing::same);
  check_thread_count(operation, requested);
  const Call call(over_elements<float>, operation, "", x.rows, x.cols, 1, 1);
  if (is_narrow(x.rows, x.cols)) kernel = narrow;
  parallel(plan_rows(x.rows, x.cols, 0.4, requested), [&](Member member) {
    const auto [first, end] = member.share(x.rows);
    kernel({row_of(x, first), row_of(y, first), x.row_stride, y.row_stride, end - first, x.cols});
  });
}

void map_rows_backward(const char* operation, RowKernels::Backward kernel, const View& y, const View& dy,
                       const Output& dx, int requested) {
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
void reduce_rows(const char* operation, const View& x, std::span<T> out, int requested, Body&& body) {
  check_neighbours(operation, "x", x);
  const Place of_x("x", x);
  check_count(operation, "out", out, x.rows, &of_x);
  check_apart(operation, {{"out", out}}, {{"x", x}}, Sharing::none);
  check_thread_count(operation, requested);
  const Call call(over_elements<float>, operation, "", x.rows, x.cols, 1, 0);
  for_rows(x, 0.2, requested, [&](Index i) { out[static_cast<std::size_t>(i)] = body(row_of(x, i)); });
}

/// body(i, dy[i], row i of dx): gradients of numbers of the rows of x, which is null where they do not depend on it.
/// `out`: the numbers themselves, or nothing.
template <class Body>
void reduce_rows_backward(const char* operation, const View* x, std::initializer_list<std::span<const float>> out,
                          std::span<const float> dy, const Output& dx, int requested, Body&& body) {
  check_neighbours(operation, "dx", dx);
  check_output(operation, "dx", dx);
  if (x != nullptr) {
    check_neighbours(operation, "x", *x);
    check_same(operation, "dx", dx, "x", *x);
    check_apart(operation, "dx", dx, "x", *x, Sharing::same);
  }
  const Place of_dx("dx", dx);
  for (const auto& numbers : out) {
    check_count(operation, "out", numbers, dx.rows, &of_dx);
    check_apart(operation, {{"dx", dx}}, {{"out", numbers}}, Sharing::none);
  }
  check_count(operation, "dy", dy, dx.rows, &of_dx);
  check_apart(operation, {{"dx", dx}}, {{"dy", dy}}, Sharing::none);
  check_thread_count(operation, requested);
  const Call call(over_elements<float>, operation, "", dx.rows, dx.cols, x != nullptr ? 1 : 0, 1);
  for_rows(dx, 0.2, requested, [&](Index i) { body(i, dy[static_cast<std::size_t>(i)], row_of(dx, i)); });
}

void check_correction(const char* operation, double correction) {
  if (!(std::isfinite(correction) && correction >= 0))
    throw ValueError(std::string(operation) + ": correction is " + std::to_string(correction) +
                     ", expected a finite number >= 0");
}

void check_not_empty(const char* operation, const View& x) {
  if (x.cols == 0 && x.rows > 0)
    throw ShapeError(std::string(operation) + ": x is " + shape_of(x) + ": rows must not be empty");
}

/// As row_variance takes it.
float mean_of(const RowKernels& kernels, const float* x, Index n) {
  return static_cast<float>(kernels.sum(x, n) / static_cast<double>(n));
}

}  // namespace
}  // namespace detail

using namespace detail;

void softmax(const View& x, const Output& y, int num_threads) {
  const RowKernels& kernels = active_table().rows;
  map_rows("softmax", kernels.softmax, kernels.softmax_narrow, x, y, num_threads);
}
void softmax_backward(const View& y, const View& dy, const Output& dx, int num_threads) {
  map_rows_backward("softmax_backward", active_table().rows.softmax_backward, y, dy, dx, num_threads);
}
void log_softmax(const View& x, const Output& y, int num_threads) {
  const RowKernels& kernels = active_table().rows;
  map_rows("log_softmax", kernels.log_softmax, kernels.log_softmax_narrow, x, y, num_threads);
}
void log_softmax_backward(const View& y, const View& dy, const Output& dx, int num_threads) {
  map_rows_backward("log_softmax_backward", active_table().rows.log_softmax_backward, y, dy, dx, num_threads);
}

void row_logsumexp(const View& x, std::span<float> out, int num_threads) {
  const auto kernel = active_table().rows.logsumexp;
  reduce_rows("row_logsumexp", x, out, num_threads, [&](const float* row) { return kernel(row, x.cols); });
}
void row_sum(const View& x, std::span<float> out, int num_threads) {
  const auto kernel = active_table().rows.sum;
  reduce_rows("row_sum", x, out, num_threads,
              [&](const float* row) { return static_cast<float>(kernel(row, x.cols)); });
}
void row_mean(const View& x, std::span<float> out, int num_threads) {
  const RowKernels& kernels = active_table().rows;
  reduce_rows("row_mean", x, out, num_threads, [&](const float* row) { return mean_of(kernels, row, x.cols); });
}
void row_max(const View& x, std::span<float> out, int num_threads) {
  const auto kernel = active_table().rows.max;
  reduce_rows("row_max", x, out, num_threads, [&](const float* row) { return kernel(row, x.cols); });
}
void row_argmax(const View& x, std::span<Index> out, int num_threads) {
  check_not_empty("row_argmax", x);
  const RowKernels& kernels = active_table().rows;
  reduce_rows("row_argmax", x, out, num_threads,
              [&](const float* row) { return kernels.find(row, x.cols, kernels.max(row, x.cols)); });
}
void row_variance(const View& x, std::span<float> out, double correction, int num_threads) {
  check_correction("row_variance", correction);
  const RowKernels& kernels = active_table().rows;
  const double degrees = std::max(0.0, static_cast<double>(x.cols) - correction);
  reduce_rows("row_variance", x, out, num_threads, [&](const float* row) {
    return static_cast<float>(kernels.squares(row, x.cols, mean_of(kernels, row, x.cols)) / degrees);
  });
}

void row_logsumexp_backward(const View& x, std::span<const float> out, std::span<const float> dy, const Output& dx,
                            int num_threads) {
  const auto kernel = active_table().rows.distances[1];
  reduce_rows_backward("row_logsumexp_backward", &x, {out}, dy, dx, num_threads, [&](Index i, float d, float* to) {
    kernel(row_of(x, i), out[static_cast<std::size_t>(i)], d, to, x.cols);
  });
}
void row_sum_backward(std::span<const float> dy, const Output& dx, int num_threads) {
  reduce_rows_backward("row_sum_backward", nullptr, {}, dy, dx, num_threads,
                       [&](Index, float d, float* to) { std::fill_n(to, dx.cols, d); });
}
void row_mean_backward(std::span<const float> dy, const Output& dx, int num_threads) {
  reduce_rows_backward("row_mean_backward", nullptr, {}, dy, dx, num_threads, [&](Index, float d, float* to) {
    std::fill_n(to, dx.cols, static_cast<float>(static_cast<double>(d) / static_cast<double>(dx.cols)));
  });
}
void row_max_backward(const View& x, std::span<const float> dy, const Output& dx, int num_threads) {
  check_not_empty("row_max_backward", x);
  const RowKernels& kernels = active_table().rows;
  reduce_rows_backward("row_max_backward", &x, {}, dy, dx, num_threads, [&](Index i, float d, float* to) {
    const Index at = kernels.find(row_of(x, i), x.cols, kernels.max(row_of(x, i), x.cols));
    std::fill_n(to, x.cols, 0.0F);
    to[at] = d;
  });
}
void row_variance_backward(const View& x, std::span<const float> dy, const Output& dx, double correction,
                           int num_threads) {
  check_correction("row_variance_backward", correction);
  const RowKernels& kernels = active_table().rows;
  const double degrees = std::max(0.0, static_cast<double>(x.cols) - correction);
  reduce_rows_backward("row_variance_backward", &x, {}, dy, dx, num_threads, [&](Index i, float d, float* to) {
    kernels.distances[0](row_of(x, i), mean_of(kernels, row_of(x, i), x.cols),
                         static_cast<float>(2 * static_cast<double>(d) / degrees), to, x.cols);
  });
}

}  // namespace tilewright
