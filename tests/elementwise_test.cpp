// SPDX-License-Identifier: MIT
// Sums, products, copies, transposes, conversions, dropout and tables of rows against loops.
#include <array>

#include "kernels/core/cpu.hpp"
#include "kernels/core/stores.hpp"
#include "tests/support.hpp"

namespace tilewright {
namespace {

using test::Guarded;
using test::Hash;
using test::message_of;

template <class T>
class Elementwise : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(Elementwise, Types);

TYPED_TEST(Elementwise, MatchesLoops) {
  using T = TypeParam;
  using Order = typename Guarded<T>::Order;
  const Order orders[] = {Order::row_major, Order::column_major, Order::both_strided};
  for (const auto& shape : {std::array<Index, 2>{1, 1}, {3, 70}, {70, 3}, {33, 47}, {300, 131}, {0, 5}, {5, 0}})
    for (const Order first : orders)
      for (const Order second : orders)
        for (const int threads : {1, 3}) {
          const Index rows = shape[0], cols = shape[1];
          Guarded<T> x(rows, cols, first), y(rows, cols, second), out(rows, cols, second), turned(cols, rows, second);
          x.fill_uniform(1);
          y.fill_uniform(2);
          const auto expect = [&](Guarded<T>& got, auto want) {
            for (Index i = 0; i < rows; ++i)
              for (Index j = 0; j < cols; ++j) ASSERT_EQ(got(i, j), want(i, j)) << rows << "x" << cols;
            ASSERT_TRUE(got.padding_intact());
          };
          add(x.view(), y.view(), out.view(), threads);
          expect(out, [&](Index i, Index j) { return x(i, j) + y(i, j); });
          multiply(x.view(), y.view(), out.view(), threads);
          expect(out, [&](Index i, Index j) { return x(i, j) * y(i, j); });
          scale(T(0.3), x.view(), out.view(), threads);
          expect(out, [&](Index i, Index j) { return x(i, j) * T(0.3); });
          copy(x.view(), out.view(), threads);
          expect(out, [&](Index i, Index j) { return x(i, j); });
          axpy(T(0.5), x.view(), out.view(), threads);
          expect(out, [&](Index i, Index j) { return x(i, j) + T(0.5) * x(i, j); });
          copy(x.view().t(), turned.view(), threads);
          for (Index i = 0; i < rows; ++i)
            for (Index j = 0; j < cols; ++j) ASSERT_EQ(turned(j, i), x(i, j));
          ASSERT_TRUE(turned.padding_intact() && x.padding_intact());
          add(x.view(), x.view(), x.view(), threads);
          expect(out, [&](Index i, Index j) { return x(i, j) * T(0.75); });
        }
}

/// Results that begin anywhere in a line, in rows with gaps, are those that the caches see, and nothing beside them.
TYPED_TEST(Elementwise, PastTheCachesTheSame) {
  using T = TypeParam;
  constexpr Index kMost = 9001, kGap = 23, kRows = 2;
  constexpr T kUntouched = T(-77);
  const Matrix<T> x = test::random_matrix<T>(kRows, kMost, 1), y = test::random_matrix<T>(kRows, kMost, 2);
  for (const Index n : {Index{2048}, Index{4095}, Index{4096}, Index{4101}, kMost})
    for (const Index offset : {0, 1, 3, 8, 15, 16})
      for (const int threads : {1, 3}) {
        const auto left = MatrixView<const T>(x).block(0, 0, kRows, n),
                   right = MatrixView<const T>(y).block(0, 0, kRows, n);
        const auto run = [&](Stores stores, auto call) {
          const StoresScope scope(stores);
          Matrix<T> memory(1, kRows * (kMost + kGap) + 64);
          std::ranges::fill(memory.span(), kUntouched);
          call(MatrixView<T>(memory.data() + offset, kRows, n, n + kGap));
          return memory;
        };
        const auto expect_same = [&](auto call) {
          const Matrix<T> want = run(Stores::cached, call), got = run(Stores::streaming, call);
          ASSERT_EQ(test::hash_of<T>(got), test::hash_of<T>(want)) << n << " " << offset;
          ASSERT_EQ(std::ranges::count(got.span(), kUntouched), got.size() - kRows * n);
        };
        expect_same([&](MatrixView<T> out) { add(left, right, out, threads); });
        expect_same([&](MatrixView<T> out) { scale(T(3), left, out, threads); });
        expect_same([&](MatrixView<T> out) { copy(left, out, threads); });
        expect_same([&](MatrixView<T> out) { activation_forward(ActivationKind::gelu, left, out, threads); });
        expect_same([&](MatrixView<T> out) { activation_backward(ActivationKind::tanh, left, right, out, threads); });
        expect_same([&](MatrixView<T> out) { function_forward(FunctionKind::exp, left, out, threads); });
      }
}

TEST(Stores, GoPastTheCachesWhereItPays) {
  using detail::stores_of;
  using detail::Waits;
  const detail::StoreKernel kernel = detail::active_table().copy_past_caches;
  const auto cache = static_cast<double>(std::max(detail::cache_sizes().l2_bytes, detail::cache_sizes().l3_bytes));
  EXPECT_EQ(stores_of(cache, false), kernel);
  EXPECT_EQ(stores_of(cache - 1, false), nullptr);
  EXPECT_EQ(stores_of(cache, true), nullptr);
  EXPECT_EQ(stores_of(2 * cache, false, Waits::for_arithmetic), nullptr);
  {
    const StoresScope streaming(Stores::streaming);
    EXPECT_EQ(stores_of(1, false, Waits::for_arithmetic), kernel);
    EXPECT_EQ(stores_of(2 * cache, true), nullptr);
    const StoresScope cached(Stores::cached);
    EXPECT_EQ(stores_of(2 * cache, false), nullptr);
  }
  EXPECT_EQ(stores_of(1, false), nullptr);
}

TEST(Conversion, RoundsToNearest) {
  Matrix<float> narrow(3, 5);
  Matrix<double> wide(3, 5);
  wide(1, 2) = 1 + 0x1p-24 + 0x1p-50;
  wide(2, 4) = 1e300;
  convert(wide, narrow);
  EXPECT_EQ(narrow(1, 2), 1 + 0x1p-23F);
  EXPECT_EQ(narrow(2, 4), INFINITY);
  convert(narrow, wide);
  EXPECT_EQ(wide(1, 2), 1 + 0x1p-23);
}

TEST(Dropout, IsWhatTheStreamSays) {
  const RandomStream stream{5, 77};
  for (const auto& [rows, cols] : {std::array<Index, 2>{1, 1}, {7, 9}, {50, 211}})
    for (const double p : {0.0, 0.25, 0.5, 1.0}) {
      Guarded<float> x(rows, cols, Guarded<float>::Order::both_strided),
          y(rows, cols, Guarded<float>::Order::row_major);
      Matrix<float> dense(rows, cols), first(rows, cols);
      x.fill_uniform(1, 1, 2);
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < cols; ++j) dense(i, j) = x(i, j);
      dropout(x, y, p, stream);
      dropout(dense, first, p, stream, 1);
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < cols; ++j) {
          const bool kept = stream.uniform(static_cast<std::uint64_t>(i * cols + j)) >= p;
          ASSERT_EQ(y(i, j), kept ? x(i, j) * static_cast<float>(1 / (1 - p)) : 0);
          ASSERT_EQ(first(i, j), y(i, j));
        }
      ASSERT_TRUE(y.padding_intact());
      for (const int threads : test::kThreadCounts) {
        Matrix<float> again(rows, cols);
        dropout(dense, again, p, stream, threads);
        ASSERT_EQ(test::hash_of<float>(again), test::hash_of<float>(first)) << threads;
      }
    }
  Matrix<float> x(1, 2);
  EXPECT_EQ(message_of<ValueError>([&] { dropout(x, x, 1.5, {}); }), "dropout: p is 1.500000, expected 0 <= p <= 1");
}

TEST(Embedding, GathersAndScatters) {
  const Index words = 23, count = 400;
  std::vector<Index> ids(count);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<Index>(i * i % 23);
  const auto id = [&](Index i) { return ids[static_cast<std::size_t>(i)]; };
  for (const Index width : {1, 37}) {
    Matrix<float> table(words, width), out(count, width), dy(count, width), want(words, width);
    fill_uniform(table.span(), {1, 1});
    fill_uniform(dy.span(), {1, 2});
    embedding(table, ids, out);
    for (Index i = 0; i < count; ++i)
      for (Index j = 0; j < width; ++j) {
        ASSERT_EQ(out(i, j), table(id(i), j));
        if (id(i) != 4) want(id(i), j) += dy(i, j);
      }
    for (const int threads : test::kThreadCounts) {
      Matrix<float> dtable(words, width);
      embedding_backward(dy, ids, dtable, 4, threads);
      ASSERT_EQ(test::hash_of<float>(dtable), test::hash_of<float>(want)) << threads;
    }
  }
  Matrix<float> table(words, 37), out(count, 37), dy(count, 37);
  ids[7] = 23;
  EXPECT_EQ(message_of<ValueError>([&] { embedding(table, ids, out); }), "embedding: ids[7] is 23, expected 0..22");
  ids.pop_back();
  EXPECT_EQ(message_of<ShapeError>([&] { embedding_backward(dy, ids, table); }),
            "embedding_backward: 399 ids of rows of 37 elements but the matrix is 400x37");
}

TEST(ElementwiseErrors, NameOperandsAndShapes) {
  Matrix<float> x(2, 3), y(3, 2);
  EXPECT_EQ(message_of<ShapeError>([&] { add(x, y, x); }), "add: y is 3x2 but x is 2x3");
  EXPECT_EQ(message_of<ShapeError>([&] { axpy(1, x, y); }), "axpy: y is 3x2 but x is 2x3");
  EXPECT_EQ(message_of<ShapeError>([&] { copy(x, MatrixView<float>(y.data(), 2, 3, 0)); }),
            "copy: out is 2x3 with strides 0, 1: elements overlap");
  // The same place, but not the same rows or columns.
  Matrix<float> z(4, 3);
  const MatrixView<float> rows(z.data(), 2, 3, 3), further(z.data(), 2, 3, 4);
  EXPECT_EQ(message_of<ShapeError>([&] { copy(rows, further); }), "copy: out overlaps x");
  EXPECT_EQ(message_of<ShapeError>([&] { copy(rows.t(), further.t()); }), "copy: out overlaps x");
}

}  // namespace
}  // namespace tilewright
