// SPDX-License-Identifier: MIT
// Which film will somebody like? Every person and every film gets a vector; a rating is their inner product
// (factorisation of a matrix of which few places are known). Shows a layer of one's own: Dot. --csv has columns "user",
// "item" and "rating" with ids from 0.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "tilewright/nn/nn.hpp"

using namespace tilewright;

namespace {

/// y = sum_j a_j b_j of the two halves a and b of x.
class Dot final : public nn::Layer {
 public:
  std::string describe() const override { return "Dot()"; }
  Index out_features(Index in) const override {
    if (in % 2 != 0) throw ShapeError("Dot: " + std::to_string(in) + " features are not two halves");
    return 1;
  }
  void forward(const nn::ForwardPass& pass) override {
    const Index n = pass.x.cols / 2;
    for (Index i = 0; i < pass.x.rows; ++i) {
      pass.y(i, 0) = 0;
      for (Index j = 0; j < n; ++j) pass.y(i, 0) += pass.x(i, j) * pass.x(i, j + n);
    }
  }
  void backward(const nn::BackwardPass& pass) override {
    const Index n = pass.x.cols / 2;
    for (Index i = 0; i < pass.dx.rows; ++i)
      for (Index j = 0; j < n; ++j) {
        pass.dx(i, j) = pass.dy(i, 0) * pass.x(i, j + n);
        pass.dx(i, j + n) = pass.dy(i, 0) * pass.x(i, j);
      }
  }
};

/// Ratings of hidden tastes: users x items, of which a share is known.
nn::Dataset rate(Index users, Index items, Index count) {
  Matrix<float> taste(users, 4), kind(items, 4);
  fill_normal(taste.span(), {1, 1}, 0, 0.7F);
  fill_normal(kind.span(), {1, 2}, 0, 0.7F);
  nn::Dataset data{Matrix<float>(count, 2), Matrix<float>(count, 1), {}};
  fill_normal(data.targets.span(), {1, 3}, 0, 0.05F);
  for (Index i = 0; i < count; ++i) {
    const auto place = static_cast<std::uint64_t>(2 * i);
    const auto user = static_cast<Index>(RandomStream{1, 4}.below(place, static_cast<std::uint64_t>(users)));
    const auto item = static_cast<Index>(RandomStream{1, 4}.below(place + 1, static_cast<std::uint64_t>(items)));
    data.x(i, 0) = static_cast<float>(user);
    data.x(i, 1) = static_cast<float>(users + item);  // one table for both
    for (Index k = 0; k < 4; ++k) data.targets(i, 0) += taste(user, k) * kind(item, k);
  }
  return data;
}

}  // namespace

int main(int argc, char** argv) try {
  std::string csv;
  double require = -1;
  CLI::App app("Ratings by factorisation");
  app.add_option("--csv", csv, "file with columns user, item and rating");
  app.add_option("--require", require, "R2 on the test ratings below which the program ends with 1");
  CLI11_PARSE(app, argc, argv);
  nn::Dataset all = csv.empty() ? rate(200, 150, 12000) : nn::Dataset{};
  if (!csv.empty()) {
    const nn::CsvTable table = nn::read_csv(csv);
    all = {
        table.matrix(std::vector<std::string>{"user", "item"}), table.matrix(std::vector<std::string>{"rating"}), {}};
    float users = 0;
    for (Index i = 0; i < all.size(); ++i) users = std::max(users, all.x(i, 0) + 1);
    for (Index i = 0; i < all.size(); ++i) all.x(i, 1) += users;
  }
  const auto ids = static_cast<Index>(*std::ranges::max_element(all.x.span())) + 1;
  const nn::Split split = nn::split(all.size(), 0.2, 1);
  const nn::Dataset train = nn::subset(all, split.train), test = nn::subset(all, split.test);
  nn::Sequential model(nn::Embedding(ids, 4), Dot());
  nn::init::normal(model.parameters()["0.weight"], {2, 0}, 0, 0.3F);
  nn::MSELoss criterion;
  optim::Adam optimizer(model.parameters(), {.lr = 1e-2});
  nn::DataLoader loader(train, {.batch_size = 128, .seed = 1});
  const nn::Metric r2{"R2", [](const nn::Predictions& p) { return nn::r2_score(p.y, p.targets); }};
  const nn::History history = nn::fit(model, criterion, optimizer, loader,
                                      {.epochs = 25, .validation = &test, .metrics = {r2}, .progress = stdout});
  std::printf("R2 on %td ratings that were not shown: %.3f\n", test.size(), history.values("R2").back());
  return history.values("R2").back() >= require ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
