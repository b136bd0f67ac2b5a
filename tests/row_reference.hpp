// SPDX-License-Identifier: MIT
// Rows in double, the truth for functions of rows and their gradients.
#pragma once

#include <functional>

#include "tests/support.hpp"

namespace tilewright::test {

using Row = std::vector<double>;
using Floats = std::vector<float>;

inline Floats uniform(Index n, std::uint64_t stream, float low = -1, float high = 1) {
  Floats v(static_cast<std::size_t>(n));
  fill_uniform(v, {11, stream}, low, high);
  return v;
}
inline Row wide(std::span<const float> v) { return {v.begin(), v.end()}; }
inline MatrixView<float> view(Floats& v, Index rows) { return {v.data(), rows, static_cast<Index>(v.size()) / rows}; }
inline MatrixView<const float> view(const Floats& v, Index rows) {
  return {v.data(), rows, static_cast<Index>(v.size()) / rows};
}

/// The derivative of sum(dy * f(x)) with respect to every x, by central differences in double.
inline Row differences(const std::function<Row(const Row&)>& f, Row x, const Row& dy) {
  Row dx(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double h = 1e-6, at = x[i];
    x[i] = at + h;
    const Row above = f(x);
    x[i] = at - h;
    const Row below = f(x);
    x[i] = at;
    for (std::size_t k = 0; k < dy.size(); ++k) dx[i] += dy[k] * (above[k] - below[k]) / (2 * h);
  }
  return dx;
}

inline void expect_near(std::span<const float> got, const Row& want, double tolerance, const char* what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (std::size_t i = 0; i < want.size(); ++i)
    ASSERT_NEAR(got[i], want[i], tolerance * (1 + std::fabs(want[i]))) << what << " [" << i << "]";
}

/// f on every row of x.
inline Row by_rows(const Row& x, std::size_t rows, const std::function<Row(const Row&)>& f) {
  Row y;
  const std::size_t n = x.size() / rows;
  for (std::size_t i = 0; i < rows; ++i) {
    const Row one = f(Row(x.begin() + i * n, x.begin() + (i + 1) * n));
    y.insert(y.end(), one.begin(), one.end());
  }
  return y;
}

}  // namespace tilewright::test
