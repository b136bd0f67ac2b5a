// SPDX-License-Identifier: MIT
// What gemm does to a tile besides multiplying, and the sums that it makes in passing, equal the separate steps.
#include <array>

#include "kernels/core/cpu.hpp"
#include "kernels/core/table.hpp"
#include "tests/support.hpp"

namespace tilewright {
namespace {

using test::Guarded;
using test::hash_of;
using test::random_matrix;

template <class T>
class GemmEpilogues : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(GemmEpilogues, Types);

/// residual and saved are exactly the separate steps; the sums are exactly column_sums.
TYPED_TEST(GemmEpilogues, EqualSeparateSteps) {
  using T = TypeParam;
  using Order = typename Guarded<T>::Order;
  for (const auto [m, n, k] :
       {std::array<Index, 3>{7, 5, 9}, {100, 5, 10}, {40, 1, 20}, {90, 130, 600}, {130, 150, 90}, {9, 20, 5000}})
    for (const auto order : {Order::row_major, Order::column_major, Order::both_strided})
      for (const int threads : {1, 3})
        for (int kind = 0; kind < kActivationKinds; ++kind) {
          if (m * n * k > 100000 && kind % (test::kEmulated ? 9 : 3) != 0) continue;  // about the way, not the formula
          const Activation f = static_cast<ActivationKind>(kind);
          Guarded<T> a(m, k, Order::row_major), b(k, n, Order::row_major), c(m, n, order), residual(m, n, order),
              saved(m, n, order), want(m, n, order);
          a.fill_uniform(1);
          b.fill_uniform(2);
          residual.fill_uniform(3);
          saved.fill_uniform(4);
          std::vector<T> bias(static_cast<std::size_t>(n));
          for (std::size_t j = 0; j < bias.size(); ++j) bias[j] = static_cast<T>(0.01) * static_cast<T>(j);
          gemm(a.view(), b.view(), want.view());
          for (Index i = 0; i < m; ++i)
            for (Index j = 0; j < n; ++j) {
              want(i, j) += bias[static_cast<std::size_t>(j)];
              want(i, j) += residual(i, j);
            }
          Guarded<T> forward(m, n, order), backward(m, n, order);
          activation_forward(f, want.view(), forward.view());
          activation_backward(f, saved.view(), want.view(), backward.view());
          GemmOptions<T> o;
          o.bias = bias;
          o.residual = residual.view();
          o.activation = f;
          o.num_threads = threads;
          gemm(a.view(), b.view(), c.view(), o);
          ASSERT_EQ(hash_of<T>(MatrixView<const T>(c.view())), hash_of<T>(MatrixView<const T>(forward.view())))
              << m << "x" << n << "x" << k << " " << to_string(f.kind);
          o.saved = saved.view();
          gemm(a.view(), b.view(), c.view(), o);
          ASSERT_EQ(hash_of<T>(MatrixView<const T>(c.view())), hash_of<T>(MatrixView<const T>(backward.view())))
              << m << "x" << n << "x" << k << " derivative of " << to_string(f.kind);
          ASSERT_TRUE(c.padding_intact());
        }
}

/// A few rows by weights that no second-level cache holds are computed column by column of the weights; the epilogue
/// finds its operands there, too.
TYPED_TEST(GemmEpilogues, OfFewRowsAreThoseOfManyRows) {
  using T = TypeParam;
  const Index k = 530, n = detail::cache_sizes().l2_bytes / Index{sizeof(T)} / k + 203, most = 40;
  const Matrix<T> a = random_matrix<T>(most, k, 1), b = random_matrix<T>(k, n, 2),
                  residual = random_matrix<T>(most, n, 3), bias = random_matrix<T>(1, n, 4);
  Matrix<T> want(most, n), want_pre(most, n);
  const auto options = [&](Index rows, MatrixView<T> pre) {
    GemmOptions<T> o;
    o.bias = bias.span();
    o.residual = residual.row_block(0, rows);
    o.pre_activation = pre;
    o.activation = ActivationKind::silu;
    return o;
  };
  gemm(a, b, want, options(most, want_pre));
  for (const Index rows : {1, 2, 3, 4})
    for (const int threads : {1, 3}) {
      Matrix<T> c(rows, n), pre(rows, n);
      auto o = options(rows, pre);
      o.num_threads = threads;
      gemm(a.row_block(0, rows), b, c, o);
      EXPECT_EQ(hash_of<T>(c), hash_of<T>(std::as_const(want).row_block(0, rows))) << rows << " " << threads;
      EXPECT_EQ(hash_of<T>(pre), hash_of<T>(std::as_const(want_pre).row_block(0, rows))) << rows << " " << threads;
    }
}

TYPED_TEST(GemmEpilogues, SumsInPassingEqualColumnSums) {
  using T = TypeParam;
  for (const auto [m, n, k] :
       {std::array<Index, 3>{5, 10, 100}, {10, 5, 100}, {300, 10, 128}, {70, 500, 1200}, {3, 4, 0}, {700, 300, 40}})
    for (const int threads : {1, 2, 7})
      for (const T beta : {T(0), T(1)}) {
        if (test::kEmulated && threads == 2) continue;
        const Matrix<T> dy = random_matrix<T>(k, m, 1), x = random_matrix<T>(k, n, 2);
        Matrix<T> dw(m, n), dw_t(n, m);
        std::vector<T> rows(static_cast<std::size_t>(m), T(3)), columns = rows, want = rows;
        column_sums(dy, want, beta != 0);
        GemmOptions<T> o;
        o.beta = beta;
        o.num_threads = threads;
        o.a_row_sums = rows;
        gemm(dy.t(), x, dw, o);
        EXPECT_EQ(rows, want) << m << "x" << n << "x" << k;
        o.a_row_sums = {};
        o.b_column_sums = columns;
        gemm(x.t(), dy, dw_t, o);
        EXPECT_EQ(columns, want) << m << "x" << n << "x" << k;
        EXPECT_EQ(hash_of<T>(dw), hash_of<T>(MatrixView<const T>(dw_t.t())));
      }
}

/// Sums are made whatever the product: also when it has no elements.
TYPED_TEST(GemmEpilogues, SumsBesideAnEmptyProduct) {
  using T = TypeParam;
  const Matrix<T> a = random_matrix<T>(40, 3, 1);  // a.t() has rows that are neighbours
  const Matrix<T> b(40, 0);
  Matrix<T> c(3, 0), want(1, 3), got(1, 3);
  column_sums(a, want.span());
  gemm(a.t(), b, c, {.a_row_sums = got.span()});
  EXPECT_EQ(hash_of<T>(got), hash_of<T>(want));
  std::ranges::fill(got.span(), T(-1));
  gemm(a.t(), PackedMatrix<T>(b), c, {.a_row_sums = got.span()});
  EXPECT_EQ(hash_of<T>(got), hash_of<T>(want));
}

/// A single column has no neighbours, whatever its strides.
TYPED_TEST(GemmEpilogues, SumsOfOneColumnOfAnyStride) {
  using T = TypeParam;
  const Matrix<T> b = random_matrix<T>(5, 6, 1), a = random_matrix<T>(3, 5, 2);
  const MatrixView<const T> column(b.data(), 5, 1, 6, 4);
  Matrix<T> c(3, 1);
  std::vector<T> sums(1), want(1);
  column_sums(b.view().block(0, 0, 5, 1), want);
  GemmOptions<T> o;
  o.b_column_sums = sums;
  gemm(a, column, c, o);
  EXPECT_EQ(sums, want);
}

}  // namespace
}  // namespace tilewright
