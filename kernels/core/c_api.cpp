// SPDX-License-Identifier: MIT
// Views into views, exceptions into statuses; nothing else.
#include <cmath>
#include <cstring>
#include <new>

#include "tilewright/c.h"
#include "tilewright/tilewright.hpp"

namespace tilewright {
namespace {

static_assert(TILEWRIGHT_THRESHOLD == static_cast<int>(ActivationKind::threshold));
static_assert(TILEWRIGHT_GELU_TANH == static_cast<int>(ActivationKind::gelu_tanh));
static_assert(TILEWRIGHT_THRESHOLD + 1 == kActivationKinds);

/// A fixed place, so that running out of memory can be reported, too.
thread_local char last_error[512] = "";

tilewright_status report(tilewright_status status, const char* message) noexcept {
  std::strncpy(last_error, message, sizeof last_error - 1);
  return status;
}

template <class Call>
tilewright_status guarded(Call call) noexcept {
  try {
    call();
    return TILEWRIGHT_OK;
  } catch (const ShapeError& error) {
    return report(TILEWRIGHT_SHAPE_ERROR, error.what());
  } catch (const ValueError& error) {
    return report(TILEWRIGHT_VALUE_ERROR, error.what());
  } catch (const std::bad_alloc&) {
    return report(TILEWRIGHT_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return report(TILEWRIGHT_ERROR, error.what());
  } catch (...) {
    return report(TILEWRIGHT_ERROR, "unknown error");
  }
}

MatrixView<const float> view(const tilewright_input_f32& m) {
  return {m.data, m.rows, m.cols, m.row_stride, m.col_stride};
}
MatrixView<const double> view(const tilewright_input_f64& m) {
  return {m.data, m.rows, m.cols, m.row_stride, m.col_stride};
}
MatrixView<float> view(const tilewright_output_f32& m) { return {m.data, m.rows, m.cols, m.row_stride, m.col_stride}; }
MatrixView<double> view(const tilewright_output_f64& m) { return {m.data, m.rows, m.cols, m.row_stride, m.col_stride}; }

Activation activation(tilewright_activation f) {
  if (f < 0 || f >= kActivationKinds) throw ValueError("activation: there is no number " + std::to_string(f));
  return static_cast<ActivationKind>(f);
}

template <class T, class In, class Out>
tilewright_status product(T alpha, const In& a, const In& b, T beta, const Out& c, const T* bias,
                          tilewright_activation f, int num_threads) {
  return guarded([&] {
    GemmOptions<T> options;
    options.alpha = alpha;
    options.beta = beta;
    if (bias != nullptr) options.bias = {bias, static_cast<std::size_t>(c.cols)};
    options.activation = activation(f);
    options.num_threads = num_threads;
    gemm(view(a), view(b), view(c), options);
  });
}

void check_pointer(const char* operation, const void* pointer, const char* what, std::size_t n) {
  if (pointer == nullptr && n > 0) throw ValueError(std::string(operation) + ": " + what + " is null");
}

}  // namespace
}  // namespace tilewright

using namespace tilewright;

extern "C" {

const char* tilewright_last_error(void) { return last_error; }

tilewright_status tilewright_gemm_f32(float alpha, tilewright_input_f32 a, tilewright_input_f32 b, float beta,
                                      tilewright_output_f32 c, const float* bias, tilewright_activation f,
                                      int num_threads) {
  return product(alpha, a, b, beta, c, bias, f, num_threads);
}

tilewright_status tilewright_gemm_f64(double alpha, tilewright_input_f64 a, tilewright_input_f64 b, double beta,
                                      tilewright_output_f64 c, const double* bias, tilewright_activation f,
                                      int num_threads) {
  return product(alpha, a, b, beta, c, bias, f, num_threads);
}

tilewright_status tilewright_activation_forward_f32(tilewright_activation f, tilewright_input_f32 x,
                                                    tilewright_output_f32 y, int num_threads) {
  return guarded([&] { activation_forward(activation(f), view(x), view(y), num_threads); });
}

tilewright_status tilewright_activation_backward_f32(tilewright_activation f, tilewright_input_f32 saved,
                                                     tilewright_input_f32 dy, tilewright_output_f32 dx,
                                                     int num_threads) {
  return guarded([&] { activation_backward(activation(f), view(saved), view(dy), view(dx), num_threads); });
}

int tilewright_saves_input(tilewright_activation f) {
  return f >= 0 && f < kActivationKinds && saves_input(static_cast<ActivationKind>(f)) ? 1 : 0;
}

tilewright_status tilewright_softmax_f32(tilewright_input_f32 x, tilewright_output_f32 y, int num_threads) {
  return guarded([&] { softmax(view(x), view(y), num_threads); });
}

tilewright_status tilewright_mse_loss_f32(tilewright_input_f32 x, tilewright_input_f32 target, tilewright_output_f32 dx,
                                          double* value, int num_threads) {
  return guarded([&] {
    check_pointer("mse_loss", value, "value", 1);
    *value = mse_loss(view(x), view(target), view(dx), {}, num_threads);
  });
}

tilewright_status tilewright_bce_with_logits_loss_f32(tilewright_input_f32 x, tilewright_input_f32 target,
                                                      tilewright_output_f32 dx, double* value, int num_threads) {
  return guarded([&] {
    check_pointer("bce_with_logits_loss", value, "value", 1);
    *value = bce_with_logits_loss(view(x), view(target), view(dx), {}, num_threads);
  });
}

tilewright_status tilewright_cross_entropy_loss_f32(tilewright_input_f32 x, const int64_t* classes,
                                                    tilewright_output_f32 dx, double* value, int num_threads) {
  return guarded([&] {
    check_pointer("cross_entropy_loss", value, "value", 1);
    const std::size_t rows = x.rows > 0 ? static_cast<std::size_t>(x.rows) : 0;
    check_pointer("cross_entropy_loss", classes, "classes", rows);
    *value = cross_entropy_loss(view(x), std::span<const Index>(classes, rows), view(dx), {}, num_threads);
  });
}

tilewright_status tilewright_sgd_update_f32(size_t n, float* parameters, const float* gradients, float* buffer,
                                            double lr, double momentum, double weight_decay, int nesterov, int first,
                                            int num_threads) {
  return guarded([&] {
    check_pointer("sgd_update", parameters, "parameters", n);
    check_pointer("sgd_update", gradients, "gradients", n);
    sgd_update({parameters, n}, {gradients, n}, {buffer, buffer == nullptr ? 0 : n},
               {lr, momentum, 0, weight_decay, nesterov != 0, first != 0}, num_threads);
  });
}

tilewright_status tilewright_adam_update_f32(size_t n, float* parameters, const float* gradients, float* m, float* v,
                                             int64_t step, double lr, double beta1, double beta2, double eps,
                                             double weight_decay, int decoupled, int num_threads) {
  return guarded([&] {
    check_pointer("adam_update", parameters, "parameters", n);
    check_pointer("adam_update", gradients, "gradients", n);
    check_pointer("adam_update", m, "m", n);
    check_pointer("adam_update", v, "v", n);
    if (step < 1) throw ValueError("adam_update: step is " + std::to_string(step) + ", expected 1 or more");
    const double t = static_cast<double>(step);
    adam_update({parameters, n}, {gradients, n}, {m, n}, {v, n},
                {lr, beta1, beta2, eps, weight_decay, decoupled != 0, 1 - std::pow(beta1, t), 1 - std::pow(beta2, t)},
                num_threads);
  });
}

const char* tilewright_active_isa(void) {
  const char* name = nullptr;
  guarded([&] { name = to_string(active_isa()).data(); });
  return name;
}

tilewright_status tilewright_set_num_threads(int count) {
  return guarded([&] { set_num_threads(count); });
}

const char* tilewright_version(void) { return TILEWRIGHT_VERSION; }

}  // extern "C"
