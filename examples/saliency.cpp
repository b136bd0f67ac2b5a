// SPDX-License-Identifier: MIT
// What does a network look at? Pictures of noise, in which a small cross or a small square stands somewhere; after
// training, integrated gradients show the pixels that decided. They should be where the figure is.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "tilewright/nn/nn.hpp"

using namespace tilewright;

namespace {

constexpr Index kSide = 16;

struct Pictures {
  nn::Dataset data;
  std::vector<Index> row, col;  // where each figure begins
};

Pictures draw(Index count, std::uint64_t seed) {
  Pictures p{{Matrix<float>(count, kSide * kSide), {}, {}}, {}, {}};
  fill_normal(p.data.x.span(), {seed, 0}, 0, 0.1F);
  for (Index i = 0; i < count; ++i) {
    const auto k = static_cast<std::uint64_t>(3 * i);
    const RandomStream random{seed, 1};
    const Index kind = static_cast<Index>(random.below(k, 2));
    p.row.push_back(static_cast<Index>(random.below(k + 1, 4)) * 4);
    p.col.push_back(static_cast<Index>(random.below(k + 2, 4)) * 4);
    for (Index a = 0; a < 4; ++a)
      for (Index b = 0; b < 4; ++b) {
        const bool cross = a == b || a + b == 3, edge = a % 3 == 0 || b % 3 == 0;
        if (kind == 0 ? cross : edge) p.data.x(i, (p.row.back() + a) * kSide + p.col.back() + b) += 1;
      }
    p.data.classes.push_back(kind);
  }
  return p;
}

}  // namespace

int main(int argc, char** argv) try {
  double require = 0;
  CLI::App app("Saliency of a small network");
  app.add_option("--require", require,
                 "share of the attribution inside the figures below which the program ends with 1");
  CLI11_PARSE(app, argc, argv);
  const Pictures train = draw(4000, 1), test = draw(200, 2);
  nn::Sequential model(nn::Linear(kSide * kSide, 128), nn::ReLU(), nn::Linear(128, 2));
  nn::CrossEntropyLoss criterion;
  optim::AdamW optimizer(model.parameters(), {.lr = 1e-3, .weight_decay = 0.1});
  nn::DataLoader loader(train.data, {.batch_size = 50, .seed = 1, .augmentation = nn::add_noise(0.5F)});
  const nn::History history =
      nn::fit(model, criterion, optimizer, loader,
              {.epochs = 20, .validation = &test.data, .metrics = {nn::accuracy_metric()}, .progress = stdout});
  // Of the difference of both outputs: what speaks for a square, against a cross.
  const Matrix<float> square = nn::integrated_gradients(model, test.data.x, 1),
                      cross = nn::integrated_gradients(model, test.data.x, 0);
  double inside = 0, all = 0;
  for (Index i = 0; i < test.data.size(); ++i)
    for (Index k = 0; k < kSide * kSide; ++k) {
      const double weight = std::fabs(static_cast<double>(square(i, k) - cross(i, k)));
      const Index a = k / kSide - test.row[static_cast<std::size_t>(i)],
                  b = k % kSide - test.col[static_cast<std::size_t>(i)];
      all += weight;
      if (a >= 0 && a < 4 && b >= 0 && b < 4) inside += weight;
    }
  std::printf("first test picture: the picture, and what decided (o for a square, x for a cross)\n");
  for (Index r = 0; r < kSide; ++r) {
    for (Index c = 0; c < kSide; ++c) std::putchar(test.data.x(0, r * kSide + c) > 0.6F ? '#' : '.');
    std::printf("   ");
    for (Index c = 0; c < kSide; ++c) {
      const float d = square(0, r * kSide + c) - cross(0, r * kSide + c);
      std::putchar(std::fabs(d) < 0.15F ? '.' : d > 0 ? 'o' : 'x');
    }
    std::printf("\n");
  }
  std::printf("test accuracy %.1f%%; %.1f%% of the attribution lies on the figures, which are 1/16 of the pictures\n",
              100 * history.values("accuracy").back(), 100 * inside / all);
  return inside / all >= require && history.values("accuracy").back() > 0.9 ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
