// SPDX-License-Identifier: MIT
// One object per optimizer: the update of a register of parameters p by gradients g and kStates registers of state. c
// holds the step's numbers from kFirstNumber on, in the order in which update.cpp prepares them. kFades: the states are
// averages whose subnormal values are stored as 0.
#pragma once

#include "kernels/core/table.hpp"
#include "kernels/simd/simd.hpp"

namespace tilewright::detail {

/// x, but 0 where x is subnormal. Averages that are stored fade by a factor a step; where gradients stay 0 they would
/// be subnormal for a hundred steps and more, and most CPUs take several times as long for such numbers.
template <class A>
TILEWRIGHT_INLINE Vec<float, A> without_subnormals(Vec<float, A> x) {
  return simd::select(simd::abs(x) < simd::set<float, A>(0x1p-126F), simd::set<float, A>(0), x);
}

/// a + w (b - a)
template <class A>
TILEWRIGHT_INLINE Vec<float, A> toward(Vec<float, A> a, Vec<float, A> b, Vec<float, A> w) {
  return simd::multiply_add(w, b - a, a);
}

/// decay s + fresh g^2
template <class A>
TILEWRIGHT_INLINE Vec<float, A> squares(Vec<float, A> s, Vec<float, A> g, Vec<float, A> decay, Vec<float, A> fresh) {
  return simd::multiply_add(decay, s, fresh * g * g);
}

/// c: -lr / correction1, beta2, 1 - beta1, 1 - beta2, 1 / sqrt(correction2), eps. s: m, v, the largest v.
struct AmsgradFormula {
  static constexpr int kStates = 3;
  static constexpr bool kFades = true;
  template <class A>
  TILEWRIGHT_INLINE void step(Vec<float, A>& p, Vec<float, A> g, Vec<float, A>* s, const Vec<float, A>* c) {
    s[0] = toward<A>(s[0], g, c[2]);
    s[1] = squares<A>(s[1], g, c[1], c[3]);
    s[2] = simd::select(s[2] < s[1], s[1], simd::select(s[1] <= s[2], s[2], s[1] + s[2]));
    p = simd::multiply_add(c[0], simd::div(s[0], simd::multiply_add(simd::sqrt(s[2]), c[4], c[5])), p);
  }
};

/// c: -lr / correction1, beta2, 1 - beta1, eps. s: m, u.
struct AdamaxFormula {
  static constexpr int kStates = 2;
  static constexpr bool kFades = true;
  template <class A>
  TILEWRIGHT_INLINE void step(Vec<float, A>& p, Vec<float, A> g, Vec<float, A>* s, const Vec<float, A>* c) {
    s[0] = toward<A>(s[0], g, c[2]);
    const Vec<float, A> old = c[1] * s[1], size = simd::abs(g) + c[3];
    s[1] = simd::select(old < size, size, simd::select(size <= old, old, old + size));
    p = simd::multiply_add(c[0], simd::div(s[0], s[1]), p);
  }
};

/// c: beta2, 1 - beta1, 1 - beta2, 1 / sqrt(correction2), eps, -factor of g, -factor of m. s: m, v.
struct NadamFormula {
  static constexpr int kStates = 2;
  static constexpr bool kFades = true;
  template <class A>
  TILEWRIGHT_INLINE void step(Vec<float, A>& p, Vec<float, A> g, Vec<float, A>* s, const Vec<float, A>* c) {
    s[0] = toward<A>(s[0], g, c[1]);
    s[1] = squares<A>(s[1], g, c[0], c[2]);
    const Vec<float, A> denominator = simd::multiply_add(simd::sqrt(s[1]), c[3], c[4]);
    p = p + simd::div(simd::multiply_add(c[5], g, c[6] * s[0]), denominator);
  }
};

/// c: beta2, 1 - beta1, 1 - beta2, weight of sqrt(v), eps (while v is too young to trust: 0 and 1), -factor. s: m, v.
struct RadamFormula {
  static constexpr int kStates = 2;
  static constexpr bool kFades = true;
  template <class A>
  TILEWRIGHT_INLINE void step(Vec<float, A>& p, Vec<float, A> g, Vec<float, A>* s, const Vec<float, A>* c) {
    s[0] = toward<A>(s[0], g, c[1]);
    s[1] = squares<A>(s[1], g, c[0], c[2]);
    p = simd::multiply_add(c[5], simd::div(s[0], simd::multiply_add(simd::sqrt(s[1]), c[3], c[4])), p);
  }
};

/// c: -lr, alpha, 1 - alpha, eps, momentum. s: v, then g's average if kCentered, then the buffer if kMomentum.
template <bool kCentered, bool kMomentum>
struct RmspropFormula {
  static constexpr int kStates = 1 + kCentered + kMomentum;
  static constexpr bool kFades = true;
  template <class A>
  TILEWRIGHT_INLINE void step(Vec<float, A>& p, Vec<float, A> g, Vec<float, A>* s, const Vec<float, A>* c) {
    s[0] = squares<A>(s[0], g, c[1], c[2]);
    Vec<float, A> variance = s[0];
    if constexpr (kCentered) {
      s[1] = toward<A>(s[1], g, c[2]);
      variance = simd::multiply_add(simd::set<float, A>(0) - s[1], s[1], variance);
    }
    Vec<float, A> direction = simd::div(g, simd::sqrt(variance) + c[3]);
    if constexpr (kMomentum) direction = s[kStates - 1] = simd::multiply_add(c[4], s[kStates - 1], direction);
    p = simd::multiply_add(c[0], direction, p);
  }
};

/// c: -lr, eps. s: the sum of squares.
struct AdagradFormula {
  static constexpr int kStates = 1;
  static constexpr bool kFades = false;
  template <class A>
  TILEWRIGHT_INLINE void step(Vec<float, A>& p, Vec<float, A> g, Vec<float, A>* s, const Vec<float, A>* c) {
    s[0] = simd::multiply_add(g, g, s[0]);
    p = simd::multiply_add(c[0], simd::div(g, simd::sqrt(s[0]) + c[1]), p);
  }
};

/// c: -lr, rho, 1 - rho, eps. s: mean square of gradients, of changes.
struct AdadeltaFormula {
  static constexpr int kStates = 2;
  static constexpr bool kFades = true;
  template <class A>
  TILEWRIGHT_INLINE void step(Vec<float, A>& p, Vec<float, A> g, Vec<float, A>* s, const Vec<float, A>* c) {
    s[0] = squares<A>(s[0], g, c[1], c[2]);
    const Vec<float, A> change = simd::div(simd::sqrt(s[1] + c[3]), simd::sqrt(s[0] + c[3])) * g;
    s[1] = squares<A>(s[1], change, c[1], c[2]);
    p = simd::multiply_add(c[0], change, p);
  }
};

/// c: eta-, eta+, smallest step, largest step. s: the gradient before, the step size.
struct RpropFormula {
  static constexpr int kStates = 2;
  static constexpr bool kFades = false;
  template <class A>
  TILEWRIGHT_INLINE void step(Vec<float, A>& p, Vec<float, A> g, Vec<float, A>* s, const Vec<float, A>* c) {
    const Vec<float, A> zero = simd::set<float, A>(0), same = g * s[0];
    Vec<float, A> size = simd::select(zero < same, s[1] * c[1], simd::select(same < zero, s[1] * c[0], s[1]));
    size = simd::select(size < c[2], c[2], simd::select(c[3] < size, c[3], size));
    const Vec<float, A> used = simd::select(same < zero, zero, g);
    s[0] = used;
    s[1] = size;
    p = simd::multiply_add(zero - simd::sign(used), size, p);
  }
};

/// c: -lr, 1 - beta1, 1 - beta2. s: m.
struct LionFormula {
  static constexpr int kStates = 1;
  static constexpr bool kFades = false;
  template <class A>
  TILEWRIGHT_INLINE void step(Vec<float, A>& p, Vec<float, A> g, Vec<float, A>* s, const Vec<float, A>* c) {
    p = simd::multiply_add(c[0], simd::sign(toward<A>(s[0], g, c[1])), p);
    s[0] = toward<A>(s[0], g, c[2]);
  }
};

/// A running average of what g stands for: c: 1 - decay. No state: p is the average.
struct AverageFormula {
  static constexpr int kStates = 0;
  static constexpr bool kFades = false;
  template <class A>
  TILEWRIGHT_INLINE void step(Vec<float, A>& p, Vec<float, A> g, Vec<float, A>*, const Vec<float, A>* c) {
    p = toward<A>(p, g, c[0]);
  }
};

/// The gradient of penalties on g, added to p, which are gradients themselves: c: l1, l2.
struct PenaltyFormula {
  static constexpr int kStates = 0;
  static constexpr bool kFades = false;
  template <class A>
  TILEWRIGHT_INLINE void step(Vec<float, A>& p, Vec<float, A> g, Vec<float, A>*, const Vec<float, A>* c) {
    p = p + simd::multiply_add(c[1], g, c[0] * simd::sign(g));
  }
};

/// p scaled and then bounded: c: factor, bound.
struct ClipFormula {
  static constexpr int kStates = 0;
  static constexpr bool kFades = false;
  template <class A>
  TILEWRIGHT_INLINE void step(Vec<float, A>& p, Vec<float, A>, Vec<float, A>*, const Vec<float, A>* c) {
    const Vec<float, A> scaled = p * c[0], low = simd::set<float, A>(0) - c[1];
    p = simd::select(c[1] < scaled, c[1], simd::select(scaled < low, low, scaled));
  }
};

/// In the order of UpdateKind.
template <class... F>
struct UpdateList {};
using UpdateFormulas =
    UpdateList<AmsgradFormula, AdamaxFormula, NadamFormula, RadamFormula, RmspropFormula<false, false>,
               RmspropFormula<false, true>, RmspropFormula<true, false>, RmspropFormula<true, true>, AdagradFormula,
               AdadeltaFormula, RpropFormula, LionFormula, AverageFormula, PenaltyFormula, ClipFormula>;

}  // namespace tilewright::detail
