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

/// body(i) for every row.
template <class Body>
void for_rows(const View& x, double nanoseconds_per_element, int requested, Body&& body) {
  parallel(plan_rows(x.rows, x.cols, nanoseconds_per_element, requested), [&](Member member) {
    const auto [first, end] = member.share(x.rows);
    for (Index i = first; i < end; ++i) body(i);
  });
}

/// Whether rows are so short and so many that the kernels of narrow.hpp pay, and there are such kernels.
inline bool is_narrow(Index rows, Index cols) {
  return cols >= 1 && cols <= kNarrow && rows >= 8 && active_table().rows.norm_narrow != nullptr;
}

/// Whether threads share the columns of what sum_over_rows() adds, there being fewer blocks of rows than threads.
inline bool shares_columns(Index rows, int threads) { return rows <= kRowBlock * (threads - 1); }

/// Sums over rows of `kinds` numbers per column. add(first, end, columns, sums) adds these columns of these rows,
/// ascending, to kinds rows of `cols` sums; the totals go to out(kind), where that is not empty.
template <class Add>
void sum_over_rows(Index rows, Index cols, Index kinds, int threads, float* memory, Add&& add,
                   std::initializer_list<std::span<float>> out) {
  const Index blocks = (rows + kRowBlock - 1) / kRowBlock, stride = kinds * cols;
  const GemmKernels<float>& kernels = active_table().gemm<float>();
  const bool by_columns = shares_columns(rows, threads);
  parallel(threads, [&](Member member) {
    const Range its_blocks = by_columns ? Range{0, blocks} : member.share(blocks);
    const Range columns = by_columns ? member.share(cols, 4 * kernels.lanes) : Range{0, cols};
    for (Index b = its_blocks.first; b < its_blocks.end; ++b) {
      float* sums = memory + b * stride;
      for (Index kind = 0; kind < kinds; ++kind)
        std::fill(sums + kind * cols + columns.first, sums + kind * cols + columns.end, 0.0F);
      if (columns.first < columns.end) add(b * kRowBlock, std::min(rows, (b + 1) * kRowBlock), columns, sums);
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
