// SPDX-License-Identifier: MIT
#include "kernels/core/check.hpp"

#include <algorithm>
#include <utility>

#include "kernels/core/memory.hpp"

namespace tilewright::detail {
namespace {

std::string described(const Place& p) {
  return std::string(p.name) +
         (p.is_span ? " has " + std::to_string(p.cols) + " elements" : " is " + shape_of(p.rows, p.cols));
}

std::string strides_of(const Place& p) { return std::to_string(p.row_stride) + ", " + std::to_string(p.col_stride); }

Index magnitude(Index x) noexcept { return x < 0 ? -x : x; }

/// The addresses that the strides of a checked operand reach.
struct Reach {
  std::uintptr_t begin, end;

  explicit Reach(const Place& p) noexcept : begin(reinterpret_cast<std::uintptr_t>(p.data)), end(begin) {
    if (p.empty()) return;
    extend(p.rows, p.row_stride, p.element_bytes);
    extend(p.cols, p.col_stride, p.element_bytes);
    end += static_cast<std::uintptr_t>(p.element_bytes);
  }
  bool meets(const Reach& other) const noexcept { return begin < other.end && other.begin < end; }

 private:
  void extend(Index extent, Index stride, Index bytes) noexcept {
    (stride < 0 ? begin : end) += static_cast<std::uintptr_t>((extent - 1) * stride * bytes);
  }
};

/// A place as lines of neighbouring bytes, ascending.
struct Lines {
  std::uintptr_t first, pitch, bytes;
  Index count;
  bool exact;  // lines have no gaps

  explicit Lines(const Place& p) noexcept : first(Reach(p).begin) {
    const Index row_step = magnitude(p.row_stride), col_step = magnitude(p.col_stride);
    const bool one_line = p.rows <= 1 || p.cols <= 1;
    // Along the axis with the smaller step; a single row or column is a line only where its elements are neighbours.
    bool along_row = one_line ? p.rows <= 1 : col_step <= row_step;
    if (one_line && (along_row ? col_step : row_step) > 1) along_row = !along_row;
    const Index along = along_row ? p.cols : p.rows, step = along_row ? col_step : row_step;
    count = along_row ? p.rows : p.cols;
    pitch = static_cast<std::uintptr_t>((along_row ? row_step : col_step) * p.element_bytes);
    bytes = static_cast<std::uintptr_t>(((along - 1) * step + 1) * p.element_bytes);
    exact = along <= 1 || step <= 1;
    if (count <= 1 || pitch <= bytes) {  // one line, or the same line again and again
      bytes = Reach(p).end - first;
      count = 1;
    }
  }
};

/// The common stride of two operands along an axis, where they have one: a single row or column has any.
bool common_stride(Index extent_a, Index stride_a, Index extent_b, Index stride_b, Index& stride) noexcept {
  stride = extent_a > 1 ? stride_a : extent_b > 1 ? stride_b : 0;
  return extent_a <= 1 || extent_b <= 1 || stride_a == stride_b;
}

/// Rounded down, also below 0.
Index floor_div(Index a, Index b) noexcept { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

/// Of equal strides: whether element (i, j) of a is (i', j') of b for some of them, `distance` elements lying between
/// the first ones: whether distance = r row_stride + c col_stride with -b.rows < r < a.rows and -b.cols < c < a.cols.
bool lattices_meet(const Place& a, const Place& b, Index row_stride, Index col_stride, Index distance) noexcept {
  // `across` steps further than `along`, so that few r come into question: two, where rows do not reach into each
  // other.
  const bool rows_across = magnitude(row_stride) >= magnitude(col_stride);
  const Index across = magnitude(rows_across ? row_stride : col_stride),
              along = magnitude(rows_across ? col_stride : row_stride);
  const auto range = [](Index of_a, Index of_b, Index stride) {
    return stride < 0 ? std::pair{1 - of_a, of_b - 1} : std::pair{1 - of_b, of_a - 1};
  };
  const auto of_rows = range(a.rows, b.rows, row_stride), of_cols = range(a.cols, b.cols, col_stride);
  const auto [r_low, r_high] = rows_across ? of_rows : of_cols;
  const auto [c_low, c_high] = rows_across ? of_cols : of_rows;
  if (across == 0) return distance == 0;
  const Index first = std::max(r_low, -floor_div(c_high * along - distance, across)),
              last = std::min(r_high, floor_div(distance - c_low * along, across));
  for (Index r = first; r <= last; ++r) {
    const Index rest = distance - r * across;
    if (along == 0 ? rest == 0 : rest % along == 0) return true;
  }
  return false;
}

}  // namespace

void check_view_closely(const char* operation, const Place& p) {
  if (p.rows < 0 || p.cols < 0)
    throw ShapeError(std::string(operation) + ": " + described(p) + ": extents must not be negative");
  if (p.empty()) return;
  if (p.data == nullptr) throw ValueError(std::string(operation) + ": " + described(p) + " but its data is null");
  using Wide = __int128;
  const Wide reach = Wide{p.rows - 1} * magnitude(p.row_stride) + Wide{p.cols - 1} * magnitude(p.col_stride);
  if (reach > (Wide{1} << 60) / p.element_bytes)
    throw ShapeError(std::string(operation) + ": " + described(p) + " with strides " + strides_of(p) +
                     ": no memory is so large");
}

void check_output_closely(const char* operation, const Place& p) {
  const Index r = magnitude(p.row_stride), c = magnitude(p.col_stride);
  const bool rows_apart = p.rows <= 1 || r > (p.cols - 1) * c;
  const bool cols_apart = p.cols <= 1 || c > (p.rows - 1) * r;
  const bool steps = (p.rows <= 1 || r > 0) && (p.cols <= 1 || c > 0);
  if (!p.empty() && !(steps && (rows_apart || cols_apart)))
    throw ShapeError(std::string(operation) + ": " + described(p) + " with strides " + strides_of(p) +
                     ": elements overlap");
}

bool overlap(const Place& a, const Place& b) noexcept {
  if (a.empty() || b.empty() || !Reach(a).meets(Reach(b))) return false;
  const Index bytes = static_cast<Index>(reinterpret_cast<std::uintptr_t>(b.data)) -
                      static_cast<Index>(reinterpret_cast<std::uintptr_t>(a.data));
  Index row_stride = 0, col_stride = 0;
  if (a.element_bytes == b.element_bytes && bytes % a.element_bytes == 0 &&
      common_stride(a.rows, a.row_stride, b.rows, b.row_stride, row_stride) &&
      common_stride(a.cols, a.col_stride, b.cols, b.col_stride, col_stride))
    return lattices_meet(a, b, row_stride, col_stride, bytes / a.element_bytes);
  const Lines in_a(a), in_b(b);
  if (!in_a.exact || !in_b.exact) return false;
  for (Index i = 0, k = 0; i < in_a.count && k < in_b.count;) {
    const std::uintptr_t at_a = in_a.first + static_cast<std::uintptr_t>(i) * in_a.pitch,
                         at_b = in_b.first + static_cast<std::uintptr_t>(k) * in_b.pitch;
    if (at_a + in_a.bytes <= at_b)
      ++i;
    else if (at_b + in_b.bytes <= at_a)
      ++k;
    else
      return true;
  }
  return false;
}

void check_apart(const char* operation, std::initializer_list<Place> written, std::initializer_list<Place> read,
                 Sharing sharing) {
  for (const Place* w = written.begin(); w != written.end(); ++w) {
    if (w->data == nullptr) continue;
    const Reach reach(*w);
    const auto check = [&](const Place& other, bool may_be_same) {
      if (other.data == nullptr || !reach.meets(Reach(other))) [[likely]]
        return;
      const bool same = !w->is_span && !other.is_span && w->data == other.data && w->rows == other.rows &&
                        w->cols == other.cols && w->element_bytes == other.element_bytes &&
                        (w->rows <= 1 || w->row_stride == other.row_stride) &&
                        (w->cols <= 1 || w->col_stride == other.col_stride);
      if ((same && may_be_same) || !overlap(*w, other)) return;
      throw ShapeError(std::string(operation) + ": " + w->name + " overlaps " + other.name);
    };
    for (const Place* other = w + 1; other != written.end(); ++other) check(*other, false);
    for (const Place& other : read) check(other, sharing == Sharing::same);
  }
}

void check_batch_apart(const char* operation, Index count, const void* items, PlaceOfBatch place,
                       bool results_are_apart) {
  // By address; each knows how far it and those before it reach.
  struct Result {
    std::uintptr_t begin, end;
    Index product;
  };
  Result* const results = scratch<Result>(count);
  Result* last = results;
  for (Index i = 0; i < count; ++i)
    if (const Place c = place(items, i, 0); !c.empty()) *last++ = {Reach(c).begin, Reach(c).end, i};
  std::sort(results, last, [](const Result& x, const Result& y) { return x.begin < y.begin; });
  for (Result* r = results; r + 1 < last; ++r) r[1].end = std::max(r[0].end, r[1].end);
  for (Index i = 0; i < count; ++i)
    for (int operand = results_are_apart ? 1 : 0; operand < 3; ++operand) {
      const Place other = place(items, i, operand);
      if (other.empty()) continue;
      const Reach reach(other);
      const Result* r = std::partition_point(results, last, [&](const Result& x) { return x.begin < reach.end; });
      while (r != results && (--r)->end > reach.begin)
        if (const Place c = place(items, r->product, 0); r->product != i && overlap(c, other))
          throw ShapeError(std::string(operation) + ": c of product " + std::to_string(r->product) + " overlaps " +
                           other.name + " of product " + std::to_string(i));
    }
}

void throw_not_neighbours(const char* operation, const char* name) {
  throw ShapeError(std::string(operation) + ": columns of " + name + " must be neighbours (col_stride 1)");
}

void throw_shapes_differ(const char* operation, const char* name, Index rows, Index cols, const char* other_name,
                         Index other_rows, Index other_cols) {
  throw ShapeError(std::string(operation) + ": " + name + " is " + shape_of(rows, cols) + " but " + other_name +
                   " is " + shape_of(other_rows, other_cols));
}

void throw_count(const char* operation, const char* name, std::size_t size, Index expected, const Place* reason) {
  throw ShapeError(std::string(operation) + ": " + name + " has " + std::to_string(size) + " elements, expected " +
                   std::to_string(expected) + (reason == nullptr ? "" : " (" + described(*reason) + ")"));
}

void check_thread_count(const char* operation, int count) {
  if (count < 0 || count > kMaxThreads)
    throw ValueError(std::string(operation) + ": num_threads is " + std::to_string(count) + ", expected 0.." +
                     std::to_string(kMaxThreads));
}

}  // namespace tilewright::detail
