// SPDX-License-Identifier: MIT
// Every way through gemm gives the same bits and stays inside its operands: small, blocked, long, packed, prepacked,
// batched, turned, in pieces, on any number of threads and any ISA with fused multiply-add.
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <numeric>

#include "kernels/core/cpu.hpp"
#include "kernels/core/table.hpp"
#include "kernels/gemm/blocking.hpp"
#include "tests/support.hpp"

namespace tilewright {
namespace {

using test::Guarded;
using test::Hash;
using test::hash_of;
using test::message_of;
using test::random_matrix;

/// A matrix that ends, or begins, where memory that must not be touched begins, or ends.
template <class T>
class Fenced {
 public:
  Fenced(Index rows, Index cols, bool column_major, bool at_end, Index gap) {
    const Index inner = column_major ? rows : cols, outer = column_major ? cols : rows, stride = inner + gap;
    const Index elements = outer == 0 || inner == 0 ? 0 : (outer - 1) * stride + inner;
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = static_cast<std::size_t>(elements) * sizeof(T), room = (bytes + page - 1) / page * page;
    size_ = room + 2 * page;
    memory_ = static_cast<char*>(mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
    if (room > 0) (void)mprotect(memory_ + page, room, PROT_READ | PROT_WRITE);
    char* first = memory_ + page + (at_end ? room - bytes : 0);
    T* data = reinterpret_cast<T*>(first);
    view_ = column_major ? MatrixView<T>(data, rows, cols, 1, stride) : MatrixView<T>(data, rows, cols, stride, 1);
  }
  ~Fenced() { munmap(memory_, size_); }
  Fenced(const Fenced&) = delete;
  MatrixView<T> view() { return view_; }
  void copy(MatrixView<const T> from) {
    for (Index i = 0; i < from.rows; ++i)
      for (Index j = 0; j < from.cols; ++j) view_(i, j) = from(i, j);
  }

 private:
  char* memory_;
  std::size_t size_;
  MatrixView<T> view_;
};

template <class T>
class GemmPaths : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(GemmPaths, Types);

TYPED_TEST(GemmPaths, AllGiveTheSameBits) {
  using T = TypeParam;
  const std::array<Index, 3> shapes[] = {
      {8, 8, 8},      {16, 40, 20},  {100, 5, 10},    {64, 9, 200},   {33, 65, 513},  {4, 300, 90},  {20, 24, 9000},
      {60, 60, 60},   {1, 70, 1100}, {150, 130, 140}, {1, 4250, 530}, {3, 150, 1030}, {8, 140, 600}, {110, 520, 520},
      {690, 530, 20}, {100, 1, 5},   {37, 1, 512},    {48, 48, 48},   {47, 75, 30}};
  std::vector<std::uint64_t> expected;
  for (const Isa isa : available_isas()) {
    if (isa == Isa::sse2) continue;
    const test::UseIsa use(isa);
    std::size_t at = 0;
    for (const auto [m, n, k] : shapes) {
      if (test::kEmulated && sizeof(T) == 8 && m * n * k > 2000000) continue;
      const Matrix<T> a = random_matrix<T>(m, k, 1), b = random_matrix<T>(k, n, 2), at_(a.t()), bt(b.t());
      const std::string name =
          std::string(to_string(isa)) + " " + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
      Matrix<T> c(m, n);
      gemm(a, b, c, {.num_threads = 1});
      if (at == expected.size()) expected.push_back(hash_of<T>(c));
      const std::uint64_t want = expected[at++];
      ASSERT_EQ(hash_of<T>(c), want) << name;
      const auto expect = [&](const char* path, MatrixView<T> got) {
        ASSERT_EQ(hash_of<T>(MatrixView<const T>(got)), want) << name << ": " << path;
        for (Index i = 0; i < got.rows; ++i)
          for (Index j = 0; j < got.cols; ++j) got(i, j) = T(0);
      };
      for (const int threads : test::kThreadCounts) {
        if (test::kEmulated && m * n * k > 2000000 && threads != 7) continue;
        gemm(a, b, c, {.num_threads = threads});
        expect("threads", c);
        gemm(at_.t(), bt.t(), c, {.num_threads = threads});
        expect("both transposed", c);
        gemm(at_.t(), b, c, {.num_threads = threads});
        expect("a transposed", c);
        gemm(a, bt.t(), c, {.num_threads = threads});
        expect("b transposed", c);
        const PackedMatrix<T> packed(b), packed_t(bt.t());
        gemm(a, packed, c, {.num_threads = threads});
        expect("prepacked", c);
        gemm(at_.t(), packed_t, c, {.num_threads = threads});
        expect("prepacked, transposed", c);
      }
      Matrix<T> ct(n, m);
      gemm(a, b, ct.t());
      expect("c transposed", ct.t());
      gemm(a, PackedMatrix<T>(b), ct.t());
      expect("c transposed, prepacked", ct.t());
      {
        // Strides in every direction.
        Guarded<T> as(m, k, Guarded<T>::Order::both_strided), bs(k, n, Guarded<T>::Order::both_strided),
            cs(m, n, Guarded<T>::Order::both_strided);
        for (Index i = 0; i < m; ++i)
          for (Index p = 0; p < k; ++p) as(i, p) = a(i, p);
        for (Index p = 0; p < k; ++p)
          for (Index j = 0; j < n; ++j) bs(p, j) = b(p, j);
        gemm(as.view(), bs.view(), cs.view(), {.num_threads = 3});
        expect("strided", cs.view());
        gemm(as.view(), PackedMatrix<T>(bs.view()), cs.view());
        expect("strided, prepacked", cs.view());
      }
      // A batch of three: the first and the last are this product.
      const std::vector<MatrixView<const T>> many_a{a, at_.t(), a}, many_b{b, b, bt.t()};
      Matrix<T> c1(m, n), c2(m, n);
      const std::vector<MatrixView<T>> many_c{c, c1, c2};
      for (const int threads : {1, 2, 64}) {
        gemm_batched(many_a, many_b, many_c, {.num_threads = threads});
        expect("batch", c);
        expect("batch", c1);
        expect("batch", c2);
      }
      Matrix<T> stack(5 * m, n);
      for (const int threads : {1, 2}) {
        gemm_strided_batched(5, a.view(), 0, b.view(), 0, stack.row_block(0, m), m * n, {.num_threads = threads});
        for (Index i = 0; i < 5; ++i) expect("strided batch", stack.row_block(i * m, m));
      }
      // Piece by piece.
      for (Index i = 0; i < m; i += 7)
        for (Index j = 0; j < n; j += 37) {
          const Index rows = std::min<Index>(7, m - i), cols = std::min<Index>(37, n - j);
          gemm(a.row_block(i, rows), b.view().block(0, j, k, cols), c.view().block(i, j, rows, cols));
        }
      expect("pieces", c);
      // Columns, as matrix-vector products.
      for (Index j = 0; j < std::min<Index>(n, 5); ++j) {
        std::vector<T> x(static_cast<std::size_t>(k)), y(static_cast<std::size_t>(m));
        for (Index p = 0; p < k; ++p) x[static_cast<std::size_t>(p)] = b(p, j);
        gemm(a, b, c);
        gemv(a, x, y);
        for (Index i = 0; i < m; ++i) ASSERT_EQ(y[static_cast<std::size_t>(i)], c(i, j)) << name << ": gemv";
        gemv(at_.t(), x, y);
        for (Index i = 0; i < m; ++i) ASSERT_EQ(y[static_cast<std::size_t>(i)], c(i, j)) << name << ": gemv, turned";
      }
    }
  }
}

/// Products that keep b in registers: every k that has a kernel, and the number of rows around its groups.
TYPED_TEST(GemmPaths, TinyProducts) {
  using T = TypeParam;
  for (const Isa isa : available_isas()) {
    const test::UseIsa use(isa);
    for (Index k = 1; k <= detail::kTinySteps + 1; ++k)
      for (const Index m : {7, 8, 9, 15, 16, 27})
        for (const Index n : {1, 3, 4, 5, 8, 9, 16, 17}) {
          const Matrix<T> a = random_matrix<T>(m, k, 1), b = random_matrix<T>(k, n, 2), at(a.t()), bt(b.t());
          const PackedMatrix<T> packed(b);
          for (const T alpha : {T(1), T(-0.5)}) {
            Matrix<T> want(m, n);
            gemm(a, packed, want, {.alpha = alpha});
            for (int form = 0; form < 4; ++form) {
              Matrix<T> c(m + 2, n + 1);
              std::ranges::fill(c.span(), T(7));
              gemm(form & 1 ? at.t() : a.view(), form & 2 ? bt.t() : b.view(), c.view().block(1, 0, m, n),
                   {.alpha = alpha, .num_threads = 1});
              ASSERT_EQ(hash_of<T>(std::as_const(c).view().block(1, 0, m, n)), hash_of<T>(want))
                  << to_string(isa) << " " << m << "x" << n << "x" << k << ", form " << form;
              for (Index i = 0; i < m + 2; ++i) ASSERT_EQ(c(i, n), T(7));
              for (Index j = 0; j < n; ++j) ASSERT_TRUE(c(0, j) == T(7) && c(m + 1, j) == T(7));
            }
          }
        }
  }
}

/// A plan is gemm() with the checks done: small products and large ones, in every orientation, with alpha and beta.
TYPED_TEST(GemmPaths, PlansEqualGemm) {
  using T = TypeParam;
  for (const auto [m, n, k] : {std::array<Index, 3>{8, 8, 8},
                               {1, 1, 1},
                               {16, 16, 16},
                               {31, 31, 31},
                               {40, 70, 33},
                               {9, 100, 140},
                               {150, 130, 140},
                               {20, 24, 600},
                               {3, 0, 5},
                               {4, 5, 0}})
    for (int form = 0; form < 8; ++form)
      for (const T beta : {T(0), T(-2)}) {
        const Matrix<T> a = random_matrix<T>(m, k, 1), b = random_matrix<T>(k, n, 2), at(a.t()), bt(b.t());
        Matrix<T> want = random_matrix<T>(m, n, 3), c = random_matrix<T>(m, n, 3), ct(n, m);
        const MatrixView<const T> av = form & 1 ? at.t() : a.view(), bv = form & 2 ? bt.t() : b.view();
        MatrixView<T> cv = form & 4 ? ct.t() : c.view();
        for (Index i = 0; i < m; ++i)
          for (Index j = 0; j < n; ++j) cv(i, j) = want(i, j);
        const GemmOptions<T> options{.alpha = T(0.5), .beta = beta};
        gemm(av, bv, want, options);
        const auto shape = [](auto view) {
          view.data = nullptr;
          return view;
        };
        const GemmPlan<T> plan(shape(av), shape(bv), shape(cv), options);
        plan(av.data, bv.data, cv.data);
        ASSERT_EQ(hash_of<T>(MatrixView<const T>(cv)), hash_of<T>(want)) << m << "x" << n << "x" << k << ", " << form;
      }
  const MatrixView<const T> a(nullptr, 4, 5), b(nullptr, 5, 6);
  const MatrixView<T> c(nullptr, 4, 6);
  EXPECT_EQ(message_of<ShapeError>([&] { GemmPlan<T>(a, a, c); }), "GemmPlan: a is 4x5 but b is 4x5");
  EXPECT_NE(
      message_of<ValueError>([&] { GemmPlan<T>(a, b, c, {.activation = ActivationKind::tanh}); }).find("GemmPlan"),
      std::string::npos);
  std::vector<T> some(40, T(1));
  const GemmPlan<T> plan(a, b, c);
  EXPECT_EQ(message_of<ValueError>([&] { plan(nullptr, some.data(), some.data()); }),
            "GemmPlan: a is 4x5 but its data is null");
  const GemmPlan<T> copy = plan;  // shares nothing that changes
  std::vector<T> out(24);
  copy(some.data(), some.data(), out.data());
  EXPECT_EQ(out, std::vector<T>(24, T(5)));
  EXPECT_EQ(message_of<ShapeError>([&] { plan(out.data() + 23, some.data(), out.data()); }), "GemmPlan: c overlaps a");
  EXPECT_EQ(message_of<ShapeError>([&] { plan(some.data(), some.data() + 7, some.data()); }), "GemmPlan: c overlaps a");
  EXPECT_EQ(message_of<ShapeError>([&] { plan(out.data(), some.data(), some.data() + 29); }), "GemmPlan: c overlaps b");
  // Backwards in memory: a's rows begin at its last one.
  std::vector<T> wide(44, T(1));
  const GemmPlan<T> backwards(MatrixView<const T>(nullptr, 4, 5, -5, 1), b, c);
  backwards(wide.data() + 39, some.data(), wide.data());
  EXPECT_EQ(message_of<ShapeError>([&] { backwards(wide.data() + 38, some.data(), wide.data()); }),
            "GemmPlan: c overlaps a");
}

/// Weights packed while one ISA is active serve all of them.
TYPED_TEST(GemmPaths, PackedMatrixServesEveryIsa) {
  using T = TypeParam;
  const Matrix<T> a = random_matrix<T>(30, 700, 1), b = random_matrix<T>(700, 75, 2);
  const test::UseIsa as_before(active_isa());
  for (const Isa packer : available_isas()) {
    set_isa(packer);
    const PackedMatrix<T> packed(b);
    EXPECT_EQ(packed.bytes(), static_cast<std::size_t>(700 * (sizeof(T) == 4 ? 96 : 80)) * sizeof(T));
    for (const Isa user : available_isas()) {
      set_isa(user);
      Matrix<T> c(30, 75), want(30, 75);
      gemm(a, b, want);
      gemm(a, packed, c);
      ASSERT_EQ(hash_of<T>(c), hash_of<T>(want)) << to_string(packer) << ", " << to_string(user);
    }
  }
}

/// Tile, block and panel boundaries with operands that end at forbidden pages: neither reads nor writes leave them.
TYPED_TEST(GemmPaths, StayInsideTheirOperands) {
  using T = TypeParam;
  const auto& kernels = detail::active_table().template gemm<T>();
  const Index mr = kernels.tile_rows, nr = kernels.tile_cols;
  const detail::Operand in_place{detail::Layout::lanes_adjacent, 64};
  const auto block =
      detail::gemm_blocking(5000, 5000, 5000, 1, in_place, in_place, {mr, nr, sizeof(T), false}, detail::cache_sizes());
  std::vector<std::array<Index, 3>> shapes;
  for (const Index d : {-1, 0, 1}) {
    shapes.push_back({mr + d, nr + d, 8});
    shapes.push_back({2 * mr + d, 3 * nr + d, 33 + d});
    shapes.push_back({block.mc + d, nr + 1, 40});
    shapes.push_back({5, nr + 5, kSumBlock + d});
    shapes.push_back({mr + 1, 9, 2 * kSumBlock + d});
    shapes.push_back({3, block.nc + d, 3});
    shapes.push_back({48 * mr + 1 + d, nr - 1, 17});
  }
  for (const Index k : {1, 9, 16}) shapes.push_back({8 + k, kernels.lanes, k});
  for (const Index rows : {8, 16, 41, 47})
    shapes.push_back({rows, 5 * kernels.lanes - rows % 3, 1 + rows % 9});  // wide tiles
  for (const Index k : {Index{1}, Index{5}, kSumBlock}) shapes.push_back({2 * kernels.lanes + k % 7, 1, k});
  // Panels that the first tile packs, the last one ragged; and a's columns packed for many panels.
  shapes.push_back({8 * mr, 6 * nr - 1, kSumBlock + 8});
  shapes.push_back({8 * mr + 2, 17 * nr + 3, kSumBlock + 88});
  for (const Index few : {1, 2, 4, 5, 8}) shapes.push_back({few, 4 * nr + 3 + few, kSumBlock + 20 + few});
  // Rows a page apart, which are packed.
  const Index page = 4096 / static_cast<Index>(sizeof(T));
  shapes.push_back({mr + 3, 5 * nr + 3, page});
  shapes.push_back({13 * mr, page, 20});
  const RandomStream random{11, 0};
  std::uint64_t drawn = 0;
  const auto draw = [&](Index most) {
    return 1 + static_cast<Index>(random.uniform(drawn++) * static_cast<float>(most));
  };
  for (int i = 0; i < (test::kEmulated ? 10 : 40); ++i) shapes.push_back({draw(90), draw(120), draw(600)});
  for (const auto [m, n, k] : shapes) {
    const Matrix<T> a = random_matrix<T>(m, k, 1), b = random_matrix<T>(k, n, 2);
    Matrix<T> want(m, n);
    gemm(a, b, want);
    for (int form = 0; form < 16; ++form) {
      if (m * n * k > 1000000 && form % 5 != 0) continue;
      const bool at_end = form & 8;
      const Index gap = draw(4) - 1;
      Fenced<T> fa(m, k, form & 1, at_end, gap), fb(k, n, form & 2, at_end, gap), fc(m, n, form & 4, at_end, gap);
      fa.copy(a);
      fb.copy(b);
      gemm(fa.view(), fb.view(), fc.view(), {.num_threads = 1 + form % 2});
      ASSERT_EQ(hash_of<T>(MatrixView<const T>(fc.view())), hash_of<T>(want))
          << m << "x" << n << "x" << k << " " << form;
      gemm(fa.view(), PackedMatrix<T>(fb.view()), fc.view());
      ASSERT_EQ(hash_of<T>(MatrixView<const T>(fc.view())), hash_of<T>(want)) << m << "x" << n << "x" << k << " packed";
    }
  }
}

/// Rows of a that are pages apart get lower tiles; b is packed, one panel at a time, unless its columns are neighbours.
TYPED_TEST(GemmPaths, RowsThatArePagesApart) {
  using T = TypeParam;
  constexpr Index k = 600, n = 70, page = 4096 / Index{sizeof(T)};
  const Matrix<T> b = random_matrix<T>(k, n, 1), turned = random_matrix<T>(n, k, 2),
                  wide = random_matrix<T>(k, 2 * n, 4);
  const MatrixView<const T> strided(wide.data(), k, n, 2 * n, 2);
  for (const Index m : {9, 14, 21, 28, 29, 57, 98, 100}) {
    const Matrix<T> a = random_matrix<T>(m, k, 3);
    Matrix<T> memory(m, 2 * page), c(m, n), want(m, n);
    const MatrixView<T> apart = memory.view().block(0, 0, m, k);
    for (Index i = 0; i < m; ++i)
      for (Index j = 0; j < k; ++j) apart(i, j) = a(i, j);
    for (const MatrixView<const T> right : {b.view(), turned.view().t(), strided})
      for (const int threads : {1, 3}) {
        gemm(a, right, want, {.num_threads = 1});
        gemm(MatrixView<const T>(apart), right, c, {.num_threads = threads});
        EXPECT_TRUE(std::ranges::equal(c.span(), want.span())) << m << " rows, " << threads << " threads";
      }
  }
}

/// Weights that come from memory are fetched otherwise. These overlap, so that few elements are many bytes: columns,
/// and rows a page apart or on their way across lines.
TYPED_TEST(GemmPaths, FewRowsOfWeightsBeyondTheCaches) {
  using T = TypeParam;
  constexpr Index block = 40;  // so few go another way
  constexpr Index page = 4096 / Index{sizeof(T)};
  const Index cache = std::min(detail::cache_sizes().l3_bytes, Index{64} << 20);
  for (const auto& [k, bytes] : {std::pair{Index{1030}, cache * 4 / 3}, {Index{2048}, cache * 2}}) {
    const Index n = bytes / (k * Index{sizeof(T)}) + 137;
    const Matrix<T> memory = random_matrix<T>(1, std::max(3 * n + k, k * page + n), 1), a = random_matrix<T>(8, k, 2);
    const T* data = memory.data();
    for (const MatrixView<const T> b : {MatrixView<const T>(data, k, n, 1, 3), MatrixView<const T>(data, k, n, page, 1),
                                        MatrixView<const T>(data + 5, k, n, 7, 1)}) {
      Matrix<T> c(8, n), want(8, n);
      for (Index j = 0; j < n; j += block) {
        const Index cols = std::min(block, n - j);
        gemm(a, b.block(0, j, k, cols), want.view().block(0, j, 8, cols), {.num_threads = 1});
      }
      for (const Index m : {1, 2, 3, 4, 5, 8})
        for (const int threads : {1, 3}) {
          gemm(a.view().row_block(0, m), b, c.view().row_block(0, m), {.num_threads = threads});
          EXPECT_TRUE(std::equal(c.data(), c.data() + m * n, want.data()))
              << m << " rows, " << threads << " threads, rows of b " << b.row_stride << " apart";
        }
    }
  }
}

TYPED_TEST(GemmPaths, GerIsARankOneUpdate) {
  using T = TypeParam;
  for (const auto [m, n] : {std::array<Index, 2>{1, 1}, {5, 40}, {100, 33}, {300, 400}}) {
    Matrix<T> a = random_matrix<T>(m, n, 1), want = a;
    const Matrix<T> x = random_matrix<T>(1, m, 2), y = random_matrix<T>(1, n, 3);
    ger(x.span(), y.span(), a, T(0.5));
    for (Index i = 0; i < m; ++i)
      for (Index j = 0; j < n; ++j) {
        const long double exact = static_cast<long double>(want(i, j)) + 0.5L * x(0, i) * y(0, j);
        ASSERT_NEAR(static_cast<double>(a(i, j)), static_cast<double>(exact),
                    4 * static_cast<double>(std::numeric_limits<T>::epsilon()));
      }
  }
}

TYPED_TEST(GemmPaths, ErrorsNameTheOperandsAtFault) {
  using T = TypeParam;
  Matrix<T> a(3, 4), b(4, 2), c(3, 2), wrong(2, 2);
  std::vector<T> two(2), three(3), four(4);
  EXPECT_EQ(message_of<ShapeError>([&] { gemm(a, PackedMatrix<T>(wrong), c); }), "gemm: a is 3x4 but b is 2x2");
  PackedMatrix<T> packed(b);
  const PackedMatrix<T> taken = std::move(packed);
  EXPECT_EQ(message_of<ValueError>([&] { gemm(a, packed, c); }), "gemm: b is a PackedMatrix that was moved from");
  EXPECT_EQ(message_of<ShapeError>([&] { gemm(a, b, c, {.residual = wrong}); }), "gemm: residual is 2x2 but c is 3x2");
  EXPECT_EQ(message_of<ShapeError>([&] { gemm(a, b, c, {.saved = wrong}); }), "gemm: saved is 2x2 but c is 3x2");
  EXPECT_EQ(message_of<ValueError>([&] { gemm(a, b, c, {.pre_activation = c, .saved = c}); }),
            "gemm: pre_activation is of the forward pass, saved of the backward pass: give one of them");
  EXPECT_EQ(message_of<ShapeError>([&] { gemm(a, b, c, {.a_row_sums = four}); }),
            "gemm: a_row_sums has 4 elements, expected 3 (a is 3x4)");
  EXPECT_EQ(message_of<ShapeError>([&] { gemm(a, b, c, {.a_row_sums = three}); }),
            "gemm: a_row_sums: what is summed side by side must lie side by side (stride 1)");
  EXPECT_EQ(
      message_of<ShapeError>([&] { gemm(MatrixView<const T>(a).block(0, 0, 2, 4), b, wrong, {.a_row_sums = two}); }),
      "gemm: a_row_sums: what is summed side by side must lie side by side (stride 1)");
  EXPECT_EQ(message_of<ShapeError>([&] { gemm(a, b, c, {.b_column_sums = three}); }),
            "gemm: b_column_sums has 3 elements, expected 2 (b is 4x2)");
  EXPECT_EQ(message_of<ShapeError>([&] { gemv(a, three, three); }), "gemv: x has 3 elements, expected 4 (a is 3x4)");
  EXPECT_EQ(message_of<ShapeError>([&] { ger(three, three, a); }), "ger: y has 3 elements, expected 4 (a is 3x4)");
}

}  // namespace
}  // namespace tilewright
