// SPDX-License-Identifier: MIT
// Activations: check, split over threads, call the loops of map.hpp row by row, or once when the rows are contiguous.
#include "kernels/core/parallel.hpp"
#include "kernels/core/table.hpp"
#include "kernels/map/parameter.hpp"
#include "tilewright/activations.hpp"

namespace tilewright {
namespace detail {
namespace {

constexpr std::string_view kNames[] = {
    "identity",   "relu",        "leaky_relu", "sigmoid",  "tanh",       "gelu",        "gelu_tanh", "silu",
    "relu6",      "elu",         "selu",       "celu",     "softplus",   "log_sigmoid", "mish",      "softsign",
    "quick_gelu", "hardsigmoid", "hardswish",  "hardtanh", "tanhshrink", "softshrink",  "threshold"};
static_assert(std::size(kNames) == kActivationKinds);

/// Calls loop(offset row, offset col, n) over pieces of a rows x cols array. `contiguous`: all operands are, so rows
/// need not be kept apart.
template <class Loop>
void for_pieces(Index rows, Index cols, bool contiguous, int requested, double nanoseconds_per_element, Loop&& loop) {
  if (contiguous) {
    cols *= rows;
    rows = cols == 0 ? 0 : 1;
  }
  const Threads threads =
      plan_threads(requested, static_cast<double>(rows) * static_cast<double>(cols) * nanoseconds_per_element);
  parallel(threads, [&](Member member) {
    // Cut the longer side; pieces of 1024 keep threads out of each other's cache lines.
    if (rows >= member.size) {
      const auto [first, end] = member.share(rows);
      for (Index i = first; i < end; ++i) loop(i, Index{0}, cols);
    } else {
      const auto [first, end] = member.share(cols, 1024);
      for (Index i = 0; i < rows; ++i) loop(i, first, end - first);
    }
  });
}

/// One element of a transcendental activation on one thread, for planning; in nanoseconds.
constexpr double kElementNanoseconds = 0.25;

template <class T>
void forward_any(Activation f, MatrixView<const T> x, MatrixView<T> y, int requested) {
  check_view("activation_forward", "x", x);
  check_output("activation_forward", "y", y);
  check_same("activation_forward", "x", x, "y", y);
  check_activation("activation_forward", f);
  check_thread_count("activation_forward", requested);
  const bool turn = y.col_stride != 1 && y.row_stride == 1;
  if (turn) x = x.t(), y = y.t();  // the loops want neighbouring columns
  const auto loop = active_table().map<T>().forward[static_cast<int>(f.kind)];
  const ActivationNumbers<T> p = numbers_of<T>(f);
  const bool neighbours = (x.col_stride == 1 && y.col_stride == 1) || x.cols <= 1;
  for_pieces(x.rows, x.cols, x.contiguous() && y.contiguous(), requested, kElementNanoseconds,
             [&](Index i, Index j, Index n) {
               if (neighbours) return loop(x.data + i * x.row_stride + j, y.data + i * y.row_stride + j, n, p);
               for (Index s = j; s < j + n; ++s) loop(&x(i, s), &y(i, s), 1, p);
             });
}

template <class T>
void backward_any(Activation f, MatrixView<const T> saved, MatrixView<const T> dy, MatrixView<T> dx, int requested) {
  check_view("activation_backward", "saved", saved);
  check_view("activation_backward", "dy", dy);
  check_output("activation_backward", "dx", dx);
  check_same("activation_backward", "saved", saved, "dx", dx);
  check_same("activation_backward", "dy", dy, "dx", dx);
  check_activation("activation_backward", f);
  check_thread_count("activation_backward", requested);
  const bool turn = dx.col_stride != 1 && dx.row_stride == 1;
  if (turn) saved = saved.t(), dy = dy.t(), dx = dx.t();
  const auto loop = active_table().map<T>().backward[static_cast<int>(f.kind)];
  const ActivationNumbers<T> p = numbers_of<T>(f);
  const bool neighbours = (saved.col_stride == 1 && dy.col_stride == 1 && dx.col_stride == 1) || dx.cols <= 1;
  const bool contiguous = saved.contiguous() && dy.contiguous() && dx.contiguous();
  for_pieces(dx.rows, dx.cols, contiguous, requested, kElementNanoseconds, [&](Index i, Index j, Index n) {
    if (neighbours)
      return loop(saved.data + i * saved.row_stride + j, dy.data + i * dy.row_stride + j,
                  dx.data + i * dx.row_stride + j, n, p);
    for (Index s = j; s < j + n; ++s) loop(&saved(i, s), &dy(i, s), &dx(i, s), 1, p);
  });
}

}  // namespace
}  // namespace detail

std::string_view to_string(ActivationKind kind) noexcept { return detail::kNames[static_cast<int>(kind)]; }

bool saves_input(ActivationKind kind) noexcept {
  using enum ActivationKind;
  return kind >= gelu && kind != relu6 && kind != hardtanh;
}

void activation_forward(Activation f, MatrixView<const float> x, MatrixView<float> y, int num_threads) {
  detail::forward_any(f, x, y, num_threads);
}
void activation_forward(Activation f, MatrixView<const double> x, MatrixView<double> y, int num_threads) {
  detail::forward_any(f, x, y, num_threads);
}
void activation_backward(Activation f, MatrixView<const float> saved, MatrixView<const float> dy, MatrixView<float> dx,
                         int num_threads) {
  detail::backward_any(f, saved, dy, dx, num_threads);
}
void activation_backward(Activation f, MatrixView<const double> saved, MatrixView<const double> dy,
                         MatrixView<double> dx, int num_threads) {
  detail::backward_any(f, saved, dy, dx, num_threads);
}

}  // namespace tilewright
