/* SPDX-License-Identifier: MIT
 * The kernels from C, and from whatever calls C. Every function does what its namesake of the C++ headers does, with the
 * same shapes, errors and bits, and returns a status; no exception passes. tilewright_last_error() says what was wrong.
 * Matrices are views: element (i, j) is data[i * row_stride + j * col_stride]. num_threads 0 means the library's choice.
 */
#ifndef TILEWRIGHT_C_H
#define TILEWRIGHT_C_H

#include <stddef.h>
#include <stdint.h>

#define TILEWRIGHT_C_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  TILEWRIGHT_OK = 0,
  TILEWRIGHT_SHAPE_ERROR,   /**< operands do not fit together */
  TILEWRIGHT_VALUE_ERROR,   /**< a number or name is out of its range */
  TILEWRIGHT_OUT_OF_MEMORY,
  TILEWRIGHT_ERROR          /**< anything else */
} tilewright_status;

/** Of the calling thread's last call that did not return TILEWRIGHT_OK; valid until its next one. Never null. */
TILEWRIGHT_C_API const char* tilewright_last_error(void);

/** A matrix of floats that is read: element (i, j) is data[i * row_stride + j * col_stride]. */
typedef struct {
  const float* data; /**< element (0, 0) */
  int64_t rows; /**< extent */
  int64_t cols; /**< extent */
  int64_t row_stride; /**< elements from a row to the next */
  int64_t col_stride; /**< elements from a column to the next */
} tilewright_input_f32;
/** A matrix of floats that is written. */
typedef struct {
  float* data; /**< element (0, 0) */
  int64_t rows; /**< extent */
  int64_t cols; /**< extent */
  int64_t row_stride; /**< elements from a row to the next */
  int64_t col_stride; /**< elements from a column to the next */
} tilewright_output_f32;
/** A matrix of doubles that is read. */
typedef struct {
  const double* data; /**< element (0, 0) */
  int64_t rows; /**< extent */
  int64_t cols; /**< extent */
  int64_t row_stride; /**< elements from a row to the next */
  int64_t col_stride; /**< elements from a column to the next */
} tilewright_input_f64;
/** A matrix of doubles that is written. */
typedef struct {
  double* data; /**< element (0, 0) */
  int64_t rows; /**< extent */
  int64_t cols; /**< extent */
  int64_t row_stride; /**< elements from a row to the next */
  int64_t col_stride; /**< elements from a column to the next */
} tilewright_output_f64;

/** The numbers of tilewright::ActivationKind, with its defaults (leaky_relu's slope 0.01, and so on). */
typedef enum {
  TILEWRIGHT_IDENTITY = 0,
  TILEWRIGHT_RELU,
  TILEWRIGHT_LEAKY_RELU,
  TILEWRIGHT_SIGMOID,
  TILEWRIGHT_TANH,
  TILEWRIGHT_GELU,
  TILEWRIGHT_GELU_TANH,
  TILEWRIGHT_SILU,
  TILEWRIGHT_RELU6,
  TILEWRIGHT_ELU,
  TILEWRIGHT_SELU,
  TILEWRIGHT_CELU,
  TILEWRIGHT_SOFTPLUS,
  TILEWRIGHT_LOG_SIGMOID,
  TILEWRIGHT_MISH,
  TILEWRIGHT_SOFTSIGN,
  TILEWRIGHT_QUICK_GELU,
  TILEWRIGHT_HARDSIGMOID,
  TILEWRIGHT_HARDSWISH,
  TILEWRIGHT_HARDTANH,
  TILEWRIGHT_TANHSHRINK,
  TILEWRIGHT_SOFTSHRINK,
  TILEWRIGHT_THRESHOLD
} tilewright_activation;

/** c = f(alpha a b + beta c + bias); bias has c.cols numbers, or is null. */
TILEWRIGHT_C_API tilewright_status tilewright_gemm_f32(float alpha, tilewright_input_f32 a, tilewright_input_f32 b,
                                                       float beta, tilewright_output_f32 c, const float* bias,
                                                       tilewright_activation f, int num_threads);
TILEWRIGHT_C_API tilewright_status tilewright_gemm_f64(double alpha, tilewright_input_f64 a, tilewright_input_f64 b,
                                                       double beta, tilewright_output_f64 c, const double* bias,
                                                       tilewright_activation f, int num_threads);

/** y = f(x);  dx = dy f'(x), where saved is x or y (tilewright::saves_input). */
TILEWRIGHT_C_API tilewright_status tilewright_activation_forward_f32(tilewright_activation f, tilewright_input_f32 x,
                                                                     tilewright_output_f32 y, int num_threads);
TILEWRIGHT_C_API tilewright_status tilewright_activation_backward_f32(tilewright_activation f,
                                                                      tilewright_input_f32 saved,
                                                                      tilewright_input_f32 dy,
                                                                      tilewright_output_f32 dx, int num_threads);
/** 1: backward wants the input x, 0: the output y. */
TILEWRIGHT_C_API int tilewright_saves_input(tilewright_activation f);

TILEWRIGHT_C_API tilewright_status tilewright_softmax_f32(tilewright_input_f32 x, tilewright_output_f32 y,
                                                          int num_threads);

/** Means over what they are losses of; *value is the loss. dx.data may be null. */
TILEWRIGHT_C_API tilewright_status tilewright_mse_loss_f32(tilewright_input_f32 x, tilewright_input_f32 target,
                                                           tilewright_output_f32 dx, double* value, int num_threads);
TILEWRIGHT_C_API tilewright_status tilewright_bce_with_logits_loss_f32(tilewright_input_f32 x,
                                                                       tilewright_input_f32 target,
                                                                       tilewright_output_f32 dx, double* value,
                                                                       int num_threads);
/** classes: x.rows numbers. */
TILEWRIGHT_C_API tilewright_status tilewright_cross_entropy_loss_f32(tilewright_input_f32 x, const int64_t* classes,
                                                                     tilewright_output_f32 dx, double* value,
                                                                     int num_threads);

/** One step of n parameters. buffer may be null when momentum is 0; first: the first step. */
TILEWRIGHT_C_API tilewright_status tilewright_sgd_update_f32(size_t n, float* parameters, const float* gradients,
                                                             float* buffer, double lr, double momentum,
                                                             double weight_decay, int nesterov, int first,
                                                             int num_threads);
/** step counts from 1; decoupled: AdamW. */
TILEWRIGHT_C_API tilewright_status tilewright_adam_update_f32(size_t n, float* parameters, const float* gradients,
                                                              float* m, float* v, int64_t step, double lr,
                                                              double beta1, double beta2, double eps,
                                                              double weight_decay, int decoupled, int num_threads);

/** "sse2", "avx2", "avx512" or "neon"; null (and an error message) when TILEWRIGHT_ISA holds an unknown name. */
TILEWRIGHT_C_API const char* tilewright_active_isa(void);
TILEWRIGHT_C_API tilewright_status tilewright_set_num_threads(int count);
TILEWRIGHT_C_API const char* tilewright_version(void);

#ifdef __cplusplus
}
#endif

#endif
