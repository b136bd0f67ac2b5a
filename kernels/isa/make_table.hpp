// SPDX-License-Identifier: MIT
// Builds the kernel table of one architecture tag. Included by the ISA files only; see the ODR contract in
// docs/design.md.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/gemm/few_rows.hpp"
#include "kernels/gemm/finish.hpp"
#include "kernels/gemm/micro.hpp"
#include "kernels/gemm/pack.hpp"
#include "kernels/gemm/tiny.hpp"
#include "kernels/map/elementwise.hpp"
#include "kernels/map/functions.hpp"
#include "kernels/map/map.hpp"
#include "kernels/roof/loops.hpp"
#include "kernels/rows/loss.hpp"
#include "kernels/rows/narrow.hpp"
#include "kernels/rows/norm.hpp"
#include "kernels/rows/softmax.hpp"
#include "kernels/update/update.hpp"

namespace tilewright::detail {

/// On AVX-512 one kernel serves full tiles and those that end within a register.
template <class T, class A, int V, bool kAlong, std::size_t... R>
constexpr void fill_micro(GemmKernels<T>& k, std::index_sequence<R...>) {
  ((k.micro[kAlong][0][V - 1][R] = &gemm_micro<T, A, static_cast<int>(R) + 1, V, kAlong, kIsAvx512<A>>,
    k.micro[kAlong][1][V - 1][R] = &gemm_micro<T, A, static_cast<int>(R) + 1, V, kAlong, true>),
   ...);
}

/// On AVX-512 the last, ragged panel of b is not worth a kernel of 5 KB.
template <class T, class A, bool kAlong>
constexpr void fill_packing(GemmKernels<T>& k) {
  k.packing[kAlong][0] = &gemm_micro<T, A, tile_rows_of<T, A>, kTileVectors, kAlong, false, true>;
  if constexpr (kIsAvx2<A>)
    k.packing[kAlong][1] = &gemm_micro<T, A, tile_rows_of<T, A>, kTileVectors, kAlong, true, true>;
}

#if defined(__AVX512VL__)
template <class T, std::size_t... R>
constexpr void fill_narrow(GemmKernels<T>& k, std::index_sequence<R...>) {
  ((k.narrow[0][R] = &gemm_micro<T, simd::Avx512Half, static_cast<int>(R) + 1, 1, false, true>,
    k.narrow[1][R] = &gemm_micro<T, simd::Avx512Half, static_cast<int>(R) + 1, 1, true, true>),
   ...);
}

/// Columns of a (along 0) are rare in tiny products, and share the kernel that reads b from the cache.
template <class T, class A, std::size_t... K>
constexpr void fill_tiny(GemmKernels<T>& k, std::index_sequence<K...>) {
  ((k.tiny[0][1][K] = &gemm_tiny<T, A, 0, false>, k.tiny[1][1][K] = &gemm_tiny<T, A, static_cast<int>(K) + 1, true>),
   ...);
  if constexpr (!kIsHalf<A>) ((k.tiny[0][0][K] = k.tiny[0][1][K], k.tiny[1][0][K] = k.tiny[1][1][K]), ...);
}
#endif

/// Any number of steps is served by the same kernel.
template <class T, class A>
constexpr void fill_tiny(GemmKernels<T>& k) {
  for (int half = 0; half < 2; ++half)
    for (int steps = 0; steps < kTinySteps; ++steps) {
      k.tiny[0][half][steps] = &gemm_tiny<T, A, 0, false>;
      k.tiny[1][half][steps] = &gemm_tiny<T, A, 0, true>;
    }
}

template <class T, class A, class... F>
constexpr GemmKernels<T> make_gemm(FormulaList<F...>) {
  GemmKernels<T> k{};
  k.tile_rows = tile_rows_of<T, A>;
  k.tile_cols = kTileVectors * kLanes<T, A>;
  k.lanes = kLanes<T, A>;
  const auto rows = std::make_index_sequence<tile_rows_of<T, A>>();
  fill_micro<T, A, 1, false>(k, rows);
  fill_micro<T, A, 2, false>(k, rows);
  fill_micro<T, A, 1, true>(k, rows);
  fill_micro<T, A, 2, true>(k, rows);
  if constexpr (kIsAvx2<A> || kIsAvx512<A>) {
    fill_packing<T, A, false>(k);
    fill_packing<T, A, true>(k);
  }
  if constexpr (kIsAvx512<A> && sizeof(T) == 4) k.wide = &gemm_micro<T, A, kWideRows, 3, true, true>;
  if constexpr (kIsAvx2<A>) fill_tiny<T, A>(k);
#if defined(__AVX512VL__)
  fill_narrow<T>(k, rows);
  if constexpr (sizeof(T) == 4) {
    fill_tiny<T, A>(k, std::make_index_sequence<kTinySteps>());
    fill_tiny<T, simd::Avx512Half>(k, std::make_index_sequence<kTinySteps>());
  } else {
    fill_tiny<T, A>(k);
  }
#endif
  k.few_rows_across[0] = &few_rows_across<T, A, 1>;
  k.few_rows_across[1] = &few_rows_across<T, A, 2>;
  k.few_rows_along[0] = &few_rows_along<T, A, 1>;
  k.few_rows_along[1] = &few_rows_along<T, A, 2>;
  if constexpr (!std::is_same_v<A, xsimd::sse2>) {  // there they would be a fiftieth of the library
    k.few_rows_across[2] = &few_rows_across<T, A, 4>;
    k.few_rows_across[3] = &few_rows_across<T, A, 8>;
    k.few_rows_along[2] = &few_rows_along<T, A, 4>;
    k.few_rows_along[3] = &few_rows_along<T, A, 8>;
  }
  k.copy_rows = &copy_rows<T, A>;
  k.pack_rows = &pack_rows<T, A>;
  k.pack_columns = &pack_columns<T, A>;
  k.accumulate = &accumulate<T, A>;
  int i = 0;
  ((k.finish[i] = &gemm_finish<F, T, A>, k.derive[i++] = &gemm_derive<F, T, A>), ...);
  k.add_column_sums = &add_column_sums<T, A>;
  return k;
}

// Loops over several rows, or null.
template <class F, class T, class A>
constexpr auto forward_of_rows() -> std::remove_extent_t<decltype(MapKernels<T>::forward_rows)> {
  if constexpr (sizeof(T) == 4 && CollectsFar<F, A>) return &map_forward_rows<F, A>;
  return nullptr;
}
template <class F, class T, class A>
constexpr auto backward_of_rows() -> std::remove_extent_t<decltype(MapKernels<T>::backward_rows)> {
  if constexpr (sizeof(T) == 4 && CollectsFarSlopes<F, A>) return &map_backward_rows<F, A>;
  return nullptr;
}

template <class T, class A, class... F, class... G>
constexpr MapKernels<T> make_map(FormulaList<F...>, FormulaList<G...>) {
  MapKernels<T> k{};
  int i = 0, j = 0;
  ((k.forward[i] = &map_forward<F, T, A>, k.forward_rows[i] = forward_of_rows<F, T, A>(),
    k.backward[i] = &map_backward<F, T, A>, k.backward_rows[i++] = backward_of_rows<F, T, A>()),
   ...);
  ((k.function[j] = &map_forward<G, T, A>, k.function_backward[j++] = &map_backward<G, T, A>), ...);
  return k;
}

// Kernels of narrow.hpp, or null.
template <class A, bool kLog>
constexpr RowKernels::Forward softmax_of_short_rows() {
  if constexpr (kHasNarrow<A>) return &softmax_narrow<float, A, kLog>;
  return nullptr;
}
template <class A>
constexpr StoreKernel past_caches() noexcept {
#if defined(__x86_64__)
  return &copy_past_caches<A>;
#else
  return nullptr;
#endif
}

template <class A>
constexpr auto norm_of_short_rows() -> void (*)(const NormRows&) noexcept {
  if constexpr (kHasNarrow<A>) return &norm_narrow<A>;
  return nullptr;
}
template <class A>
constexpr auto cross_entropy_of_short_rows() -> void (*)(const NarrowLosses&) noexcept {
  if constexpr (kHasNarrow<A>) return &cross_entropy_narrow<A>;
  return nullptr;
}

template <class A, class... P>
constexpr LossKernels make_losses(PointList<P...>) {
  static_assert(sizeof...(P) == kPointLosses);
  return {{&pointwise_loss<P, A>...}, &cross_entropy_row<A>, &cross_entropy_mix<A>, cross_entropy_of_short_rows<A>()};
}

template <class A, class... F>
constexpr UpdateKernels make_updates(UpdateList<F...>) {
  static_assert(sizeof...(F) == kUpdateKinds);
  return {&sgd_update<A>, &adam_update<A>, {&formula_update<F, A>...}};
}

template <class A>
constexpr KernelTable make_table(Isa isa, const GemmKernels<float>& gemm_f32, const GemmKernels<double>& gemm_f64) {
  return {isa,
          &gemm_f32,
          &gemm_f64,
          make_map<float, A>(Formulas{}, Functions{}),
          make_map<double, A>(Formulas{}, DoubleFunctions{}),
          {&add_elements<float, A>, &multiply_elements<float, A>, &transpose_block<float, A>, kLanes<float, A>},
          {&add_elements<double, A>, &multiply_elements<double, A>, &transpose_block<double, A>, kLanes<double, A>},
          {&philox_blocks<A>, &scale_words<A>, &drop<A>},
          {&softmax_rows<float, A, false>,
           &softmax_rows<float, A, true>,
           softmax_of_short_rows<A, false>(),
           softmax_of_short_rows<A, true>(),
           &row_logsumexp<float, A>,
           &softmax_rows_backward<float, A, false>,
           &softmax_rows_backward<float, A, true>,
           &row_max<float, A>,
           &row_find<float, A>,
           &row_sum<float, A>,
           &row_dot<float, A>,
           &row_combine<float, A>,
           &row_squares<float, A>,
           {&row_distances<float, A, false>, &row_distances<float, A, true>},
           &norm_rows<A>,
           &norm_slopes<A>,
           {&norm_rows_backward<A, false>, &norm_rows_backward<A, true>},
           &norm_sums<A>,
           norm_of_short_rows<A>(),
           &add_squares<A>,
           &scale_columns<A>,
           &scale_columns_backward<A>,
           &prelu_row<A>,
           &add_products<A>,
           &prelu_row_backward<A>},
          make_losses<A>(Points{}),
          make_updates<A>(UpdateFormulas{}),
          {&fma_loop<float, A>,
           &fma_loop<double, A>,
           {&divide_loop<0, A>, &divide_loop<1, A>, &divide_loop<2, A>},
           {&stream_loop<A, 1, 0>, &stream_loop<A, 2, 0>, &stream_loop<A, 1, 1>, &stream_loop<A, 2, 1>,
            &stream_loop<A, 3, 2>, &stream_loop<A, 4, 3>}},
          past_caches<A>()};
}

}  // namespace tilewright::detail
