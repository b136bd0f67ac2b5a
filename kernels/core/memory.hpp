// SPDX-License-Identifier: MIT
// Scratch memory. Each calling thread keeps one block that only grows, so calls of a fixed shape allocate once. It is
// freed when the thread ends.
#pragma once

#include "tilewright/matrix.hpp"

namespace tilewright::detail {

/// Every kernel's own, and one for functions that call others while they need theirs.
enum class Scratch { own, outer };

/// At least `count` elements, 64-byte aligned, not initialised; valid until the next call on the same thread. Throws
/// std::bad_alloc.
void* scratch_bytes(std::size_t bytes, Scratch which);

template <class T>
T* scratch(Index count, Scratch which = Scratch::own) {
  return static_cast<T*>(scratch_bytes(static_cast<std::size_t>(count) * sizeof(T), which));
}

/// Elements of T in whole cache lines.
template <class T>
constexpr Index whole_lines(Index count) {
  constexpr Index line = 64 / Index{sizeof(T)};
  return (count + line - 1) / line * line;
}

}  // namespace tilewright::detail
