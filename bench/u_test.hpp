// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <vector>

namespace tilewright::bench {

/// Mann and Whitney's U test of two small samples, one-sided and exact: how likely `high` would lie so far above `low`
/// by chance, were both drawn from one distribution.
inline double u_test(const std::vector<double>& low, const std::vector<double>& high) {
  double u = 0;  // pairs in which `high` is above; ties count half
  for (const double h : high)
    for (const double l : low) u += h > l ? 1 : h == l ? 0.5 : 0;
  // ways[i][j][k]: orders of i of `low` and j of `high` in which k pairs have `high` above. The largest of all is of
  // `low`, or of `high` and above all i of `low`.
  const std::size_t n = low.size(), m = high.size();
  std::vector<std::vector<std::vector<double>>> ways(
      n + 1, std::vector<std::vector<double>>(m + 1, std::vector<double>(n * m + 1, 0)));
  for (std::size_t i = 0; i <= n; ++i)
    for (std::size_t j = 0; j <= m; ++j)
      for (std::size_t k = 0; k <= n * m; ++k) {
        if (i == 0 || j == 0)
          ways[i][j][k] = k == 0 ? 1 : 0;
        else
          ways[i][j][k] = ways[i - 1][j][k] + (k >= i ? ways[i][j - 1][k - i] : 0);
      }
  double all = 0, at_least = 0;
  for (std::size_t k = 0; k <= n * m; ++k) {
    all += ways[n][m][k];
    if (static_cast<double>(k) >= std::floor(u)) at_least += ways[n][m][k];  // p is rather too large than too small
  }
  return at_least / all;
}

}  // namespace tilewright::bench
