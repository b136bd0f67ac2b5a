// SPDX-License-Identifier: MIT
// A digit classifier: an MLP with dropout, on pictures that are shifted, turned and scaled anew in every epoch.
//
// --images and --labels are IDX files, plain or gzip (MNIST's format): the first --train pictures train, the last
// --test test. Without files the program draws its own digits.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <numeric>

#include "tilewright/nn/nn.hpp"

using namespace tilewright;

namespace {

struct Options {
  std::string images, labels;
  Index train = 9000, test = 1000, epochs = 12, batch = 64, hidden = 512;
  double dropout = 0.2, lr = 3e-3, require = 0;
  std::uint64_t seed = 1;
};

nn::Dataset range(const nn::Dataset& all, Index first, Index count) {
  std::vector<Index> samples(static_cast<std::size_t>(count));
  std::iota(samples.begin(), samples.end(), first);
  return nn::subset(all, samples);
}

int run(const Options& o) {
  nn::LabelledImages read =
      o.images.empty() ? nn::generate_digits(o.train + o.test, o.seed) : nn::read_idx_images(o.images, o.labels);
  const nn::Dataset all{std::move(read.images), {}, std::move(read.labels)};
  if (o.train < 1 || o.test < 1 || o.train + o.test > all.size())
    throw ValueError("digits: " + std::to_string(o.train) + " to train and " + std::to_string(o.test) +
                     " to test do not fit " + std::to_string(all.size()));
  const nn::Dataset train = range(all, 0, o.train), test = range(all, all.size() - o.test, o.test);

  nn::Sequential model(nn::Linear(all.x.cols(), o.hidden), nn::ReLU(), nn::Dropout(o.dropout),
                       nn::Linear(o.hidden, o.hidden / 2), nn::ReLU(), nn::Dropout(o.dropout),
                       nn::Linear(o.hidden / 2, 10));
  model.reset_parameters(o.seed);
  std::printf("%s%td pictures to train, %td to test\n", model.summary().c_str(), o.train, o.test);
  nn::CrossEntropyLoss criterion({.label_smoothing = 0.05});
  optim::AdamW optimizer(model.parameters(), {.lr = o.lr, .weight_decay = 0.01});
  nn::DataLoader loader(train, {.batch_size = o.batch,
                                .seed = o.seed,
                                .augmentation = nn::random_affine({28, 28}, {2, 0.2F, 0.1F}),
                                .prefetch = true});
  optim::OneCycleLR schedule(optimizer, o.lr, o.epochs * loader.batches());
  const auto start = std::chrono::steady_clock::now();
  const nn::History history = nn::fit(model, criterion, optimizer, loader,
                                      {.epochs = o.epochs,
                                       .validation = &test,
                                       .metrics = {nn::accuracy_metric()},
                                       .schedule = &schedule,
                                       .schedule_every_step = true,
                                       .progress = stdout,
                                       .stop_on_interrupt = true});
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;

  nn::ConfusionMatrix confusion(10);
  confusion.add(nn::predict(model, test.x), test.classes);
  std::printf("\nrows: what it is, columns: what the network sees\n     ");
  for (Index j = 0; j < 10; ++j) std::printf("%5td", j);
  for (Index i = 0; i < 10; ++i) {
    std::printf("\n%5td", i);
    for (Index j = 0; j < 10; ++j) std::printf("%5td", confusion(i, j));
  }
  std::printf("\ntest accuracy %.2f%%, macro F1 %.4f, %.1f s\n", 100 * confusion.accuracy(), confusion.macro_f1(),
              time.count());
  return confusion.accuracy() >= o.require ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
  Options o;
  CLI::App app("A digit classifier");
  app.add_option("--images", o.images, "IDX file of pictures");
  app.add_option("--labels", o.labels, "IDX file of what they show");
  app.add_option("--train", o.train)->capture_default_str();
  app.add_option("--test", o.test)->capture_default_str();
  app.add_option("--epochs", o.epochs)->capture_default_str();
  app.add_option("--batch", o.batch)->capture_default_str();
  app.add_option("--hidden", o.hidden)->capture_default_str();
  app.add_option("--dropout", o.dropout)->capture_default_str();
  app.add_option("--lr", o.lr)->capture_default_str();
  app.add_option("--seed", o.seed)->capture_default_str();
  app.add_option("--require", o.require, "test accuracy below which the program ends with 1");
  CLI11_PARSE(app, argc, argv);
  return run(o);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
