// SPDX-License-Identifier: MIT
// The floating-point control register. Kernels run with the default one (round to nearest, subnormal numbers kept, no
// traps), so that a host which sets another gets the same bits on every thread.
#pragma once

namespace tilewright::detail {

/// While it lives, this thread's control register is the default one. Costs a few cycles when it was.
class DefaultFloatState {
 public:
#if defined(__x86_64__)
  [[gnu::always_inline]] DefaultFloatState() noexcept : before_(__builtin_ia32_stmxcsr()) {
    if ((before_ & ~kFlags) != kDefault) __builtin_ia32_ldmxcsr(kDefault);
  }
  [[gnu::always_inline]] ~DefaultFloatState() {
    if ((before_ & ~kFlags) != kDefault) __builtin_ia32_ldmxcsr(before_);
  }

 private:
  static constexpr unsigned kFlags = 0x3F, kDefault = 0x1F80;
  unsigned before_;
#elif defined(__aarch64__)
  [[gnu::always_inline]] DefaultFloatState() noexcept {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    if (before_ != 0) asm volatile("msr fpcr, %0" ::"r"(0UL));
  }
  [[gnu::always_inline]] ~DefaultFloatState() {
    if (before_ != 0) asm volatile("msr fpcr, %0" ::"r"(before_));
  }

 private:
  unsigned long before_;
#else
  [[gnu::always_inline]] DefaultFloatState() noexcept {}
  [[gnu::always_inline]] ~DefaultFloatState() {}

 private:
#endif
 public:
  DefaultFloatState(const DefaultFloatState&) = delete;
  DefaultFloatState& operator=(const DefaultFloatState&) = delete;
};

/// A number that is computed by now, and what depends on it is computed later: for arguments and results in registers,
/// because compilers do not know that arithmetic depends on the control register (clang divides after it is put back).
inline double settled(double value) noexcept {
#if defined(__x86_64__)
  asm volatile("" : "+x"(value));
#elif defined(__aarch64__)
  asm volatile("" : "+w"(value));
#endif
  return value;
}

}  // namespace tilewright::detail
