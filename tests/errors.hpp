// SPDX-License-Identifier: MIT
// For tests of the errors that headers publish: data that is hard in different ways, and bounds.
#pragma once

#include <algorithm>
#include <functional>

#include "tests/row_reference.hpp"

namespace tilewright::test {

inline constexpr double kU = 0x1p-24;

/// Of numbers of the sizes that networks have; far from 0, so that differences lose digits; of very different sizes;
/// all of one sign.
enum class Data { plain, far, wide, positive };
inline constexpr Data kData[] = {Data::plain, Data::far, Data::wide, Data::positive};

inline Floats numbers(Index n, std::uint64_t stream, Data data) {
  Floats x = uniform(n, stream, -3, 3);
  const Floats sizes = uniform(n, stream + 1000, -9, 9);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (data == Data::far) x[i] += 1000;
    if (data == Data::wide) x[i] *= std::exp2(std::round(sizes[i]));
    if (data == Data::positive) x[i] = std::fabs(x[i]) + 0.125F;
  }
  return x;
}

/// A published bound: how much of it the worst error takes.
class Bound {
 public:
  explicit Bound(std::string what) : what_(std::move(what)) {}
  void check(double got, double want, double bound) {
    const double error = std::fabs(got - want);
    double share = error == 0 ? 0 : error / bound;
    if (std::isnan(share)) share = INFINITY;
    if (share > worst_) worst_ = share, at_ = std::to_string(got) + " for " + std::to_string(want);
  }
  ~Bound() { EXPECT_LE(worst_, 1) << what_ << ": " << at_; }
  Bound(const Bound&) = delete;
  Bound& operator=(const Bound&) = delete;

 private:
  std::string what_, at_;
  double worst_ = 0;
};

inline double sum(Index n, const std::function<double(std::size_t)>& term) {
  double total = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) total += term(i);
  return total;
}

/// The header's s.
inline double s_of(Index n) { return (static_cast<double>(std::min<Index>(n, 4096)) / 64 + 12) * kU; }

/// Rows of n elements: many where they are short, because those have kernels of their own.
struct RowShape {
  Index rows, cols;
};
inline constexpr RowShape kShapes[] = {{40, 1},  {33, 3},   {64, 16},  {3, 17},   {70, 64},
                                       {5, 200}, {3, 1000}, {2, 4096}, {1, 50257}};

inline double sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }

}  // namespace tilewright::test
