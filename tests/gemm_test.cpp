// SPDX-License-Identifier: MIT
// gemm against a reference in double (long double for double), and the promises about its bits.
#include <algorithm>
#include <array>
#include <thread>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "kernels/core/table.hpp"
#include "tests/support.hpp"

namespace tilewright {
namespace {

using test::Guarded;
using test::Hash;
using test::message_of;

template <class T>
using Order = typename Guarded<T>::Order;

/// The type of references.
template <class T>
using Wide = std::conditional_t<std::is_same_v<T, float>, double, long double>;

/// One product in a wider type, with the sum of absolute values that the error bound needs.
template <class T>
struct Reference {
  Wide<T> value = 0, magnitude = 0;
  Reference(MatrixView<const T> a, MatrixView<const T> b, Index i, Index j, Wide<T> alpha, Wide<T> beta, Wide<T> c) {
    for (Index p = 0; p < a.cols; ++p) {
      const Wide<T> term = static_cast<Wide<T>>(a(i, p)) * static_cast<Wide<T>>(b(p, j));
      value += term;
      magnitude += std::fabs(term);
    }
    value *= alpha;
    magnitude *= std::fabs(alpha);
    if (beta != 0) {
      value += beta * c;
      magnitude += std::fabs(beta * c);
    }
  }
};

/// The header's bound; without FMA (sse2) every product is rounded, too, which doubles the first term.
template <class T>
Wide<T> bound(Index k, Wide<T> magnitude) {
  const Wide<T> eps = std::numeric_limits<T>::epsilon() / 2;
  const Index chain = std::min(k, kSumBlock) * (active_isa() == Isa::sse2 ? 2 : 1);
  return static_cast<Wide<T>>(chain + k / kSumBlock + 3) * eps * magnitude + std::numeric_limits<T>::min();
}

struct Case {
  Index m, n, k;
  int form = 0;  // bit 0: a column-major, 1: b column-major, 2: c column-major, 3: a and b with two strides, 4: c with
                 // two strides
  double alpha = 1, beta = 0;
  int threads = 1;
};

template <class T>
void check(const Case& t) {
  const bool strided_inputs = t.form & 8, strided_output = t.form & 16;
  const auto order = [](bool strided, bool column) {
    return strided ? Order<T>::both_strided : column ? Order<T>::column_major : Order<T>::row_major;
  };
  Guarded<T> a(t.m, t.k, order(strided_inputs, t.form & 1), 1), b(t.k, t.n, order(strided_inputs, t.form & 2), 3);
  Guarded<T> c(t.m, t.n, order(strided_output, t.form & 4), 2), before(t.m, t.n, Order<T>::row_major);
  a.fill_uniform(1);
  b.fill_uniform(2);
  const T alpha = static_cast<T>(t.alpha), beta = static_cast<T>(t.beta);
  if (t.beta != 0) {  // otherwise c stays NaN: it must not be read
    c.fill_uniform(3);
    before.fill_uniform(3);
  }
  GemmOptions<T> options;
  options.alpha = alpha;
  options.beta = beta;
  options.num_threads = t.threads;
  gemm(a.view(), b.view(), c.view(), options);
  const std::string name = std::to_string(t.m) + "x" + std::to_string(t.n) + "x" + std::to_string(t.k) + " form " +
                           std::to_string(t.form) + " alpha " + std::to_string(t.alpha) + " beta " +
                           std::to_string(t.beta) + " threads " + std::to_string(t.threads);
  ASSERT_TRUE(c.padding_intact()) << name;
  // All elements of small results; of large ones a grid that meets every tile and its edges. An emulated processor
  // has long double in software: a seventh of them, from every row and column.
  const Index step_i = t.m > 64 ? 7 : 1, step_j = t.n > 64 ? 5 : 1;
  const Index sparser = test::kEmulated && sizeof(Wide<T>) > 8 ? 7 : 1;
  for (Index i = 0; i < t.m; i += step_i)
    for (Index j = i % sparser * step_j; j < t.n; j += sparser * step_j) {
      const Reference<T> r(a.view(), b.view(), i, j, alpha, beta, t.beta != 0 ? before(i, j) : T(0));
      ASSERT_LE(std::fabs(c(i, j) - r.value), bound<T>(t.k, r.magnitude)) << name << " at " << i << ", " << j;
    }
}

template <class T>
class Gemm : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(Gemm, Types);

TYPED_TEST(Gemm, MatchesReferenceAroundTheTile) {
  const auto& kernels = detail::active_table().gemm<TypeParam>();
  const Index mr = kernels.tile_rows, nr = kernels.tile_cols, lanes = kernels.lanes;
  for (const Index m : {Index{1}, Index{2}, mr - 1, mr, mr + 1, 2 * mr + 1, Index{61}})
    for (const Index n : {Index{1}, lanes - 1, lanes, lanes + 1, nr - 1, nr, nr + 1, 2 * nr + 3, Index{97}})
      for (const Index k : {1, 2, 31, 33, 64})
        for (const int form : {0, 1, 2, 3, 4, 7, 8, 16, 24}) check<TypeParam>({m, n, k, form});
}

TYPED_TEST(Gemm, MatchesReferenceAroundTheSumBlock) {
  for (const Index k : {kSumBlock - 1, kSumBlock, kSumBlock + 1, 2 * kSumBlock, 2 * kSumBlock + 77})
    for (const int form : {0, 3, 4, 16})
      for (const double beta : {0.0, 1.0, -0.5}) {
        check<TypeParam>({5, 37, k, form, 1, beta});
        check<TypeParam>({131, 101, k, form, -2, beta});
      }
}

TYPED_TEST(Gemm, MatchesReferenceOnLargePrimes) {
  for (const int form : {0, 1, 2, 4, 7})
    for (const int threads : {1, 3}) {
      check<TypeParam>({401, 307, 211, form, 1, 0, threads});
      check<TypeParam>({97, 701, 103, form, 1, 1, threads});
      check<TypeParam>({701, 11, 601, form, 0.5, 0, threads});
    }
  check<TypeParam>({700, 700, 700, 0, 1, 0, 2});
}

TYPED_TEST(Gemm, AlphaAndBeta) {
  for (const double alpha : {0.0, 1.0, 2.0, -1.5})
    for (const double beta : {0.0, 1.0, 2.0, 0.25})
      for (const int form : {0, 4, 16})
        for (const Index k : {0, 1, 40, 600}) check<TypeParam>({33, 35, k, form, alpha, beta});
}

TYPED_TEST(Gemm, EmptyShapesDoNothing) {
  using T = TypeParam;
  Matrix<T> a(0, 4), b(4, 3), c(0, 3);
  gemm(a, b, c);
  Matrix<T> a2(2, 4), b2(4, 0), c2(2, 0);
  gemm(a2, b2, c2);
  Matrix<T> a3(2, 0), b3(0, 3), c3(2, 3);
  c3(1, 2) = 7;
  gemm(a3, b3, c3, {.beta = 2});
  EXPECT_EQ(c3(1, 2), 14);
  gemm(a3, b3, c3);
  EXPECT_EQ(c3(1, 2), 0);
}

TYPED_TEST(Gemm, NanAndInfinityPropagate) {
  using T = TypeParam;
  Matrix<T> a(20, 40), b(40, 50), c(20, 50);
  std::ranges::fill(a.span(), T(1));
  std::ranges::fill(b.span(), T(1));
  a(3, 5) = std::numeric_limits<T>::quiet_NaN();
  b(7, 9) = std::numeric_limits<T>::infinity();
  gemm(a, b, c);
  for (Index i = 0; i < 20; ++i)
    for (Index j = 0; j < 50; ++j) {
      if (i == 3)
        ASSERT_TRUE(std::isnan(c(i, j))) << i << ", " << j;
      else
        ASSERT_EQ(c(i, j), j == 9 ? std::numeric_limits<T>::infinity() : T(40)) << i << ", " << j;
    }
}

/// The epilogue is the plain product, then bias, then exactly what activation_forward computes.
TYPED_TEST(Gemm, EpilogueEqualsSeparateSteps) {
  using T = TypeParam;
  for (const auto [m, n, k] : {std::array<Index, 3>{7, 5, 9}, {100, 130, 300}, {64, 33, 700}, {40, 1, 20}})
    for (int kind = 0; kind < kActivationKinds; ++kind)
      for (const auto order : {Order<T>::row_major, Order<T>::column_major, Order<T>::both_strided}) {
        if (test::kEmulated && m * n * k > 1000000 && kind % 5 != 0) continue;
        const Activation f = static_cast<ActivationKind>(kind);
        Guarded<T> a(m, k, Order<T>::row_major), b(k, n, Order<T>::column_major), c(m, n, order), pre(m, n, order),
            plain(m, n, order);
        a.fill_uniform(4);
        b.fill_uniform(5);
        std::vector<T> bias(static_cast<std::size_t>(n));
        for (std::size_t j = 0; j < bias.size(); ++j)
          bias[j] = static_cast<T>(0.1) * static_cast<T>(j % 7) - static_cast<T>(0.3);
        GemmOptions<T> options;
        options.bias = bias;
        options.activation = f;
        options.pre_activation = pre;
        gemm(a.view(), b.view(), c.view(), options);
        gemm(a.view(), b.view(), plain.view());
        for (Index i = 0; i < m; ++i)
          for (Index j = 0; j < n; ++j) {
            plain(i, j) += bias[static_cast<std::size_t>(j)];
            ASSERT_EQ(pre(i, j), plain(i, j));
          }
        activation_forward(f, plain.view(), plain.view());
        for (Index i = 0; i < m; ++i)
          for (Index j = 0; j < n; ++j)
            ASSERT_EQ(c(i, j), plain(i, j)) << to_string(f.kind) << " " << m << "x" << n << "x" << k;
        ASSERT_TRUE(c.padding_intact() && pre.padding_intact());
      }
}

/// Same bits for any number of threads, any strides, and for a row alone and inside a batch.
TYPED_TEST(Gemm, BitsDependOnValuesOnly) {
  using T = TypeParam;
  for (const auto [m, n, k] :
       {std::array<Index, 3>{300, 300, 300}, {150, 140, 1300}, {15, 2000, 600}, {2000, 15, 600}}) {
    Matrix<T> a(m, k), b(k, n), c(m, n);
    for (Index i = 0; i < m * k; ++i)
      a.data()[i] = static_cast<T>(RandomStream{1, 1}.uniform(static_cast<std::uint64_t>(i))) - T(0.5);
    for (Index i = 0; i < n * k; ++i)
      b.data()[i] = static_cast<T>(RandomStream{1, 2}.uniform(static_cast<std::uint64_t>(i))) - T(0.5);
    gemm(a, b, c, {.num_threads = 1});
    const auto expected = Hash().add<T>(c).value();
    for (const int threads : test::kThreadCounts) {
      std::ranges::fill(c.span(), T(0));
      gemm(a, b, c, {.num_threads = threads});
      ASSERT_EQ(Hash().add<T>(c).value(), expected) << threads << " threads";
    }
    const Matrix<T> at(a.t()), bt(b.t());
    Matrix<T> ct(n, m);
    gemm(at.t(), bt.t(), ct.t(), {.num_threads = 2});
    ASSERT_EQ(Hash().add<T>(MatrixView<const T>(ct.t())).value(), expected) << "transposed operands";
    Matrix<T> row(1, n), few(3, n), column(m, 1);
    for (const Index i : {Index{0}, m / 2, m - 3}) {
      gemm(a.row_block(i, 1), b, row);
      gemm(a.row_block(i, 3), b, few);
      gemm(a, b.view().col(i % n), column);
      for (Index j = 0; j < n; ++j) {
        ASSERT_EQ(row(0, j), c(i, j)) << "row alone";
        ASSERT_EQ(few(0, j), c(i, j)) << "row among three";
      }
      for (Index r = 0; r < m; ++r) ASSERT_EQ(column(r, 0), c(r, i % n)) << "column alone";
    }
  }
}

/// Many of the host's threads at once, and from inside its own parallel region: the same bits again.
TYPED_TEST(Gemm, ManyCallers) {
  using T = TypeParam;
  Matrix<T> a(200, 300), b(300, 250), expected(200, 250);
  for (Index i = 0; i < a.size(); ++i)
    a.data()[i] = static_cast<T>(RandomStream{1, 1}.uniform(static_cast<std::uint64_t>(i)));
  for (Index i = 0; i < b.size(); ++i)
    b.data()[i] = static_cast<T>(RandomStream{1, 2}.uniform(static_cast<std::uint64_t>(i)));
  gemm(a, b, expected);
  const auto hash = Hash().add<T>(expected).value();
  std::vector<std::uint64_t> hashes(8);
  {
    std::vector<std::jthread> callers;
    for (auto& mine : hashes)
      callers.emplace_back([&] {
        Matrix<T> c(200, 250);
        for (int i = 0; i < 5; ++i) gemm(a, b, c, {.num_threads = 3});
        mine = Hash().add<T>(c).value();
      });
  }
  for (const auto h : hashes) EXPECT_EQ(h, hash);
#if defined(_OPENMP)
  int inner_threads = 0;
#pragma omp parallel num_threads(2) reduction(max : inner_threads)
  {
    Matrix<T> c(200, 250);
    gemm(a, b, c, {.num_threads = 4});
    hashes[static_cast<std::size_t>(omp_get_thread_num())] = Hash().add<T>(c).value();
    inner_threads = omp_get_num_threads();
    release_workspace();  // OpenMP keeps its threads, and they would keep theirs
  }
  EXPECT_LE(inner_threads, 2);
  EXPECT_EQ(hashes[0], hash);
  EXPECT_EQ(hashes[static_cast<std::size_t>(inner_threads - 1)], hash);
#endif
}

TYPED_TEST(Gemm, FmaIsasAgreeToTheBit) {
  using T = TypeParam;
  std::vector<std::uint64_t> hashes;
  for (const Isa isa : available_isas()) {
    if (isa == Isa::sse2) continue;
    const test::UseIsa use(isa);
    Hash hash;
    for (const auto [m, n, k] :
         {std::array<Index, 3>{1, 1, 1}, {9, 17, 5}, {100, 5, 10}, {100, 101, 1030}, {260, 270, 280}}) {
      Guarded<T> a(m, k, Order<T>::row_major), b(k, n, Order<T>::column_major), c(m, n, Order<T>::row_major);
      a.fill_uniform(8);
      b.fill_uniform(9);
      for (int kind = 0; kind < kActivationKinds; ++kind) {
        GemmOptions<T> options;
        options.activation = static_cast<ActivationKind>(kind);
        options.num_threads = 2;
        gemm(a.view(), b.view(), c.view(), options);
        hash.add(MatrixView<const T>(c.view()));
      }
    }
    hashes.push_back(hash.value());
  }
  for (const auto h : hashes) EXPECT_EQ(h, hashes.front());
  // Holds for NEON, too, whose run has nothing beside it to compare with. A new value means that the numerics changed:
  // say so in CHANGELOG.md.
  const std::uint64_t fixed = sizeof(T) == 4 ? 5018694381771809739U : 16072305988582878688U;
  for (const auto h : hashes) EXPECT_EQ(h, fixed);
}

TYPED_TEST(Gemm, ErrorsNameTheShapes) {
  using T = TypeParam;
  Matrix<T> a(3, 4), b(5, 2), b4(4, 2), c(3, 3), c2(3, 2);
  std::vector<T> bias(3);
  EXPECT_EQ(message_of<ShapeError>([&] { gemm(a, b, c); }), "gemm: a is 3x4 but b is 5x2");
  EXPECT_EQ(message_of<ShapeError>([&] { gemm(a, b4, c); }), "gemm: c is 3x3 but a * b is 3x2");
  EXPECT_EQ(message_of<ShapeError>([&] { gemm(a, b4, c2, {.bias = bias}); }),
            "gemm: bias has 3 elements, expected 2 (c is 3x2)");
  EXPECT_EQ(message_of<ValueError>([&] { gemm(a, b4, c2, {.activation = Activation::leaky_relu(-1)}); }),
            "gemm: leaky_relu with a = -1.000000, b = 0.000000: not in the ranges of tilewright/activations.hpp");
  EXPECT_EQ(message_of<ValueError>([&] { gemm(a, b4, c2, {.num_threads = -2}); }),
            "gemm: num_threads is -2, expected 0..1024");
  EXPECT_EQ(message_of<ShapeError>([&] { gemm(a, b4, MatrixView<T>(c2.data(), 3, 2, 1, 1)); }),
            "gemm: c is 3x2 with strides 1, 1: elements overlap");
  EXPECT_EQ(message_of<ValueError>([&] { gemm(MatrixView<T>(nullptr, 3, 4), b4, c2); }),
            "gemm: a is 3x4 but its data is null");
  EXPECT_EQ(message_of<ShapeError>([&] { gemm(a, b4, c2, {.pre_activation = c}); }),
            "gemm: pre_activation is 3x3 but c is 3x2");
}

TYPED_TEST(Gemm, ColumnSums) {
  using T = TypeParam;
  for (const Index rows : {0, 1, 5, 511, 512, 513, 1500})
    for (const Index cols : {1, 3, 16, 70, 300}) {
      Guarded<T> x(rows, cols, Order<T>::row_major);
      x.fill_uniform(12);
      std::vector<T> sums(static_cast<std::size_t>(cols), T(100)), again = sums;
      column_sums(x.view(), sums);
      column_sums(x.view(), again, true, 7);
      for (Index j = 0; j < cols; ++j) {
        Wide<T> expected = 0, magnitude = 0;
        for (Index i = 0; i < rows; ++i) expected += x(i, j), magnitude += std::fabs(x(i, j));
        const auto column = static_cast<std::size_t>(j);
        ASSERT_LE(std::fabs(sums[column] - expected), bound<T>(rows, magnitude));
        ASSERT_LE(std::fabs(again[column] - expected - 100), bound<T>(rows, magnitude + 100));
      }
    }
  Matrix<T> x(2, 3);
  std::vector<T> two(2);
  EXPECT_EQ(message_of<ShapeError>([&] { column_sums(x, two); }),
            "column_sums: sums has 2 elements, expected 3 (x is 2x3)");
}

}  // namespace
}  // namespace tilewright
