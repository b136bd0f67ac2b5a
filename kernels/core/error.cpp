// SPDX-License-Identifier: MIT
#include "tilewright/error.hpp"

#include "tilewright/matrix.hpp"

namespace tilewright {

// Out of line: one vtable and one type_info for every library and plugin of a process.
Error::~Error() = default;
ShapeError::~ShapeError() = default;
ValueError::~ValueError() = default;
FileError::~FileError() = default;

Shape::Shape(std::initializer_list<Index> extents) {
  if (extents.size() > extents_.size())
    throw ShapeError("Shape: " + std::to_string(extents.size()) + " extents, at most 6 are possible");
  Index product = 1;
  for (const Index extent : extents) {
    if (extent < 0) throw ShapeError("Shape: extent " + std::to_string(extent) + " is negative");
    if (__builtin_mul_overflow(product, extent, &product)) throw ShapeError("Shape: too many elements");
    extents_[static_cast<std::size_t>(rank_++)] = extent;
  }
}

Index Shape::size() const {
  Index product = 1;
  for (Index axis = 0; axis < rank_; ++axis) product *= (*this)[axis];
  return product;
}

std::string Shape::to_string() const {
  std::string text;
  for (Index axis = 0; axis < rank_; ++axis) {
    if (axis > 0) text += 'x';
    text += std::to_string((*this)[axis]);
  }
  return text;
}

namespace detail {

void throw_bad_extent(const char* what, Index rows, Index cols) {
  throw ShapeError(std::string(what) + ": " + std::to_string(rows) + "x" + std::to_string(cols) +
                   " is negative or has too many elements");
}

void throw_bad_block(Index i, Index j, Index rows, Index cols, Index of_rows, Index of_cols) {
  throw ShapeError("block: " + std::to_string(rows) + "x" + std::to_string(cols) + " at (" + std::to_string(i) + ", " +
                   std::to_string(j) + ") is outside " + std::to_string(of_rows) + "x" + std::to_string(of_cols));
}

}  // namespace detail
}  // namespace tilewright
