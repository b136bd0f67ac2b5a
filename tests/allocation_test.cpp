// SPDX-License-Identifier: MIT
// After the first step of a shape, training and inference allocate nothing. A program of its own: it replaces the C
// library's allocation functions by counting ones.
#include <malloc.h>

#include <atomic>
#include <cstdio>

#include "tilewright/nn/nn.hpp"

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
}

namespace {
std::atomic<long> allocations{0};
}

extern "C" {
void* malloc(std::size_t size) { return ++allocations, __libc_malloc(size); }
void* calloc(std::size_t n, std::size_t size) { return ++allocations, __libc_calloc(n, size); }
void* realloc(void* p, std::size_t size) { return ++allocations, __libc_realloc(p, size); }
void* aligned_alloc(std::size_t alignment, std::size_t size) { return ++allocations, __libc_memalign(alignment, size); }
void* memalign(std::size_t alignment, std::size_t size) { return ++allocations, __libc_memalign(alignment, size); }
}

using namespace tilewright;

namespace {

bool steady(int threads) {
  set_num_threads(threads);
  nn::Sequential model(nn::Linear(784, 300), nn::GELU(), nn::Linear(300, 100), nn::ReLU(), nn::Linear(100, 10));
  nn::CrossEntropyLoss criterion;
  optim::Adam adam(model.parameters());
  optim::SGD sgd(model.parameters(), {.momentum = 0.9});
  Matrix<float> x(128, 784);
  fill_normal(x.span(), {1, 1});
  std::vector<Index> classes(128, 3);
  const auto step = [&](Index batch) {
    adam.zero_grad();
    const auto y = model.forward(x.row_block(0, batch));
    criterion(y, {classes.data(), static_cast<std::size_t>(batch)});
    model.backward(criterion.gradient());
    adam.step();
    sgd.step();
  };
  step(128);
  const long before = allocations;
  for (int i = 0; i < 20; ++i) step(128);
  for (int i = 0; i < 20; ++i) step(i + 1);  // smaller batches fit in, too
  const long during = allocations - before;
  std::printf("%d threads: %ld allocations in 40 steps after the first\n", threads, during);
  return during == 0;
}

}  // namespace

int main() {
  const long before = allocations;
  { Matrix<float> probe(10, 10); }
  if (allocations == before) return std::puts("the counter does not count"), 1;
  bool ok = true;
  for (const int threads : {1, 2, 5}) ok = steady(threads) && ok;
  return ok ? 0 : 1;
}
