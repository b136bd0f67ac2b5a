// SPDX-License-Identifier: MIT
// Losses: the value and the gradient in one call, with PyTorch's options.
//
// Sums over elements use 64 virtual lanes in single precision within 4096 elements and double beyond (docs/design.md),
// so the value depends on the data only, not on threads or strides. dx may be empty (data == nullptr) when only the
// value is wanted, and may be x. Operands of different shapes or an output that overlaps itself throw ShapeError. A
// mean over nothing is NaN, as 0/0. NaN in what a loss reads gives NaN. num_threads: 0 means num_threads().
//
// Errors are bounded where nothing overflows or underflows on the way, with u = 2^-24, for the loss of each element (L)
// and its derivative before the division by n (D), which adds 2 u |D|. A weight adds u of each. The value that is
// returned adds (min(n, 4096) / 64 + 12) u times the sum of the sizes of n elements' losses; rows' losses are added in
// double. Where a slope jumps (l1_loss, margins), an argument that is nearer to the jump than its rounding may get the
// slope of the other side. tests/loss_errors_test.cpp holds every loss to its bounds.
#pragma once

#include <span>

#include "tilewright/export.hpp"
#include "tilewright/matrix.hpp"

namespace tilewright {

/// What becomes of the losses of elements (or rows). `none`: they are all in `values`, the call returns their sum, and
/// dx holds each one's own derivative. batch_mean: the sum divided by the number of rows.
enum class Reduction { mean, sum, none, batch_mean };

/// weight multiplies the loss of each element; the mean still divides by the number of elements. A row_stride of 0 uses
/// one row of weights for all.
struct LossOptions {
  Reduction reduction = Reduction::mean;  ///< what is returned
  MatrixView<const float> weight = {};    ///< a factor for each element
  MatrixView<float> values = {};          ///< for Reduction::none; may be asked for with any
};

// ---- losses of elements, n of them; any strides

/// (x - target)^2; dx = 2 (x - target) / n. Errors: 3 u L, u |D|.
TILEWRIGHT_API double mse_loss(const MatrixView<const float>& x, const MatrixView<const float>& target,
                               const MatrixView<float>& dx, const LossOptions& options = {}, int num_threads = 0);
/// |x - target|; dx = sign(x - target) / n, 0 where they are equal. Errors: u L, 0.
TILEWRIGHT_API double l1_loss(const MatrixView<const float>& x, const MatrixView<const float>& target,
                              const MatrixView<float>& dx, const LossOptions& options = {}, int num_threads = 0);
/// d = x - target: |d| < beta ? d^2 / (2 beta) : |d| - beta / 2. beta >= 0. Errors: 8 u L, 4 u |D|.
TILEWRIGHT_API double smooth_l1_loss(const MatrixView<const float>& x, const MatrixView<const float>& target,
                                     const MatrixView<float>& dx, double beta = 1, const LossOptions& options = {},
                                     int num_threads = 0);
/// d = x - target: |d| <= delta ? d^2 / 2 : delta (|d| - delta / 2). delta > 0. Errors: 8 u L, 4 u |D|.
TILEWRIGHT_API double huber_loss(const MatrixView<const float>& x, const MatrixView<const float>& target,
                                 const MatrixView<float>& dx, double delta = 1, const LossOptions& options = {},
                                 int num_threads = 0);
/// -target log(x) - (1 - target) log(1 - x) for probabilities x, the logarithms not below -100; dx = (x - target) /
/// max(x (1 - x), 1e-12) / n. Errors for x and target in [0, 1]: 6 u L, 5 u |D|.
TILEWRIGHT_API double bce_loss(const MatrixView<const float>& x, const MatrixView<const float>& target,
                               const MatrixView<float>& dx, const LossOptions& options = {}, int num_threads = 0);
/// bce_loss of sigmoid(x) without overflow: max(x, 0) - x target + log(1 + exp(-|x|)); dx = (sigmoid(x) - target) / n.
/// pos_weight (one number per column, or empty) multiplies the term of target: -pos_weight target log(sigmoid(x)) - ...
/// Errors for targets in [0, 1]: u |x target| + 6 u L, 6 u sigmoid(x) + u |D|; with weights w:
/// 8 u (1 + w) log(1 + exp(-x)) + 2 u |x|, 10 u (1 + w).
TILEWRIGHT_API double bce_with_logits_loss(const MatrixView<const float>& x, const MatrixView<const float>& target,
                                           const MatrixView<float>& dx, const LossOptions& options = {},
                                           int num_threads = 0, std::span<const float> pos_weight = {});
/// target (log(target) - x) for log-probabilities x, 0 where target is 0; of_logs: exp(target) (target - x). Errors:
/// 4 u target (|log(target)| + |x|), 0; of_logs: 5 u |L|, 3 u |D|.
TILEWRIGHT_API double kl_div_loss(const MatrixView<const float>& x, const MatrixView<const float>& target,
                                  const MatrixView<float>& dx, bool of_logs = false, const LossOptions& options = {},
                                  int num_threads = 0);
/// target 1: x; target -1: max(0, margin - x). Errors: 2 u (|margin| + |x|), 0.
TILEWRIGHT_API double hinge_embedding_loss(const MatrixView<const float>& x, const MatrixView<const float>& target,
                                           const MatrixView<float>& dx, double margin = 1,
                                           const LossOptions& options = {}, int num_threads = 0);
/// max(0, margin - target (x - other)), target 1 or -1. dx; the derivative by `other` is -dx. Errors: 2 u (|margin| +
/// |x - other|), 0.
TILEWRIGHT_API double margin_ranking_loss(const MatrixView<const float>& x, const MatrixView<const float>& other,
                                          const MatrixView<const float>& target, const MatrixView<float>& dx,
                                          double margin = 0, const LossOptions& options = {}, int num_threads = 0);

// ---- losses of rows

/// weight: a factor for each class. With it the mean divides by the sum of the weights of the rows' classes. Rows of
/// class ignore_index have loss and gradient 0 and do not count. label_smoothing e: targets are (1 - e) times what they
/// are, plus e / cols for every class.
struct ClassLossOptions {
  Reduction reduction = Reduction::mean;  ///< what is returned
  std::span<const float> weight = {};     ///< cols numbers, or empty
  Index ignore_index = -100;              ///< the class of rows that do not count
  double label_smoothing = 0;             ///< 0 .. 1, cross_entropy only
  std::span<float> values = {};           ///< one per row, for Reduction::none; may be asked for with any
};

/// log(sum_j exp(x(i,j))) - x(i, classes[i]); dx = (softmax(x(i,:)) - onehot(classes[i])) / rows. The columns of x and
/// dx must be neighbours (ShapeError). Throws ValueError when a class is outside [0, cols) and not ignored. A row whose
/// maximum is not finite (all -inf, or any +inf or NaN) has loss NaN and gradient NaN. Errors of a row of n: of L
/// (2 L + n / 64 + 3 log(n) + 14) u, of D (max - x + n / 64 + 26) u softmax(x), and at the row's class u |D| more.
TILEWRIGHT_API double cross_entropy_loss(const MatrixView<const float>& x, std::span<const Index> classes,
                                         const MatrixView<float>& dx, const ClassLossOptions& options = {},
                                         int num_threads = 0);
/// The same for targets that are probabilities: sum_j target(i,j) weight_j (log(sum exp(x(i,:))) - x(i,j)). The mean
/// divides by the number of rows. A target of 0 counts 0 whatever x is. ignore_index does not apply. Errors, with t_j =
/// target_j weight_j after smoothing: of L (n / 64 + 20) u sum_j t_j (max - x_j + log(n) + 1), of D 6 u t +
/// (max - x + n / 32 + 40) u softmax(x) sum_j t_j. They hold for classes with smoothing, too.
TILEWRIGHT_API double cross_entropy_loss(const MatrixView<const float>& x, const MatrixView<const float>& target,
                                         const MatrixView<float>& dx, const ClassLossOptions& options = {},
                                         int num_threads = 0);
/// -x(i, classes[i]) for log-probabilities x; dx is 0 elsewhere. Any strides. Errors: 0.
TILEWRIGHT_API double nll_loss(const MatrixView<const float>& x, std::span<const Index> classes,
                               const MatrixView<float>& dx, const ClassLossOptions& options = {}, int num_threads = 0);

/// The cross-entropy of x w^T (x: rows x features, w: classes x features) without ever holding all of its rows x
/// classes logits: at most 32 MiB of them at a time. dx and dw may be empty; dw is overwritten. Errors: of gemm() in
/// the logits, then of cross_entropy_loss(), then of gemm() in dx and dw.
TILEWRIGHT_API double linear_cross_entropy_loss(const MatrixView<const float>& x, const MatrixView<const float>& w,
                                                std::span<const Index> classes, const MatrixView<float>& dx,
                                                const MatrixView<float>& dw, const ClassLossOptions& options = {},
                                                int num_threads = 0);

/// With cos = x . y / sqrt((|x|^2 + 1e-12) (|y|^2 + 1e-12)) of a row: target 1: 1 - cos; target -1: max(0, cos -
/// margin). Columns must be neighbours; dx must not be x or y. `values` as in ClassLossOptions; weight and the rest do
/// not apply. Errors, with s = (min(n, 4096) / 64 + 12) u: of L 2 s + u, of dx's D 4 s (|y_j| / (|x| |y|) +
/// |x_j| / |x|^2), of dy's likewise.
TILEWRIGHT_API double cosine_embedding_loss(const MatrixView<const float>& x, const MatrixView<const float>& y,
                                            std::span<const float> target, const MatrixView<float>& dx,
                                            const MatrixView<float>& dy, double margin = 0,
                                            const ClassLossOptions& options = {}, int num_threads = 0);

}  // namespace tilewright
