// SPDX-License-Identifier: MIT
// Views and owners of dense data. A view is a pointer, two extents and two strides: transposing, cutting out a block or
// reading every second row costs nothing and copies nothing. An owner holds 64-byte aligned memory and gives out views.
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "tilewright/error.hpp"
#include "tilewright/export.hpp"

namespace tilewright {

/// `bytes` of 64-byte aligned memory; throws std::bad_alloc. Release with deallocate_aligned.
[[nodiscard]] TILEWRIGHT_API void* allocate_aligned(std::size_t bytes);
TILEWRIGHT_API void deallocate_aligned(void* memory) noexcept;

namespace detail {
[[noreturn]] TILEWRIGHT_API void throw_bad_extent(const char* what, Index rows, Index cols);
[[noreturn]] TILEWRIGHT_API void throw_bad_block(Index i, Index j, Index rows, Index cols, Index of_rows,
                                                 Index of_cols);
struct Deallocate {
  void operator()(void* memory) const noexcept { deallocate_aligned(memory); }
};
}  // namespace detail

/// Element (i, j) is data[i * row_stride + j * col_stride]; strides are in elements and may be negative or zero
/// (inputs).
template <class T>
struct MatrixView {
  T* data = nullptr;     ///< element (0, 0)
  Index rows = 0;        ///< may be 0
  Index cols = 0;        ///< may be 0
  Index row_stride = 0;  ///< elements from a row to the next
  Index col_stride = 1;  ///< elements from a column to the next

  constexpr MatrixView() = default;
  /// Row-major and contiguous.
  constexpr MatrixView(T* data_, Index rows_, Index cols_) : MatrixView(data_, rows_, cols_, cols_) {}
  /// With any strides.
  constexpr MatrixView(T* data_, Index rows_, Index cols_, Index row_stride_, Index col_stride_ = 1)
      : data(data_), rows(rows_), cols(cols_), row_stride(row_stride_), col_stride(col_stride_) {}
  /// The same, to read only.
  constexpr operator MatrixView<const T>() const requires(!std::is_const_v<T>) {
    return {data, rows, cols, row_stride, col_stride};
  }

  /// Element (i, j), unchecked.
  constexpr T& operator()(Index i, Index j) const { return data[i * row_stride + j * col_stride]; }
  /// Number of elements.
  constexpr Index size() const { return rows * cols; }
  /// Whether there are no elements.
  constexpr bool empty() const { return rows == 0 || cols == 0; }
  /// The transpose: the same elements, strides exchanged.
  constexpr MatrixView t() const { return {data, cols, rows, col_stride, row_stride}; }
  /// `block_rows` x `block_cols` from (i, j); throws ShapeError when it does not fit.
  constexpr MatrixView block(Index i, Index j, Index block_rows, Index block_cols) const {
    if (i < 0 || j < 0 || block_rows < 0 || block_cols < 0 || i > rows - block_rows || j > cols - block_cols)
      detail::throw_bad_block(i, j, block_rows, block_cols, rows, cols);
    return {data + i * row_stride + j * col_stride, block_rows, block_cols, row_stride, col_stride};
  }
  /// Row i as a matrix; throws as block().
  constexpr MatrixView row(Index i) const { return block(i, 0, 1, cols); }
  /// Column j as a matrix; throws as block().
  constexpr MatrixView col(Index j) const { return block(0, j, rows, 1); }
  /// `count` rows from i; throws as block().
  constexpr MatrixView row_block(Index i, Index count) const { return block(i, 0, count, cols); }
  /// Whether the elements follow each other row by row without gaps.
  constexpr bool contiguous() const { return (cols <= 1 || col_stride == 1) && (rows <= 1 || row_stride == cols); }
};

/// Owns rows x cols elements, row-major without padding, 64-byte aligned, zeroed.
template <class T>
class Matrix {
 public:
  Matrix() = default;
  /// Zeros. Throws ShapeError for negative extents or too many bytes, std::bad_alloc.
  Matrix(Index rows, Index cols) : rows_(rows), cols_(cols) {
    if (rows < 0 || cols < 0 || (cols > 0 && rows > kMaxBytes / Index{sizeof(T)} / cols))
      detail::throw_bad_extent("Matrix", rows, cols);
    data_.reset(static_cast<T*>(allocate_aligned(static_cast<std::size_t>(rows * cols) * sizeof(T))));
    std::fill_n(data_.get(), rows * cols, T{});
  }
  /// A copy of what a view shows.
  explicit Matrix(MatrixView<const T> from) : Matrix(from.rows, from.cols) {
    for (Index i = 0; i < from.rows; ++i)
      for (Index j = 0; j < from.cols; ++j) (*this)(i, j) = from(i, j);
  }
  /// A copy.
  Matrix(const Matrix& other) : Matrix(other.view()) {}
  /// Leaves the other one empty.
  Matrix(Matrix&& other) noexcept
      : data_(std::move(other.data_)), rows_(std::exchange(other.rows_, 0)), cols_(std::exchange(other.cols_, 0)) {}
  /// Copies or moves.
  Matrix& operator=(Matrix other) noexcept {
    std::swap(data_, other.data_);
    std::swap(rows_, other.rows_);
    std::swap(cols_, other.cols_);
    return *this;
  }

  /// The whole matrix.
  MatrixView<T> view() { return {data_.get(), rows_, cols_}; }
  /// The whole matrix.
  MatrixView<const T> view() const { return {data_.get(), rows_, cols_}; }
  /// view()
  operator MatrixView<T>() { return view(); }
  /// view()
  operator MatrixView<const T>() const { return view(); }
  /// The transpose, as a view.
  MatrixView<T> t() { return view().t(); }
  /// The transpose, as a view.
  MatrixView<const T> t() const { return view().t(); }
  /// `count` rows from i; throws as MatrixView::block().
  MatrixView<T> row_block(Index i, Index count) { return view().row_block(i, count); }
  /// `count` rows from i; throws as MatrixView::block().
  MatrixView<const T> row_block(Index i, Index count) const { return view().row_block(i, count); }

  /// Element (i, j), unchecked.
  T& operator()(Index i, Index j) { return data_.get()[i * cols_ + j]; }
  /// Element (i, j), unchecked.
  const T& operator()(Index i, Index j) const { return data_.get()[i * cols_ + j]; }
  /// The first element.
  T* data() { return data_.get(); }
  /// The first element.
  const T* data() const { return data_.get(); }
  /// Number of rows.
  Index rows() const { return rows_; }
  /// Number of columns.
  Index cols() const { return cols_; }
  /// Number of elements.
  Index size() const { return rows_ * cols_; }
  /// All elements, row by row.
  std::span<T> span() { return {data_.get(), static_cast<std::size_t>(size())}; }
  /// All elements, row by row.
  std::span<const T> span() const { return {data_.get(), static_cast<std::size_t>(size())}; }

 private:
  static constexpr Index kMaxBytes = Index{1} << 62;
  std::unique_ptr<T, detail::Deallocate> data_;
  Index rows_ = 0;
  Index cols_ = 0;
};

/// Extents of a tensor, outermost first; at most 6. No extents means a scalar.
class TILEWRIGHT_API Shape {
 public:
  Shape() = default;
  /// Throws ShapeError when an extent is negative, the product overflows, or there are more than 6.
  Shape(std::initializer_list<Index> extents);
  /// Number of extents.
  Index rank() const { return rank_; }
  /// The extent of an axis, unchecked.
  Index operator[](Index axis) const { return extents_[static_cast<std::size_t>(axis)]; }
  /// The product of the extents.
  Index size() const;
  /// The same extents.
  bool operator==(const Shape&) const = default;
  /// For messages: "2x3x4".
  std::string to_string() const;

 private:
  std::array<Index, 6> extents_{};
  Index rank_ = 0;
};

/// Owns a row-major tensor, 64-byte aligned, zeroed. matrix() is how kernels see it.
template <class T>
class Tensor {
 public:
  Tensor() = default;
  /// Zeros. Throws std::bad_alloc.
  explicit Tensor(Shape shape) : shape_(shape), storage_(1, shape.size()) {}
  /// Its extents.
  const Shape& shape() const { return shape_; }
  /// Number of elements.
  Index size() const { return storage_.size(); }
  /// The first element.
  T* data() { return storage_.data(); }
  /// The first element.
  const T* data() const { return storage_.data(); }
  /// All elements, the last axis fastest.
  std::span<T> span() { return storage_.span(); }
  /// All elements, the last axis fastest.
  std::span<const T> span() const { return storage_.span(); }
  /// All axes but the last as rows, the last as columns.
  MatrixView<T> matrix() { return {storage_.data(), matrix_rows(), matrix_cols()}; }
  /// All axes but the last as rows, to read only.
  MatrixView<const T> matrix() const { return {storage_.data(), matrix_rows(), matrix_cols()}; }

 private:
  Index matrix_cols() const { return shape_.rank() == 0 ? 1 : shape_[shape_.rank() - 1]; }
  Index matrix_rows() const {
    Index rows = 1;
    for (Index axis = 0; axis + 1 < shape_.rank(); ++axis) rows *= shape_[axis];
    return rows;
  }
  Shape shape_;
  Matrix<T> storage_{1, 1};
};

}  // namespace tilewright
