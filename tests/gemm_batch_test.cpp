// SPDX-License-Identifier: MIT
// Products in batches: what may differ between them, how they may lie, what is refused.
#include "tests/support.hpp"

namespace tilewright {
namespace {

using test::hash_of;
using test::message_of;
using test::random_matrix;

template <class T>
class GemmBatch : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(GemmBatch, Types);

/// Products that are alike are judged by the first one, so each thing in which the last may differ is tried alone.
TYPED_TEST(GemmBatch, MayDifferInOneThing) {
  using T = TypeParam;
  const Index n = 9, room = 3 * n;
  const Matrix<T> a = random_matrix<T>(room, room, 1), b = random_matrix<T>(room, room, 2);
  Matrix<T> c(3 * room, room);
  struct Layout {
    Index m, n, k, a_row, a_col, b_row, b_col, c_row, c_col;
  };
  const Layout usual{n, n, n, room, 1, room, 1, room, 1};
  std::vector<Layout> others(10, usual);
  others[0].m = others[1].n = others[2].k = n - 1;
  others[3].a_row = others[4].b_row = others[5].c_row = 2 * room;
  others[6].a_row = 1, others[6].a_col = room;
  others[7].b_row = 1, others[7].b_col = room;
  others[8].c_row = 1, others[8].c_col = room;
  others[9].m = others[9].n = others[9].k = 0;
  for (std::size_t which = 0; which < others.size(); ++which) {
    std::vector<MatrixView<const T>> as, bs;
    std::vector<MatrixView<T>> cs;
    std::vector<Matrix<T>> want;
    for (const Layout& l : {usual, usual, others[which]}) {
      as.emplace_back(a.data(), l.m, l.k, l.a_row, l.a_col);
      bs.emplace_back(b.data(), l.k, l.n, l.b_row, l.b_col);
      cs.emplace_back(c.data() + static_cast<Index>(cs.size()) * room * room, l.m, l.n, l.c_row, l.c_col);
      want.emplace_back(l.m, l.n);
      gemm(as.back(), bs.back(), want.back());
    }
    for (const int threads : {1, 2, 3}) {
      std::fill(c.span().begin(), c.span().end(), T(0));
      gemm_batched(as, bs, cs, {.num_threads = threads});
      for (std::size_t i = 0; i < cs.size(); ++i)
        for (Index r = 0; r < cs[i].rows; ++r)
          for (Index j = 0; j < cs[i].cols; ++j)
            ASSERT_EQ(cs[i](r, j), want[i](r, j)) << "layout " << which << ", product " << i << ", threads " << threads;
    }
  }
}

/// Products of a batch may lie in each other's gaps, but no result on what another one reads or writes.
TYPED_TEST(GemmBatch, ProductsOfABatchLieApart) {
  using T = TypeParam;
  const Index count = 5, n = 3;
  const Matrix<T> a = random_matrix<T>(count * n, n, 1), b = random_matrix<T>(n, n, 2);
  Matrix<T> want(count * n, n), memory(2 * n, count * n), mixed(3 * count * n, n);
  gemm(a, b, want);
  std::vector<MatrixView<const T>> as, bs;
  std::vector<MatrixView<T>> side_by_side, backwards;
  for (Index i = 0; i < count; ++i) {
    as.push_back(a.row_block(i * n, n));
    bs.push_back(b);
    side_by_side.push_back(memory.view().block(0, ((i * 2) % count) * n, n, n));  // blocks of columns, out of order
    backwards.push_back(memory.view().block(n, 0, n, count * n).block(0, (count - 1 - i) * n, n, n));
  }
  for (const auto& cs : {side_by_side, backwards}) {
    gemm_batched(as, bs, cs);
    for (Index i = 0; i < count; ++i)
      for (Index r = 0; r < n; ++r)
        for (Index j = 0; j < n; ++j) ASSERT_EQ(cs[static_cast<std::size_t>(i)](r, j), want(i * n + r, j));
  }
  // a, b and c of each product one after the other.
  std::vector<MatrixView<const T>> mixed_a, mixed_b;
  std::vector<MatrixView<T>> mixed_c;
  for (Index i = 0; i < count; ++i) {
    for (Index r = 0; r < n; ++r)
      for (Index j = 0; j < n; ++j) mixed(3 * i * n + r, j) = a(i * n + r, j), mixed(3 * i * n + n + r, j) = b(r, j);
    mixed_a.push_back(mixed.row_block(3 * i * n, n));
    mixed_b.push_back(mixed.row_block(3 * i * n + n, n));
    mixed_c.push_back(mixed.row_block(3 * i * n + 2 * n, n));
  }
  const auto expect_results = [&] {
    for (Index i = 0; i < count; ++i)
      for (Index r = 0; r < n; ++r)
        for (Index j = 0; j < n; ++j) {
          ASSERT_EQ(mixed(3 * i * n + 2 * n + r, j), want(i * n + r, j));
          mixed(3 * i * n + 2 * n + r, j) = 0;
        }
  };
  gemm_batched(mixed_a, mixed_b, mixed_c);
  expect_results();
  const auto first_a = mixed_a[0], first_b = mixed_b[0];
  const auto first_c = mixed_c[0];
  gemm_strided_batched(count, first_a, 3 * n * n, first_b, 3 * n * n, first_c, 3 * n * n);
  expect_results();

  const Matrix<T> before = mixed;
  const auto refused = [&](auto&& change) {
    auto a_ = mixed_a, b_ = mixed_b;
    auto c_ = mixed_c;
    change(a_, b_, c_);
    return message_of<ShapeError>([&] { gemm_batched(a_, b_, c_); });
  };
  EXPECT_EQ(refused([](auto&, auto&, auto& c) { c[4] = c[1]; }),
            "gemm_batched: c of product 4 overlaps c of product 1");
  EXPECT_EQ(refused([](auto&, auto&, auto& c) { c[3].data = c[0].data + 8; }),
            "gemm_batched: c of product 3 overlaps c of product 0");
  EXPECT_EQ(refused([](auto& a, auto&, auto& c) { a[0] = c[2]; }),
            "gemm_batched: c of product 2 overlaps a of product 0");
  EXPECT_EQ(refused([](auto&, auto& b, auto& c) { b[4].data = c[3].data - 8; }),
            "gemm_batched: c of product 3 overlaps b of product 4");
  EXPECT_EQ(
      message_of<ShapeError>([&] { gemm_strided_batched(count, first_a, 0, first_b, 3 * n * n, first_c, n * n); }),
      "gemm_strided_batched: c of product 2 overlaps b of product 1");
  EXPECT_EQ(hash_of<T>(MatrixView<const T>(mixed)), hash_of<T>(MatrixView<const T>(before)));
}

TYPED_TEST(GemmBatch, ErrorsNameTheProduct) {
  using T = TypeParam;
  const Matrix<T> a(3, 4), b(4, 2), wrong(2, 2);
  Matrix<T> c(3, 2);
  const std::vector<MatrixView<const T>> as{a, a}, bs{b, wrong}, one{b};
  const std::vector<MatrixView<T>> cs{c, c};
  EXPECT_EQ(message_of<ShapeError>([&] { gemm_batched(as, one, cs); }), "gemm_batched: 2 a, 1 b and 2 c");
  EXPECT_EQ(message_of<ShapeError>([&] { gemm_batched(as, bs, std::span(cs).first(1)); }),
            "gemm_batched: 2 a, 2 b and 1 c");
  EXPECT_EQ(message_of<ShapeError>([&] { gemm_batched(as, bs, cs); }),
            "gemm_batched: product 1: a is 3x4 but b is 2x2");
  EXPECT_EQ(message_of<ShapeError>([&] { gemm_strided_batched(2, a.view(), 0, b.view(), 0, c.view(), 0); }),
            "gemm_strided_batched: c_step is 0: the products would overlap");
}

}  // namespace
}  // namespace tilewright
