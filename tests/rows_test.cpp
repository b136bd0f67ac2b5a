// SPDX-License-Identifier: MIT
// Softmax and what reduces rows against formulas in double, their gradients against differences of those formulas,
// unusual rows, and the bits of everything of rows on any number of threads.
#include <numeric>

#include "kernels/core/table.hpp"
#include "tests/row_reference.hpp"

namespace tilewright {
namespace {

using namespace test;

double logsumexp_of(const Row& x) {
  const double m = *std::ranges::max_element(x);
  double sum = 0;
  for (const double v : x) sum += std::exp(v - m);
  return m + std::log(sum);
}
Row softmax_of(const Row& x) {
  const double all = logsumexp_of(x);
  Row y;
  for (const double v : x) y.push_back(std::exp(v - all));
  return y;
}
Row log_softmax_of(const Row& x) {
  const double all = logsumexp_of(x);
  Row y;
  for (const double v : x) y.push_back(v - all);
  return y;
}

TEST(Rows, SoftmaxAndGradientsMatchReference) {
  for (const Index cols : {1, 2, 7, 16, 33, 100, 261}) {
    const Index rows = 3;
    const Floats x = uniform(rows * cols, 1, -6, 6), dy = uniform(rows * cols, 2);
    Floats y(x.size()), dx(x.size()), sums(rows);
    softmax(view(x, rows), view(y, rows));
    const auto all = [&](Row (*f)(const Row&)) { return [=](const Row& v) { return by_rows(v, rows, f); }; };
    expect_near(y, all(softmax_of)(wide(x)), 1e-6, "softmax");
    softmax_backward(view(y, rows), view(dy, rows), view(dx, rows));
    expect_near(dx, differences(all(softmax_of), wide(x), wide(dy)), 2e-6, "softmax_backward");
    log_softmax(view(x, rows), view(y, rows));
    expect_near(y, all(log_softmax_of)(wide(x)), 1e-6, "log_softmax");
    log_softmax_backward(view(y, rows), view(dy, rows), view(dx, rows));
    expect_near(dx, differences(all(log_softmax_of), wide(x), wide(dy)), 4e-6, "log_softmax_backward");
    row_logsumexp(view(x, rows), sums);
    expect_near(sums, by_rows(wide(x), rows, [](const Row& r) { return Row{logsumexp_of(r)}; }), 1e-6, "logsumexp");
  }
}

TEST(Rows, UnusualRowsOfSoftmax) {
  const float inf = INFINITY;
  const auto run = [](Floats x, auto f) {
    f(view(x, 1), view(x, 1), 1);
    return x;
  };
  EXPECT_EQ(run({-inf, 0, 0, -inf}, softmax), (Floats{0, 0.5F, 0.5F, 0}));
  EXPECT_EQ(run({42}, softmax), Floats{1});
  EXPECT_EQ(run({42}, log_softmax), Floats{0});
  EXPECT_EQ(run({-inf, 3}, log_softmax), (Floats{-inf, 0}));
  EXPECT_EQ(run({3e38F, -3e38F, 3e38F}, softmax), (Floats{0.5F, 0, 0.5F}));
  for (const Floats& bad : {Floats{-inf, -inf}, Floats{1, inf}, Floats{1, NAN, 2}})
    for (const float v : run(bad, softmax)) EXPECT_TRUE(std::isnan(v));
  for (const Floats& bad : {Floats{-inf, -inf}, Floats{NAN, 2}})
    for (const float v : run(bad, log_softmax)) EXPECT_TRUE(std::isnan(v));
  const auto logsumexp = [](Floats x) {
    Floats out(1);
    row_logsumexp(MatrixView<const float>(x.data(), 1, static_cast<Index>(x.size())), out);
    return out[0];
  };
  EXPECT_EQ(logsumexp({-inf, -inf}), -inf);
  EXPECT_EQ(logsumexp({1, inf}), inf);
  EXPECT_EQ(logsumexp({}), -inf);
  for (const float other : {-inf, 1.0F, inf}) {
    EXPECT_TRUE(std::isnan(logsumexp({other, NAN}))) << other;
    EXPECT_TRUE(std::isnan(logsumexp({NAN, other}))) << other;
  }
}

/// A single column has no neighbours, so its stride does not matter.
TEST(Rows, OneColumnOfAnyStride) {
  Matrix<float> x(5, 3), y(5, 2);
  fill_uniform(x.span(), {1, 1});
  softmax(MatrixView<const float>(x.data(), 5, 1, 3, 7), MatrixView<float>(y.data(), 5, 1, 2, 9));
  for (Index i = 0; i < 5; ++i) EXPECT_EQ(y(i, 0), 1) << i;
}

TEST(Rows, SumsAndExtremes) {
  for (const Index cols : {1, 5, 16, 31, 64, 1000, 4097, 20000}) {
    const Index rows = 4;
    Floats x = uniform(rows * cols, 3, 0, 2), out(rows);
    std::vector<Index> at(rows);
    for (std::size_t i = 0; i < 4; ++i) x[i * cols + (i * 7919) % cols] = 5;  // the largest
    const auto each = [&](auto f) { return by_rows(wide(x), rows, [&](const Row& r) { return Row{f(r)}; }); };
    const auto sum = [](const Row& r) { return std::accumulate(r.begin(), r.end(), 0.0); };
    const double n = static_cast<double>(cols);
    row_sum(view(x, rows), out);
    expect_near(out, each(sum), 1e-6, "row_sum");
    row_mean(view(x, rows), out);
    expect_near(out, each([&](const Row& r) { return sum(r) / n; }), 1e-6, "row_mean");
    row_max(view(x, rows), out);
    expect_near(out, Row(4, 5), 0, "row_max");
    row_argmax(view(x, rows), at);
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(at[i], static_cast<Index>((i * 7919) % cols));
    for (const double correction : {0.0, 1.0}) {
      row_variance(view(x, rows), out, correction);
      const Row want = each([&](const Row& r) {
        const double mean = sum(r) / n;
        double squares = 0;
        for (const double v : r) squares += (v - mean) * (v - mean);
        return squares / (n - correction);
      });
      for (std::size_t i = 0; i < 4; ++i) {
        if (cols == 1 && correction == 1)
          EXPECT_TRUE(std::isnan(out[i]));
        else
          EXPECT_NEAR(out[i], want[i], 1e-6 * (1 + want[i])) << cols;
      }
    }
  }
  Floats odd = {1, NAN, 7, NAN}, out(1);
  std::vector<Index> at(1);
  row_argmax(view(odd, 1), at);
  EXPECT_EQ(at[0], 1);
  row_max(view(odd, 1), out);
  EXPECT_TRUE(std::isnan(out[0]));
  Floats equal(40, 2.0F);
  row_argmax(view(equal, 1), at);
  EXPECT_EQ(at[0], 0);
}

TEST(Rows, GradientsOfNumbersMatchDifferences) {
  const auto sum = [](const Row& r) { return std::accumulate(r.begin(), r.end(), 0.0); };
  for (const Index cols : {1, 2, 7, 16, 33, 100, 261}) {
    const Index rows = 3;
    const double n = static_cast<double>(cols);
    const Floats x = uniform(rows * cols, 1, -6, 6), dy = uniform(rows, 2);
    Floats out(rows), dx(x.size());
    const auto expect = [&](auto f, double tolerance, const char* what) {
      const auto all = [&](const Row& v) { return by_rows(v, rows, [&](const Row& r) { return Row{f(r)}; }); };
      expect_near(dx, differences(all, wide(x), wide(dy)), tolerance, what);
      std::ranges::fill(dx, NAN);
    };
    row_logsumexp(view(x, rows), out);
    row_logsumexp_backward(view(x, rows), out, dy, view(dx, rows));
    expect(logsumexp_of, 2e-6, "row_logsumexp_backward");
    row_sum_backward(dy, view(dx, rows));
    expect(sum, 1e-7, "row_sum_backward");
    row_mean_backward(dy, view(dx, rows));
    expect([&](const Row& r) { return sum(r) / n; }, 1e-7, "row_mean_backward");
    row_max_backward(view(x, rows), dy, view(dx, rows));
    expect([](const Row& r) { return *std::ranges::max_element(r); }, 1e-7, "row_max_backward");
    for (const double correction : {0.0, 1.0}) {
      if (cols == 1 && correction == 1) continue;
      row_variance_backward(view(x, rows), dy, view(dx, rows), correction);
      expect(
          [&](const Row& r) {
            double squares = 0;
            for (const double v : r) squares += (v - sum(r) / n) * (v - sum(r) / n);
            return squares / (n - correction);
          },
          1e-5, "row_variance_backward");
    }
  }
}

TEST(Rows, GradientsOfUnusualRows) {
  const float inf = INFINITY;
  const Floats dy{2};
  const auto of_max = [&](Floats x) {
    row_max_backward(view(x, 1), dy, view(x, 1));  // in place
    return x;
  };
  EXPECT_EQ(of_max({1, 7, 7, 3}), (Floats{0, 2, 0, 0}));
  EXPECT_EQ(of_max({1, NAN, 7, NAN}), (Floats{0, 2, 0, 0}));
  EXPECT_EQ(of_max({-inf, -inf}), (Floats{2, 0}));
  const auto of_logsumexp = [&](Floats x) {
    Floats out(1);
    row_logsumexp(view(x, 1), out);
    row_logsumexp_backward(view(x, 1), out, dy, view(x, 1));
    return x;
  };
  EXPECT_EQ(of_logsumexp({-inf, 0, 0, -inf}), (Floats{0, 1, 1, 0}));
  const Floats with_infinity = of_logsumexp({inf, 0});
  EXPECT_TRUE(std::isnan(with_infinity[0]));
  EXPECT_EQ(with_infinity[1], 0);
  for (const float v : of_logsumexp({-inf, -inf})) EXPECT_TRUE(std::isnan(v));
  for (const float v : of_logsumexp({1, NAN})) EXPECT_TRUE(std::isnan(v));
  Floats one{3};
  row_variance_backward(view(one, 1), dy, view(one, 1));
  EXPECT_TRUE(std::isnan(one[0]));
  // Rows without elements have gradients without elements.
  row_sum_backward(dy, MatrixView<float>(one.data(), 1, 0));
  row_mean_backward(dy, MatrixView<float>(one.data(), 1, 0));
}

/// Everything that sums, on so many rows.
std::uint64_t hash_of_all(Index rows, Index cols, int threads, Guarded<float>::Order order) {
  Guarded<float> x(rows, cols, order), dy(rows, cols, order), y(rows, cols, order), dx(rows, cols, order);
  x.fill_uniform(1, -5, 5);
  dy.fill_uniform(2);
  const auto dirty = [](Index n) { return Floats(static_cast<std::size_t>(n), NAN); };  // all are overwritten
  Floats gamma = uniform(cols, 3), mean = dirty(rows), rstd = dirty(rows), dgamma = dirty(cols), dbeta = dirty(cols),
         columns = dirty(cols), more = dirty(cols);
  Hash hash;
  const auto keep = [&] { hash.add<float>(y.view()).add<float>(dx.view()); };
  softmax(x, y, threads);
  softmax_backward(y, dy, dx, threads);
  keep();
  log_softmax(x, y, threads);
  log_softmax_backward(y, dy, dx, threads);
  keep();
  row_logsumexp(x, mean, threads);
  hash.add(mean);
  row_logsumexp_backward(x, mean, mean, dx, threads);
  row_variance_backward(x, mean, y, 1, threads);
  keep();
  row_variance(x, mean, 1, threads);
  hash.add(mean);
  layer_norm(x, gamma, gamma, y, mean, rstd, 1e-5, threads);
  layer_norm_backward(x, dy, gamma, mean, rstd, dx, dgamma, dbeta, threads);
  keep();
  hash.add(dgamma).add(dbeta);
  batch_norm(x, gamma, gamma, y, columns, more, 1e-5, {}, threads);
  batch_norm_backward(x, dy, gamma, columns, more, dx, dgamma, dbeta, threads);
  keep();
  hash.add(dgamma).add(dbeta);
  prelu_backward(x, dy, gamma, dx, dgamma, threads);
  keep();
  hash.add(dgamma);
  EXPECT_TRUE(x.padding_intact() && y.padding_intact() && dx.padding_intact());
  return hash.value();
}

TEST(Rows, BitsDoNotDependOnThreads) {
  const auto order = Guarded<float>::Order::row_major;
  const std::uint64_t narrow = hash_of_all(3000, 10, 1, order), broad = hash_of_all(150, 777, 1, order);
  const std::uint64_t long_rows = hash_of_all(60, 9001, 1, order);  // of which threads share the columns
  for (const int threads : test::kThreadCounts) {
    EXPECT_EQ(hash_of_all(60, 9001, threads, order), long_rows) << threads;
    EXPECT_EQ(hash_of_all(3000, 10, threads, order), narrow) << threads;
    EXPECT_EQ(hash_of_all(150, 777, threads, order), broad) << threads;
  }
  if (active_isa() != Isa::sse2) {
    EXPECT_EQ(narrow, 2890019645770624527U);
    EXPECT_EQ(broad, 14734276572278233116U);
  }
}

/// A row alone gives what it gives inside many, and every length leaves its surroundings as they are.
TEST(Rows, TailsStayInside) {
  const auto order = Guarded<float>::Order::row_major;
  for (Index cols = 1; cols <= 70; ++cols) hash_of_all(2, cols, 1, order);
  Guarded<float> x(5, 45, order), y(5, 45, order), one(1, 45, order);
  x.fill_uniform(1, -5, 5);
  softmax(x, y);
  softmax(x.view().row(3), one);
  for (Index j = 0; j < 45; ++j) EXPECT_EQ(one(0, j), y(3, j));
}

TEST(Rows, Errors) {
  Matrix<float> x(2, 6), y(6, 2), z(2, 6);
  Floats two(2), six(6), none;
  std::vector<Index> at(2);
  EXPECT_EQ(message_of<ShapeError>([&] { softmax(x, y); }), "softmax: y is 6x2 but x is 2x6");
  EXPECT_EQ(message_of<ShapeError>([&] { softmax(y.t(), z); }),
            "softmax: columns of x must be neighbours (col_stride 1)");
  EXPECT_EQ(message_of<ShapeError>([&] { row_sum(x, six); }), "row_sum: out has 6 elements, expected 2 (x is 2x6)");
  EXPECT_EQ(message_of<ShapeError>([&] { row_argmax(MatrixView<const float>(x.data(), 2, 0), at); }),
            "row_argmax: x is 2x0: rows must not be empty");
  EXPECT_EQ(message_of<ShapeError>([&] { row_max_backward(MatrixView<const float>(x.data(), 2, 0), two, z); }),
            "row_max_backward: x is 2x0: rows must not be empty");
  EXPECT_EQ(message_of<ShapeError>([&] { row_sum_backward(six, z); }),
            "row_sum_backward: dy has 6 elements, expected 2 (dx is 2x6)");
  EXPECT_EQ(message_of<ShapeError>([&] { row_logsumexp_backward(x, six, two, z); }),
            "row_logsumexp_backward: out has 6 elements, expected 2 (dx is 2x6)");
  EXPECT_EQ(message_of<ShapeError>([&] { layer_norm(x, two, six, z, two, two); }),
            "layer_norm: gamma has 2 elements, expected 6 (x is 2x6)");
  EXPECT_EQ(message_of<ShapeError>([&] { layer_norm_backward(x, z, six, two, none, z, six, six); }),
            "layer_norm_backward: rstd has 0 elements, expected 2 (x is 2x6)");
  EXPECT_EQ(message_of<ValueError>([&] { rms_norm(x, six, z, two, NAN); }),
            "rms_norm: eps is nan, expected a finite number >= 0");
  EXPECT_EQ(message_of<ShapeError>([&] {
              group_norm(x, {3, 2}, six, six, z, two, two);
            }),
            "group_norm: x has rows of 6 elements with 3 channels in 2 groups: they must divide each other");
  Matrix<float> none_wide(2, 0);
  EXPECT_EQ(message_of<ShapeError>([&] {
              group_norm(none_wide, {2, 1}, two, two, none_wide, two, two);
            }),
            "group_norm: x has rows of 0 elements with 2 channels in 1 groups: they must divide each other");
  EXPECT_EQ(message_of<ShapeError>([&] {
              std::vector<float> a(6), b(6), c(6), d(6);
              batch_norm(x.row_block(0, 1), six, six, z.row_block(0, 1), a, b, 1e-5, {c, d, 0.1});
            }),
            "batch_norm: x is 1x6: too few rows for a mean and a variance");
  EXPECT_EQ(message_of<ValueError>([&] { row_variance(x, two, -1); }),
            "row_variance: correction is -1.000000, expected a finite number >= 0");
  EXPECT_EQ(message_of<ShapeError>([&] { prelu(x, two, z); }), "prelu: slope has 2 elements, expected 6 (x is 2x6)");
}

/// For a kernel: the rows of x, as long as those of scale (gamma, beta); mean and rstd go to the rows of numbers.
detail::NormRows norm_rows(const Matrix<float>& x, const Matrix<float>& scale, Matrix<float>& y, Matrix<float>& numbers,
                           bool centered) {
  return {.x = x.data(),
          .gamma = &scale(0, 0),
          .beta = &scale(1, 0),
          .y = y.data(),
          .mean = &numbers(0, 0),
          .rstd = &numbers(1, 0),
          .x_stride = x.cols(),
          .y_stride = y.cols(),
          .step = numbers.cols() / x.rows(),
          .rows = x.rows(),
          .n = scale.cols(),
          .centered = centered,
          .eps = 1e-5,
          .ahead = detail::Ahead::no};
}

/// Short rows are computed a register of rows at a time, with the bits of each row alone.
TEST(Rows, NarrowRowsAreThoseOfEachRowAlone) {
  const detail::RowKernels& kernels = detail::active_table().rows;
  if (kernels.norm_narrow == nullptr) GTEST_SKIP() << to_string(active_isa()) << " computes each row alone";
  for (Index n = 1; n <= detail::kNarrow; ++n)
    for (const Index rows : {1, 2, 7, 8, 9, 16, 35})
      for (const bool centered : {false, true}) {
        Matrix<float> x = test::random_matrix<float>(rows, n + 3, static_cast<std::uint64_t>(n * 100 + rows));
        x(0, 0) = -0.0F;
        if (rows > 7) {
          x(3, n / 2) = NAN;
          x(4, n - 1) = INFINITY;
          for (Index j = 0; j < n; ++j) x(5, j) = -0.0F;
          for (Index j = 0; j < n; ++j) x(6, j) = 1e30F;
        }
        const Matrix<float> scale = test::random_matrix<float>(2, n, 3);
        Matrix<float> y(rows, n + 5), want(rows, n + 5), numbers(2, 2 * rows), wanted(2, 2 * rows);
        detail::NormRows t = norm_rows(x, scale, y, numbers, centered);
        kernels.norm_narrow(t);
        t.y = want.data(), t.mean = &wanted(0, 0), t.rstd = &wanted(1, 0);
        kernels.norm(t);
        const auto same = [](float a, float b) {
          return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (std::isnan(a) && std::isnan(b));
        };
        ASSERT_TRUE(std::ranges::equal(y.span(), want.span(), same)) << n << " " << rows << " " << centered;
        ASSERT_TRUE(std::ranges::equal(numbers.span(), wanted.span(), same)) << n << " " << rows << " " << centered;
        kernels.softmax_narrow({x.data(), y.data(), n + 3, n + 5, rows, n});
        for (Index i = 0; i < rows; ++i) kernels.softmax({&x(i, 0), &want(i, 0), n + 3, n + 5, 1, n});
        ASSERT_TRUE(std::ranges::equal(y.span(), want.span(), same)) << n << " " << rows;
        kernels.log_softmax_narrow({x.data(), y.data(), n + 3, n + 5, rows, n});
        for (Index i = 0; i < rows; ++i) kernels.log_softmax({&x(i, 0), &want(i, 0), n + 3, n + 5, 1, n});
        ASSERT_TRUE(std::ranges::equal(y.span(), want.span(), same)) << n << " " << rows;
      }
}

/// Some rows at a time, or alone; in place, or not.
TEST(Rows, SoftmaxOfManyRowsIsThatOfEachRowAlone) {
  const detail::RowKernels& kernels = detail::active_table().rows;
  for (const auto kernel : {kernels.softmax, kernels.log_softmax})
    for (const Index n : {1, 16, 17, 63, 64, 200, 255, 256, 257, 1000, 2049, 5000}) {
      const Index rows = 35;
      Matrix<float> x = test::random_matrix<float>(rows, n + 3, static_cast<std::uint64_t>(n));
      x(3, n / 2) = NAN;
      x(4, n - 1) = INFINITY;
      for (Index j = 0; j < n; ++j) x(5, j) = -INFINITY;
      Matrix<float> y(rows, n + 5), want(rows, n + 5), alone = x;
      kernel({x.data(), y.data(), n + 3, n + 5, rows, n});
      for (Index i = 0; i < rows; ++i) kernel({&x(i, 0), &want(i, 0), n + 3, n + 5, 1, n});
      kernel({x.data(), x.data(), n + 3, n + 3, rows, n});
      for (Index i = 0; i < rows; ++i) kernel({&alone(i, 0), &alone(i, 0), n + 3, n + 3, 1, n});
      const auto same = [](float a, float b) {
        return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (std::isnan(a) && std::isnan(b));
      };
      ASSERT_TRUE(std::ranges::equal(y.span(), want.span(), same)) << n;
      ASSERT_TRUE(std::ranges::equal(x.span(), alone.span(), same)) << n;
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < n; ++j) ASSERT_TRUE(same(x(i, j), y(i, j))) << n << " " << i << " " << j;
    }
}

/// Whenever the next row is read.
TEST(Rows, NormsHaveTheSameBitsAheadOrNot) {
  for (const Index n : {1, 15, 16, 17, 63, 64, 65, 80, 200, 1000, 1639, 4095, 4096, 4097, 9000})
    for (const Index rows : {1, 2, 5})
      for (const bool centered : {false, true}) {
        const Matrix<float> x = test::random_matrix<float>(rows, n + 1, static_cast<std::uint64_t>(n + rows));
        const Matrix<float> scale = test::random_matrix<float>(2, n, 3);
        const auto hash_of = [&](detail::Ahead ahead) {
          Matrix<float> y(rows, n + 2), numbers(2, rows);
          detail::NormRows t = norm_rows(x, scale, y, numbers, centered);
          t.ahead = ahead;
          detail::active_table().rows.norm(t);
          return Hash().add<float>(y).add<float>(numbers).value();
        };
        const std::uint64_t want = hash_of(detail::Ahead::no);
        EXPECT_EQ(hash_of(detail::Ahead::with_stores), want) << rows << "x" << n;
        if (!centered || n > detail::kSumBlockElements) continue;
        EXPECT_EQ(hash_of(detail::Ahead::with_squares), want) << rows << "x" << n;
      }
}

}  // namespace
}  // namespace tilewright
