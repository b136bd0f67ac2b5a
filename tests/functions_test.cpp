// SPDX-License-Identifier: MIT
// Elementary functions: double and special values against long double, derivatives against differences. The errors of
// float are tests/accuracy.cpp's.
#include <algorithm>
#include <array>
#include <bit>

#include "kernels/core/table.hpp"
#include "tests/reference.hpp"
#include "tests/support.hpp"

namespace tilewright {
namespace {

using enum FunctionKind;
using test::message_of;
using test::ulp_error;
using L = long double;

constexpr FunctionKind kOfDouble[] = {exp, expm1, log, log1p, rsqrt};

TEST(Functions, DoubleWithinAFewUnits) {
  // The part of each that is neither zero nor infinity, and what lies around 0 and 1.
  std::vector<double> x;
  const RandomStream random{3, 1};
  for (std::uint64_t i = 0; i < (test::kEmulated ? 4000 : 60000); ++i) {
    const double u = random.uniform(2 * i) * 2 - 1, v = random.uniform(2 * i + 1);
    x.push_back(u * 760);
    x.push_back(u * 2);
    x.push_back(1 + u * 1e-3);
    x.push_back(u * std::exp(-100 * v));
    x.push_back(std::exp(1400 * v - 700));
  }
  for (const double v : {0.0, -0.0, 5e-324, -5e-324, 1e-310, -1.0, 1.0, 1e308, -1e308}) x.push_back(v);
  for (const double v : {INFINITY, -INFINITY, NAN}) x.push_back(v);
  Matrix<double> in(1, static_cast<Index>(x.size())), out(1, in.cols()), ones(1, in.cols()), dx(1, in.cols());
  std::ranges::copy(x, in.data());
  std::ranges::fill(ones.span(), 1.0);
  for (const FunctionKind f : kOfDouble) {
    function_forward(f, in, out);
    function_backward(f, in, ones, dx);
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_LE(ulp_error(out.data()[i], test::reference<L>(f, x[i])), 1.7) << to_string(f) << " of " << x[i];
      ASSERT_LE(ulp_error(dx.data()[i], test::reference_derivative<L>(f, x[i])), 2) << to_string(f) << "' of " << x[i];
    }
  }
}

TEST(Functions, SpecialValues) {
  const auto at = [](FunctionKind f, float x) {
    Matrix<float> m(1, 1);
    m(0, 0) = x;
    function_forward(f, m, m);
    return m(0, 0);
  };
  EXPECT_EQ(at(exp, -INFINITY), 0);
  EXPECT_EQ(at(exp, INFINITY), INFINITY);
  EXPECT_EQ(at(expm1, -INFINITY), -1);
  EXPECT_EQ(at(log, 0), -INFINITY);
  EXPECT_EQ(at(log, -0.0F), -INFINITY);
  EXPECT_EQ(at(log, 1), 0);
  EXPECT_EQ(at(log1p, -1), -INFINITY);
  EXPECT_EQ(at(log1p, INFINITY), INFINITY);
  EXPECT_EQ(at(rsqrt, 0), INFINITY);
  EXPECT_EQ(at(rsqrt, INFINITY), 0);
  EXPECT_EQ(at(rsqrt, 4), 0.5F);
  EXPECT_EQ(at(erf, INFINITY), 1);
  EXPECT_EQ(at(erf, -INFINITY), -1);
  EXPECT_EQ(at(cos, 0), 1);
  for (const FunctionKind f : {log, log1p, rsqrt}) EXPECT_TRUE(std::isnan(at(f, -2))) << to_string(f);
  for (const FunctionKind f : {sin, cos}) EXPECT_TRUE(std::isnan(at(f, INFINITY))) << to_string(f);
  for (const FunctionKind f : {expm1, log1p, erf, sin}) {
    EXPECT_TRUE(std::signbit(at(f, -0.0F))) << to_string(f);
    EXPECT_EQ(at(f, 1e-45F), 1e-45F) << to_string(f);
  }
  for (int kind = 0; kind < kFunctionKinds; ++kind) {
    const auto f = static_cast<FunctionKind>(kind);
    EXPECT_TRUE(std::isnan(at(f, NAN))) << to_string(f);
  }
  // The hardest float for a reduction: 16367173 * 2^72 is within 2^-29 of a multiple of pi/2.
  EXPECT_NEAR(at(cos, 16367173.0F * 0x1p72F), std::cos(16367173.0 * 0x1p72), 1e-15);
}

TEST(Functions, DerivativesAgreeWithDifferences) {
  for (const FunctionKind f : kOfDouble)
    for (const double x : {0.3, 0.9, 1.7, 4.0}) {
      const double h = 1e-6;
      std::array<double, 2> in = {x - h, x + h}, out;
      function_forward(f, MatrixView<const double>(in.data(), 1, 2), MatrixView<double>(out.data(), 1, 2));
      double dx = 2;
      function_backward(f, MatrixView<const double>(&x, 1, 1), MatrixView<const double>(&dx, 1, 1),
                        MatrixView<double>(&dx, 1, 1));
      EXPECT_NEAR(dx, (out[1] - out[0]) / h, 1e-7 * (1 + std::fabs(dx))) << to_string(f) << " at " << x;
    }
}

TEST(Functions, EveryPlaceGivesTheSameBits) {
  const Index n = 67;
  std::vector<float> x(n), whole(n);
  for (const float largest : {8.0F, 50000.0F}) {  // exp is finite; sin needs more than the short reduction
    fill_uniform(x, {1, 1}, 0.1F, largest);
    for (int kind = 0; kind < kFunctionKinds; ++kind) {
      const auto f = static_cast<FunctionKind>(kind);
      function_forward(f, MatrixView<const float>(x.data(), 1, n), MatrixView<float>(whole.data(), 1, n));
      for (Index first = 0; first < n; ++first)
        for (const Index count : {Index{1}, Index{3}, n - first}) {
          if (first + count > n) continue;
          std::vector<float> part(static_cast<std::size_t>(count + 1), 7.0F);
          std::copy_n(x.begin() + first, count, part.begin());
          function_forward(f, MatrixView<const float>(part.data(), 1, count), MatrixView<float>(part.data(), 1, count));
          for (Index i = 0; i < count; ++i) ASSERT_EQ(part[i], whole[first + i]) << to_string(f);
          ASSERT_EQ(part[count], 7.0F);
        }
    }
  }
}

/// Rare arguments end the loops for usual ones, which begin again behind them.
TEST(Functions, RareArgumentsLeaveTheirNeighboursAlone) {
  const Index n = 20011;  // more than any loop takes over for
  Matrix<float> x(1, n), y(1, n);
  fill_uniform(x.span(), {1, 3}, -3, 3);
  for (const auto& [place, value] : std::initializer_list<std::pair<Index, float>>{{7, NAN},
                                                                                   {70, -INFINITY},
                                                                                   {71, 1e-40F},
                                                                                   {500, 50},
                                                                                   {501, -50},
                                                                                   {9000, INFINITY},
                                                                                   {18000, 1e36F},
                                                                                   {n - 1, 0}})
    x(0, place) = value;
  const auto check = [&](std::string_view name, auto&& compute) {
    compute(x.view(), y.view());
    for (Index i = 0; i < n; ++i) {
      float alone;
      compute(MatrixView<float>(&x(0, i), 1, 1), MatrixView<float>(&alone, 1, 1));
      ASSERT_TRUE(std::bit_cast<std::uint32_t>(alone) == std::bit_cast<std::uint32_t>(y(0, i)) ||
                  (std::isnan(alone) && std::isnan(y(0, i))))
          << name << " of " << x(0, i) << ", element " << i;
    }
  };
  for (int f = 0; f < kFunctionKinds; ++f) {
    const auto kind = static_cast<FunctionKind>(f);
    check(to_string(kind), [=](MatrixView<float> from, MatrixView<float> to) { function_forward(kind, from, to, 1); });
  }
  for (int f = 0; f < kActivationKinds; ++f) {
    const auto kind = static_cast<ActivationKind>(f);
    check(to_string(kind),
          [=](MatrixView<float> from, MatrixView<float> to) { activation_forward(kind, from, to, 1); });
  }
}

TEST(Functions, Errors) {
  Matrix<double> x(2, 3), y(3, 2);
  EXPECT_EQ(message_of<ShapeError>([&] { function_forward(exp, x, y); }), "function_forward: x is 2x3 but y is 3x2");
  EXPECT_EQ(message_of<ValueError>([&] { function_forward(erf, x, x); }), "function_forward: erf is for float only");
  EXPECT_EQ(message_of<ValueError>([&] { function_backward(static_cast<FunctionKind>(8), x, x, x); }),
            "function_backward: unknown function 8");
}

}  // namespace
}  // namespace tilewright
