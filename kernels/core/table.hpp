// SPDX-License-Identifier: MIT
// The border between baseline code and ISA code: plain structs, raw pointers and constant tables of function pointers,
// one table per ISA. Everything in a table is an inner loop: it does not allocate, throw, check or start threads.
#pragma once

#include <atomic>

#include "tilewright/activations.hpp"
#include "tilewright/export.hpp"
#include "tilewright/functions.hpp"
#include "tilewright/isa.hpp"

namespace tilewright::detail {

inline constexpr int kMaxTileRows = 14;
inline constexpr int kTileVectors = 2;  // registers across a tile of C
inline constexpr int kWideRows = 8;     // of a tile of three registers across: 28 of 32 registers with B and A
inline constexpr int kMaxTileCols = 32;
inline constexpr int kFewRows = 8;
/// Steps of k, and the least rows, of a product whose B is kept in registers.
inline constexpr int kTinySteps = 16, kTinyRows = 8;

/// Memory that is needed soon, or nothing: rows of a tile's width, one asked for in every step of k, `step` elements
/// apart, and `jump` further after every `run` of them.
template <class T>
struct Stream {
  const T* data = nullptr;
  Index step = 0, run = 0, jump = 0;
};

/// One tile of C: c[i][j] = keep_c * c[i][j] + alpha * sum_p a[i][p] * b[p][j], for the rows of the chosen
/// micro-kernel.
template <class T>
struct Tile {
  const T* a;
  Index a_row_stride;
  Index a_k_stride;
  const T* b;  // columns next to each other
  Index b_k_stride;
  Index k;
  T* c;  // columns next to each other
  Index c_row_stride;
  Index cols;  // 1 .. registers * lanes
  T alpha;
  T keep_c;  // 0: c is not read
  Stream<T> next = {};
  bool fetches_c = true;  // before `next`
  T* panel = nullptr;     // where a kernel that packs puts its panel of b
};

/// What the kernel of all of a product that fits a few registers (tiny.hpp) needs after the first multiplications.
template <class T>
struct TinyEnd {
  T* c;
  Index c_row_stride, rows, k;
  T alpha;
};
/// c = alpha * a * b. a_stride is that of a's strides that is not 1. What comes first comes in registers: a structure
/// is copied through vector registers, whose stores wait behind the multiplications of the call before.
template <class T>
using TinyKernel = void (*)(const T* a, Index a_stride, const T* b, Index b_row_stride, Index cols,
                            const TinyEnd<T>& end) noexcept;

/// A block of k of a few rows of C: sums[i][j] = sum_p a[p][i] * b[p][j] for j < n and the rows of the chosen kernel.
template <class T>
struct FewRows {
  const T* a;      // one step of k after the other
  const T* b;      // rows of neighbours, or columns: see GemmKernels
  Index b_stride;  // from one row, or column, to the next
  Index k, n;
  T* sums;
  Index sums_stride;
  const T* next;  // rows or columns, of the same stride, that are needed soon
  Index run;      // of rows: elements from what is read to what is asked for; of columns: those that are asked for
};

/// Elements that one sum in the working precision covers, in sums over many; part of the numerics.
inline constexpr Index kSumBlockElements = 4096;

/// The numbers of an activation (activations.hpp), rounded.
template <class T>
struct ActivationNumbers {
  T a, b;
  bool from_memory = false;  ///< whether x and y are larger than the caches
};

/// Activations that the epilogue of gemm applies in registers, the first ones; the others pass over the tile once more.
inline constexpr int kFusedKinds = 2;

/// The last touch of a finished part of C: c = f(c + bias + residual), what f is applied to also to `pre` unless that
/// is null; or, for a derivative, c = (c + bias + residual) * f'(saved).
template <class T>
struct Finish {
  T* c;
  Index c_row_stride;
  Index rows, cols;
  const T* bias;  // or null
  bool bias_per_row;
  const T* residual;  // or null
  Index residual_row_stride;
  T* pre;  // or null
  Index pre_row_stride;
  const T* saved;  // of a derivative
  Index saved_row_stride;
  ActivationNumbers<T> numbers;
};

template <class T>
struct GemmKernels {
  using Micro = void (*)(const Tile<T>&) noexcept;
  int tile_rows;
  int tile_cols;
  int lanes;
  /// [along][ragged][registers across - 1][rows - 1]. along: the elements of a row of A are neighbours; otherwise those
  /// of a column are. ragged: the last register across may be partial.
  Micro micro[2][2][kTileVectors][kMaxTileRows];
  /// kWideRows rows by three registers across, the last one perhaps partial, where the elements of a row of A are
  /// neighbours; or null.
  Micro wide;
  /// [along][ragged]: a full tile, or one ragged in its last register, that packs its panel of b in passing; or null.
  Micro packing[2][2];
  /// [along][rows - 1]: tiles of at most half a register across, where the ISA has something faster for them; or null.
  Micro narrow[2][kMaxTileRows];
  /// [along][half][k - 1]: at least kTinyRows rows by at most one register across, or half of one (tiny.hpp); or null.
  TinyKernel<T> tiny[2][2][kTinySteps];
  /// Packing (pack.hpp).
  void (*copy_rows)(const T* source, Index stride, Index rows, Index cols, T* to, Index to_stride) noexcept;
  void (*pack_rows)(const T* source, Index stride, Index cols, Index k, T* to) noexcept;
  void (*pack_columns)(const T* source, Index stride, Index cols, Index k, T* panel) noexcept;
  /// For 1, 2, 4 and 8 rows, or null; the elements of a row of B are neighbours, or those of a column.
  void (*few_rows_across[4])(const FewRows<T>&) noexcept;
  void (*few_rows_along[4])(const FewRows<T>&) noexcept;
  /// c = keep_c * c + alpha * x, elementwise; keep_c 0: c is not read.
  void (*accumulate)(const T* x, T* c, Index n, T alpha, T keep_c) noexcept;
  void (*finish[kFusedKinds])(const Finish<T>&) noexcept;
  void (*derive[kFusedKinds])(const Finish<T>&) noexcept;
  void (*add_column_sums)(const T* x, Index row_stride, Index rows, Index cols, T* sums) noexcept;
};

/// y(i, j) = f(x(i, j) + bias[j]) for `rows` rows of n elements; y may be x.
template <class T>
struct ForwardRows {
  const T* x;
  Index x_stride;
  T* y;
  Index y_stride;
  Index rows, n;
  const T* bias = nullptr;  // or null
  T* pre = nullptr;         // receives what f is applied to, or null
  Index pre_stride = 0;
};

template <class T>
struct MapKernels {
  using Forward = void (*)(const T* x, T* y, Index n, const ActivationNumbers<T>& numbers) noexcept;
  using Backward = void (*)(const T* saved, const T* dy, T* dx, Index n, const ActivationNumbers<T>& numbers) noexcept;
  Forward forward[kActivationKinds];
  Backward backward[kActivationKinds];
  Forward function[kFunctionKinds];  // null where T does not have it
  Backward function_backward[kFunctionKinds];
  /// Several rows in one call, or null where that is not faster.
  void (*forward_rows[kActivationKinds])(const ForwardRows<T>& r, const ActivationNumbers<T>& numbers) noexcept;
  void (*backward_rows[kActivationKinds])(const T* saved, Index saved_stride, const T* dy, Index dy_stride, T* dx,
                                          Index dx_stride, Index rows, Index n,
                                          const ActivationNumbers<T>& numbers) noexcept;
};

/// Copies n floats past the caches; null where the ISA cannot.
using StoreKernel = void (*)(const float* from, float* to, Index n) noexcept;

template <class T>
struct ElementKernels {
  using Two = void (*)(const T* x, const T* y, T* out, Index n) noexcept;
  Two add, multiply;
  /// y = x transposed; x is rows x cols.
  void (*transpose)(const T* x, Index x_stride, Index rows, Index cols, T* y, Index y_stride) noexcept;
  int lanes;
};

struct PhiloxStream {
  std::uint64_t seed, stream;
};

/// Multipliers and Weyl increments of Philox4x32-10 (table 2 and section 4.3 of the paper that random.hpp names).
inline constexpr std::uint32_t kPhiloxMultipliers[] = {0xD2511F53, 0xCD9E8D57};
inline constexpr std::uint32_t kPhiloxWeyl[] = {0x9E3779B9, 0xBB67AE85};

/// Blocks come in whole multiples of kPhiloxUnit, so that memory for n words holds a whole number of registers.
inline constexpr Index kPhiloxUnit = 16;
struct RandomKernels {
  void (*philox_blocks)(const PhiloxStream& s, std::uint64_t first, Index blocks, std::uint32_t* words) noexcept;
  void (*scale_words)(const std::uint32_t* words, float low, float range, float* y, Index n) noexcept;
  void (*drop)(const float* x, const std::uint32_t* words, float limit, float scale, float* y, Index n) noexcept;
};

/// When the next row is read for its first sum: by itself, with this row's squares (of centered rows of at most
/// kSumBlockElements), or while this row is written.
enum class Ahead { no, with_squares, with_stores };

/// Rows of n elements that are normalised by their own numbers (norm.hpp, narrow.hpp); those of mean and rstd, which
/// may be null, are `step` apart.
struct NormRows {
  const float *x, *gamma, *beta;
  float *y, *mean, *rstd;
  Index x_stride, y_stride, step, rows, n;
  bool centered;
  double eps;
  Ahead ahead;
};

/// One such row in the backward pass; y is dx.
struct NormRow {
  const float *x, *gamma, *dy;
  float *y, *dgamma, *dbeta;
  Index n;
  float mean, rstd;
  float slope, offset;
  bool centered;
};
inline constexpr Index kNormRows = 16;

/// The longest rows that narrow.hpp takes, whose kernels may be null, all of them.
inline constexpr Index kNarrow = 16;

/// Rows of n elements that become others, which may be in the same place.
struct RowBlock {
  const float* x;
  float* y;
  Index x_stride, y_stride, rows, n;
};

struct SoftmaxGradients {
  const float *y, *dy;
  float* dx;
  Index y_stride, dy_stride, dx_stride, rows, n;
};

/// A row whose columns have numbers of their own; y is dx in the backward pass (norm.hpp).
struct ColumnsRow {
  const float *x, *dy, *mean, *factor, *shift, *slope;
  float* y;
  Index n;
};

/// Rows of n neighbours.
struct RowKernels {
  using Forward = void (*)(const RowBlock& rows) noexcept;
  using Backward = void (*)(const SoftmaxGradients& rows) noexcept;
  Forward softmax, log_softmax, softmax_narrow, log_softmax_narrow;
  float (*logsumexp)(const float* x, Index n) noexcept;
  Backward softmax_backward, log_softmax_backward;
  float (*max)(const float* x, Index n) noexcept;
  Index (*find)(const float* x, Index n, float value) noexcept;
  double (*sum)(const float* x, Index n) noexcept;
  double (*dot)(const float* x, const float* y, Index n) noexcept;
  void (*combine)(const float* x, const float* y, float a, float b, float* to, Index n) noexcept;
  double (*squares)(const float* x, Index n, float center) noexcept;
  /// to = (x - center) factor, or exp(x - center) factor.
  void (*distances[2])(const float* x, float center, float factor, float* to, Index n) noexcept;
  void (*norm)(const NormRows& rows) noexcept;
  void (*norm_slopes)(NormRow* rows, Index count) noexcept;
  void (*norm_backward[2])(NormRow* rows, Index count, bool given) noexcept;  // the second with norm_sums
  void (*norm_sums)(const NormRow* rows, Index count) noexcept;
  void (*norm_narrow)(const NormRows& rows) noexcept;
  void (*add_squares)(const float* x, const float* mean, Index n, float* sums) noexcept;
  void (*scale_columns)(const ColumnsRow& row) noexcept;
  void (*scale_columns_backward)(const ColumnsRow& row) noexcept;
  void (*prelu)(const ColumnsRow& row) noexcept;
  using AddColumns = void (*)(const ColumnsRow& row, float* products, float* sums) noexcept;
  AddColumns add_products, prelu_backward;
};

/// In the order of Points (kernels/rows/loss.hpp).
enum class PointLoss {
  squared,
  logistic,
  weighted_logistic,
  absolute,
  smooth_absolute,
  huber,
  binary_cross_entropy,
  kl_divergence,
  kl_divergence_of_logs,
  hinge_embedding,
  margin_ranking
};
inline constexpr int kPointLosses = 11;

/// Elements of a loss that is a sum over elements; dx, values, weight and other may be null.
struct PointBlock {
  const float *x, *target, *other, *weight;
  float *dx, *values;
  Index n;
  float scale, parameter;
};

/// A row of cross-entropy with whatever options (loss.hpp); dx, weight and probabilities may be null, target negative.
struct MixRow {
  const float *x, *weight, *probabilities;
  float* dx;
  Index n, target;
  float picked, uniform, share, scale;
};

/// Up to kNarrowLosses rows of cross-entropy of 1 to kNarrow classes (narrow.hpp); dx may be null, or x.
struct NarrowLosses {
  const float* x;
  float* dx;
  Index x_stride, dx_stride, rows, n;
  const Index* targets;
  const float* scales;
  float* losses;
};
inline constexpr Index kNarrowLosses = 16;

struct LossKernels {
  using Point = float (*)(const PointBlock& block) noexcept;
  Point point[kPointLosses];
  float (*cross_entropy_row)(const float* x, float* dx, Index n, Index target, float scale) noexcept;
  float (*cross_entropy_mix)(const MixRow& row) noexcept;
  void (*cross_entropy_narrow)(const NarrowLosses& rows) noexcept;
};

struct SgdNumbers {
  float lr, momentum, one_minus_dampening, weight_decay;
  bool has_momentum, first, nesterov;
};

struct AdamNumbers {
  float step_size, beta2, one_minus_beta1, one_minus_beta2, eps, inverse_root_correction2, coupled_decay, keep_weights;
};

/// In the order of UpdateFormulas (kernels/update/formulas.hpp).
enum class UpdateKind {
  amsgrad,
  adamax,
  nadam,
  radam,
  rmsprop,
  rmsprop_momentum,
  rmsprop_centered,
  rmsprop_centered_momentum,
  adagrad,
  adadelta,
  rprop,
  lion,
  average,
  penalty,
  clip
};
inline constexpr int kUpdateKinds = 15;

struct UpdateNumbers {
  float coupled_decay = 0;  // times the parameters, added to the gradients
  float keep_weights = 1;   // what the parameters are multiplied by
  float c[7] = {};          // the formula's own
};

struct UpdateKernels {
  void (*sgd)(float* p, const float* g, float* b, Index n, const SgdNumbers& numbers) noexcept;
  void (*adam)(float* p, const float* g, float* m, float* v, Index n, const AdamNumbers& numbers) noexcept;
  using Formula = void (*)(float* p, const float* g, float* const* states, Index n,
                           const UpdateNumbers& numbers) noexcept;
  Formula formula[kUpdateKinds];
};

/// Bare loops, whose speed is the roof of the others (kernels/roof/). What they return only keeps them from being
/// optimised away.
inline constexpr int kStreamMixes = 6;
/// 12 chains of multiply-adds hide the latency of 4 to 5 cycles on two units; sse2 and avx2 have registers for no more.
inline constexpr int kFmaChains = 12;
struct RoofKernels {
  float (*fma_f32)(Index steps, float a, float b) noexcept;
  double (*fma_f64)(Index steps, double a, double b) noexcept;
  float (*divide[3])(Index steps, float a) noexcept;  // by square roots with each division
  using Stream = float (*)(float* const* arrays, Index n) noexcept;
  Stream stream[kStreamMixes];  // in the order of kMixes (kernels/roof/machine.cpp)
};

struct KernelTable {
  Isa isa;
  const GemmKernels<float>* gemm_f32;
  const GemmKernels<double>* gemm_f64;
  MapKernels<float> map_f32;
  MapKernels<double> map_f64;
  ElementKernels<float> elements_f32;
  ElementKernels<double> elements_f64;
  RandomKernels random;
  RowKernels rows;
  LossKernels loss;
  UpdateKernels update;
  RoofKernels roof;
  StoreKernel copy_past_caches;

  template <class T>
  const auto& gemm() const {
    if constexpr (sizeof(T) == 4)
      return *gemm_f32;
    else
      return *gemm_f64;
  }
  template <class T>
  const auto& elements() const {
    if constexpr (sizeof(T) == 4)
      return elements_f32;
    else
      return elements_f64;
  }
  template <class T>
  const auto& map() const {
    if constexpr (sizeof(T) == 4)
      return map_f32;
    else
      return map_f64;
  }
};

/// The tables; only those of this build exist.
extern const KernelTable kTableSse2;
extern const KernelTable kTableAvx2;
extern const KernelTable kTableAvx512;
extern const KernelTable kTableNeon;

/// What active_table() gives; null until somebody asked.
extern std::atomic<const KernelTable*> chosen_table;
[[gnu::cold]] const KernelTable& choose_table();

/// The table that calls use now. Throws ValueError when TILEWRIGHT_ISA is not a name.
inline const KernelTable& active_table() {
  const KernelTable* table = chosen_table.load(std::memory_order_acquire);
  return table != nullptr ? *table : choose_table();
}

}  // namespace tilewright::detail
