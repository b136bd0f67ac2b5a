// SPDX-License-Identifier: MIT
#include "kernels/core/memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "kernels/core/cpu.hpp"

namespace tilewright {
namespace {

constexpr std::size_t kLine = 64;
/// From this size on, aligning to it lets the kernel back the block with huge pages (asked for with madvise, which is a
/// hint only): packed panels are walked with strides that would miss the small TLB.
constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

void* allocate_aligned(std::size_t bytes) {
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : kLine;
  const std::size_t size = (std::max<std::size_t>(bytes, 1) + kLine - 1) / kLine * kLine;
  void* memory = size < bytes ? nullptr : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  if (alignment == kHugePage) {
    const detail::KeepErrno keep;
    (void)madvise(memory, size, MADV_HUGEPAGE);
  }
  return memory;
}

void deallocate_aligned(void* memory) noexcept { std::free(memory); }

namespace detail {

void* scratch_bytes(std::size_t bytes, Scratch which) {
  struct Block {
    std::unique_ptr<void, Deallocate> memory;
    std::size_t capacity = 0;
  };
  thread_local Block blocks[2];
  Block& block = blocks[static_cast<int>(which)];
  if (bytes > block.capacity) {
    block.memory.reset();
    block.capacity = 0;
    block.memory.reset(allocate_aligned(bytes));
    block.capacity = bytes;
  }
  return block.memory.get();
}

}  // namespace detail
}  // namespace tilewright
