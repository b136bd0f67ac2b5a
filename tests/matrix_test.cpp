// SPDX-License-Identifier: MIT
#include <cstdlib>

#include "tests/support.hpp"

namespace tilewright {
namespace {

using test::message_of;

TEST(MatrixView, StridesTransposeAndBlocks) {
  Matrix<float> m(3, 4);
  for (Index i = 0; i < 3; ++i)
    for (Index j = 0; j < 4; ++j) m(i, j) = static_cast<float>(10 * i + j);
  EXPECT_EQ(m.t()(3, 2), 23);
  EXPECT_EQ(m.view().block(1, 2, 2, 2)(1, 0), 22);
  EXPECT_EQ(m.view().row(2)(0, 3), 23);
  EXPECT_EQ(m.view().col(1)(2, 0), 21);
  EXPECT_EQ(m.row_block(1, 2)(0, 0), 10);
  EXPECT_TRUE(m.view().contiguous());
  EXPECT_FALSE(m.t().contiguous());
  EXPECT_FALSE(m.view().block(0, 0, 2, 2).contiguous());
  EXPECT_EQ(message_of<ShapeError>([&] { (void)m.view().block(1, 1, 3, 1); }), "block: 3x1 at (1, 1) is outside 3x4");
}

TEST(Shape, HoldsAsManyElementsAsAnIndexCounts) {
  const Index large = Index{1} << 31;
  EXPECT_EQ((Shape{large, large}).size(), Index{1} << 62);
  EXPECT_EQ(message_of<ShapeError>([&] { Shape{large, large, 2}; }), "Shape: too many elements");
  EXPECT_EQ(message_of<ShapeError>([] { Shape{3, -1}; }), "Shape: extent -1 is negative");
}

TEST(Matrix, OwnsAlignedZeroedMemory) {
  for (const Index n : {1, 7, 100, 600000}) {
    Matrix<double> m(1, n);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(m.data()) % 64, 0U);
    EXPECT_EQ(m(0, n - 1), 0);
  }
  Matrix<float> a(2, 2);
  a(1, 1) = 5;
  Matrix<float> b = a;
  b(1, 1) = 6;
  EXPECT_EQ(a(1, 1), 5);
  const Matrix<float> c = std::move(b);
  EXPECT_EQ(c(1, 1), 6);
  EXPECT_EQ(b.size(), 0);  // NOLINT(bugprone-use-after-move): moved-from is empty
  EXPECT_EQ(Matrix<float>(a.t()).view()(1, 1), 5);
  EXPECT_EQ(message_of<ShapeError>([] { Matrix<float>(-1, 2); }), "Matrix: -1x2 is negative or has too many elements");
  EXPECT_THROW(Matrix<float>(Index{1} << 40, Index{1} << 40), ShapeError);
}

TEST(Tensor, ShapeAndMatrix) {
  Tensor<float> t({2, 3, 4});
  EXPECT_EQ(t.size(), 24);
  EXPECT_EQ(t.matrix().rows, 6);
  EXPECT_EQ(t.matrix().cols, 4);
  EXPECT_EQ(t.shape().to_string(), "2x3x4");
  EXPECT_EQ(Tensor<float>().size(), 1);
  EXPECT_EQ(message_of<ShapeError>([] { Shape{2, -3}; }), "Shape: extent -3 is negative");
  EXPECT_THROW((Shape{Index{1} << 40, Index{1} << 40}), ShapeError);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1, 1}), ShapeError);
}

/// Counts what it gives out; nothing while it is empty.
struct CountingAllocator final : Allocator {
  int given = 0, taken = 0;
  bool empty = false;
  void* allocate(std::size_t bytes, std::size_t alignment) noexcept override {
    if (empty) return nullptr;
    ++given;
    return std::aligned_alloc(alignment, bytes);
  }
  void deallocate(void* memory) noexcept override {
    ++taken;
    std::free(memory);
  }
};

TEST(Memory, ComesFromTheCallersAllocator) {
  release_workspace();
  CountingAllocator counting;
  set_allocator(&counting);
  {
    const Matrix<float> a = test::random_matrix<float>(300, 300, 1);
    Matrix<float> c(300, 300);
    gemm(a, a.t(), c, {.num_threads = 1});
    EXPECT_EQ(counting.given, 3);  // and the workspace
    EXPECT_EQ(message_of<ValueError>([] { set_allocator(nullptr); }), "set_allocator: 3 blocks of memory are held");
    counting.empty = true;
    EXPECT_THROW(Matrix<float>(2, 2), std::bad_alloc);
  }
  release_workspace();
  EXPECT_EQ(counting.taken, 3);
  set_allocator(nullptr);
}

TEST(Memory, WorkspacesCanBeAskedFor) {
  for (const int threads : {1, 3})
    for (const auto& [m, n, k] : {std::array<Index, 3>{300, 200, 700}, {3, 4000, 900}, {8, 8, 9000}, {16, 16, 16}}) {
      const Matrix<float> a = test::random_matrix<float>(m, k, 1), b = test::random_matrix<float>(k, n, 2);
      Matrix<float> c(m, n);
      const GemmOptions<float> options{.num_threads = threads};
      release_workspace();
      EXPECT_EQ(workspace_bytes(), 0U);
      gemm(a, b, c, options);
      EXPECT_EQ(workspace_bytes(), gemm_workspace(a, b, c, options)) << m << "x" << n << "x" << k;
      EXPECT_EQ(gemm_workspace({nullptr, m, k}, {nullptr, k, n}, {nullptr, m, n}, options), workspace_bytes());
    }
  EXPECT_EQ(gemm_workspace({nullptr, 300, 0}, {nullptr, 0, 200}, MatrixView<float>(nullptr, 300, 200)), 0U);
  release_workspace();
  reserve_workspace(1000);
  EXPECT_EQ(workspace_bytes(), 1000U);
  const MatrixView<const float> a(nullptr, 2, 3), b(nullptr, 4, 5);
  EXPECT_EQ(message_of<ShapeError>([&] { (void)gemm_workspace(a, b, MatrixView<float>(nullptr, 2, 5)); }),
            "gemm_workspace: a is 2x3 but b is 4x5");
}

}  // namespace
}  // namespace tilewright
