// SPDX-License-Identifier: MIT
// Matrix products.
#pragma once

#include "tilewright/activations.hpp"
#include "tilewright/export.hpp"
#include "tilewright/matrix.hpp"

namespace tilewright {

/// Terms of a sum in one chain of fused multiply-adds; part of the numerics (docs/design.md), the same on every ISA.
inline constexpr Index kSumBlock = 512;

template <class T>
struct GemmOptions {
  T alpha = 1;
  /// 0: c is not read, and may hold anything (NaN included).
  T beta = 0;
  /// One value per column of c, or empty (data == nullptr).
  std::span<const T> bias = {};
  Activation activation = {};
  /// Receives the values before the activation; the shape of c, or empty.
  MatrixView<T> pre_activation = {};
  /// 0: num_threads().
  int num_threads = 0;
};

/// c = f(alpha * a * b + beta * c + bias), f the activation.
///
/// Shapes: a is m x k, b is k x n, c is m x n; any strides, so a transposed operand is `a.t()`. c and pre_activation
/// must not overlap anything. m, n or k may be 0; k = 0 gives c = f(beta * c + bias). Throws ShapeError when the shapes
/// do not fit or two elements of c share a place, ValueError for a bad slope or count.
///
/// Numerics: for each element, every 512 consecutive k are one chain s of fused multiply-adds from zero in ascending k;
/// r = alpha s_0 (fused with beta c), r = r + alpha s_1, and so on; then the bias is added; then f. Before f
///     |error| <= (min(k, 512) + k / 512 + 3) eps (|alpha| |a| |b| + |beta c| + |bias|),
/// and the bits depend on the values only: not on the number of threads, the strides, or how many other rows and
/// columns there are. NaN and infinity propagate as in the formula. sse2 has no fused multiply-add: its bound has twice
/// the first term, and its bits are its own.
///
/// Threading: uses num_threads, fewer when they would not pay. Memory: packing buffers are kept per calling thread.
TILEWRIGHT_API void gemm(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
                         const GemmOptions<float>& options = {});
TILEWRIGHT_API void gemm(MatrixView<const double> a, MatrixView<const double> b, MatrixView<double> c,
                         const GemmOptions<double>& options = {});

/// sums(j) = sum over i of x(i, j), added to sums(j) when accumulate. Each 512 rows are one ascending chain from zero,
/// the chains are added in ascending order. Throws ShapeError unless sums.size() == x.cols.
TILEWRIGHT_API void column_sums(MatrixView<const float> x, std::span<float> sums, bool accumulate = false,
                                int num_threads = 0);
TILEWRIGHT_API void column_sums(MatrixView<const double> x, std::span<double> sums, bool accumulate = false,
                                int num_threads = 0);

}  // namespace tilewright
