// SPDX-License-Identifier: MIT
// Three kinds of flowers by four lengths, in 5-fold cross-validation. --csv is a file with a header and a last column
// of kinds (Fisher's Iris); without it the program invents flowers.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "tilewright/nn/nn.hpp"

using namespace tilewright;

namespace {

nn::Dataset read_flowers(const std::string& path) {
  const nn::CsvTable table = nn::read_csv(path);
  const auto names = table.names();
  auto kinds = table.categories(names.back());
  nn::Dataset data{table.matrix({names.begin(), names.end() - 1}), {}, std::move(kinds.ids)};
  nn::fill_missing(data.x);
  return data;
}

double test_accuracy(const nn::Dataset& all, const nn::Split& fold, std::uint64_t seed) {
  nn::Dataset train = nn::subset(all, fold.train), test = nn::subset(all, fold.test);
  const nn::Standardizer standardizer(train.x);
  standardizer.apply(train.x);
  standardizer.apply(test.x);
  nn::Sequential model(nn::Linear(4, 16), nn::Tanh(), nn::Linear(16, 3));
  model.reset_parameters(seed);
  nn::CrossEntropyLoss criterion;
  optim::Adam optimizer(model.parameters(), {.lr = 1e-2, .weight_decay = 1e-3});
  nn::DataLoader loader(train, {.batch_size = 16, .seed = seed});
  nn::fit(model, criterion, optimizer, loader, {.epochs = 60});
  return nn::accuracy(nn::predict(model, test.x), test.classes);
}

}  // namespace

int main(int argc, char** argv) try {
  std::string csv;
  double require = 0;
  CLI::App app("Flowers in 5-fold cross-validation");
  app.add_option("--csv", csv, "file with a header; the last column is the kind");
  app.add_option("--require", require, "mean accuracy below which the program ends with 1");
  CLI11_PARSE(app, argc, argv);
  const nn::Dataset data = csv.empty() ? nn::generate_blobs(150, 4, 3, 1, 6) : read_flowers(csv);
  double sum = 0;
  const auto folds = nn::k_fold(data.size(), 5, 1);
  for (std::size_t i = 0; i < folds.size(); ++i) {
    const double accuracy = test_accuracy(data, folds[i], i + 1);
    std::printf("fold %zu: %zu to train, %zu to test, accuracy %.1f%%\n", i + 1, folds[i].train.size(),
                folds[i].test.size(), 100 * accuracy);
    sum += accuracy;
  }
  std::printf("mean %.1f%%\n", 100 * sum / 5);
  return sum / 5 >= require ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
