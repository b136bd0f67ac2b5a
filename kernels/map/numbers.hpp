// SPDX-License-Identifier: MIT
// An activation's numbers (alpha, beta, slope, bounds), one in every lane.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/simd/piecewise.hpp"

namespace tilewright::detail {

/// Formulas and loops take it by reference: GCC copies it through memory, eight bytes at a time in and 64 out, which
/// waits for the stores (threshold of 1,024 floats 32 and 26 ns).
template <class T, class A>
struct Numbers {
  Vec<T, A> a, b;
  simd::Ahead<A> ahead;  // what has been found of these lanes in the table
  /// Not null: lanes that the table does not serve are left for later (map.hpp); here it says which.
  xsimd::batch_bool<T, A>* far = nullptr;
  bool all_far = false;  // there are no others
  TILEWRIGHT_MEMBER explicit Numbers(const ActivationNumbers<T>& n)
      : a(simd::set<T, A>(n.a)), b(simd::set<T, A>(n.b)) {}
};

}  // namespace tilewright::detail
