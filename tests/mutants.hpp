// SPDX-License-Identifier: MIT
// What tests/mutants.py puts into the sources: hundreds of mutants are compiled at once, and TILEWRIGHT_MUTANT=17 in
// the environment makes the seventeenth the one that counts. Included before everything else in a build of mutants,
// never otherwise.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <type_traits>

namespace tilewright_mutants {

inline const int active = [] {
  const char* text = std::getenv("TILEWRIGHT_MUTANT");
  return text == nullptr ? 0 : std::atoi(text);
}();

#ifdef TILEWRIGHT_MUTANTS_REACHED
// Which mutants the program ran over, written to a file at its end.
inline unsigned char reached[1 << 16];
inline const struct Reached {
  pid_t process = getpid();
  ~Reached() {
    const char* file = std::getenv("TILEWRIGHT_REACHED");
    if (file == nullptr || getpid() != process) {
      return;
    }
    std::ofstream out(file);
    for (int i = 0; i < 1 << 16; ++i) {
      if (reached[i] != 0) {
        out << i << '\n';
      }
    }
  }
} write_reached;
#endif

template <int N>
constexpr bool on() {
  if (std::is_constant_evaluated()) {
    return false;  // at compile time there are no mutants
  }
#ifdef TILEWRIGHT_MUTANTS_REACHED
  reached[N] = 1;
#endif
  return active == N;
}

// a + b becomes a + At<17>{} + b, which keeps precedences and subtracts when 17 is on. At<17, true> is for comparisons,
// which become their negation instead of moving their border.
template <int N, bool Negated = false>
struct At {};

#define TILEWRIGHT_MUTANT_OPERATOR(name, op, other, negated)                              \
  template <int N, class A>                                                               \
  struct name {                                                                           \
    const A& a;                                                                           \
  };                                                                                      \
  template <class A, int N>                                                               \
  constexpr name<N, A> operator op(const A& a, At<N, negated>) {                          \
    return {a};                                                                           \
  }                                                                                       \
  template <int N, class A, class B>                                                      \
  requires requires(const A& a, const B& b) { static_cast<decltype(a op b)>(a other b); } \
  constexpr auto operator op(name<N, A> x, const B& b)->decltype(x.a op b) {              \
    return on<N>() ? static_cast<decltype(x.a op b)>(x.a other b) : (x.a op b);           \
  }

TILEWRIGHT_MUTANT_OPERATOR(Plus, +, -, false)
TILEWRIGHT_MUTANT_OPERATOR(Minus, -, +, false)
TILEWRIGHT_MUTANT_OPERATOR(Times, *, +, false)
TILEWRIGHT_MUTANT_OPERATOR(Over, /, *, false)
TILEWRIGHT_MUTANT_OPERATOR(Less, <, <=, false)
TILEWRIGHT_MUTANT_OPERATOR(Greater, >, >=, false)
TILEWRIGHT_MUTANT_OPERATOR(NotGreater, <=, <, false)
TILEWRIGHT_MUTANT_OPERATOR(NotLess, >=, >, false)
TILEWRIGHT_MUTANT_OPERATOR(NegatedLess, <, >=, true)
TILEWRIGHT_MUTANT_OPERATOR(NegatedGreater, >, <=, true)
TILEWRIGHT_MUTANT_OPERATOR(NegatedNotGreater, <=, >, true)
TILEWRIGHT_MUTANT_OPERATOR(NegatedNotLess, >=, <, true)
TILEWRIGHT_MUTANT_OPERATOR(Equal, ==, !=, false)
TILEWRIGHT_MUTANT_OPERATOR(NotEqual, !=, ==, false)

// a += b becomes a += Sign<17>{} = b.
template <int N>
struct Sign {
  template <class B>
  constexpr B operator=(const B& b) const {
    return on<N>() ? static_cast<B>(-b) : b;
  }
};

}  // namespace tilewright_mutants
