// SPDX-License-Identifier: MIT
// Builds the kernel table of one architecture tag. Included by the ISA files only; see the ODR contract in
// docs/design.md.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/gemm/finish.hpp"
#include "kernels/gemm/micro.hpp"
#include "kernels/gemm/pack.hpp"
#include "kernels/map/map.hpp"
#include "kernels/rows/loss.hpp"
#include "kernels/update/update.hpp"

namespace tilewright::detail {

template <class T, class A, int V, bool kPacked, bool kRagged, std::size_t... R>
constexpr void fill_micro(typename GemmKernels<T>::Micro* row, std::index_sequence<R...>) {
  ((row[R] = &gemm_micro<T, A, static_cast<int>(R) + 1, V, kPacked, kRagged>), ...);
}

template <class T, class A, class... F>
constexpr GemmKernels<T> make_gemm(FormulaList<F...>) {
  constexpr int rows = tile_rows_of<T, A>;
  constexpr int cols = kTileVectors * kLanes<T, A>;
  GemmKernels<T> k{};
  k.tile_rows = rows;
  k.tile_cols = cols;
  k.lanes = kLanes<T, A>;
  const auto all_rows = std::make_index_sequence<rows>();
  fill_micro<T, A, 1, true, false>(k.packed[0], all_rows);
  fill_micro<T, A, 2, true, false>(k.packed[1], all_rows);
  fill_micro<T, A, 1, false, false>(k.direct[0], all_rows);
  fill_micro<T, A, 2, false, false>(k.direct[1], all_rows);
  fill_micro<T, A, 1, false, true>(k.direct_ragged[0], all_rows);
  fill_micro<T, A, 2, false, true>(k.direct_ragged[1], all_rows);
  k.pack_a = &pack_panel<T, A, rows>;
  k.pack_b = &pack_panel<T, A, cols>;
  int i = 0;
  ((k.finish[i++] = &gemm_finish<F, T, A>), ...);
  k.add_column_sums = &add_column_sums<T, A>;
  return k;
}

template <class T, class A, class... F>
constexpr MapKernels<T> make_map(FormulaList<F...>) {
  MapKernels<T> k{};
  int i = 0;
  ((k.forward[i] = &map_forward<F, T, A>, k.backward[i++] = &map_backward<F, T, A>), ...);
  return k;
}

template <class A>
constexpr KernelTable make_table(Isa isa) {
  return {
      isa,
      make_gemm<float, A>(Formulas{}),
      make_gemm<double, A>(Formulas{}),
      make_map<float, A>(Formulas{}),
      make_map<double, A>(Formulas{}),
      {&pointwise_loss<SquaredError, float, A>, &pointwise_loss<LogisticLoss, float, A>, &cross_entropy_row<float, A>},
      {&sgd_update<A>, &adam_update<A>}};
}

}  // namespace tilewright::detail
