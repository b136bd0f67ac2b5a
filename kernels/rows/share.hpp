// SPDX-License-Identifier: MIT
// What the drivers of rows have in common: checks, rows shared among threads, and sums over rows. What belongs to
// columns is summed over blocks of kRowBlock rows, whatever the number of threads, and the blocks are added in
// ascending order.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <span>

#include "kernels/core/check.hpp"
#include "kernels/core/parallel.hpp"
#include "kernels/core/table.hpp"

namespace tilewright::detail {

using View = MatrixView<const float>;
using Output = MatrixView<float>;

/// Rows whose part of a column's sum is one chain; part of the numerics.
constexpr Index kRowBlock = 64;
/// Blocks that one chain adds; the same as column_sums' rows.
constexpr Index kChain = 512;

inline void check_result(const char* operation, const char* name, const Output& view, const char* like_name,
                         const View& like) {
  check_neighbours(operation, name, view);
  check_output(operation, name, view);
  check_same(operation, name, view, like_name, like);
}

/// Where a row begins; rows without elements may have no memory.
template <class T>
T* row_of(const MatrixView<T>& x, Index i) {
  return x.data + i * x.row_stride;
}

inline int plan_rows(Index rows, Index cols, double nanoseconds_per_element, int requested) {
  return plan_threads(requested,
                      static_cast<double>(rows) * (30 + nanoseconds_per_element * static_cast<double>(cols)));
}

/// body(first, count) for all rows, at most `most` at a time.
template <class Body>
void for_row_groups(const View& x, double nanoseconds_per_element, int requested, Index most, Body&& body) {
  parallel(plan_rows(x.rows, x.cols, nanoseconds_per_element, requested), [&](Member member) {
    const auto [first, end] = member.share(x.rows);
    for (Index i = first; i < end; i += most) body(i, std::min(most, end - i));
  });
}

/// body(i) for every row.
template <class Body>
void for_rows(const View& x, double nanoseconds_per_element, int requested, Body&& body) {
  for_row_groups(x, nanoseconds_per_element, requested, 1, [&](Index i, Index) { body(i); });
}

/// Sums over rows of `kinds` numbers per column. add(first, end, sums) adds these rows, ascending, to kinds rows of
/// `cols` sums; the totals go to out(kind), where that is not empty.
template <class Add>
void sum_over_rows(Index rows, Index cols, Index kinds, int threads, float* memory, Add&& add,
                   std::initializer_list<std::span<float>> out) {
  const Index blocks = (rows + kRowBlock - 1) / kRowBlock, stride = kinds * cols;
  const GemmKernels<float>& kernels = active_table().gemm<float>();
  parallel(threads, [&](Member member) {
    const auto [first, end] = member.share(blocks);
    for (Index b = first; b < end; ++b) {
      float* sums = memory + b * stride;
      std::fill_n(sums, stride, 0.0F);
      add(b * kRowBlock, std::min(rows, (b + 1) * kRowBlock), sums);
    }
  });
  parallel(threads, [&](Member member) {
    const auto [left, right] = member.share(cols, 4 * kernels.lanes);
    Index kind = 0;
    for (const std::span<float>& total : out) {
      const Index from = kind++ * cols + left;
      if (total.empty() || left == right) continue;
      std::fill_n(total.data() + left, right - left, 0.0F);
      for (Index b = 0; b < blocks; b += kChain)
        kernels.add_column_sums(memory + b * stride + from, stride, std::min(kChain, blocks - b), right - left,
                                total.data() + left);
    }
  });
}

inline Index sum_memory(Index rows, Index cols, Index kinds) {
  return (rows + kRowBlock - 1) / kRowBlock * kinds * cols;
}

}  // namespace tilewright::detail
