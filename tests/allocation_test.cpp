// SPDX-License-Identifier: MIT
// After the first step of a shape, training and inference allocate nothing; and what happens when an allocation fails.
// A program of its own: it replaces the C library's allocation functions by ones that count and can fail.
#include "tests/allocation_test.hpp"

#include <cerrno>
#include <cstdio>

#include "tilewright/nn/nn.hpp"

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);
}

namespace tilewright::test {

std::atomic<long> allocations{0}, blocks{0};
thread_local long countdown = 0;

}  // namespace tilewright::test

namespace {

using namespace tilewright::test;

/// An allocation, unless it is the one that must fail.
template <class Allocate>
void* counted(long new_blocks, Allocate allocate) {
  ++allocations;
  if (countdown > 0 && --countdown == 0) return errno = ENOMEM, nullptr;
  void* p = allocate();
  if (p != nullptr) blocks += new_blocks;
  return p;
}

}  // namespace

extern "C" {
void* malloc(std::size_t size) {
  return counted(1, [&] { return __libc_malloc(size); });
}
void* calloc(std::size_t n, std::size_t size) {
  return counted(1, [&] { return __libc_calloc(n, size); });
}
void* realloc(void* p, std::size_t size) {
  return counted(p == nullptr ? 1 : 0, [&] { return __libc_realloc(p, size); });
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return counted(1, [&] { return __libc_memalign(alignment, size); });
}
void* memalign(std::size_t alignment, std::size_t size) {
  return counted(1, [&] { return __libc_memalign(alignment, size); });
}
void free(void* p) {
  if (p != nullptr) --blocks;
  __libc_free(p);
}
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

/// The examples' models, fed by a loader.
struct Model {
  const char* name;
  nn::Sequential model;
  nn::Dataset data;
  nn::Augmentation augmentation;
};

nn::Dataset numbers(Index features, Index targets) {
  nn::Dataset data{Matrix<float>(200, features), Matrix<float>(targets > 0 ? 200 : 0, targets), {}};
  fill_uniform(data.x.span(), {1, 1});
  if (targets == 0) data.classes.assign(200, 1);
  return data;
}

nn::Dataset ids(Index count, Index most, Index targets) {
  nn::Dataset data = numbers(count, targets);
  for (float& v : data.x.span()) v = static_cast<float>(static_cast<Index>(v * static_cast<float>(most)));
  return data;
}

std::vector<Model> models() {
  using namespace nn;
  std::vector<Model> all;
  all.push_back({"digits", Sequential(Linear(784, 64), ReLU(), Dropout(0.2), Linear(64, 32), ReLU(), Linear(32, 10)),
                 numbers(784, 0), random_affine({28, 28})});
  all.push_back({"overfitting", Sequential(Linear(2, 256), ReLU(), Dropout(0.5), Linear(256, 2)), numbers(2, 0),
                 add_noise(0.1F)});
  all.push_back({"iris", Sequential(Linear(4, 16), Tanh(), Linear(16, 3)), numbers(4, 0), {}});
  all.push_back(
      {"sentiment", Sequential(EmbeddingBag(50, 16, EmbeddingBag::Mode::mean, 0), Linear(16, 2)), ids(40, 50, 0), {}});
  all.push_back(
      {"motifs", Sequential(EmbeddingBag(4097, 4, EmbeddingBag::Mode::sum, 4096), Linear(4, 2)), ids(75, 4096, 0), {}});
  all.push_back({"recommender", Sequential(Embedding(300, 4), Linear(8, 1)), ids(2, 300, 1), {}});
  all.push_back({"tones",
                 Sequential(Linear(600, 64), BatchNorm1d(64), GELU(), Dropout(0.3), Linear(64, 4)),
                 numbers(600, 0),
                 {}});
  all.push_back({"autoencoder", Sequential(Linear(784, 64), BatchNorm1d(64), ReLU(), Linear(64, 784)),
                 numbers(784, 784), add_noise(0.5F)});
  all.push_back({"residual",
                 Sequential(Linear(20, 32), Residual(LayerNorm(32), Linear(32, 32), GELU()), RMSNorm(32),
                            GroupNorm(4, 32), PReLU(), Linear(32, 3)),
                 numbers(20, 0),
                 {}});
  return all;
}

bool trains_steadily(Model& m, int threads) {
  set_num_threads(threads);
  nn::CrossEntropyLoss cross_entropy;
  nn::MSELoss mse;
  optim::AdamW optimizer(m.model.parameters(), {.weight_decay = 0.01}, {{.parameters = {"*.bias"}, .weight_decay = 0}});
  optim::CosineAnnealingLR schedule(optimizer, 100);
  optim::WeightAverage average(m.model.parameters());
  nn::DataLoader loader(m.data, {.batch_size = 32, .augmentation = m.augmentation});
  long during = 0;
  for (int epoch = 0; epoch < 3; ++epoch) {
    const long before = allocations;
    nn::Batch batch;
    while (loader.next(batch)) {
      optimizer.zero_grad();
      const auto y = m.model.forward(batch.x);
      nn::Loss& loss = batch.targets.data == nullptr ? static_cast<nn::Loss&>(cross_entropy) : mse;
      if (batch.targets.data == nullptr)
        loss(y, batch.classes);
      else
        loss(y, batch.targets);
      m.model.backward(loss.gradient());
      optim::add_penalty(m.model.parameters(), 1e-5);
      optim::clip_grad_norm(m.model.parameters(), 1);
      optimizer.step();
      average.update();
      schedule.step();
    }
    during = allocations - before;  // of the last epoch
  }
  std::printf("%s, %d threads: %ld allocations in an epoch\n", m.name, threads, during);
  return during == 0;
}

}  // namespace

int main() {
  const long before = allocations;
  { Matrix<float> probe(10, 10); }
  if (allocations == before) return std::puts("the counter does not count"), 1;
  bool ok = true;
  for (const int threads : {1, 2, 5}) {
    ok = steady(threads) && ok;
    for (Model& m : models()) ok = trains_steadily(m, threads) && ok;
  }
  ok = failures_are_survived() && ok;
  return ok ? 0 : 1;
}
