// SPDX-License-Identifier: MIT
// Sums, products, copies, transposes and conversions of matrices, dropout, and tables of rows.
//
// Operands have the same shape and any strides (columns that are not neighbours cost more); outputs may be inputs
// unless it is said, otherwise they must not overlap them. ShapeError for shapes that do not fit; num_threads 0 means
// num_threads(). Every element is computed by itself, and rounded once where it is not said: the bits depend on nothing
// else.
#pragma once

#include <span>

#include "tilewright/export.hpp"
#include "tilewright/matrix.hpp"
#include "tilewright/random.hpp"

namespace tilewright {

/// out = x + y
TILEWRIGHT_API void add(const MatrixView<const float>& x, const MatrixView<const float>& y,
                        const MatrixView<float>& out, int num_threads = 0);
TILEWRIGHT_API void add(const MatrixView<const double>& x, const MatrixView<const double>& y,
                        const MatrixView<double>& out, int num_threads = 0);
/// out = x y, element by element
TILEWRIGHT_API void multiply(const MatrixView<const float>& x, const MatrixView<const float>& y,
                             const MatrixView<float>& out, int num_threads = 0);
TILEWRIGHT_API void multiply(const MatrixView<const double>& x, const MatrixView<const double>& y,
                             const MatrixView<double>& out, int num_threads = 0);
/// out = a x
TILEWRIGHT_API void scale(float a, const MatrixView<const float>& x, const MatrixView<float>& out, int num_threads = 0);
TILEWRIGHT_API void scale(double a, const MatrixView<const double>& x, const MatrixView<double>& out,
                          int num_threads = 0);
/// y = a x + y, product and sum rounded
TILEWRIGHT_API void axpy(float a, const MatrixView<const float>& x, const MatrixView<float>& y, int num_threads = 0);
TILEWRIGHT_API void axpy(double a, const MatrixView<const double>& x, const MatrixView<double>& y, int num_threads = 0);

/// out = x. copy(x.t(), out) transposes; out must not be x then.
TILEWRIGHT_API void copy(const MatrixView<const float>& x, const MatrixView<float>& out, int num_threads = 0);
TILEWRIGHT_API void copy(const MatrixView<const double>& x, const MatrixView<double>& out, int num_threads = 0);
/// out = x in the other type, rounded to nearest.
TILEWRIGHT_API void convert(const MatrixView<const float>& x, const MatrixView<double>& out, int num_threads = 0);
TILEWRIGHT_API void convert(const MatrixView<const double>& x, const MatrixView<float>& out, int num_threads = 0);

/// y(i,j) = x(i,j) / (1 - p) where stream.uniform(i * cols + j) >= p, and x(i,j) * 0 elsewhere: on average x. No mask
/// is stored: the backward pass is the same call on dy with the same stream. 0 <= p <= 1 (ValueError). 1 / (1 - p) is
/// rounded, and the product.
TILEWRIGHT_API void dropout(const MatrixView<const float>& x, const MatrixView<float>& y, double p, RandomStream stream,
                            int num_threads = 0);

/// out(i,:) = table(ids[i],:). Columns must be neighbours. ValueError for an id outside [0, rows of table).
TILEWRIGHT_API void embedding(const MatrixView<const float>& table, std::span<const Index> ids,
                              const MatrixView<float>& out, int num_threads = 0);
/// dtable(ids[i],:) += dy(i,:) in ascending i, whatever the number of threads; rows with ids[i] == padding_index add
/// nothing.
TILEWRIGHT_API void embedding_backward(const MatrixView<const float>& dy, std::span<const Index> ids,
                                       const MatrixView<float>& dtable, Index padding_index = -1, int num_threads = 0);

}  // namespace tilewright
