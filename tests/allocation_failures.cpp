// SPDX-License-Identifier: MIT
// Every allocation of every operation of the catalogue, and of what models do, fails in turn: std::bad_alloc or an
// Error comes out, nothing has changed, nothing leaks, and the next call works.
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <new>

#include "tests/allocation_test.hpp"
#include "tests/calls.hpp"
#include "tests/numpy_files.hpp"
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
  } catch (const Error& error) {
    threw = true;
    if (countdown > 0) std::printf("%s\n", error.what());  // the allocation was not met
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

/// A run with everything that fit() can do around it, up to an epoch; it begins or goes on.
void fits(const std::filesystem::path& folder, Index epochs) {
  nn::Sequential model(nn::Embedding(9, 4), nn::Linear(12, 8), nn::Tanh(), nn::Linear(8, 2));
  nn::Dataset data{Matrix<float>(24, 3), {}, {}};
  for (Index k = 0; k < data.x.size(); ++k) data.x.data()[k] = static_cast<float>(k % 9);
  data.classes.assign(24, 1);
  nn::CrossEntropyLoss loss;
  optim::RMSprop optimizer(model.parameters(), {.momentum = 0.9, .centered = true});
  optim::OneCycleLR schedule(optimizer, 0.01, 6);
  optim::ReduceLROnPlateau plateau(optimizer);
  optim::WeightAverage average(model.parameters());
  nn::DataLoader loader(data, {.batch_size = 8, .augmentation = nn::add_noise(0), .prefetch = true});
  nn::FitOptions options{.epochs = epochs, .validation = &data, .metrics = {nn::accuracy_metric()}};
  options.schedule = &schedule;
  options.schedule_every_step = true;
  options.plateau = &plateau;
  options.early_stopping = nn::EarlyStopping{.patience = 3, .restore_best_weights = true};
  options.average = &average;
  options.checkpoint = folder / "fit.safetensors";
  const nn::History history = nn::fit(model, loss, optimizer, loader, options);
  history.save_csv(folder / "history.csv");
  history.save_svg(folder / "history.svg");
  (void)nn::to_table(nn::activation_statistics(model));
}

void fits_and_resumes(const std::filesystem::path& folder) {
  unlink((folder / "fit.safetensors").c_str());
  fits(folder, 1);
  fits(folder, 2);
}

/// Files of others, written beforehand.
void reads(const std::filesystem::path& folder) {
  const nn::CsvTable table = nn::read_csv(folder / "table.csv");
  (void)nn::one_hot(table.categories("kind").ids, 2);
  Matrix<float> x = table.matrix(std::array<std::string, 2>{"a", "b"});
  nn::fill_missing(x);
  nn::Standardizer(x).apply(x);
  Tensor<float> tensor({3, 5});
  nn::save_npy(folder / "t.npy", tensor);
  (void)nn::read_npy(folder / "t.npy");
  (void)nn::read_idx(folder / "t.idx");
#if defined(TILEWRIGHT_HAVE_ZLIB)
  (void)nn::read_npz(folder / "stored.npz");
  (void)nn::read_npz(folder / "deflated.npz");
#endif
  const std::string text = "to be or not to be, that is the question";
  (void)nn::BytePairTokenizer(text, 270).encode(text);
  const nn::WordTokenizer words(text);
  (void)words.decode(words.encode(text));
  (void)nn::CharacterTokenizer(text).encode(text);
  (void)nn::k_fold(10, 3, 1);
  (void)nn::generate_digits(2, 1);
}

void write_files(const std::filesystem::path& folder) {
  const auto write = [&](const char* name, const std::string& bytes) {
    std::ofstream(folder / name, std::ios::binary) << bytes;
  };
  write("table.csv", "a,b,kind\n1,2,big\n3,,\"small\"\n");
  write("t.idx", std::string("\0\0\x08\x01\0\0\0\x02\x05\x06", 10));
#if defined(TILEWRIGHT_HAVE_ZLIB)
  const std::string inside = npy("'|u1'", "False", "(3,)", "\x01\x02\x03");
  write("stored.npz", zip("w.npy", inside, false));
  write("deflated.npz", zip("w.npy", inside, true));
#endif
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
  write_files(folder);
  const bool ok = operations_survive() && survives("threads", starts_threads) && survives("training", trains) &&
                  survives("models in files", [&] { writes_and_reads(folder); }) &&
                  survives("files of others", [&] { reads(folder); }) &&
                  survives("fit", [&] { fits_and_resumes(folder); });
  std::filesystem::remove_all(folder);
  if (ok) std::printf("%ld failed allocations: nothing changed, nothing leaked\n", survived);
  return ok;
}

}  // namespace tilewright::test
