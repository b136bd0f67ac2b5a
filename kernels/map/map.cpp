// SPDX-License-Identifier: MIT
// Activations: check, split over threads, call the loops of map.hpp row by row, or once when the rows are contiguous.
#include <bit>

#include "kernels/core/parallel.hpp"
#include "kernels/core/profile.hpp"
#include "kernels/core/stores.hpp"
#include "kernels/map/parameter.hpp"
#include "tilewright/activations.hpp"
#include "tilewright/functions.hpp"

namespace tilewright {
namespace detail {
namespace {

constexpr std::string_view kNames[] = {
    "identity",   "relu",        "leaky_relu", "sigmoid",  "tanh",       "gelu",        "gelu_tanh", "silu",
    "relu6",      "elu",         "selu",       "celu",     "softplus",   "log_sigmoid", "mish",      "softsign",
    "quick_gelu", "hardsigmoid", "hardswish",  "hardtanh", "tanhshrink", "softshrink",  "threshold"};
static_assert(std::size(kNames) == kActivationKinds);
constexpr std::string_view kFunctionNames[] = {"exp", "expm1", "log", "log1p", "rsqrt", "erf", "sin", "cos"};
static_assert(std::size(kFunctionNames) == kFunctionKinds);

/// A few comparisons and multiplications do not keep up memory.
Waits waits_of(ActivationKind kind) {
  using enum ActivationKind;
  const bool light = kind <= leaky_relu || kind == relu6 || (kind >= hardsigmoid && kind != tanhshrink);
  return light ? Waits::for_memory : Waits::for_arithmetic;
}

/// As rows, one where all operands are contiguous.
template <class Loop>
void for_elements(Index rows, Index cols, bool contiguous, int requested, Waits waits, const Loop& loop) {
  // An element on one thread, about; in nanoseconds.
  const double each = waits == Waits::for_memory ? 0.125 : 0.25;
  const int threads = plan_threads(requested, static_cast<double>(rows) * static_cast<double>(cols) * each);
  if (contiguous) return for_pieces(rows * cols == 0 ? 0 : 1, rows * cols, threads, loop);
  for_pieces(rows, cols, threads, loop);
}

/// Whether one call of the loop does it all, and no check could find fault with it: operands are short runs of
/// neighbours of one shape, and apart or the same. Half of such a call would be spent on what others need.
template <class T, class... In>
[[gnu::always_inline]] inline bool is_short(int requested, const MatrixView<T>& y, const In&... in) {
  const auto bytes = static_cast<std::uintptr_t>(y.size()) * sizeof(T);
  const auto fits = [&](const MatrixView<const T>& x) {
    const auto distance = reinterpret_cast<std::uintptr_t>(x.data) - reinterpret_cast<std::uintptr_t>(y.data);
    return x.data != nullptr && (distance == 0 || (distance >= bytes && 0 - distance >= bytes)) && x.rows == y.rows &&
           x.cols == y.cols && x.row_stride == y.row_stride && x.col_stride == y.col_stride;
  };
  // The first one is has_usual_extents() where strides are these.
  return static_cast<std::uint64_t>(y.rows | y.cols) < 1U << 28 && bytes > 0 && bytes < kLeastStreamed &&
         y.col_stride == 1 && y.row_stride == y.cols && y.data != nullptr && (fits(in) && ...) && requested >= 0 &&
         requested <= kMaxThreads && profile_state.load(std::memory_order_relaxed) == kProfileOff;
}

/// Whether f's loop of floats is called with any control register (SeesToState in map.hpp; relu goes by bits), and no
/// arithmetic is needed to find its numbers: it has none, or they are the usual ones of hardtanh.
bool sees_to_state(const Activation& f) {
  using enum ActivationKind;
  const auto same = [](double a, double b) {
    return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
  };
  return f.kind == relu || f.kind == relu6 || (f.kind == hardtanh && same(f.a, -1) && same(f.b, 1));
}

template <class T>
void forward_any(const char* operation, std::string_view name, typename MapKernels<T>::Forward loop,
                 ActivationNumbers<T> p, Waits waits, MatrixView<const T> x, MatrixView<T> y, int requested) {
  check_view(operation, "x", x);
  check_output(operation, "y", y);
  check_same(operation, "x", x, "y", y);
  check_apart(operation, "y", y, "x", x, Sharing::same);
  check_thread_count(operation, requested);
  const Record record(over_elements<T>, operation, name.data(), x.rows, x.cols, 1, 1);
  const bool turn = y.col_stride != 1 && y.row_stride == 1;
  if (turn) x = x.t(), y = y.t();  // the loops want neighbouring columns
  const bool neighbours = (x.col_stride == 1 && y.col_stride == 1) || x.cols <= 1;
  const StoreKernel past_caches = stores_of(bytes_of(y), x.data == y.data, waits);
  p.from_memory = past_caches != nullptr;
  for_elements(x.rows, x.cols, x.contiguous() && y.contiguous(), requested, waits, [=](Index i, Index j, Index n) {
    const T* from = x.data + i * x.row_stride + j;
    T* const out = y.data + i * y.row_stride + j;
    if (neighbours)
      return store_pieces(past_caches, out, n,
                          [&](Index first, Index count, T* to) { loop(from + first, to, count, p); });
    for (Index s = j; s < j + n; ++s) loop(&x(i, s), &y(i, s), 1, p);
  });
}

template <class T>
void backward_any(const char* operation, std::string_view name, const char* saved_name,
                  typename MapKernels<T>::Backward loop, const ActivationNumbers<T>& p, Waits waits,
                  MatrixView<const T> saved, MatrixView<const T> dy, MatrixView<T> dx, int requested) {
  check_view(operation, saved_name, saved);
  check_view(operation, "dy", dy);
  check_output(operation, "dx", dx);
  check_same(operation, saved_name, saved, "dx", dx);
  check_same(operation, "dy", dy, "dx", dx);
  check_apart(operation, "dx", dx, saved_name, saved, Sharing::same);
  check_apart(operation, "dx", dx, "dy", dy, Sharing::same);
  check_thread_count(operation, requested);
  const Record record(over_elements<T>, operation, name.data(), dx.rows, dx.cols, 2, 1);
  const bool turn = dx.col_stride != 1 && dx.row_stride == 1;
  if (turn) saved = saved.t(), dy = dy.t(), dx = dx.t();
  const bool neighbours = (saved.col_stride == 1 && dy.col_stride == 1 && dx.col_stride == 1) || dx.cols <= 1;
  const bool contiguous = saved.contiguous() && dy.contiguous() && dx.contiguous();
  const StoreKernel past_caches = stores_of(bytes_of(dx), dx.data == saved.data || dx.data == dy.data, waits);
  for_elements(dx.rows, dx.cols, contiguous, requested, waits, [=](Index i, Index j, Index n) {
    const T *s = saved.data + i * saved.row_stride + j, *d = dy.data + i * dy.row_stride + j;
    if (neighbours)
      return store_pieces(past_caches, dx.data + i * dx.row_stride + j, n,
                          [&](Index first, Index count, T* to) { loop(s + first, d + first, to, count, p); });
    for (Index e = j; e < j + n; ++e) loop(&saved(i, e), &dy(i, e), &dx(i, e), 1, p);
  });
}

template <class T>
[[gnu::noinline]] void activate_in_default_state(const Activation& f, const MatrixView<const T>& x,
                                                 const MatrixView<T>& y, int requested) {
  const DefaultFloatState state;
  check_activation("activation_forward", f);
  const auto loop = active_table().map<T>().forward[formula_of(f)];
  const ActivationNumbers<T> p = numbers_of<T>(f);
  if (is_short(requested, y, x)) return loop(x.data, y.data, y.size(), p);
  forward_any<T>("activation_forward", to_string(f.kind), loop, p, waits_of(f.kind), x, y, requested);
}

template <class T>
void activate(const Activation& f, const MatrixView<const T>& x, const MatrixView<T>& y, int requested) {
  static constexpr ActivationNumbers<T> kUsual{-1, 1};
  const KernelTable* const table = chosen_table.load(std::memory_order_acquire);
  if (sizeof(T) == 4 && sees_to_state(f) && is_short(requested, y, x) && table != nullptr)
    return table->map<T>().forward[static_cast<int>(f.kind)](x.data, y.data, y.size(), kUsual);
  activate_in_default_state(f, x, y, requested);
}

template <class T>
void derive(const Activation& f, const MatrixView<const T>& saved, const MatrixView<const T>& dy,
            const MatrixView<T>& dx, int requested) {
  const DefaultFloatState state;
  check_activation("activation_backward", f);
  const auto loop = active_table().map<T>().backward[formula_of(f)];
  const ActivationNumbers<T> p = numbers_of<T>(f);
  if (is_short(requested, dx, saved, dy)) return loop(saved.data, dy.data, dx.data, dx.size(), p);
  backward_any<T>("activation_backward", to_string(f.kind), "saved", loop, p, waits_of(f.kind), saved, dy, dx,
                  requested);
}

template <class T>
int checked(const char* operation, FunctionKind f) {
  const int kind = static_cast<int>(f);
  if (kind < 0 || kind >= kFunctionKinds)
    throw ValueError(std::string(operation) + ": unknown function " + std::to_string(kind));
  if (active_table().map<T>().function[kind] == nullptr)
    throw ValueError(std::string(operation) + ": " + std::string(kFunctionNames[kind]) + " is for float only");
  return kind;
}

template <class T>
void apply(FunctionKind f, const MatrixView<const T>& x, const MatrixView<T>& y, int requested) {
  const DefaultFloatState state;
  const int kind = checked<T>("function_forward", f);
  const auto loop = active_table().map<T>().function[kind];
  if (is_short(requested, y, x)) return loop(x.data, y.data, y.size(), {});
  forward_any<T>("function_forward", kFunctionNames[kind], loop, {}, Waits::for_arithmetic, x, y, requested);
}

template <class T>
void derive(FunctionKind f, const MatrixView<const T>& x, const MatrixView<const T>& dy, const MatrixView<T>& dx,
            int requested) {
  const DefaultFloatState state;
  const int kind = checked<T>("function_backward", f);
  const auto loop = active_table().map<T>().function_backward[kind];
  if (is_short(requested, dx, x, dy)) return loop(x.data, dy.data, dx.data, dx.size(), {});
  backward_any<T>("function_backward", kFunctionNames[kind], "x", loop, {}, Waits::for_arithmetic, x, dy, dx,
                  requested);
}

}  // namespace
}  // namespace detail

std::string_view to_string(ActivationKind kind) noexcept { return detail::kNames[static_cast<int>(kind)]; }

bool saves_input(ActivationKind kind) noexcept {
  using enum ActivationKind;
  return kind >= gelu && kind != relu6 && kind != hardtanh;
}

void activation_forward(const Activation& f, const MatrixView<const float>& x, const MatrixView<float>& y,
                        int num_threads) {
  detail::activate(f, x, y, num_threads);
}
void activation_forward(const Activation& f, const MatrixView<const double>& x, const MatrixView<double>& y,
                        int num_threads) {
  detail::activate(f, x, y, num_threads);
}
void activation_backward(const Activation& f, const MatrixView<const float>& saved, const MatrixView<const float>& dy,
                         const MatrixView<float>& dx, int num_threads) {
  detail::derive(f, saved, dy, dx, num_threads);
}
void activation_backward(const Activation& f, const MatrixView<const double>& saved, const MatrixView<const double>& dy,
                         const MatrixView<double>& dx, int num_threads) {
  detail::derive(f, saved, dy, dx, num_threads);
}

std::string_view to_string(FunctionKind kind) noexcept { return detail::kFunctionNames[static_cast<int>(kind)]; }

void function_forward(FunctionKind f, const MatrixView<const float>& x, const MatrixView<float>& y, int num_threads) {
  detail::apply(f, x, y, num_threads);
}
void function_forward(FunctionKind f, const MatrixView<const double>& x, const MatrixView<double>& y, int num_threads) {
  detail::apply(f, x, y, num_threads);
}
void function_backward(FunctionKind f, const MatrixView<const float>& x, const MatrixView<const float>& dy,
                       const MatrixView<float>& dx, int num_threads) {
  detail::derive(f, x, dy, dx, num_threads);
}
void function_backward(FunctionKind f, const MatrixView<const double>& x, const MatrixView<const double>& dy,
                       const MatrixView<double>& dx, int num_threads) {
  detail::derive(f, x, dy, dx, num_threads);
}

}  // namespace tilewright
