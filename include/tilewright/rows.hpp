// SPDX-License-Identifier: MIT
// Functions of whole rows of a matrix of floats, forward and backward: softmax, sums and extremes, normalisations.
//
// Rows are m, columns n. Columns must be neighbours (col_stride 1), rows may have any stride; outputs have the shapes
// of their inputs and may be one of them, except where it is said. Every function throws ShapeError for shapes that do
// not fit and ValueError for numbers outside their range, before it writes anything; num_threads 0 means num_threads().
// Sums have a fixed order (docs/design.md): the bits depend on the data only, not on threads, rows nearby or vectors.
// NaN in a row makes NaN of whatever depends on it.
//
// Errors are bounded where nothing overflows or underflows on the way, other than to 0 in exponentials, with
//     u = 2^-24,
//     s = (min(n, 4096) / 64 + 12) u    of a sum over a row, times the sum of its terms' sizes,
//     c = (min(m, 64) + min(m / 64, 512) + m / 32768 + 6) u    of a sum over a column,
// n / 64 without the limit where sums are of exponentials. The gradients' bounds take what they are given (y, out,
// mean, rstd) for exact. tests/row_errors_test.cpp holds every function to its bound; roundings mostly cancel, so
// errors are far smaller as a rule.
#pragma once

#include <span>

#include "tilewright/export.hpp"
#include "tilewright/matrix.hpp"

namespace tilewright {

// ---- softmax

/// y(i,j) = exp(x(i,j) - max_i) / sum_j exp(x(i,j) - max_i). -infinity gives 0; a row of nothing else, or with
/// +infinity, gives NaN, as 0/0 does. Relative error of normal results: at most (max - x + n / 64 + 24) u.
TILEWRIGHT_API void softmax(const MatrixView<const float>& x, const MatrixView<float>& y, int num_threads = 0);
/// dx = y (dy - sum_j y dy), y = softmax(x). Error: (n / 64 + 14) u y (|dy| + sum_j y |dy|).
TILEWRIGHT_API void softmax_backward(const MatrixView<const float>& y, const MatrixView<const float>& dy,
                                     const MatrixView<float>& dx, int num_threads = 0);

/// y(i,j) = x(i,j) - max_i - log(sum_j exp(x(i,j) - max_i)). -infinity stays; rows as for softmax(). Error:
/// (2 |y| + n / 64 + 3 log(n) + 14) u.
TILEWRIGHT_API void log_softmax(const MatrixView<const float>& x, const MatrixView<float>& y, int num_threads = 0);
/// dx = dy - exp(y) sum_j dy, y = log_softmax(x). Error: u |dx| + (n / 64 + 14) u exp(y) sum_j |dy|.
TILEWRIGHT_API void log_softmax_backward(const MatrixView<const float>& y, const MatrixView<const float>& dy,
                                         const MatrixView<float>& dx, int num_threads = 0);

/// out[i] = log(sum_j exp(x(i,j))), which does not overflow. -infinity for rows of nothing else, and for empty ones;
/// +infinity where there is one. Error: (|out| + n / 64 + 3 log(n) + 14) u.
TILEWRIGHT_API void row_logsumexp(const MatrixView<const float>& x, std::span<float> out, int num_threads = 0);
/// dx(i,j) = exp(x(i,j) - out[i]) dy[i], out = row_logsumexp(x). NaN where x is infinity, and in rows of -infinity.
/// Relative error of normal results: at most (|x - out| + 4) u.
TILEWRIGHT_API void row_logsumexp_backward(const MatrixView<const float>& x, std::span<const float> out,
                                           std::span<const float> dy, const MatrixView<float>& dx, int num_threads = 0);

// ---- sums and extremes

/// out[i] = sum_j x(i,j); 0 for empty rows. Error: s sum_j |x|.
TILEWRIGHT_API void row_sum(const MatrixView<const float>& x, std::span<float> out, int num_threads = 0);
/// dx(i,j) = dy[i], exactly.
TILEWRIGHT_API void row_sum_backward(std::span<const float> dy, const MatrixView<float>& dx, int num_threads = 0);
/// out[i] = sum_j x(i,j) / n; NaN for empty rows. Error: s mean_j |x|.
TILEWRIGHT_API void row_mean(const MatrixView<const float>& x, std::span<float> out, int num_threads = 0);
/// dx(i,j) = dy[i] / n. Error: 2 u |dx|.
TILEWRIGHT_API void row_mean_backward(std::span<const float> dy, const MatrixView<float>& dx, int num_threads = 0);
/// out[i] = max_j x(i,j); -infinity for empty rows, NaN where there is one.
TILEWRIGHT_API void row_max(const MatrixView<const float>& x, std::span<float> out, int num_threads = 0);
/// dx(i,j) = dy[i] where j is what row_argmax finds, and 0 elsewhere.
TILEWRIGHT_API void row_max_backward(const MatrixView<const float>& x, std::span<const float> dy,
                                     const MatrixView<float>& dx, int num_threads = 0);
/// out[i]: the first j with the largest x(i,j); the first NaN where there is one. Rows must not be empty.
TILEWRIGHT_API void row_argmax(const MatrixView<const float>& x, std::span<Index> out, int num_threads = 0);
/// out[i] = sum_j (x(i,j) - mean_i)^2 / (n - correction), in two passes; NaN when that is 0/0. Error: (s + 4 u) out +
/// n / (n - correction) (s mean_j |x|)^2.
TILEWRIGHT_API void row_variance(const MatrixView<const float>& x, std::span<float> out, double correction = 1,
                                 int num_threads = 0);
/// dx(i,j) = 2 (x(i,j) - mean_i) / (n - correction) dy[i]. Error: 4 u |dx| + 2 |dy| / (n - correction) s mean_j |x|.
TILEWRIGHT_API void row_variance_backward(const MatrixView<const float>& x, std::span<const float> dy,
                                          const MatrixView<float>& dx, double correction = 1, int num_threads = 0);

// ---- normalisation. gamma, beta and every gradient may be empty: factors of 1, offsets of 0, not wanted.
// h = (x - mean) rstd and g = dy gamma, also in the errors.

/// y = (x - mean_i) rstd_i gamma_j + beta_j, rstd_i = 1 / sqrt(variance_i + eps), variance over n. mean and rstd (m
/// numbers each, or empty) are what the backward pass needs. Errors, with d = s rstd mean_j |x|: of mean s mean_j |x|,
/// of rstd (s / 2 + 2 u + d^2) rstd, of y (s / 2 + 6 u) |h gamma| + d (1 + d |h|) |gamma| + u |y|.
TILEWRIGHT_API void layer_norm(const MatrixView<const float>& x, std::span<const float> gamma,
                               std::span<const float> beta, const MatrixView<float>& y, std::span<float> mean,
                               std::span<float> rstd, double eps = 1e-5, int num_threads = 0);
/// dx = rstd (g - mean_j(g) - h mean_j(g h)), dgamma_j = sum_i dy h, dbeta_j = sum_i dy. dx may be dy or x. Errors: of
/// dx (s + 8 u) rstd (|g| + mean_j |g| + |h| mean_j |g h|), of dgamma (c + 4 u) sum_i |dy h|, of dbeta c sum_i |dy|.
TILEWRIGHT_API void layer_norm_backward(const MatrixView<const float>& x, const MatrixView<const float>& dy,
                                        std::span<const float> gamma, std::span<const float> mean,
                                        std::span<const float> rstd, const MatrixView<float>& dx,
                                        std::span<float> dgamma, std::span<float> dbeta, int num_threads = 0);

/// y = x rstd_i gamma_j, rstd_i = 1 / sqrt(mean_j(x^2) + eps). Error: (s / 2 + 5 u) |y|, of rstd (s / 2 + 2 u) rstd.
TILEWRIGHT_API void rms_norm(const MatrixView<const float>& x, std::span<const float> gamma, const MatrixView<float>& y,
                             std::span<float> rstd, double eps = 1e-5, int num_threads = 0);
/// As layer_norm_backward() with a mean of 0 and without mean_j(g), in the errors, too.
TILEWRIGHT_API void rms_norm_backward(const MatrixView<const float>& x, const MatrixView<const float>& dy,
                                      std::span<const float> gamma, std::span<const float> rstd,
                                      const MatrixView<float>& dx, std::span<float> dgamma, int num_threads = 0);

/// Rows are channels * size numbers, size for each channel; `groups` equal groups of channels are normalised each by
/// its own mean and deviation (m * groups numbers each), gamma and beta have one number per channel. Errors as of
/// layer_norm with the elements of a group for n; dgamma and dbeta sum over the `size` elements of a channel, too: s of
/// those more.
struct Groups {
  Index channels;  ///< of a row
  Index groups;    ///< that share statistics
};
TILEWRIGHT_API void group_norm(const MatrixView<const float>& x, Groups groups, std::span<const float> gamma,
                               std::span<const float> beta, const MatrixView<float>& y, std::span<float> mean,
                               std::span<float> rstd, double eps = 1e-5, int num_threads = 0);
TILEWRIGHT_API void group_norm_backward(const MatrixView<const float>& x, const MatrixView<const float>& dy,
                                        Groups groups, std::span<const float> gamma, std::span<const float> mean,
                                        std::span<const float> rstd, const MatrixView<float>& dx,
                                        std::span<float> dgamma, std::span<float> dbeta, int num_threads = 0);

/// Running averages of batch norm: r += momentum (r' - r) with the batch's mean, and its variance over m - 1.
struct RunningStatistics {
  std::span<float> mean;      ///< of each column, updated
  std::span<float> variance;  ///< n each, or empty
  double momentum = 0.1;      ///< share of the new batch
};
/// y = (x - mean_j) rstd_j gamma_j + beta_j with the mean and the variance over m of every column, which are stored (n
/// numbers each). Rows must not be missing; a running variance wants two. Errors, with k = (min(m, 512) + m / 512 + 4)
/// u and d = k rstd mean_i |x|: of mean k mean_i |x|, of rstd (c / 2 + 3 u + d^2) rstd, of y (c / 2 + 6 u) |h gamma| +
/// d (1 + d |h|) |gamma| + u |y|.
TILEWRIGHT_API void batch_norm(const MatrixView<const float>& x, std::span<const float> gamma,
                               std::span<const float> beta, const MatrixView<float>& y, std::span<float> mean,
                               std::span<float> rstd, double eps = 1e-5, RunningStatistics running = {},
                               int num_threads = 0);
/// y = (x - mean_j) / sqrt(variance_j + eps) gamma_j + beta_j, with numbers that are given. Error: 4 u |h gamma| + u
/// |y|.
TILEWRIGHT_API void batch_norm_inference(const MatrixView<const float>& x, std::span<const float> gamma,
                                         std::span<const float> beta, std::span<const float> mean,
                                         std::span<const float> variance, const MatrixView<float>& y, double eps = 1e-5,
                                         int num_threads = 0);
/// Of batch_norm(): dx = gamma rstd (dy - mean_i(dy) - h mean_i(dy h)), dgamma_j = sum_i dy h, dbeta_j = sum_i dy. dx
/// may be dy or x. Errors: of dx (c + 8 u) |gamma| rstd (|dy| + mean_i |dy| + |h| mean_i |dy h|), of the others as of
/// layer_norm_backward().
TILEWRIGHT_API void batch_norm_backward(const MatrixView<const float>& x, const MatrixView<const float>& dy,
                                        std::span<const float> gamma, std::span<const float> mean,
                                        std::span<const float> rstd, const MatrixView<float>& dx,
                                        std::span<float> dgamma, std::span<float> dbeta, int num_threads = 0);

// ---- prelu

/// y(i,j) = x(i,j) > 0 ? x(i,j) : slope_j x(i,j); one slope for all columns, or n. Error: u |y|.
TILEWRIGHT_API void prelu(const MatrixView<const float>& x, std::span<const float> slope, const MatrixView<float>& y,
                          int num_threads = 0);
/// dx = dy times 1 or slope_j; dslope_j = sum_i of x dy where x <= 0. dx may be dy or x. Errors: of dx u |dx|, of
/// dslope (c + 2 u) times the sum of |x dy|, with a single slope c + s + 2 u.
TILEWRIGHT_API void prelu_backward(const MatrixView<const float>& x, const MatrixView<const float>& dy,
                                   std::span<const float> slope, const MatrixView<float>& dx, std::span<float> dslope,
                                   int num_threads = 0);

}  // namespace tilewright
