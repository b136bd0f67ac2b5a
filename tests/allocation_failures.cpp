// SPDX-License-Identifier: MIT
// Every allocation of every operation of the catalogue, and of what models do, fails in turn: std::bad_alloc or an
// Error comes out, nothing has changed, nothing leaks, and the next call works.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <new>

#include "tests/allocation_test.hpp"
#include "tests/calls.hpp"
#include "tilewright/nn/nn.hpp"

namespace tilewright::test {
namespace {

/// Runs with the n-th allocation failing. Whether the failure was met.
template <class Call>
bool fails(long n, bool& threw, Call&& call) {
  threw = false;
  countdown = n;
  try {
    call();
  } catch (const std::bad_alloc&) {
    threw = true;
  } catch (const Error&) {
    threw = true;
  }
  const bool met = countdown == 0;
  countdown = 0;
  return met;
}

/// A call whose n-th allocation fails.
class FailingOperands final : public Operands {
 public:
  FailingOperands(std::uint64_t seed, std::vector<std::unique_ptr<FencedPages>>& pages, long n)
      : Operands(seed, Placement::tight, pages), n_(n) {}
  bool met = false, threw = false;

 protected:
  double perform(const std::function<double()>& operation) override {
    release_workspace();
    double result = 0;
    met = fails(n_, threw, [&] { result = operation(); });
    return result;
  }

 private:
  long n_;
};

long survived = 0;

bool operations_survive() {
  std::vector<std::unique_ptr<FencedPages>> pages;
  long failures = 0;
  const char* text = std::getenv("TILEWRIGHT_ROUNDS");
  const std::uint64_t rounds = text == nullptr ? 24 : std::strtoull(text, nullptr, 10);
  for (std::uint64_t seed = 0; seed < rounds * catalogue().size(); ++seed) {
    const CatalogueEntry& entry = catalogue()[seed % catalogue().size()];
    const int threads = seed / catalogue().size() % 2 == 0 ? 1 : 3;
    Operands right(seed, Operands::Placement::tight, pages);
    right.set_threads(threads);
    entry.make(right);
    const std::uint64_t want = right.hash();
    for (long n = 1;; ++n) {
      release_workspace();
      const long before = blocks;
      std::string damage;
      std::uint64_t got = want;
      bool met = false, threw = false;
      {
        FailingOperands wrong(seed, pages, n);
        wrong.set_threads(threads);
        entry.make(wrong);
        met = wrong.met, threw = wrong.threw;
        if (threw)
          damage = wrong.damage(true);
        else
          got = wrong.hash();
      }
      release_workspace();
      const long leaked = blocks - before;
      // Whoever does without the memory that was refused must be right, too.
      if (!damage.empty() || got != want || (threw && !met) || leaked != 0) {
        std::printf("%s, seed %llu, allocation %ld: %s%s, %ld blocks leaked\n", entry.name,
                    static_cast<unsigned long long>(seed), n, damage.c_str(), got != want ? "wrong result" : "",
                    leaked);
        return false;
      }
      if (!met) break;
      ++failures;
    }
  }
  std::printf("operations: %ld failed allocations\n", failures);
  survived += failures;
  return failures > 100;
}

/// What programs do with models; each leaves nothing behind.
void trains() {
  nn::Sequential model(nn::Linear(20, 32), nn::BatchNorm1d(32), nn::ReLU(), nn::Dropout(0.2),
                       nn::Residual(nn::LayerNorm(32), nn::Linear(32, 32), nn::GELU()), nn::Linear(32, 3));
  nn::Dataset data{Matrix<float>(64, 20), {}, {}};
  fill_uniform(data.x.span(), {1, 1});
  data.classes.assign(64, 1);
  nn::CrossEntropyLoss loss;
  optim::AdamW optimizer(model.parameters(), {.weight_decay = 0.01}, {{.parameters = {"*.bias"}, .weight_decay = 0}});
  optim::CosineAnnealingLR schedule(optimizer, 10);
  nn::DataLoader loader(data, {.batch_size = 16});
  nn::Batch batch;
  while (loader.next(batch)) {
    optimizer.zero_grad();
    loss(model.forward(batch.x), batch.classes);
    model.backward(loss.gradient());
    optim::clip_grad_norm(model.parameters(), 1);
    optimizer.step();
    schedule.step();
  }
  (void)model.summary();
}

/// Without memory for its threads a pool does with fewer.
void starts_threads() {
  ThreadPool pool(4);
  const ExecutorScope scope(pool);
  Matrix<float> x(64, 1024), y(64, 1024);
  activation_forward(ActivationKind::tanh, x, y, 4);
}

void writes_and_reads(const std::filesystem::path& folder) {
  nn::Sequential model(nn::Linear(20, 32), nn::ReLU(), nn::Linear(32, 3));
  optim::Adam optimizer(model.parameters());
  const std::string weights = folder / "model.safetensors", checkpoint = folder / "checkpoint.safetensors";
  nn::save_model(weights, model);
  nn::load_model(weights, model);
  nn::Checkpoint all{.model = &model, .optimizer = &optimizer, .notes = {{"epoch", "3"}}};
  nn::save_checkpoint(checkpoint, all);
  nn::load_checkpoint(checkpoint, all);
}

template <class Scenario>
bool survives(const char* name, Scenario&& scenario) {
  scenario();
  release_workspace();
  long failures = 0;
  // Near the beginning every one, later every few.
  for (long n = 1;; n += 1 + n / 50) {
    const long before = blocks;
    bool threw = false;
    const bool met = fails(n, threw, scenario);
    release_workspace();
    if (blocks != before || (threw && !met)) {
      std::printf("%s, allocation %ld: %ld blocks leaked%s\n", name, n, blocks - before,
                  threw && !met ? ", threw by itself" : "");
      return false;
    }
    if (!met) break;
    ++failures;
  }
  std::printf("%s: %ld failed allocations\n", name, failures);
  survived += failures;
  return failures > 0;
}

}  // namespace

bool failures_are_survived() {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("tilewright-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const bool ok = operations_survive() && survives("threads", starts_threads) && survives("training", trains) &&
                  survives("files", [&] { writes_and_reads(folder); });
  std::filesystem::remove_all(folder);
  if (ok) std::printf("%ld failed allocations: nothing changed, nothing leaked\n", survived);
  return ok;
}

}  // namespace tilewright::test
