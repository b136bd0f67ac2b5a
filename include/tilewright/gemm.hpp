// SPDX-License-Identifier: MIT
// Matrix products.
#pragma once

#include "tilewright/activations.hpp"
#include "tilewright/export.hpp"
#include "tilewright/matrix.hpp"

namespace tilewright {
namespace detail {
template <class T>
struct SmallProduct;
}

/// Terms of a sum in one chain of fused multiply-adds; part of the numerics (docs/design.md), the same on every ISA.
inline constexpr Index kSumBlock = 512;

/// What gemm() adds to the product, and how it is computed.
template <class T>
struct GemmOptions {
  T alpha = 1;  ///< the factor of the product
  /// 0: c is not read, and may hold anything (NaN included).
  T beta = 0;
  /// One value per column of c, or empty (data == nullptr).
  std::span<const T> bias = {};
  Activation activation = {};  ///< applied to each element
  /// Receives the values before the activation; the shape of c, or empty.
  MatrixView<T> pre_activation = {};
  /// 0: num_threads().
  int num_threads = 0;
  /// Added before the activation; the shape of c, or empty. Must not overlap c.
  MatrixView<const T> residual = {};
  /// Not empty: the result is multiplied by the derivative of `activation` instead of going through it, as in
  /// activation_backward: `saved` is that activation's input or output as saves_input() says, and has the shape of c.
  /// For dX = (dY W) f'(saved).
  MatrixView<const T> saved = {};
  /// Receive the sums of a's rows and of b's columns, or empty: the bias gradient beside the weight gradient
  /// dW = dY^T X or X^T dY. Added to what they hold unless beta is 0. Numerics as column_sums(); the rows of a, or the
  /// columns of b, must be neighbours.
  std::span<T> a_row_sums = {};
  std::span<T> b_column_sums = {};  ///< b.cols sums of b's columns
};

/// What a call without options uses; building them anew would be a tenth of a tiny product.
template <class T>
inline constexpr GemmOptions<T> kGemmDefaults{};

/// c = f(alpha * a * b + beta * c + bias + residual), f the activation; with `saved`,
/// c = (alpha * a * b + beta * c + bias + residual) * f'.
///
/// Shapes: a is m x k, b is k x n, c is m x n; any strides, so a transposed operand is `a.t()`. c and pre_activation
/// must not overlap anything. m, n or k may be 0; k = 0 gives c = f(beta * c + bias + residual). Throws ShapeError when
/// the shapes do not fit or two elements of c share a place, ValueError for bad numbers of the
/// activation or a bad count.
///
/// Numerics: for each element, every 512 consecutive k are one chain s of fused multiply-adds from zero in ascending k;
/// r = alpha s_0 (fused with beta c), r = r + alpha s_1, and so on; then bias and residual are added; then f. Before f
///     |error| <= (min(k, 512) + k / 512 + 4) eps (|alpha| |a| |b| + |beta c| + |bias| + |residual|)
/// with eps = 2^-24 for float and 2^-53 for double,
/// and the bits depend on the values only: not on the number of threads, the strides, or how many other rows and
/// columns there are. NaN and infinity propagate as in the formula. sse2 has no fused multiply-add: its bound has twice
/// the first term, and its bits are its own.
///
/// Threading: uses num_threads, fewer when they would not pay. Memory: packing buffers are kept per calling thread.
/// Views come by reference: 8 x 8 x 8 would wait a seventh of its time for copies of them.
TILEWRIGHT_API void gemm(const MatrixView<const float>& a, const MatrixView<const float>& b, const MatrixView<float>& c,
                         const GemmOptions<float>& options = kGemmDefaults<float>);
TILEWRIGHT_API void gemm(const MatrixView<const double>& a, const MatrixView<const double>& b,
                         const MatrixView<double>& c, const GemmOptions<double>& options = kGemmDefaults<double>);

/// Bytes of the calling thread's workspace that gemm() wants for operands like these, whose data is not looked at and
/// may be null: reserve_workspace() it (memory.hpp), and the call allocates nothing. Throws as gemm() does.
TILEWRIGHT_API std::size_t gemm_workspace(const MatrixView<const float>& a, const MatrixView<const float>& b,
                                          const MatrixView<float>& c,
                                          const GemmOptions<float>& options = kGemmDefaults<float>);
TILEWRIGHT_API std::size_t gemm_workspace(const MatrixView<const double>& a, const MatrixView<const double>& b,
                                          const MatrixView<double>& c,
                                          const GemmOptions<double>& options = kGemmDefaults<double>);

/// A right operand arranged once for many products: weights that do not change. Holds a copy, so the source may go
/// away; products with it have the same bits as with the source. May be used by many threads at once, and with any ISA.
template <class T>
class TILEWRIGHT_API PackedMatrix {
 public:
  PackedMatrix() = default;
  /// b is k x n with any strides: pass `w.t()` for weights that are stored n x k. Throws std::bad_alloc.
  explicit PackedMatrix(MatrixView<const T> b);

  /// Of the matrix that was packed.
  Index rows() const { return rows_; }
  /// Of the matrix that was packed.
  Index cols() const { return cols_; }
  /// Memory held: rows * cols elements, cols rounded up to a multiple of 128 bytes.
  std::size_t bytes() const { return static_cast<std::size_t>(rows_ * padded_cols()) * sizeof(T); }
  /// The arranged elements, in an order that only this version knows.
  const T* data() const { return data_.get(); }
  /// Columns of a panel; cols() rounded up to whole panels.
  static constexpr Index kPanel = 128 / sizeof(T);
  /// cols rounded up to whole panels.
  Index padded_cols() const { return (cols_ + kPanel - 1) / kPanel * kPanel; }

 private:
  std::unique_ptr<T[], detail::Deallocate> data_;
  Index rows_ = 0, cols_ = 0;
};

/// gemm() with b arranged beforehand. b_column_sums is not available: ValueError.
TILEWRIGHT_API void gemm(const MatrixView<const float>& a, const PackedMatrix<float>& b, const MatrixView<float>& c,
                         const GemmOptions<float>& options = kGemmDefaults<float>);
TILEWRIGHT_API void gemm(const MatrixView<const double>& a, const PackedMatrix<double>& b, const MatrixView<double>& c,
                         const GemmOptions<double>& options = kGemmDefaults<double>);

/// c[i] = gemm(a[i], b[i]) for every i, all with the same options: alpha, beta, bias, activation and num_threads; any
/// other is a ValueError. The products may differ in shape. Throws ShapeError naming the first that does not fit or two
/// of which one writes what the other reads or writes; then nothing has been computed. Threads share the products out
/// when there are enough of them.
TILEWRIGHT_API void gemm_batched(std::span<const MatrixView<const float>> a, std::span<const MatrixView<const float>> b,
                                 std::span<const MatrixView<float>> c,
                                 const GemmOptions<float>& options = kGemmDefaults<float>);
TILEWRIGHT_API void gemm_batched(std::span<const MatrixView<const double>> a,
                                 std::span<const MatrixView<const double>> b, std::span<const MatrixView<double>> c,
                                 const GemmOptions<double>& options = kGemmDefaults<double>);

/// The same for `count` products of one shape at equal distances in memory: product i has its operands i * a_step,
/// i * b_step and i * c_step elements after those given. A step of 0 shares an operand (not c).
TILEWRIGHT_API void gemm_strided_batched(Index count, const MatrixView<const float>& a, Index a_step,
                                         const MatrixView<const float>& b, Index b_step, const MatrixView<float>& c,
                                         Index c_step, const GemmOptions<float>& options = kGemmDefaults<float>);
TILEWRIGHT_API void gemm_strided_batched(Index count, const MatrixView<const double>& a, Index a_step,
                                         const MatrixView<const double>& b, Index b_step, const MatrixView<double>& c,
                                         Index c_step, const GemmOptions<double>& options = kGemmDefaults<double>);

/// A product whose operands always have the same shapes and strides: they are checked once, for products so small that
/// checking takes as long as they do. Same bits as gemm(). May be used by many threads at once.
template <class T>
class TILEWRIGHT_API GemmPlan {
 public:
  /// For operands like these, whose data is not looked at and may be null. Of the options alpha, beta and num_threads
  /// apply; any other is a ValueError. Throws as gemm() does. Small products keep the ISA
  /// and the number of threads of now.
  GemmPlan(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c,
           const GemmOptions<T>& options = kGemmDefaults<T>);
  /// c = alpha * a * b + beta * c, each argument the first element of its matrix. Throws ValueError when one is null
  /// whose matrix has elements, ShapeError when c overlaps a or b.
  void operator()(const T* a, const T* b, T* c) const;

 private:
  /// The elements that a matrix reaches, counted from its first one.
  struct Reach {
    Index first, end;
  };

  MatrixView<const T> a_, b_;
  MatrixView<T> c_;
  Reach a_reach_, b_reach_, c_reach_;
  GemmOptions<T> options_;
  std::shared_ptr<const detail::SmallProduct<T>> small_;  ///< null: gemm() itself
};

/// y = alpha * a * x + beta * y: gemm with one column, same numerics. x has a.cols elements, y a.rows.
TILEWRIGHT_API void gemv(const MatrixView<const float>& a, std::span<const float> x, std::span<float> y,
                         float alpha = 1, float beta = 0, int num_threads = 0);
TILEWRIGHT_API void gemv(const MatrixView<const double>& a, std::span<const double> x, std::span<double> y,
                         double alpha = 1, double beta = 0, int num_threads = 0);

/// a = alpha * x * y^T + a: gemm with k = 1, same numerics. x has a.rows elements, y a.cols.
TILEWRIGHT_API void ger(std::span<const float> x, std::span<const float> y, const MatrixView<float>& a, float alpha = 1,
                        int num_threads = 0);
TILEWRIGHT_API void ger(std::span<const double> x, std::span<const double> y, const MatrixView<double>& a,
                        double alpha = 1, int num_threads = 0);

/// sums(j) = sum over i of x(i, j), added to sums(j) when accumulate. Each 512 rows are one ascending chain from zero,
/// the chains are added in ascending order: |error| <= (min(m, 512) + m / 512 + 2) eps times the sum of the sizes, for
/// m rows and eps as of gemm(). Throws ShapeError unless sums.size() == x.cols.
TILEWRIGHT_API void column_sums(const MatrixView<const float>& x, std::span<float> sums, bool accumulate = false,
                                int num_threads = 0);
TILEWRIGHT_API void column_sums(const MatrixView<const double>& x, std::span<double> sums, bool accumulate = false,
                                int num_threads = 0);

}  // namespace tilewright
