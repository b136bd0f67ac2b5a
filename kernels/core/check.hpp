// SPDX-License-Identifier: MIT
// Building error messages. Only baseline code checks; kernels trust their arguments.
#pragma once

#include <string>

#include "tilewright/error.hpp"
#include "tilewright/matrix.hpp"
#include "tilewright/threads.hpp"

namespace tilewright::detail {

inline std::string shape_of(Index rows, Index cols) { return std::to_string(rows) + "x" + std::to_string(cols); }

template <class T>
std::string shape_of(const MatrixView<T>& view) {
  return shape_of(view.rows, view.cols);
}

/// Extents are not negative, and there is memory where there are elements.
template <class T>
void check_view(const char* operation, const char* name, const MatrixView<T>& view) {
  if (view.rows < 0 || view.cols < 0)
    throw ShapeError(std::string(operation) + ": " + name + " is " + shape_of(view) + ": extents must not be negative");
  if (view.data == nullptr && !view.empty())
    throw ValueError(std::string(operation) + ": " + name + " is " + shape_of(view) + " but its data is null");
}

/// Kernels of rows want the elements of a row side by side.
template <class T>
void check_neighbours(const char* operation, const char* name, const MatrixView<T>& view) {
  check_view(operation, name, view);
  if (view.cols > 1 && view.col_stride != 1)
    throw ShapeError(std::string(operation) + ": columns of " + name + " must be neighbours (col_stride 1)");
}

/// No two elements share a place.
template <class T>
void check_output(const char* operation, const char* name, const MatrixView<T>& view) {
  check_view(operation, name, view);
  const auto magnitude = [](Index x) { return x < 0 ? -x : x; };
  const Index r = magnitude(view.row_stride), c = magnitude(view.col_stride);
  const bool rows_apart = view.rows <= 1 || r > (view.cols - 1) * c;
  const bool cols_apart = view.cols <= 1 || c > (view.rows - 1) * r;
  const bool steps = (view.rows <= 1 || r > 0) && (view.cols <= 1 || c > 0);
  if (!view.empty() && !(steps && (rows_apart || cols_apart)))
    throw ShapeError(std::string(operation) + ": " + name + " is " + shape_of(view) + " with strides " +
                     std::to_string(view.row_stride) + ", " + std::to_string(view.col_stride) + ": elements overlap");
}

template <class T, class U>
void check_same(const char* operation, const char* name, const MatrixView<T>& view, const char* other_name,
                const MatrixView<U>& other) {
  if (view.rows != other.rows || view.cols != other.cols)
    throw ShapeError(std::string(operation) + ": " + name + " is " + shape_of(view) + " but " + other_name + " is " +
                     shape_of(other));
}

inline void check_count(const char* operation, const char* name, std::size_t size, Index expected) {
  if (static_cast<Index>(size) != expected)
    throw ShapeError(std::string(operation) + ": " + name + " has " + std::to_string(size) + " elements, expected " +
                     std::to_string(expected));
}

inline void check_thread_count(const char* operation, int count) {
  if (count < 0 || count > kMaxThreads)
    throw ValueError(std::string(operation) + ": num_threads is " + std::to_string(count) + ", expected 0.." +
                     std::to_string(kMaxThreads));
}

}  // namespace tilewright::detail
