// SPDX-License-Identifier: MIT
// The four tones of spoken Mandarin from spectrograms: a voice whose pitch stays, rises, dips or falls, with overtones,
// noise and a speaker of its own each time. The spectrogram is a product of frames with cosines and sines.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <numbers>

#include "tilewright/nn/nn.hpp"

using namespace tilewright;

namespace {

constexpr Index kRate = 4000, kSamples = 1600, kFrame = 200, kHop = 100, kBins = 40;
constexpr Index kFrames = (kSamples - kFrame) / kHop + 1;

/// Pitch over time, 0 <= t < 1, relative to the speaker's.
double contour(Index tone, double t) {
  switch (tone) {
    case 0:
      return 1.25;
    case 1:
      return 0.85 + 0.4 * t;
    case 2:
      return 0.75 + 1.2 * (t - 0.5) * (t - 0.5);
    default:
      return 1.3 - 0.55 * t;
  }
}

void speak(Index tone, RandomStream random, std::span<float> wave) {
  fill_normal(wave, {random.seed, random.stream + 1}, 0, 0.3F);
  const auto uniform = [&](std::uint64_t i) { return static_cast<double>(random.uniform(i)); };
  const double pitch = 110 + 110 * uniform(0), speed = 0.8 + 0.4 * uniform(1), loud = 0.5 + uniform(2);
  double phase = 0;
  for (std::size_t i = 0; i < wave.size(); ++i) {
    const double t = std::min(1.0, speed * static_cast<double>(i) / static_cast<double>(wave.size()));
    phase += 2 * std::numbers::pi * pitch * contour(tone, t) / kRate;
    for (int overtone = 1; overtone <= 4; ++overtone)
      wave[i] += static_cast<float>(loud * std::sin(overtone * phase) / overtone);
  }
}

/// log(1 + |frames * e^(-2 pi i f t)|^2), frame by frame, bins of 20 Hz up to 800.
Matrix<float> spectrograms(Matrix<float>& waves) {
  Matrix<float> turns(kFrame, 2 * kBins), out(waves.rows(), kFrames * kBins), bins(kFrames, 2 * kBins);
  for (Index t = 0; t < kFrame; ++t)
    for (Index f = 0; f < kBins; ++f) {
      const double at = static_cast<double>(t), window = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * at / kFrame);
      const double angle = 2 * std::numbers::pi * static_cast<double>(f + 1) * 20 * at / kRate;
      turns(t, f) = static_cast<float>(window * std::cos(angle));
      turns(t, f + kBins) = static_cast<float>(window * std::sin(angle));
    }
  for (Index i = 0; i < waves.rows(); ++i) {
    // Frames overlap: the same samples in rows that are kHop apart.
    gemm(MatrixView<const float>(&waves(i, 0), kFrames, kFrame, kHop), turns, bins);
    for (Index frame = 0; frame < kFrames; ++frame)
      for (Index f = 0; f < kBins; ++f)
        out(i, frame * kBins + f) =
            std::log1p(bins(frame, f) * bins(frame, f) + bins(frame, f + kBins) * bins(frame, f + kBins));
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) try {
  Index count = 2000;
  double require = 0;
  CLI::App app("Spoken tones from spectrograms");
  app.add_option("--count", count, "recordings to make")->capture_default_str();
  app.add_option("--require", require, "test accuracy below which the program ends with 1");
  CLI11_PARSE(app, argc, argv);
  Matrix<float> waves(count, kSamples);
  nn::Dataset data;
  for (Index i = 0; i < count; ++i) {
    data.classes.push_back(i % 4);
    speak(i % 4, {1, static_cast<std::uint64_t>(2 * i)}, {&waves(i, 0), kSamples});
  }
  data.x = spectrograms(waves);
  nn::Standardizer(data.x).apply(data.x);
  const nn::Split split = nn::split_stratified(data.classes, 0.25, 1);
  const nn::Dataset train = nn::subset(data, split.train), test = nn::subset(data, split.test);
  nn::Sequential model(nn::Linear(kFrames * kBins, 64), nn::BatchNorm1d(64), nn::GELU(), nn::Dropout(0.3),
                       nn::Linear(64, 4));
  nn::CrossEntropyLoss criterion;
  optim::AdamW optimizer(model.parameters(), {.lr = 2e-3, .weight_decay = 0.1});
  nn::DataLoader loader(train, {.batch_size = 50, .seed = 1, .drop_last = true});
  const nn::History history =
      nn::fit(model, criterion, optimizer, loader,
              {.epochs = 20, .validation = &test, .metrics = {nn::accuracy_metric()}, .progress = stdout});
  return history.values("accuracy").back() >= require ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
