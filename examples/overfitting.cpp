// SPDX-License-Identifier: MIT
// The tutorial's remedies against overfitting, side by side: a large network on 80 noisy points, some with wrong
// labels, without a remedy and with each. Prints a table and draws the test losses.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>

#include "tilewright/nn/nn.hpp"

using namespace tilewright;

namespace {

/// Two half moons; a tenth of the labels is wrong.
nn::Dataset points(Index count, std::uint64_t seed) {
  nn::Dataset data = nn::generate_moons(count, 0.25, seed);
  for (std::size_t i = 0; i < data.classes.size(); ++i)
    if (RandomStream{seed, 77}.uniform(i) < 0.1F) data.classes[i] = 1 - data.classes[i];
  return data;
}

struct Remedy {
  const char* name;
  Index samples = 80, hidden = 256;
  double dropout = 0, l1 = 0, l2 = 0;
  float noise = 0;
  Index patience = 0;
};

struct Outcome {
  nn::History history;
  nn::EpochResult train, test;
};

Outcome learn(const Remedy& r, Index epochs, const nn::Dataset& test) {
  const nn::Dataset train = points(r.samples, 1), validation = points(200, 3);
  nn::Sequential model(nn::Linear(2, r.hidden), nn::ReLU(), nn::Dropout(r.dropout), nn::Linear(r.hidden, r.hidden),
                       nn::ReLU(), nn::Dropout(r.dropout), nn::Linear(r.hidden, 2));
  model.reset_parameters(5);
  nn::CrossEntropyLoss criterion;
  optim::AdamW optimizer(model.parameters(), {.lr = 3e-3, .weight_decay = r.l2});
  nn::DataLoader loader(train, {.batch_size = 20, .seed = 2, .augmentation = nn::add_noise(r.noise)});
  nn::FitOptions options{.epochs = epochs, .validation = &test, .l1 = r.l1};
  // A set of its own decides when to stop: what is reported must not.
  double best = INFINITY;
  Index waited = 0;
  std::vector<float> weights;
  options.after_epoch = [&](const nn::EpochResult&) {
    if (r.patience == 0) return true;
    const auto now = model.parameters().values();
    if (const double loss = nn::evaluate(model, criterion, validation).loss; loss < best)
      best = loss, waited = 0, weights.assign(now.begin(), now.end());
    return ++waited <= r.patience;
  };
  Outcome o{nn::fit(model, criterion, optimizer, loader, options), {}, {}};
  std::ranges::copy(weights, model.parameters().values().begin());
  o.train = nn::evaluate(model, criterion, train, {nn::accuracy_metric()});
  o.test = nn::evaluate(model, criterion, test, {nn::accuracy_metric()});
  return o;
}

}  // namespace

int main(int argc, char** argv) try {
  Index epochs = 300;
  std::string plot;
  CLI::App app("Remedies against overfitting");
  app.add_option("--epochs", epochs)->capture_default_str();
  app.add_option("--plot", plot, "SVG file to draw the test losses into");
  CLI11_PARSE(app, argc, argv);
  const nn::Dataset test = points(2000, 2);
  const Remedy remedies[] = {{.name = "none"},
                             {.name = "more data", .samples = 1600},
                             {.name = "augmentation", .noise = 0.3F},
                             {.name = "L1", .l1 = 1e-3},
                             {.name = "L2", .l2 = 1},
                             {.name = "smaller model", .hidden = 6},
                             {.name = "dropout", .dropout = 0.6},
                             {.name = "early stopping", .patience = 20}};
  std::printf("%-16s %6s %12s %12s %12s %12s\n", "remedy", "epochs", "train loss", "test loss", "train acc.",
              "test acc.");
  std::vector<nn::Series> curves;
  double none = 0;
  bool all_help = true;
  for (const Remedy& remedy : remedies) {
    const Outcome o = learn(remedy, epochs, test);
    std::printf("%-16s %6zu %12.3f %12.3f %11.1f%% %11.1f%%\n", remedy.name, o.history.epochs.size(), o.train.loss,
                o.test.loss, 100 * o.train.metrics[0], 100 * o.test.metrics[0]);
    curves.push_back({remedy.name, o.history.values("validation_loss")});
    if (none == 0) none = o.test.loss;
    all_help = all_help && (&remedy == remedies || o.test.loss < 0.8 * none);
  }
  if (!plot.empty()) nn::save_svg(plot, "test loss with each remedy against overfitting", "epoch", "loss", curves);
  return all_help ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
