// SPDX-License-Identifier: MIT
#include "kernels/core/memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>

#include "kernels/core/cpu.hpp"
#include "kernels/core/stores.hpp"
#include "tilewright/memory.hpp"

namespace tilewright {
namespace {

constexpr std::size_t kLine = 64;
/// From this size on, aligning to it lets the kernel back the block with huge pages (asked for with madvise, which is a
/// hint only): packed panels are walked with strides that would miss the small TLB.
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::atomic<Allocator*> chosen{nullptr};
/// Blocks that were allocated and not deallocated.
std::atomic<Index> held{0};

struct Block {
  std::unique_ptr<void, detail::Deallocate> memory;
  std::size_t capacity = 0;

  void release() noexcept {
    memory.reset();
    capacity = 0;
  }
  void grow(std::size_t bytes) {
    if (bytes <= capacity) return;
    release();
    memory.reset(allocate_aligned(bytes));
    capacity = bytes;
  }
};

thread_local Stores scope_stores = Stores::automatic;

Block& workspace(detail::Scratch which) noexcept {
  thread_local Block blocks[2];
  return blocks[static_cast<int>(which)];
}

}  // namespace

Allocator::~Allocator() = default;

void set_allocator(Allocator* allocator) {
  if (const Index count = held.load(); count > 0)
    throw ValueError("set_allocator: " + std::to_string(count) + " blocks of memory are held");
  chosen.store(allocator, std::memory_order_release);
}

void* allocate_aligned(std::size_t bytes) {
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : kLine;
  const std::size_t size = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  if (size < bytes) throw std::bad_alloc();
  Allocator* const allocator = chosen.load(std::memory_order_acquire);
  void* memory = allocator == nullptr ? std::aligned_alloc(alignment, size) : allocator->allocate(size, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  held.fetch_add(1, std::memory_order_relaxed);
  if (alignment == kHugePage && allocator == nullptr) {
    const detail::KeepErrno keep;
    (void)madvise(memory, size, MADV_HUGEPAGE);
  }
  return memory;
}

void deallocate_aligned(void* memory) noexcept {
  if (memory == nullptr) return;
  held.fetch_sub(1, std::memory_order_relaxed);
  Allocator* const allocator = chosen.load(std::memory_order_acquire);
  allocator == nullptr ? std::free(memory) : allocator->deallocate(memory);
}

std::size_t workspace_bytes() noexcept {
  return workspace(detail::Scratch::own).capacity + workspace(detail::Scratch::outer).capacity;
}

void reserve_workspace(std::size_t bytes) { workspace(detail::Scratch::own).grow(bytes); }

void release_workspace() noexcept {
  workspace(detail::Scratch::own).release();
  workspace(detail::Scratch::outer).release();
}

StoresScope::StoresScope(Stores stores) noexcept : before_(scope_stores) { scope_stores = stores; }

StoresScope::~StoresScope() { scope_stores = before_; }

namespace detail {

StoreKernel stores_of(double bytes, bool in_place, Waits waits) noexcept {
  if (in_place || scope_stores == Stores::cached) return nullptr;
  const CacheSizes& cache = cache_sizes();
  const auto last = static_cast<double>(std::max(cache.l2_bytes, cache.l3_bytes));
  if (scope_stores == Stores::automatic && (waits == Waits::for_arithmetic || bytes < last)) return nullptr;
  return active_table().copy_past_caches;
}

Index piece_bytes() noexcept { return is_wide_core() ? kMostPieceBytes : kMostPieceBytes / 2; }

void* scratch_bytes(std::size_t bytes, Scratch which) {
  Block& block = workspace(which);
  block.grow(bytes);
  return block.memory.get();
}

}  // namespace detail
}  // namespace tilewright
