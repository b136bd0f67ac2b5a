// SPDX-License-Identifier: MIT
// Data, splits, loaders, metrics, fit and what surrounds it.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "tests/support.hpp"
#include "tilewright/nn/nn.hpp"

namespace tilewright {
namespace {

using namespace nn;
using test::message_of;

TEST(Splits, AreDisjointAndWhole) {
  const Split s = split(103, 0.2, 1);
  EXPECT_EQ(s.test.size(), 21U);
  std::vector<Index> all = s.train;
  all.insert(all.end(), s.test.begin(), s.test.end());
  std::ranges::sort(all);
  for (Index i = 0; i < 103; ++i) EXPECT_EQ(all[static_cast<std::size_t>(i)], i);
  EXPECT_NE(split(103, 0.2, 2).test, s.test);
  const auto folds = k_fold(23, 5, 1);
  std::vector<Index> tests;
  for (const Split& fold : folds) {
    EXPECT_EQ(fold.train.size() + fold.test.size(), 23U);
    EXPECT_GE(fold.test.size(), 4U);
    tests.insert(tests.end(), fold.test.begin(), fold.test.end());
  }
  std::ranges::sort(tests);
  EXPECT_EQ(tests.size(), 23U);
  for (Index i = 0; i < 23; ++i) EXPECT_EQ(tests[static_cast<std::size_t>(i)], i);
  std::vector<Index> classes;
  for (Index i = 0; i < 100; ++i) classes.push_back(i < 80 ? 0 : i < 95 ? 1 : 2);
  const Split stratified = split_stratified(classes, 0.2, 3);
  std::array<int, 3> counts{};
  for (const Index i : stratified.test) ++counts.at(static_cast<std::size_t>(classes[static_cast<std::size_t>(i)]));
  EXPECT_EQ(counts, (std::array<int, 3>{16, 3, 1}));
  EXPECT_EQ(message_of<ValueError>([] { k_fold(3, 4, 0); }), "k_fold: k is 4, expected 2 .. 3");
}

TEST(Standardizer, MeanZeroDeviationOne) {
  Matrix<float> x(50, 3);
  fill_normal(x.span(), {1, 1}, 5, 3);
  for (Index i = 0; i < 50; ++i) x(i, 2) = 7;
  const Matrix<float> before = x;
  const Standardizer s(x);
  s.apply(x);
  for (Index j = 0; j < 3; ++j) {
    double sum = 0, squares = 0;
    for (Index i = 0; i < 50; ++i) sum += x(i, j), squares += x(i, j) * x(i, j);
    EXPECT_NEAR(sum / 50, 0, 1e-6);
    EXPECT_NEAR(squares / 50, j == 2 ? 0 : 1, 1e-5);
  }
  s.undo(x);
  for (Index k = 0; k < x.size(); ++k) EXPECT_NEAR(x.data()[k], before.data()[k], 1e-5);
}

/// Two epochs and a bit, by every way.
std::vector<float> loaded(const Dataset& data, LoaderOptions options, DataLoader::Position from, int steps) {
  DataLoader loader(data, options);
  loader.set_position(from);
  std::vector<float> all;
  Batch batch;
  for (int i = 0; i < steps; ++i) {
    if (!loader.next(batch)) {
      all.push_back(-1e9F);
      continue;
    }
    all.insert(all.end(), batch.x.data, batch.x.data + batch.x.size());
    for (const Index c : batch.classes) all.push_back(static_cast<float>(c));
  }
  return all;
}

TEST(DataLoader, OrderDependsOnSeedAndPositionOnly) {
  const Dataset data = generate_blobs(37, 3, 5, 1, 1);
  const LoaderOptions plain{.batch_size = 8, .seed = 6, .augmentation = add_noise(0.5F)};
  LoaderOptions ahead = plain;
  ahead.prefetch = true;
  const auto all = loaded(data, plain, {}, 16);
  EXPECT_EQ(loaded(data, ahead, {}, 16), all);
  for (const auto& options : {plain, ahead}) {
    const auto tail = loaded(data, options, {1, 2}, 8);
    ASSERT_LT(tail.size(), all.size());
    EXPECT_TRUE(std::equal(tail.begin(), tail.end(), all.end() - static_cast<std::ptrdiff_t>(tail.size())));
  }
  // Every sample once, without augmentation.
  DataLoader loader(data, {.batch_size = 8, .seed = 6});
  std::vector<float> seen, want(data.x.data(), data.x.data() + data.x.size());
  Batch batch;
  while (loader.next(batch)) seen.insert(seen.end(), batch.x.data, batch.x.data + batch.x.size());
  std::ranges::sort(seen);
  std::ranges::sort(want);
  EXPECT_EQ(seen, want);
  EXPECT_EQ(DataLoader(data, {.batch_size = 8, .drop_last = true}).batches(), 4);
  EXPECT_EQ(message_of<ValueError>([&] { DataLoader(data, {.batch_size = 0}); }),
            "DataLoader: 37 samples in batches of 0");
}

/// What goes wrong on the loader's thread arrives at the caller.
TEST(DataLoader, ErrorsOfAugmentationArrive) {
  const Dataset data = generate_blobs(9, 3, 2, 1, 1);
  for (const bool prefetch : {false, true}) {
    DataLoader loader(data, {.batch_size = 4, .augmentation = random_affine({5, 5}), .prefetch = prefetch});
    Batch batch;
    EXPECT_EQ(message_of<ShapeError>([&] {
                for (int i = 0; i < 3; ++i) loader.next(batch);
              }),
              "random_affine: a sample of 3 numbers is not 5x5");
  }
}

TEST(DataLoader, AugmentationChangesWithTheEpoch) {
  const Dataset data = generate_blobs(4, 3, 2, 1, 1);
  DataLoader loader(data, {.batch_size = 4, .shuffle = false, .augmentation = add_noise(0.5F)});
  Batch batch;
  loader.next(batch);
  const Matrix<float> first(batch.x);
  loader.next(batch);
  loader.next(batch);
  for (Index k = 0; k < first.size(); ++k) EXPECT_NE(batch.x.data[k], first.data()[k]);
}

TEST(Augmentation, AffineWithoutRangeIsIdentityAndShiftsMove) {
  std::vector<float> image(28 * 28), copy;
  image[10 * 28 + 12] = 1;
  copy = image;
  random_affine({28, 28}, {0, 0, 0})(copy, {1, 0});
  for (std::size_t i = 0; i < image.size(); ++i) EXPECT_NEAR(copy[i], image[i], 1e-5);
  random_affine({28, 28}, {3, 0, 0})(copy, {1, 0});
  EXPECT_NEAR(std::accumulate(copy.begin(), copy.end(), 0.0), 1, 1e-4);
  EXPECT_LT(copy[10 * 28 + 12], 0.9);
}

TEST(Metrics, ByHand) {
  const Matrix<float> y = [] {
    Matrix<float> m(4, 3);
    const float v[] = {3, 1, 2, 0, 5, 1, 1, 2, 3, 9, 8, 7};
    std::ranges::copy(v, m.data());
    return m;
  }();
  const std::vector<Index> classes{0, 1, 1, 2};
  EXPECT_EQ(accuracy(y, classes), 0.5);
  EXPECT_EQ(top_k_accuracy(y, classes, 2), 0.75);
  EXPECT_EQ(top_k_accuracy(y, classes, 3), 1);
  ConfusionMatrix m(3);
  m.add(y, classes);
  EXPECT_EQ(m(1, 2), 1);
  EXPECT_EQ(m(2, 0), 1);
  EXPECT_EQ(m.accuracy(), 0.5);
  EXPECT_EQ(m.precision(0), 0.5);
  EXPECT_EQ(m.recall(1), 0.5);
  EXPECT_NEAR(m.f1(1), 2.0 / 3, 1e-15);
  EXPECT_EQ(m.f1(2), 0);
  EXPECT_NEAR(m.macro_f1(), (2.0 / 3 + 2.0 / 3) / 3, 1e-15);
  // pairs (positive, negative): .8>.1 .8>.4 .35>.1 .35<.4
  const std::vector<float> scores{0.1F, 0.4F, 0.35F, 0.8F};
  EXPECT_EQ(area_under_curve(scores, std::vector<Index>{0, 0, 1, 1}), 0.75);
  EXPECT_EQ(area_under_curve(std::vector<float>(4, 1), std::vector<Index>{0, 0, 1, 1}), 0.5);
  EXPECT_EQ(r2_score(y, y), 1);
  EXPECT_NEAR(perplexity(std::log(10.0)), 10, 1e-12);
  EXPECT_EQ(message_of<ShapeError>([&] { accuracy(y, std::vector<Index>(3)); }), "accuracy: 4 rows but 3 classes");
}

struct Problem {
  Dataset train = generate_moons(200, 0.2, 1), test = generate_moons(100, 0.2, 2);
  Sequential model{Linear(2, 24), Tanh(), Linear(24, 2)};
  CrossEntropyLoss loss;
  optim::Adam optimizer{model.parameters(), {.lr = 0.02}};
  DataLoader loader{train, {.batch_size = 20, .seed = 1}};
};

TEST(Fit, LearnsAndReports) {
  Problem p;
  int called = 0;
  const History h =
      fit(p.model, p.loss, p.optimizer, p.loader,
          {.epochs = 30, .validation = &p.test, .metrics = {accuracy_metric()}, .after_epoch = [&](const EpochResult&) {
             return ++called, true;
           }});
  EXPECT_EQ(h.epochs.size(), 30U);
  EXPECT_EQ(called, 30);
  EXPECT_LT(h.values("loss").back(), 0.3 * h.values("loss").front());
  EXPECT_GT(h.values("accuracy").back(), 0.93);
  EXPECT_EQ(evaluate(p.model, p.loss, p.test, {accuracy_metric()}).metrics[0], h.values("accuracy").back());
  EXPECT_TRUE(p.model.training());
  EXPECT_EQ(message_of<ValueError>([&] { (void)h.values("auc"); }), "History: no \"auc\"");
  const std::string csv = "/tmp/tilewright-history-" + std::to_string(getpid()) + ".csv", svg = csv + ".svg";
  h.save_csv(csv);
  h.save_svg(svg);
  std::ifstream file(csv);
  std::string line;
  std::getline(file, line);
  EXPECT_EQ(line, "epoch,loss,validation_loss,lr,seconds,accuracy");
  EXPECT_GT(std::filesystem::file_size(svg), 1000U);
  std::filesystem::remove(csv);
  std::filesystem::remove(svg);
}

/// A sum over two half batches is the whole batch's gradient.
TEST(Fit, AccumulationEqualsLargeBatches) {
  Problem small, large;
  DataLoader halves(small.train, {.batch_size = 50, .shuffle = false}),
      wholes(large.train, {.batch_size = 100, .shuffle = false});
  fit(small.model, small.loss, small.optimizer, halves, {.epochs = 3, .accumulate = 2});
  fit(large.model, large.loss, large.optimizer, wholes, {.epochs = 3});
  const auto a = small.model.parameters().values(), b = large.model.parameters().values();
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-4);
}

TEST(Fit, EarlyStoppingByKerasRules) {
  // The labels are the other way round, so the validation's loss soon grows.
  Problem p;
  for (Index& c : p.test.classes) c = 1 - c;
  std::vector<float> best;
  double lowest = INFINITY;
  const History h =
      fit(p.model, p.loss, p.optimizer, p.loader,
          {.epochs = 50,
           .validation = &p.test,
           .early_stopping = EarlyStopping{.patience = 4, .restore_best_weights = true, .start_from_epoch = 3},
           .after_epoch = [&](const EpochResult& r) {
             if (r.epoch >= 3 && r.validation_loss < lowest) {
               lowest = r.validation_loss;
               best.assign(p.model.parameters().values().begin(), p.model.parameters().values().end());
             }
             return true;
           }});
  EXPECT_TRUE(h.stopped_early);
  const auto seen = h.values("validation_loss");
  EXPECT_EQ(std::ranges::min_element(seen.begin() + 3, seen.end()) + 1 + 4, seen.end());
  EXPECT_LT(seen.size(), 50U);
  EXPECT_TRUE(std::ranges::equal(best, p.model.parameters().values()));
  Problem q;
  EXPECT_EQ(fit(q.model, q.loss, q.optimizer, q.loader,
                {.epochs = 50, .validation = &q.test, .early_stopping = EarlyStopping{.patience = 2, .baseline = -1.0}})
                .epochs.size(),
            2U);
  EXPECT_EQ(message_of<ValueError>([&] {
              fit(q.model, q.loss, q.optimizer, q.loader, {.early_stopping = EarlyStopping{.monitor = "speed"}});
            }),
            "History: no \"speed\"");
}

TEST(Fit, ClippingPenaltyAverageAndPlateau) {
  Problem p;
  optim::WeightAverage average(p.model.parameters(), 0.9);
  optim::ReduceLROnPlateau plateau(p.optimizer, {.factor = 0.5, .patience = 0, .threshold = 10});
  const History h = fit(p.model, p.loss, p.optimizer, p.loader,
                        {.epochs = 4, .plateau = &plateau, .max_norm = 0.1, .l1 = 1e-3, .average = &average});
  EXPECT_LT(p.optimizer.lr(), 0.02);
  const float now = p.model.parameters().values()[0];
  average.swap();
  EXPECT_NE(p.model.parameters().values()[0], now);
  average.swap();
  EXPECT_EQ(p.model.parameters().values()[0], now);
  optim::SGD other(Problem().model.parameters());
  EXPECT_EQ(message_of<ValueError>([&] { fit(p.model, p.loss, other, p.loader); }),
            "fit: the optimizer is of another model");
}

TEST(Freezing, FrozenParametersStay) {
  Problem p;
  p.model.parameters().freeze("0.*");
  EXPECT_EQ(p.model.parameters().count(), 50);
  const std::vector<float> before(p.model.parameters().values().begin(), p.model.parameters().values().end());
  fit(p.model, p.loss, p.optimizer, p.loader, {.epochs = 2, .max_norm = 1});
  const auto first = p.model.parameters()["0.weight"].value, last = p.model.parameters()["2.weight"].value;
  const auto offset = static_cast<std::size_t>(last.data() - first.data());
  for (std::size_t i = 0; i < first.size(); ++i) EXPECT_EQ(first[i], before[i]);
  EXPECT_NE(last[0], before[offset]);
  p.model.parameters().unfreeze("0.weight");
  fit(p.model, p.loss, p.optimizer, p.loader, {.epochs = 3});
  EXPECT_NE(first[0], before[0]);
  EXPECT_EQ(message_of<ValueError>([&] { p.model.parameters().freeze("7.*"); }),
            "ParameterBlock: no parameter is called \"7.*\"");
}

TEST(Initialisers, MomentsAndOrthogonality) {
  Sequential model(Linear(300, 200));
  const Parameter& w = model.parameters()["0.weight"];
  const auto deviation = [&] {
    double squares = 0;
    for (const float v : w.value) squares += static_cast<double>(v) * v;
    return std::sqrt(squares / static_cast<double>(w.value.size()));
  };
  init::xavier_normal(w, {1, 1});
  EXPECT_NEAR(deviation(), std::sqrt(2.0 / 500), 1e-3);
  init::xavier_uniform(w, {1, 1}, 2);
  EXPECT_NEAR(deviation(), 2 * std::sqrt(2.0 / 500), 2e-3);
  init::kaiming_normal(w, {1, 1});
  EXPECT_NEAR(deviation(), std::sqrt(2.0 / 300), 1e-3);
  init::kaiming_uniform(w, {1, 1}, 1, init::Fan::out);
  EXPECT_NEAR(deviation(), std::sqrt(1.0 / 200), 1e-3);
  init::orthogonal(w, {1, 1}, 3);
  for (const Index i : {0, 7, 199})
    for (const Index j : {0, 7, 120}) {
      double dot = 0;
      for (Index k = 0; k < 300; ++k)
        dot += static_cast<double>(w.value_matrix()(i, k)) * static_cast<double>(w.value_matrix()(j, k));
      EXPECT_NEAR(dot, i == j ? 9 : 0, 1e-5);
    }
  EXPECT_EQ(init::calculate_gain("tanh"), 5.0 / 3);
  EXPECT_EQ(message_of<ShapeError>([&] { init::xavier_normal(model.parameters()["0.bias"], {}); }),
            "xavier_normal: 0.bias is 200, expected a matrix");
}

/// Two backward passes without zero_grad() between them give twice the gradients.
TEST(Layers, GradientsAccumulate) {
  const auto check = [](Sequential model, float largest) {
    Matrix<float> x(6, 8), dy;
    fill_uniform(x.span(), {1, 1}, 0, largest);
    for (float& v : x.span()) v = largest > 2 ? std::floor(v) : v;  // ids
    dy = Matrix<float>(6, model.forward(x).cols);
    fill_uniform(dy.span(), {1, 2}, -1, 1);
    model.eval();  // no new random numbers
    model.forward(x);
    model.backward(dy);
    const std::vector<float> once(model.parameters().gradients().begin(), model.parameters().gradients().end());
    model.backward(dy);
    for (std::size_t i = 0; i < once.size(); ++i)
      ASSERT_NEAR(model.parameters().gradients()[i], 2 * once[i], 1e-5F) << model.describe();
    EXPECT_NE(*std::ranges::max_element(once), 0);
  };
  check(Sequential(Linear(8, 3)), 1);
  check(Sequential(LayerNorm(8)), 1);
  check(Sequential(RMSNorm(4)), 1);
  check(Sequential(BatchNorm1d(8)), 1);
  check(Sequential(GroupNorm(2, 4)), 1);
  check(Sequential(Tanh(), Linear(8, 8), PReLU(8)), 1);
  check(Sequential(Residual(Linear(8, 8), Block(LayerNorm(8), Linear(8, 8)))), 1);
  check(Sequential(Embedding(9, 2, 1)), 9);
  check(Sequential(EmbeddingBag(9, 2)), 9);
}

/// A parameter belongs to the first group that names it, whatever the order in the block.
TEST(Optimizer, GroupsInOrder) {
  Sequential model(Linear(2, 2), Linear(2, 2), Linear(2, 2));
  optim::SGD sgd(model.parameters(), {.lr = 1},
                 {{.parameters = {"1.*"}, .lr = 2},
                  {.parameters = {"*.bias"}, .lr = 3},
                  {.parameters = {"*.bias", "2.*"}, .lr = 4}});
  std::ranges::fill(model.parameters().values(), 0.0F);
  std::ranges::fill(model.parameters().gradients(), -1.0F);
  sgd.step();
  const float want[] = {1, 3, 2, 2, 4, 3};
  for (std::size_t i = 0; i < 6; ++i)
    for (const float v : model.parameters().parameters()[i].value) EXPECT_EQ(v, want[i]) << i;
}

TEST(Sequential, DropoutAndModes) {
  Sequential model(Dropout(0.5), Linear(50, 1));
  Matrix<float> x(1, 50);
  fill_uniform(x.span(), {1, 1}, 1, 2);
  const float a = model.forward(x)(0, 0), b = model.forward(x)(0, 0);
  EXPECT_NE(a, b) << "every pass has its own numbers";
  model.set_random_state({0, 0});
  EXPECT_EQ(model.forward(x)(0, 0), a);
  model.eval();
  const float c = model.forward(x)(0, 0);
  EXPECT_EQ(model.forward(x)(0, 0), c);
  EXPECT_NE(c, a);
}

TEST(Sequential, SummaryAndEmbeddings) {
  Sequential model(Embedding(100, 8, 0), Flatten(), Linear(32, 16), ReLU(), Residual(Linear(16, 16), Tanh()),
                   Linear(16, 2));
  EXPECT_EQ(model.in_features(), 0);
  Matrix<float> ids(3, 4);
  ids(1, 2) = 99;
  EXPECT_EQ(model.forward(ids).cols, 2);
  const std::string s = model.summary();
  for (const char* part : {"(0) Embedding(100, 8, padding_index=0)", "(4) Residual", "(4.0) Linear", "1634"})
    EXPECT_NE(s.find(part), std::string::npos) << part << "\n" << s;
  ids(2, 1) = 1.5F;
  EXPECT_EQ(message_of<ValueError>([&] { model.forward(ids); }),
            "Embedding: x(2,1) is 1.500000, expected a whole number from 0 to 99");
  EXPECT_EQ(message_of<ShapeError>([] { Sequential(Linear(4, 4), Residual(Linear(4, 5))); }),
            "Residual: its layers turn 4 features into 5, which cannot be added");
  EXPECT_EQ(message_of<ValueError>([] { Dropout(1.5); }), "Dropout: p is 1.500000, expected 0 .. 1");
  EXPECT_EQ(message_of<ValueError>([] { GroupNorm(3, 8); }), "GroupNorm: 8 channels do not make 3 equal groups");
  MSELoss mse;
  EXPECT_EQ(message_of<ValueError>([&] { mse(ids, std::vector<Index>{1}); }),
            "MSELoss: the target must be a matrix, not classes");
}

}  // namespace
}  // namespace tilewright
