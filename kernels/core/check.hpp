// SPDX-License-Identifier: MIT
// What public functions ask of their arguments, and what they say when it is not so. Only baseline code checks; kernels
// trust their arguments. The messages are put together out of line.
#pragma once

#include <initializer_list>
#include <span>
#include <string>

#include "tilewright/error.hpp"
#include "tilewright/matrix.hpp"
#include "tilewright/threads.hpp"

namespace tilewright::detail {

/// An operand without its type.
struct Place {
  const char* name;
  const void* data;
  Index rows, cols, row_stride, col_stride, element_bytes;
  bool is_span;

  template <class T>
  Place(const char* name_, const MatrixView<T>& v)
      : name(name_),
        data(v.data),
        rows(v.rows),
        cols(v.cols),
        row_stride(v.row_stride),
        col_stride(v.col_stride),
        element_bytes(sizeof(T)),
        is_span(false) {}
  template <class T>
  Place(const char* name_, const std::span<T>& values)
      : name(name_),
        data(values.data()),
        rows(1),
        cols(static_cast<Index>(values.size())),
        row_stride(0),
        col_stride(1),
        element_bytes(sizeof(T)),
        is_span(true) {}
  bool empty() const { return rows == 0 || cols == 0; }
};

inline std::string shape_of(Index rows, Index cols) { return std::to_string(rows) + "x" + std::to_string(cols); }

template <class T>
std::string shape_of(const MatrixView<T>& view) {
  return shape_of(view.rows, view.cols);
}

/// The cold halves of the checks below.
void check_view_closely(const char* operation, const Place& place);
void check_output_closely(const char* operation, const Place& place);
[[noreturn]] void throw_not_neighbours(const char* operation, const char* name);
[[noreturn]] void throw_shapes_differ(const char* operation, const char* name, Index rows, Index cols,
                                      const char* other_name, Index other_rows, Index other_cols);
[[noreturn]] void throw_count(const char* operation, const char* name, std::size_t size, Index expected,
                              const Place* reason);
void check_thread_count(const char* operation, int count);

/// Whether two operands have an element in common. True is certain; false is not, where one of the operands has no
/// neighbouring elements at all and their strides differ.
bool overlap(const Place& a, const Place& b) noexcept;

/// Extents are not negative, and they and the strides are so small that no sum of their products overflows.
template <class T>
bool has_usual_extents(const MatrixView<T>& v) {
  const auto magnitude = [](Index x) { return static_cast<std::uint64_t>(x ^ (x >> 63)); };
  return ((static_cast<std::uint64_t>(v.rows | v.cols) | magnitude(v.row_stride) | magnitude(v.col_stride)) >> 28) == 0;
}

/// Extents are not negative, there is memory where there are elements, and the strides stay within an address space.
template <class T>
void check_view(const char* operation, const char* name, const MatrixView<T>& view) {
  if (!has_usual_extents(view) || view.data == nullptr) [[unlikely]]
    check_view_closely(operation, {name, view});
}

/// Kernels of rows want the elements of a row side by side.
template <class T>
void check_neighbours(const char* operation, const char* name, const MatrixView<T>& view) {
  check_view(operation, name, view);
  if (view.cols > 1 && view.col_stride != 1) throw_not_neighbours(operation, name);
}

/// No two elements share a place.
template <class T>
void check_output(const char* operation, const char* name, const MatrixView<T>& view) {
  check_view(operation, name, view);
  if (!(view.col_stride == 1 && view.row_stride >= view.cols)) check_output_closely(operation, {name, view});
}

template <class T, class U>
void check_same(const char* operation, const char* name, const MatrixView<T>& view, const char* other_name,
                const MatrixView<U>& other) {
  if (view.rows != other.rows || view.cols != other.cols)
    throw_shapes_differ(operation, name, view.rows, view.cols, other_name, other.rows, other.cols);
}

/// As many as expected, and memory for them. The message shows the shape of `reason`, which says how many.
template <class T>
void check_count(const char* operation, const char* name, std::span<T> values, Index expected,
                 const Place* reason = nullptr) {
  if (static_cast<Index>(values.size()) != expected) throw_count(operation, name, values.size(), expected, reason);
  if (values.data() == nullptr && expected > 0) [[unlikely]]
    check_view_closely(operation, {name, values});
}

/// Empty is fine, too.
template <class T>
void check_optional(const char* operation, const char* name, std::span<T> values, Index expected,
                    const Place* reason = nullptr) {
  if (!values.empty()) check_count(operation, name, values, expected, reason);
}

/// Whether a written matrix may be exactly one of those that are read.
enum class Sharing { none, same };

/// Nobody writes what another operand holds. Operands without memory take no part.
void check_apart(const char* operation, std::initializer_list<Place> written, std::initializer_list<Place> read,
                 Sharing sharing);

/// Nobody writes what another product of a batch reads or writes. place(items, i, k) is an operand of product i, which
/// was checked by itself: 0 is written, 1 and 2 are read. When the results are known to be apart, only what is read is
/// held against them. Uses the thread's workspace.
using PlaceOfBatch = Place (*)(const void* items, Index product, int operand);
void check_batch_apart(const char* operation, Index count, const void* items, PlaceOfBatch place,
                       bool results_are_apart);

/// One past the last element that a view without negative strides reaches.
template <class T>
const void* end_of(const MatrixView<T>& v) noexcept {
  return v.data + (v.rows - 1) * v.row_stride + (v.cols - 1) * v.col_stride + 1;
}

/// Whether the addresses that two views without negative strides reach are apart.
template <class T, class U>
bool are_disjoint(const MatrixView<T>& a, const MatrixView<U>& b) noexcept {
  // Only the end of the lower one matters.
  const void *from_a = a.data, *from_b = b.data;
  return from_a <= from_b ? end_of(a) <= from_b : end_of(b) <= from_a;
}

/// The same for two operands that were checked, quickly where they are far apart or the same.
template <class T, class U>
void check_apart(const char* operation, const char* name, const MatrixView<T>& written, const char* other_name,
                 const MatrixView<U>& other, Sharing sharing) {
  const bool same = static_cast<const void*>(written.data) == other.data && sharing == Sharing::same &&
                    sizeof(T) == sizeof(U) && written.row_stride == other.row_stride &&
                    written.col_stride == other.col_stride;
  const bool ascending = (written.row_stride | written.col_stride | other.row_stride | other.col_stride) >= 0;
  if (!same && !(ascending && are_disjoint(written, other))) [[unlikely]]
    check_apart(operation, {{name, written}}, {{other_name, other}}, sharing);
}

}  // namespace tilewright::detail
