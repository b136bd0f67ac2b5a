/* SPDX-License-Identifier: MIT
 * A program in C: a small network learns, and mistakes are reported. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <tilewright/c.h>

static int failures = 0;

static void expect(int condition, const char* what) {
  if (!condition) {
    printf("failed: %s (last error: %s)\n", what, tilewright_last_error());
    ++failures;
  }
}

static tilewright_input_f32 in(const float* data, int64_t rows, int64_t cols) {
  const tilewright_input_f32 m = {data, rows, cols, cols, 1};
  return m;
}
static tilewright_input_f32 transposed(const float* data, int64_t rows, int64_t cols) {
  const tilewright_input_f32 m = {data, cols, rows, 1, cols};
  return m;
}
static tilewright_output_f32 out(float* data, int64_t rows, int64_t cols) {
  const tilewright_output_f32 m = {data, rows, cols, cols, 1};
  return m;
}

enum { kRows = 64, kIn = 2, kHidden = 8, kWeights = kHidden * kIn + kHidden + 2 * kHidden + 2 };

/* x -> 8 tanh -> 2 classes: is x0 x1 positive? Parameters: w1, b1, w2, b2. */
static double train(int steps) {
  static float x[kRows * kIn], w[kWeights], g[kWeights], m[kWeights], v[kWeights];
  static float h[kRows * kHidden], y[kRows * 2], dy[kRows * 2], dh[kRows * kHidden], ones[kRows];
  static int64_t classes[kRows];
  float *w1 = w, *b1 = w1 + kHidden * kIn, *w2 = b1 + kHidden, *b2 = w2 + 2 * kHidden;
  float *g1 = g, *gb1 = g1 + kHidden * kIn, *g2 = gb1 + kHidden, *gb2 = g2 + 2 * kHidden;
  double loss = 0;
  int i, step;
  memset(m, 0, sizeof m);
  memset(v, 0, sizeof v);
  for (i = 0; i < kWeights; ++i) w[i] = (float)sin(1.7 * i + 0.3);
  for (i = 0; i < kRows; ++i) {
    x[2 * i] = (float)sin(2.1 * i);
    x[2 * i + 1] = (float)cos(3.7 * i);
    classes[i] = x[2 * i] * x[2 * i + 1] > 0;
    ones[i] = 1;
  }
  for (step = 1; step <= steps; ++step) {
    int ok = 1;
    ok &= !tilewright_gemm_f32(1, in(x, kRows, kIn), transposed(w1, kHidden, kIn), 0, out(h, kRows, kHidden), b1,
                               TILEWRIGHT_TANH, 0);
    ok &= !tilewright_gemm_f32(1, in(h, kRows, kHidden), transposed(w2, 2, kHidden), 0, out(y, kRows, 2), b2,
                               TILEWRIGHT_IDENTITY, 0);
    ok &= !tilewright_cross_entropy_loss_f32(in(y, kRows, 2), classes, out(dy, kRows, 2), &loss, 0);
    ok &= !tilewright_gemm_f32(1, transposed(dy, kRows, 2), in(h, kRows, kHidden), 0, out(g2, 2, kHidden), NULL,
                               TILEWRIGHT_IDENTITY, 0);
    ok &=
        !tilewright_gemm_f32(1, in(ones, 1, kRows), in(dy, kRows, 2), 0, out(gb2, 1, 2), NULL, TILEWRIGHT_IDENTITY, 0);
    ok &= !tilewright_gemm_f32(1, in(dy, kRows, 2), in(w2, 2, kHidden), 0, out(dh, kRows, kHidden), NULL,
                               TILEWRIGHT_IDENTITY, 0);
    ok &= !tilewright_activation_backward_f32(TILEWRIGHT_TANH, in(h, kRows, kHidden), in(dh, kRows, kHidden),
                                              out(dh, kRows, kHidden), 0);
    ok &= !tilewright_gemm_f32(1, transposed(dh, kRows, kHidden), in(x, kRows, kIn), 0, out(g1, kHidden, kIn), NULL,
                               TILEWRIGHT_IDENTITY, 0);
    ok &= !tilewright_gemm_f32(1, in(ones, 1, kRows), in(dh, kRows, kHidden), 0, out(gb1, 1, kHidden), NULL,
                               TILEWRIGHT_IDENTITY, 0);
    ok &= !tilewright_adam_update_f32(kWeights, w, g, m, v, step, 0.02, 0.9, 0.999, 1e-8, 0, 0, 0);
    expect(ok, "a training step");
    if (!ok) break;
  }
  return loss;
}

int main(void) {
  int i;
  float a[6] = {1, 2, 3, 4, 5, 6}, c[4] = {0};
  double d[4] = {1, 2, 3, 4}, e[4] = {0}, loss = 0;
  const tilewright_input_f64 square = {d, 2, 2, 2, 1};
  const tilewright_output_f64 result = {e, 2, 2, 2, 1};
  const int64_t classes[2] = {0, 7};
  /* The first call reads what the machine has: not all of these files exist everywhere. */
  errno = 77;
  expect(tilewright_softmax_f32(in(a, 2, 3), out(a, 2, 3), 0) == TILEWRIGHT_OK && train(1) > 0.6 && errno == 77,
         "errno is the caller's");
  for (i = 0; i < 6; ++i) a[i] = (float)(i + 1);
  printf("tilewright %s, %s\n", tilewright_version(), tilewright_active_isa());
  expect(train(1) > 0.6 && train(500) < 0.1, "the network learns");
  expect(tilewright_gemm_f64(1, square, square, 0, result, NULL, TILEWRIGHT_IDENTITY, 1) == TILEWRIGHT_OK &&
             e[0] == 7 && e[3] == 22,
         "double");
  expect(tilewright_gemm_f64(2, square, square, 3, result, NULL, TILEWRIGHT_IDENTITY, 1) == TILEWRIGHT_OK &&
             e[0] == 2 * 7 + 3 * 7 && e[3] == 2 * 22 + 3 * 22,
         "alpha and beta");
  expect(tilewright_gemm_f32(1, in(a, 2, 3), in(a, 2, 3), 0, out(c, 2, 3), NULL, TILEWRIGHT_RELU, 0) ==
             TILEWRIGHT_SHAPE_ERROR,
         "shapes that do not fit");
  expect(strcmp(tilewright_last_error(), "gemm: a is 2x3 but b is 2x3") == 0, "their message");
  expect(tilewright_cross_entropy_loss_f32(in(a, 2, 3), classes, out(NULL, 0, 0), &loss, 0) == TILEWRIGHT_VALUE_ERROR,
         "a class that is not there");
  expect(tilewright_cross_entropy_loss_f32(in(a, 2, 3), NULL, out(NULL, 0, 0), &loss, 0) == TILEWRIGHT_VALUE_ERROR &&
             strcmp(tilewright_last_error(), "cross_entropy_loss: classes is null") == 0,
         "no classes");
  expect(tilewright_mse_loss_f32(in(a, 2, 3), in(a, 2, 3), out(NULL, 0, 0), &loss, 0) == TILEWRIGHT_OK && loss == 0,
         "a loss without a gradient");
  expect(
      tilewright_bce_with_logits_loss_f32(in(a, 2, 3), in(a, 2, 3), out(NULL, 0, 0), NULL, 0) == TILEWRIGHT_VALUE_ERROR,
      "no place for the value");
  expect(tilewright_activation_forward_f32((tilewright_activation)99, in(a, 2, 3), out(a, 2, 3), 0) ==
             TILEWRIGHT_VALUE_ERROR,
         "an activation that is not there");
  expect(tilewright_saves_input(TILEWRIGHT_GELU) == 1 && tilewright_saves_input(TILEWRIGHT_TANH) == 0, "saves_input");
  expect(tilewright_sgd_update_f32(4, c, NULL, NULL, 0.1, 0, 0, 0, 1, 0) == TILEWRIGHT_VALUE_ERROR, "no gradients");
  {
    float p[1] = {2}, g[1] = {0}, m[1] = {0}, v[1] = {0};
    expect(tilewright_adam_update_f32(1, p, g, m, v, 1, 0.5, 0.9, 0.999, 1e-8, 0.25, 1, 0) == TILEWRIGHT_OK &&
               p[0] == 1.75F,
           "decay of the weights alone");
  }
  expect(tilewright_adam_update_f32(4, c, a, c, c, 0, 0.1, 0.9, 0.999, 1e-8, 0, 0, 0) == TILEWRIGHT_VALUE_ERROR,
         "step 0");
  expect(tilewright_softmax_f32(in(a, 2, 3), out(a, 2, 3), 0) == TILEWRIGHT_OK && fabs(a[0] + a[1] + a[2] - 1) < 1e-6,
         "softmax");
  expect(tilewright_set_num_threads(-1) == TILEWRIGHT_VALUE_ERROR && tilewright_set_num_threads(0) == TILEWRIGHT_OK,
         "threads");
  printf(failures == 0 ? "all as expected\n" : "%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
