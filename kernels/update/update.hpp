// SPDX-License-Identifier: MIT
// Optimizer updates over one run of elements. The formulas are in include/tilewright/updates.hpp; the numbers arrive
// prepared in SgdNumbers and AdamNumbers, so that every element sees the same rounded constants.
#pragma once

#include "kernels/rows/reduce.hpp"
#include "kernels/update/formulas.hpp"

namespace tilewright::detail {

template <class A>
void sgd_update(float* p, const float* g, float* b, Index n, const SgdNumbers& numbers) noexcept {
  using T = float;
  using V = Vec<T, A>;
  const V lr = simd::set<T, A>(-numbers.lr), decay = simd::set<T, A>(numbers.weight_decay);
  const V momentum = simd::set<T, A>(numbers.momentum), fresh = simd::set<T, A>(numbers.one_minus_dampening);
  simd::for_registers<T, A>(
      n, [=](Index i, auto... some) __attribute__((always_inline)) {
        const V parameter = simd::load<T, A>(p + i, some...);
        V direction = simd::multiply_add(decay, parameter, simd::load<T, A>(g + i, some...));
        if (numbers.has_momentum) {
          const V gradient = direction;
          V velocity = gradient;
          if (!numbers.first)
            velocity = simd::multiply_add(momentum, simd::load<T, A>(b + i, some...), fresh * gradient);
          simd::store(b + i, without_subnormals<A>(velocity), some...);
          direction = numbers.nesterov ? simd::multiply_add(momentum, velocity, gradient) : velocity;
        }
        simd::store(p + i, simd::multiply_add(lr, direction, parameter), some...);
      });
}

template <class A>
void adam_update(float* p, const float* g, float* m, float* v, Index n, const AdamNumbers& numbers) noexcept {
  using T = float;
  using V = Vec<T, A>;
  const V step = simd::set<T, A>(-numbers.step_size), eps = simd::set<T, A>(numbers.eps);
  const V beta2 = simd::set<T, A>(numbers.beta2), fresh1 = simd::set<T, A>(numbers.one_minus_beta1);
  const V fresh2 = simd::set<T, A>(numbers.one_minus_beta2), root2 = simd::set<T, A>(numbers.inverse_root_correction2);
  const V coupled = simd::set<T, A>(numbers.coupled_decay), keep_weights = simd::set<T, A>(numbers.keep_weights);
  simd::for_registers<T, A>(
      n, [=](Index i, auto... some) __attribute__((always_inline)) {
        V parameter = simd::load<T, A>(p + i, some...);
        const V gradient = simd::multiply_add(coupled, parameter, simd::load<T, A>(g + i, some...));
        parameter = parameter * keep_weights;
        V first = simd::load<T, A>(m + i, some...);
        first = simd::multiply_add(fresh1, gradient - first, first);
        const V second = simd::multiply_add(beta2, simd::load<T, A>(v + i, some...), fresh2 * gradient * gradient);
        simd::store(m + i, without_subnormals<A>(first), some...);
        simd::store(v + i, without_subnormals<A>(second), some...);
        const V denominator = simd::multiply_add(simd::sqrt(second), root2, eps);
        simd::store(p + i, simd::multiply_add(step, simd::div(first, denominator), parameter), some...);
      });
}

/// The loop of every formula object.
template <class F, class A>
void formula_update(float* p, const float* g, float* const* states, Index n, const UpdateNumbers& numbers) noexcept {
  using T = float;
  using V = Vec<T, A>;
  constexpr int kNumbers = static_cast<int>(std::size(UpdateNumbers{}.c));
  const V coupled = simd::set<T, A>(numbers.coupled_decay), keep_weights = simd::set<T, A>(numbers.keep_weights);
  V c[kNumbers];
#pragma GCC unroll 8
  for (int i = 0; i < kNumbers; ++i) c[i] = simd::set<T, A>(numbers.c[i]);
  simd::for_registers<T, A>(
      n, [&](Index i, auto... some) __attribute__((always_inline)) {
        V parameter = simd::load<T, A>(p + i, some...), s[F::kStates + 1];
        const V gradient = simd::multiply_add(coupled, parameter, simd::load<T, A>(g + i, some...));
        parameter = parameter * keep_weights;
#pragma GCC unroll 4
        for (int k = 0; k < F::kStates; ++k) s[k] = simd::load<T, A>(states[k] + i, some...);
        F::template step<A>(parameter, gradient, s, c);
#pragma GCC unroll 4
        for (int k = 0; k < F::kStates; ++k)
          simd::store(states[k] + i, F::kFades ? without_subnormals<A>(s[k]) : s[k], some...);
        simd::store(p + i, parameter, some...);
      });
}

}  // namespace tilewright::detail
