// SPDX-License-Identifier: MIT
// Gradient checks in double: a formula is written once more in double, as the textbooks have it; central differences of
// that are the truth to ten digits, and the library's gradients must agree.
#pragma once

#include <functional>

#include "tests/support.hpp"

namespace tilewright::test {

using Numbers = std::vector<double>;
/// A matrix of doubles, row by row.
struct Table {
  Index rows, cols;
  Numbers values;
  double& operator()(Index i, Index j) { return values[static_cast<std::size_t>(i * cols + j)]; }
  double operator()(Index i, Index j) const { return values[static_cast<std::size_t>(i * cols + j)]; }
  Table like(Index columns) const { return {rows, columns, Numbers(static_cast<std::size_t>(rows * columns))}; }
};

inline Table table(MatrixView<const float> m) {
  Table t{m.rows, m.cols, {}};
  for (Index i = 0; i < m.rows; ++i)
    for (Index j = 0; j < m.cols; ++j) t.values.push_back(static_cast<double>(m(i, j)));
  return t;
}

/// By the three points on each side, which leaves h^6: about 1e-12 of the function.
inline double derivative(double& place, const std::function<double()>& f) {
  constexpr double h = 1.0 / 512;
  const double keep = place;
  const auto at = [&](double d) {
    place = keep + d;
    return f();
  };
  const double d = (45 * (at(h) - at(-h)) - 9 * (at(2 * h) - at(-2 * h)) + (at(3 * h) - at(-3 * h))) / (60 * h);
  place = keep;
  return d;
}

/// What the library gave, against the truth: 1e-5 of each number, or of their root mean square where one is small.
inline void expect_near(std::span<const float> got, const Numbers& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double squares = 0;
  for (double w : want) squares += w * w;
  const double typical = std::sqrt(squares / static_cast<double>(want.size()));
  for (std::size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(static_cast<double>(got[i]), want[i], 1e-5 * std::max(std::fabs(want[i]), typical)) << what << " " << i;
}

/// Numbers of both signs, none nearer to `corners` than the differences reach.
inline Matrix<float> input(Index rows, Index cols, const Numbers& corners = {0}) {
  Matrix<float> x(rows, cols);
  fill_uniform(x.span(), {31, static_cast<std::uint64_t>(rows * cols)}, -2, 2);
  for (float& v : x.span())
    for (double c : corners)
      if (std::fabs(static_cast<double>(v) - c) < 0.01) v = static_cast<float>(c + 0.02);
  return x;
}

}  // namespace tilewright::test
