// SPDX-License-Identifier: MIT
#include "tilewright/elementwise.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/core/parallel.hpp"
#include "kernels/core/profile.hpp"
#include "kernels/core/stores.hpp"

namespace tilewright {
namespace detail {
namespace {

/// What one thread moves in a nanosecond, in bytes, for planning.
constexpr double kBytesPerNanosecond = 20;

template <class T>
int plan_bytes(Index elements, int streams, int requested) {
  return plan_threads(requested, static_cast<double>(elements) * sizeof(T) * streams / kBytesPerNanosecond);
}

/// Rows with neighbouring elements in every operand, as few as possible; false where there are none.
template <class T, class... Views>
bool line_up(MatrixView<T>& out, Views&... in) {
  if (out.col_stride != 1 && out.row_stride == 1) {
    out = out.t();
    ((in = in.t()), ...);
  }
  if (out.contiguous() && (in.contiguous() && ...)) {
    const auto flat = [](auto& v) { v = {v.data, v.empty() ? 0 : 1, v.size()}; };
    flat(out);
    (flat(in), ...);
  }
  const auto neighbours = [](const auto& v) { return v.cols <= 1 || v.col_stride == 1; };
  return neighbours(out) && (neighbours(in) && ...);
}

template <class T>
void two(const char* operation, typename ElementKernels<T>::Two kernel, MatrixView<const T> x, MatrixView<const T> y,
         MatrixView<T> out, int requested) {
  check_view(operation, "x", x);
  check_view(operation, "y", y);
  check_output(operation, "out", out);
  check_same(operation, "y", y, "x", x);
  check_same(operation, "out", out, "x", x);
  check_apart(operation, "out", out, "x", x, Sharing::same);
  check_apart(operation, "out", out, "y", y, Sharing::same);
  check_thread_count(operation, requested);
  const Call call(over_elements<T>, operation, "", out.rows, out.cols, 2, 1);
  const bool neighbours = line_up(out, x, y);
  const StoreKernel past_caches = stores_of(bytes_of(out), out.data == x.data || out.data == y.data);
  for_pieces(out.rows, out.cols, plan_bytes<T>(out.size(), 3, requested), [&](Index i, Index j, Index n) {
    if (neighbours)
      return store_pieces(past_caches, &out(i, j), n, [&](Index first, Index count, T* to) {
        kernel(&x(i, j + first), &y(i, j + first), to, count);
      });
    for (Index s = j; s < j + n; ++s) kernel(&x(i, s), &y(i, s), &out(i, s), 1);
  });
}

/// out = keep out + a x
template <class T>
void scaled(const char* operation, T a, MatrixView<const T> x, const char* name, MatrixView<T> out, T keep,
            int requested) {
  check_view(operation, "x", x);
  check_output(operation, name, out);
  check_same(operation, name, out, "x", x);
  check_apart(operation, name, out, "x", x, Sharing::same);
  check_thread_count(operation, requested);
  const Call call(over_elements<T>, operation, "", out.rows, out.cols, keep == 0 ? 1 : 2, 1);
  const bool neighbours = line_up(out, x);
  const auto kernel = active_table().gemm<T>().accumulate;
  const StoreKernel past_caches = stores_of(bytes_of(out), keep != 0 || out.data == x.data);
  for_pieces(
      out.rows, out.cols, plan_bytes<T>(out.size(), keep == 0 ? 2 : 3, requested), [&](Index i, Index j, Index n) {
        if (neighbours)
          return store_pieces(past_caches, &out(i, j), n,
                              [&](Index first, Index count, T* to) { kernel(&x(i, j + first), to, count, a, keep); });
        for (Index s = j; s < j + n; ++s) kernel(&x(i, s), &out(i, s), 1, a, keep);
      });
}

/// out = x where the elements of x's columns are neighbours and those of out's rows.
template <class T>
void transpose(const MatrixView<const T>& x, const MatrixView<T>& out, int requested) {
  const ElementKernels<T>& kernels = active_table().elements<T>();
  const Index side = kernels.lanes;
  parallel(plan_bytes<T>(out.size(), 3, requested), [&](Member member) {
    const auto [first, end] = member.share(out.cols, side);
    // Strips of out's columns, so that what a strip writes stays near.
    for (Index j = first; j < end; j += side)
      kernels.transpose(&x(0, j), x.col_stride, std::min(side, end - j), out.rows, &out(0, j), out.row_stride);
  });
}

template <class T, class U>
void move_elements(const char* operation, MatrixView<const T> x, MatrixView<U> out, int requested) {
  check_view(operation, "x", x);
  check_output(operation, "out", out);
  check_same(operation, "out", out, "x", x);
  check_apart(operation, "out", out, "x", x, Sharing::same);
  check_thread_count(operation, requested);
  const Call call(over_elements<T>, operation, "", out.rows, out.cols, 1, 1);
  const bool neighbours = line_up(out, x);
  if constexpr (std::is_same_v<T, U>) {
    if (!neighbours && out.col_stride == 1 && x.row_stride == 1) return transpose(x, out, requested);
  }
  const StoreKernel past_caches = stores_of(bytes_of(out), static_cast<const void*>(out.data) == x.data);
  for_pieces(out.rows, out.cols, plan_bytes<T>(out.size(), 2, requested), [&](Index i, Index j, Index n) {
    if (n == 0) return;
    if (neighbours)
      return store_pieces(past_caches, &out(i, j), n, [&](Index first, Index count, U* to) {
        const T* from = &x(i, j + first);
        if constexpr (std::is_same_v<T, U>)
          std::memmove(to, from, static_cast<std::size_t>(count) * sizeof(T));
        else
          for (Index s = 0; s < count; ++s) to[s] = static_cast<U>(from[s]);
      });
    for (Index s = j; s < j + n; ++s) out(i, s) = static_cast<U>(x(i, s));
  });
}

void check_ids(const char* operation, std::span<const Index> ids, Index rows, Index limit, Index cols, Index expected) {
  if (static_cast<Index>(ids.size()) != rows || cols != expected)
    throw ShapeError(std::string(operation) + ": " + std::to_string(ids.size()) + " ids of rows of " +
                     std::to_string(expected) + " elements but the matrix is " + shape_of(rows, cols));
  check_count(operation, "ids", ids, rows);
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= limit)
      throw ValueError(std::string(operation) + ": ids[" + std::to_string(i) + "] is " + std::to_string(ids[i]) +
                       ", expected 0.." + std::to_string(limit - 1));
}

}  // namespace
}  // namespace detail

void add(const MatrixView<const float>& x, const MatrixView<const float>& y, const MatrixView<float>& out,
         int num_threads) {
  detail::two<float>("add", detail::active_table().elements_f32.add, x, y, out, num_threads);
}
void add(const MatrixView<const double>& x, const MatrixView<const double>& y, const MatrixView<double>& out,
         int num_threads) {
  detail::two<double>("add", detail::active_table().elements_f64.add, x, y, out, num_threads);
}
void multiply(const MatrixView<const float>& x, const MatrixView<const float>& y, const MatrixView<float>& out,
              int num_threads) {
  detail::two<float>("multiply", detail::active_table().elements_f32.multiply, x, y, out, num_threads);
}
void multiply(const MatrixView<const double>& x, const MatrixView<const double>& y, const MatrixView<double>& out,
              int num_threads) {
  detail::two<double>("multiply", detail::active_table().elements_f64.multiply, x, y, out, num_threads);
}
void scale(float a, const MatrixView<const float>& x, const MatrixView<float>& out, int num_threads) {
  detail::scaled<float>("scale", a, x, "out", out, 0, num_threads);
}
void scale(double a, const MatrixView<const double>& x, const MatrixView<double>& out, int num_threads) {
  detail::scaled<double>("scale", a, x, "out", out, 0, num_threads);
}
void axpy(float a, const MatrixView<const float>& x, const MatrixView<float>& y, int num_threads) {
  detail::scaled<float>("axpy", a, x, "y", y, 1, num_threads);
}
void axpy(double a, const MatrixView<const double>& x, const MatrixView<double>& y, int num_threads) {
  detail::scaled<double>("axpy", a, x, "y", y, 1, num_threads);
}
void copy(const MatrixView<const float>& x, const MatrixView<float>& out, int num_threads) {
  detail::move_elements("copy", x, out, num_threads);
}
void copy(const MatrixView<const double>& x, const MatrixView<double>& out, int num_threads) {
  detail::move_elements("copy", x, out, num_threads);
}
void convert(const MatrixView<const float>& x, const MatrixView<double>& out, int num_threads) {
  detail::move_elements("convert", x, out, num_threads);
}
void convert(const MatrixView<const double>& x, const MatrixView<float>& out, int num_threads) {
  detail::move_elements("convert", x, out, num_threads);
}

void dropout(const MatrixView<const float>& x, const MatrixView<float>& y, double p, RandomStream stream,
             int num_threads) {
  using namespace detail;
  check_view("dropout", "x", x);
  check_output("dropout", "y", y);
  check_same("dropout", "y", y, "x", x);
  check_apart("dropout", "y", y, "x", x, Sharing::same);
  if (!(p >= 0 && p <= 1)) throw ValueError("dropout: p is " + std::to_string(p) + ", expected 0 <= p <= 1");
  check_thread_count("dropout", num_threads);
  const Call call(over_elements<float>, "dropout", "", x.rows, x.cols, 1, 1);
  const RandomKernels& kernels = active_table().random;
  // uniform() is a multiple of 2^-24: below p means below p 2^24.
  const float limit = static_cast<float>(std::ceil(p * 0x1p24)), scale = p == 1 ? 0 : static_cast<float>(1 / (1 - p));
  const bool contiguous = x.contiguous() && y.contiguous();
  constexpr Index kPiece = 1024;
  const Index pieces = (x.size() + kPiece - 1) / kPiece;
  parallel(plan_threads(num_threads, static_cast<double>(x.size()) * 0.5), [&](Member member) {
    const auto [first, end] = member.share(pieces);
    std::uint32_t words[kPiece];
    float one[kPiece];
    for (Index piece = first; piece < end; ++piece) {
      const Index at = piece * kPiece, n = std::min(kPiece, x.size() - at);
      kernels.philox_blocks({stream.seed, stream.stream}, static_cast<std::uint64_t>(at / 4), kPiece / 4, words);
      if (contiguous) {
        kernels.drop(x.data + at, words, limit, scale, y.data + at, n);
        continue;
      }
      for (Index e = 0; e < n; ++e) one[e] = x((at + e) / x.cols, (at + e) % x.cols);
      kernels.drop(one, words, limit, scale, one, n);
      for (Index e = 0; e < n; ++e) y((at + e) / x.cols, (at + e) % x.cols) = one[e];
    }
  });
}

void embedding(const MatrixView<const float>& table, std::span<const Index> ids, const MatrixView<float>& out,
               int num_threads) {
  using namespace detail;
  check_neighbours("embedding", "table", table);
  check_neighbours("embedding", "out", out);
  check_output("embedding", "out", out);
  check_ids("embedding", ids, out.rows, table.rows, out.cols, table.cols);
  check_apart("embedding", {{"out", out}}, {{"table", table}, {"ids", ids}}, Sharing::none);
  check_thread_count("embedding", num_threads);
  const Call call(over_elements<float>, "embedding", "", out.rows, out.cols, 1, 1);
  parallel(plan_bytes<float>(out.size(), 2, num_threads), [&](Member member) {
    const auto [first, end] = member.share(out.rows);
    for (Index i = first; i < end; ++i)
      if (out.cols > 0)
        std::memcpy(&out(i, 0), &table(ids[static_cast<std::size_t>(i)], 0),
                    static_cast<std::size_t>(out.cols) * sizeof(float));
  });
}

void embedding_backward(const MatrixView<const float>& dy, std::span<const Index> ids, const MatrixView<float>& dtable,
                        Index padding_index, int num_threads) {
  using namespace detail;
  check_neighbours("embedding_backward", "dy", dy);
  check_neighbours("embedding_backward", "dtable", dtable);
  check_output("embedding_backward", "dtable", dtable);
  check_ids("embedding_backward", ids, dy.rows, dtable.rows, dy.cols, dtable.cols);
  check_apart("embedding_backward", {{"dtable", dtable}}, {{"dy", dy}, {"ids", ids}}, Sharing::none);
  check_thread_count("embedding_backward", num_threads);
  const Call call(over_elements<float>, "embedding_backward", "", dy.rows, dy.cols, 2, 1);
  const auto kernel = active_table().elements_f32.add;
  // Each row of the table belongs to one thread, which meets its gradients in ascending order.
  parallel(plan_bytes<float>(dy.size(), 3, num_threads), [&](Member member) {
    for (Index i = 0; i < dy.rows; ++i) {
      const Index id = ids[static_cast<std::size_t>(i)];
      if (id % member.size != member.rank || id == padding_index || dy.cols == 0) continue;
      kernel(&dtable(id, 0), &dy(i, 0), &dtable(id, 0), dy.cols);
    }
  });
}

}  // namespace tilewright
