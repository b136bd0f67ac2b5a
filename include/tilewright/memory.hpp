// SPDX-License-Identifier: MIT
// The library's memory: where its arrays come from, what a thread keeps for its calls, and how results get there.
//
// Arrays of elements (Matrix, Tensor, PackedMatrix, the parameters, gradients and activations of models, workspaces)
// are allocated by the allocator below. Small things (names, lists, messages of errors) are in standard containers,
// which use operator new.
#pragma once

#include <cstddef>

#include "tilewright/export.hpp"

namespace tilewright {

/// Whoever provides memory. May be called by several threads at a time.
class TILEWRIGHT_API Allocator {
 public:
  Allocator() = default;
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;
  virtual ~Allocator();
  /// `bytes` > 0 of memory, aligned to `alignment` (64, or 2 MiB for large arrays); nullptr when there is none, which
  /// becomes std::bad_alloc.
  virtual void* allocate(std::size_t bytes, std::size_t alignment) noexcept = 0;
  /// Takes back what allocate() gave.
  virtual void deallocate(void* memory) noexcept = 0;
};

/// Uses it from now on; nullptr goes back to the C library. It must outlive its use. Throws ValueError while memory of
/// the allocator before is held, be it by a workspace (release_workspace() lets go of it): so call this first.
TILEWRIGHT_API void set_allocator(Allocator* allocator);

/// Calls pack and sum in a workspace that belongs to the calling thread. It grows when a call wants more and is kept
/// until the thread ends, so calls of the same shapes allocate once.

/// Bytes that the calling thread's workspace has now: after a call, what it wanted.
TILEWRIGHT_API std::size_t workspace_bytes() noexcept;
/// Makes it at least so large, so that calls which want no more allocate nothing (the logits of
/// linear_cross_entropy_loss have a block of their own). Throws std::bad_alloc.
TILEWRIGHT_API void reserve_workspace(std::size_t bytes);
/// Frees it. The next call that wants one allocates anew.
TILEWRIGHT_API void release_workspace() noexcept;

/// Whether what activations, functions, sums, products, copies and conversions write goes through the caches, where
/// whoever reads it next finds it, or past them, which saves reading each line before it is overwritten and leaves in
/// the caches what is there. The bits are the same. What is computed in place goes through the caches, and so does
/// everything on AArch64.
enum class Stores {
  automatic,  ///< past them where the result is as large as the last-level cache and arithmetic takes less than memory
  cached,     ///< through the caches
  streaming   ///< past them, where 16 KiB are neighbours: for results that nobody reads soon
};

/// While it lives, calls of this thread store like that.
class TILEWRIGHT_API StoresScope {
 public:
  /// Begins on this thread.
  explicit StoresScope(Stores stores) noexcept;
  ~StoresScope();
  StoresScope(const StoresScope&) = delete;
  StoresScope& operator=(const StoresScope&) = delete;

 private:
  Stores before_;
};

}  // namespace tilewright
