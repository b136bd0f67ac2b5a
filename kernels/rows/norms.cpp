// SPDX-License-Identifier: MIT
// Norms and prelu: check, share the rows among threads, call the kernels of norm.hpp.
#include <cmath>

#include "kernels/core/cpu.hpp"
#include "kernels/core/memory.hpp"
#include "kernels/core/profile.hpp"
#include "kernels/rows/share.hpp"
#include "tilewright/gemm.hpp"
#include "tilewright/rows.hpp"

namespace tilewright {
namespace detail {
namespace {

void check_eps(const char* operation, double eps) {
  if (!(std::isfinite(eps) && eps >= 0))
    throw ValueError(std::string(operation) + ": eps is " + std::to_string(eps) + ", expected a finite number >= 0");
}

// ---- layer, rms and group norm: rows of `groups` parts

struct NormShape {
  Index groups = 1, size = 1;  // size: elements that share a gamma
  bool centered = true;
};

void check_groups(const char* operation, const View& x, const Groups& g) {
  if (g.channels <= 0 || g.groups <= 0 || g.channels % g.groups != 0 || x.cols % g.channels != 0 || x.cols == 0)
    throw ShapeError(std::string(operation) + ": x has rows of " + std::to_string(x.cols) + " elements with " +
                     std::to_string(g.channels) + " channels in " + std::to_string(g.groups) +
                     " groups: they must divide each other");
}

/// x 1 + -0 is x to the bit.
constexpr float kNoGamma = 1, kNoBeta = -0.0F;

/// One number per channel, repeated for each of its elements, in `memory` unless it can stay where it is; `none` for
/// each of the n elements where there are no numbers.
const float* spread(std::span<const float> values, Index size, Index n, float none, float* memory) {
  if (values.empty()) return std::fill_n(memory, n, none), memory;
  if (size == 1) return values.data();
  for (std::size_t c = 0; c < values.size(); ++c) std::fill_n(memory + static_cast<Index>(c) * size, size, values[c]);
  return memory;
}

/// How rows of n elements are normalised, of calls that read and write so many bytes. Measured on Zen 4: reading ahead
/// pays where five rows stay in the first-level cache, with the squares if those are read, too; but costs up to a
/// quarter where operands take more than half of the last-level cache. Longer rows are the other way round.
Ahead ahead_of(Index n, double bytes, bool centered) {
  const CacheSizes& caches = cache_sizes();
  const bool stays = 5 * n * Index{sizeof(float)} <= caches.l1_bytes,
             fits = bytes <= static_cast<double>(std::max(caches.l2_bytes, caches.l3_bytes)) / 2;
  if (stays != fits) return Ahead::no;
  return stays && centered && n <= kSumBlockElements ? Ahead::with_squares : Ahead::with_stores;
}

void normalise(const char* operation, const NormShape& s, const View& x, std::span<const float> gamma,
               std::span<const float> beta, const Output& y, std::span<float> mean, std::span<float> rstd, double eps,
               int requested) {
  const Place of_x("x", x);
  check_neighbours(operation, "x", x);
  check_result(operation, "y", y, "x", x);
  check_optional(operation, "gamma", gamma, x.cols / s.size, &of_x);
  check_optional(operation, "beta", beta, x.cols / s.size, &of_x);
  check_optional(operation, "mean", mean, x.rows * s.groups, &of_x);
  check_optional(operation, "rstd", rstd, x.rows * s.groups, &of_x);
  check_apart(operation, {{"y", y}, {"mean", mean}, {"rstd", rstd}}, {{"x", x}, {"gamma", gamma}, {"beta", beta}},
              Sharing::same);
  check_eps(operation, eps);
  check_thread_count(operation, requested);
  const Call call(over_elements<float>, operation, "", x.rows, x.cols, 1, 1);
  float* memory = scratch<float>(2 * x.cols);
  const float* g = spread(gamma, s.size, x.cols, kNoGamma, memory);
  const float* b = spread(beta, s.size, x.cols, kNoBeta, memory + x.cols);
  const RowKernels& kernels = active_table().rows;
  const Index n = x.cols / s.groups;
  const auto kernel = is_narrow(x.rows, n) ? kernels.norm_narrow : kernels.norm;
  const Ahead ahead = ahead_of(n, 2.0 * static_cast<double>(x.size()) * sizeof(float), s.centered);
  parallel(plan_rows(x.rows, x.cols, 0.15, requested), [&](Member member) {
    const auto [first, end] = member.share(x.rows);
    for (Index part = 0; part < s.groups; ++part) {
      const auto at = static_cast<std::size_t>(first * s.groups + part);
      NormRows t{};
      t.x = row_of(x, first) + part * n, t.x_stride = x.row_stride;
      t.y = row_of(y, first) + part * n, t.y_stride = y.row_stride;
      t.gamma = g + part * n, t.beta = b + part * n;
      t.mean = mean.empty() ? nullptr : mean.data() + at;
      t.rstd = rstd.empty() ? nullptr : rstd.data() + at;
      t.step = s.groups;
      t.rows = end - first, t.n = n;
      t.centered = s.centered, t.eps = eps;
      t.ahead = ahead;
      kernel(t);
    }
  });
}

/// Whether dgamma and dbeta are better summed while dx is written than in a pass of their own: eight arrays fit the
/// first-level cache beside each other, or two do not. Short rows are all in the first-level cache either way.
bool fits_together(Index n) { return (n > 192 && n <= 832) || n > 4096; }

void normalise_backward(const char* operation, const NormShape& s, const View& x, const View& dy,
                        std::span<const float> gamma, std::span<const float> mean, std::span<const float> rstd,
                        const Output& dx, std::span<float> dgamma, std::span<float> dbeta, int requested) {
  const Place of_x("x", x);
  check_neighbours(operation, "x", x);
  check_neighbours(operation, "dy", dy);
  check_same(operation, "dy", dy, "x", x);
  if (dx.data != nullptr) check_result(operation, "dx", dx, "x", x);
  const Index channels = x.cols / s.size;
  check_optional(operation, "gamma", gamma, channels, &of_x);
  if (s.centered) check_count(operation, "mean", mean, x.rows * s.groups, &of_x);
  check_count(operation, "rstd", rstd, x.rows * s.groups, &of_x);
  check_optional(operation, "dgamma", dgamma, channels, &of_x);
  check_optional(operation, "dbeta", dbeta, channels, &of_x);
  check_apart(operation, {{"dx", dx}, {"dgamma", dgamma}, {"dbeta", dbeta}},
              {{"x", x}, {"dy", dy}, {"gamma", gamma}, {"mean", mean}, {"rstd", rstd}}, Sharing::same);
  check_thread_count(operation, requested);
  const Call call(over_elements<float>, operation, "", x.rows, x.cols, 2, dx.data == nullptr ? 0 : 1);
  const RowKernels& kernels = active_table().rows;
  const Index n = x.cols / s.groups, sums = sum_memory(x.rows, x.cols, 2);
  float* memory = scratch<float>(sums + 3 * x.cols + 2 * x.rows);
  float* slopes = memory + sums + 3 * x.cols;
  const float* g = spread(gamma, s.size, x.cols, kNoGamma, memory + sums);
  const bool spreads = s.size > 1, in_place = dx.data == x.data || dx.data == dy.data;
  const bool sums_wanted = !dgamma.empty() || !dbeta.empty();
  const std::span<float> wide_dgamma{memory + sums + x.cols, static_cast<std::size_t>(dgamma.empty() ? 0 : x.cols)};
  const std::span<float> wide_dbeta{memory + sums + 2 * x.cols, static_cast<std::size_t>(dbeta.empty() ? 0 : x.cols)};
  // Columns from j on, of rows [i, i + count).
  const auto fill = [&](NormRow* rows, Index i, Index count, Index part, Range columns, float* partial) {
    for (Index k = 0; k < count; ++k) {
      const auto at = static_cast<std::size_t>((i + k) * s.groups + part);
      NormRow& r = rows[k] = {};
      r.x = row_of(x, i + k) + columns.first;
      r.dy = row_of(dy, i + k) + columns.first;
      r.y = dx.data == nullptr ? nullptr : row_of(dx, i + k) + columns.first;
      r.gamma = g + columns.first;
      r.dgamma = partial + columns.first;
      r.dbeta = partial + x.cols + columns.first;
      r.n = columns.end - columns.first;
      r.mean = s.centered ? mean[at] : 0;
      r.rstd = rstd[at];
      r.centered = s.centered;
    }
  };
  const int threads = plan_rows(x.rows, x.cols, 0.3, requested);
  // Where threads share the columns, the sums over rows come first, in threads that share the rows.
  const bool before = dx.data != nullptr && s.groups == 1 && shares_columns(x.rows, threads);
  if (before)
    parallel(threads, [&](Member member) {
      const auto [first, end] = member.share(x.rows);
      for (Index i = first; i < end; i += kNormRows) {
        NormRow rows[kNormRows];
        const Index count = std::min(kNormRows, end - i);
        fill(rows, i, count, 0, {0, n}, memory);
        kernels.norm_slopes(rows, count);
        for (Index k = 0; k < count; ++k) slopes[2 * (i + k)] = rows[k].slope, slopes[2 * (i + k) + 1] = rows[k].offset;
      }
    });
  sum_over_rows(x.rows, x.cols, 2,
                s.groups == 1 ? threads : static_cast<int>(std::clamp<Index>(x.rows / kRowBlock, 1, threads)), memory,
                [&](Index start, Index end, Range columns, float* partial) {
                  for (Index i = start; i < end; i += kNormRows)
                    for (Index part = 0; part < s.groups; ++part) {
                      NormRow rows[kNormRows];
                      const Index count = std::min(kNormRows, end - i);
                      fill(rows, i, count, part, s.groups == 1 ? columns : Range{part * n, (part + 1) * n}, partial);
                      if (before)
                        for (Index k = 0; k < count; ++k)
                          rows[k].slope = slopes[2 * (i + k)], rows[k].offset = slopes[2 * (i + k) + 1];
                      const bool narrow = !before && is_narrow(count, n), given = before || narrow;
                      if (narrow) kernels.norm_slopes(rows, count);
                      const bool together =
                          !narrow && dx.data != nullptr && sums_wanted && (in_place || fits_together(n));
                      // In place, dx overwrites what the sums are of. Otherwise they come second, from the caches:
                      // their order, by columns, costs a quarter from memory.
                      if (!together && in_place && sums_wanted) kernels.norm_sums(rows, count);
                      if (dx.data != nullptr) kernels.norm_backward[together](rows, count, given);
                      if (!together && !in_place && sums_wanted) kernels.norm_sums(rows, count);
                    }
                },
                {spreads ? wide_dgamma : dgamma, spreads ? wide_dbeta : dbeta});
  const auto fold = [&](std::span<float> wide, std::span<float> to) {
    for (std::size_t c = 0; c < to.size(); ++c)
      to[c] = static_cast<float>(kernels.sum(wide.data() + static_cast<Index>(c) * s.size, s.size));
  };
  if (spreads) fold(wide_dgamma, dgamma), fold(wide_dbeta, dbeta);
}

}  // namespace
}  // namespace detail

using namespace detail;

void layer_norm(const View& x, std::span<const float> gamma, std::span<const float> beta, const Output& y,
                std::span<float> mean, std::span<float> rstd, double eps, int num_threads) {
  normalise("layer_norm", {}, x, gamma, beta, y, mean, rstd, eps, num_threads);
}
void layer_norm_backward(const View& x, const View& dy, std::span<const float> gamma, std::span<const float> mean,
                         std::span<const float> rstd, const Output& dx, std::span<float> dgamma, std::span<float> dbeta,
                         int num_threads) {
  normalise_backward("layer_norm_backward", {}, x, dy, gamma, mean, rstd, dx, dgamma, dbeta, num_threads);
}

void rms_norm(const View& x, std::span<const float> gamma, const Output& y, std::span<float> rstd, double eps,
              int num_threads) {
  normalise("rms_norm", {.centered = false}, x, gamma, {}, y, {}, rstd, eps, num_threads);
}
void rms_norm_backward(const View& x, const View& dy, std::span<const float> gamma, std::span<const float> rstd,
                       const Output& dx, std::span<float> dgamma, int num_threads) {
  normalise_backward("rms_norm_backward", {.centered = false}, x, dy, gamma, {}, rstd, dx, dgamma, {}, num_threads);
}

void group_norm(const View& x, Groups groups, std::span<const float> gamma, std::span<const float> beta,
                const Output& y, std::span<float> mean, std::span<float> rstd, double eps, int num_threads) {
  check_groups("group_norm", x, groups);
  normalise("group_norm", {groups.groups, x.cols / groups.channels, true}, x, gamma, beta, y, mean, rstd, eps,
            num_threads);
}
void group_norm_backward(const View& x, const View& dy, Groups groups, std::span<const float> gamma,
                         std::span<const float> mean, std::span<const float> rstd, const Output& dx,
                         std::span<float> dgamma, std::span<float> dbeta, int num_threads) {
  check_groups("group_norm_backward", x, groups);
  normalise_backward("group_norm_backward", {groups.groups, x.cols / groups.channels, true}, x, dy, gamma, mean, rstd,
                     dx, dgamma, dbeta, num_threads);
}

namespace {

/// y = (x - mean) factor + shift, rows shared among threads.
void run_scale_columns(const View& x, const float* mean, const float* factor, const float* shift, const Output& y,
                       int requested) {
  const auto kernel = active_table().rows.scale_columns;
  for_rows(x, 0.1, requested, [&](Index i) {
    kernel({row_of(x, i), nullptr, mean, factor, shift, nullptr, row_of(y, i), x.cols});
  });
}

void check_columns(const char* operation, const View& x, std::span<const float> gamma, std::span<const float> beta,
                   std::span<const float> mean, std::span<const float> scale, const char* scale_name) {
  const Place of_x("x", x);
  check_optional(operation, "gamma", gamma, x.cols, &of_x);
  check_optional(operation, "beta", beta, x.cols, &of_x);
  check_count(operation, "mean", mean, x.cols, &of_x);
  check_count(operation, scale_name, scale, x.cols, &of_x);
}

}  // namespace

void batch_norm(const View& x, std::span<const float> gamma, std::span<const float> beta, const Output& y,
                std::span<float> mean, std::span<float> rstd, double eps, RunningStatistics running, int num_threads) {
  constexpr const char* kName = "batch_norm";
  const Place of_x("x", x);
  check_neighbours(kName, "x", x);
  check_result(kName, "y", y, "x", x);
  check_columns(kName, x, gamma, beta, mean, rstd, "rstd");
  check_optional(kName, "running mean", running.mean, x.cols, &of_x);
  check_optional(kName, "running variance", running.variance, x.cols, &of_x);
  check_apart(kName,
              {{"y", y},
               {"mean", mean},
               {"rstd", rstd},
               {"running mean", running.mean},
               {"running variance", running.variance}},
              {{"x", x}, {"gamma", gamma}, {"beta", beta}}, Sharing::same);
  if (x.rows == 0 || (!running.variance.empty() && x.rows < 2))
    throw ShapeError("batch_norm: x is " + shape_of(x) + ": too few rows for a mean and a variance");
  if (!(running.momentum >= 0 && running.momentum <= 1))
    throw ValueError("batch_norm: momentum is " + std::to_string(running.momentum) + ", expected 0 <= momentum <= 1");
  check_eps(kName, eps);
  check_thread_count(kName, num_threads);
  const Call call(over_elements<float>, kName, "", x.rows, x.cols, 2, 1);
  const RowKernels& kernels = active_table().rows;
  const Index n = x.cols, sums = sum_memory(x.rows, n, 1);
  float* memory = scratch<float>(sums + 3 * n);
  float *variance = memory + sums, *factor = variance + n, *shift = factor + n;
  const int threads = plan_rows(x.rows, n, 0.1, num_threads);
  const double rows = static_cast<double>(x.rows);
  column_sums(x, mean, false, num_threads);
  for (float& m : mean) m = static_cast<float>(static_cast<double>(m) / rows);
  sum_over_rows(x.rows, n, 1, threads, memory,
                [&](Index first, Index end, Range columns, float* partial) {
                  const Index j = columns.first;
                  for (Index i = first; i < end; ++i)
                    kernels.add_squares(row_of(x, i) + j, mean.data() + j, columns.end - j, partial + j);
                },
                {std::span<float>(variance, static_cast<std::size_t>(n))});
  for (std::size_t j = 0; j < mean.size(); ++j) {
    const double v = static_cast<double>(variance[j]);
    rstd[j] = static_cast<float>(1 / std::sqrt(v / rows + eps));
    factor[j] = gamma.empty() ? rstd[j] : rstd[j] * gamma[j];
    shift[j] = beta.empty() ? 0 : beta[j];
    const auto follow = [&](float& r, double now) {
      r = static_cast<float>(static_cast<double>(r) + running.momentum * (now - static_cast<double>(r)));
    };
    if (!running.mean.empty()) follow(running.mean[j], static_cast<double>(mean[j]));
    if (!running.variance.empty()) follow(running.variance[j], v / (rows - 1));
  }
  run_scale_columns(x, mean.data(), factor, shift, y, num_threads);
}

void batch_norm_inference(const View& x, std::span<const float> gamma, std::span<const float> beta,
                          std::span<const float> mean, std::span<const float> variance, const Output& y, double eps,
                          int num_threads) {
  constexpr const char* kName = "batch_norm_inference";
  const Place of_x("x", x);
  check_neighbours(kName, "x", x);
  check_result(kName, "y", y, "x", x);
  check_columns(kName, x, gamma, beta, mean, variance, "variance");
  check_apart(kName, {{"y", y}}, {{"x", x}, {"gamma", gamma}, {"beta", beta}, {"mean", mean}, {"variance", variance}},
              Sharing::same);
  check_eps(kName, eps);
  check_thread_count(kName, num_threads);
  const Call call(over_elements<float>, kName, "", x.rows, x.cols, 1, 1);
  float* factor = scratch<float>(2 * x.cols);
  float* shift = factor + x.cols;
  for (std::size_t j = 0; j < mean.size(); ++j) {
    const double r = 1 / std::sqrt(static_cast<double>(variance[j]) + eps);
    factor[j] = static_cast<float>(gamma.empty() ? r : r * static_cast<double>(gamma[j]));
    shift[j] = beta.empty() ? 0 : beta[j];
  }
  run_scale_columns(x, mean.data(), factor, shift, y, num_threads);
}

void batch_norm_backward(const View& x, const View& dy, std::span<const float> gamma, std::span<const float> mean,
                         std::span<const float> rstd, const Output& dx, std::span<float> dgamma, std::span<float> dbeta,
                         int num_threads) {
  constexpr const char* kName = "batch_norm_backward";
  const Place of_x("x", x);
  check_neighbours(kName, "x", x);
  check_neighbours(kName, "dy", dy);
  check_same(kName, "dy", dy, "x", x);
  if (dx.data != nullptr) check_result(kName, "dx", dx, "x", x);
  check_columns(kName, x, gamma, {}, mean, rstd, "rstd");
  check_optional(kName, "dgamma", dgamma, x.cols, &of_x);
  check_optional(kName, "dbeta", dbeta, x.cols, &of_x);
  check_apart(kName, {{"dx", dx}, {"dgamma", dgamma}, {"dbeta", dbeta}},
              {{"x", x}, {"dy", dy}, {"gamma", gamma}, {"mean", mean}, {"rstd", rstd}}, Sharing::same);
  check_thread_count(kName, num_threads);
  const Call call(over_elements<float>, kName, "", x.rows, x.cols, 2, dx.data == nullptr ? 0 : 1);
  const RowKernels& kernels = active_table().rows;
  const Index n = x.cols, sums = sum_memory(x.rows, n, 2);
  const auto size = static_cast<std::size_t>(n);
  float* memory = scratch<float>(sums + 5 * n);
  float *products = memory + sums, *totals = products + n, *factor = totals + n, *slope = factor + n;
  sum_over_rows(x.rows, n, 2, plan_rows(x.rows, n, 0.2, num_threads), memory,
                [&](Index first, Index end, Range columns, float* partial) {
                  const Index j = columns.first;
                  for (Index i = first; i < end; ++i)
                    kernels.add_products({row_of(x, i) + j, row_of(dy, i) + j, mean.data() + j, nullptr, nullptr,
                                          nullptr, nullptr, columns.end - j},
                                         partial + j, partial + n + j);
                },
                {std::span(products, size), std::span(totals, size)});
  const double rows = static_cast<double>(x.rows);
  for (std::size_t j = 0; j < size; ++j) {
    const double r = static_cast<double>(rstd[j]);
    factor[j] = gamma.empty() ? rstd[j] : rstd[j] * gamma[j];
    slope[j] = static_cast<float>(r * r * static_cast<double>(products[j]) / rows);
    if (!dgamma.empty()) dgamma[j] = static_cast<float>(r * static_cast<double>(products[j]));
    if (!dbeta.empty()) dbeta[j] = totals[j];
    totals[j] = static_cast<float>(static_cast<double>(totals[j]) / rows);
  }
  if (dx.data == nullptr) return;
  for_rows(x, 0.1, num_threads, [&](Index i) {
    kernels.scale_columns_backward({row_of(x, i), row_of(dy, i), mean.data(), factor, totals, slope, row_of(dx, i), n});
  });
}

void prelu(const View& x, std::span<const float> slope, const Output& y, int num_threads) {
  const Place of_x("x", x);
  check_neighbours("prelu", "x", x);
  check_result("prelu", "y", y, "x", x);
  check_count("prelu", "slope", slope, slope.size() == 1 ? 1 : x.cols, &of_x);
  check_apart("prelu", {{"y", y}}, {{"x", x}, {"slope", slope}}, Sharing::same);
  check_thread_count("prelu", num_threads);
  const Call call(over_elements<float>, "prelu", "", x.rows, x.cols, 1, 1);
  const Index each = slope.size() == 1 ? x.cols : 1;
  const float* slopes = spread(slope, each, x.cols, kNoGamma, scratch<float>(x.cols));
  const auto kernel = active_table().rows.prelu;
  for_rows(x, 0.1, num_threads, [&](Index i) {
    kernel({row_of(x, i), nullptr, nullptr, nullptr, nullptr, slopes, row_of(y, i), x.cols});
  });
}

void prelu_backward(const View& x, const View& dy, std::span<const float> slope, const Output& dx,
                    std::span<float> dslope, int num_threads) {
  constexpr const char* kName = "prelu_backward";
  const Place of_x("x", x);
  check_neighbours(kName, "x", x);
  check_neighbours(kName, "dy", dy);
  check_same(kName, "dy", dy, "x", x);
  if (dx.data != nullptr) check_result(kName, "dx", dx, "x", x);
  check_count(kName, "slope", slope, slope.size() == 1 ? 1 : x.cols, &of_x);
  check_optional(kName, "dslope", dslope, static_cast<Index>(slope.size()), &of_x);
  check_apart(kName, {{"dx", dx}, {"dslope", dslope}}, {{"x", x}, {"dy", dy}, {"slope", slope}}, Sharing::same);
  check_thread_count(kName, num_threads);
  const Call call(over_elements<float>, kName, "", x.rows, x.cols, 2, dx.data == nullptr ? 0 : 1);
  const Index n = x.cols, sums = sum_memory(x.rows, n, 1);
  float* memory = scratch<float>(sums + 2 * n);
  float* wide = memory + sums + n;
  const bool single = slope.size() == 1 && n != 1;
  const float* slopes = spread(slope, single ? n : 1, n, kNoGamma, memory + sums);
  const auto kernel = active_table().rows.prelu_backward;
  sum_over_rows(x.rows, n, 1, plan_rows(x.rows, n, 0.15, num_threads), memory,
                [&](Index first, Index end, Range columns, float* partial) {
                  const Index j = columns.first;
                  for (Index i = first; i < end; ++i)
                    kernel({row_of(x, i) + j, row_of(dy, i) + j, nullptr, nullptr, nullptr, slopes + j,
                            dx.data == nullptr ? nullptr : row_of(dx, i) + j, columns.end - j},
                           nullptr, partial + j);
                },
                {single ? std::span(wide, static_cast<std::size_t>(n)) : dslope});
  if (single && !dslope.empty()) dslope[0] = static_cast<float>(active_table().rows.sum(wide, n));
}

}  // namespace tilewright
