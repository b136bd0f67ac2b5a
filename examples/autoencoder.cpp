// SPDX-License-Identifier: MIT
// A denoising autoencoder: digits with noise in, digits without noise out, through 32 numbers. Nobody says which digits
// they are (self-supervised). Prints one before, with noise, and after.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "tilewright/nn/nn.hpp"

using namespace tilewright;

namespace {

/// Three pictures side by side in characters, two rows of pixels in one line.
void show(std::initializer_list<const float*> pictures) {
  static constexpr std::string_view kShades = " .:-=+*#%@";
  for (int row = 0; row < 28; row += 2) {
    for (const float* p : pictures) {
      for (int col = 0; col < 28; ++col) {
        const float ink = std::clamp((p[row * 28 + col] + p[(row + 1) * 28 + col]) / 2, 0.0F, 0.99F);
        std::putchar(kShades[static_cast<std::size_t>(ink * 10)]);
      }
      std::printf("  ");
    }
    std::printf("\n");
  }
}

double squares(const Matrix<float>& a, const Matrix<float>& b) {
  nn::MSELoss mse;
  return mse(a, b);
}

}  // namespace

int main(int argc, char** argv) try {
  std::string images, labels;
  Index count = 4000, epochs = 12;
  double require = 1;
  CLI::App app("A denoising autoencoder");
  app.add_option("--images", images, "IDX file of pictures");
  app.add_option("--labels", labels, "IDX file that belongs to it");
  app.add_option("--count", count, "digits to draw, without files")->capture_default_str();
  app.add_option("--epochs", epochs)->capture_default_str();
  app.add_option("--require", require, "share of the noise that may be left; above it the program ends with 1");
  CLI11_PARSE(app, argc, argv);
  nn::Dataset all;
  all.x = images.empty() ? nn::generate_digits(count, 1).images : nn::read_idx_images(images, labels).images;
  all.targets = all.x;
  const nn::Split split = nn::split(all.size(), 0.1, 1);
  const nn::Dataset train = nn::subset(all, split.train), test = nn::subset(all, split.test);

  nn::Sequential model(nn::Linear(784, 256), nn::BatchNorm1d(256), nn::ReLU(), nn::Linear(256, 32), nn::Linear(32, 256),
                       nn::ReLU(), nn::Linear(256, 784));
  std::printf("%s", model.summary().c_str());
  nn::BCEWithLogitsLoss criterion;
  optim::Adam optimizer(model.parameters(), {.lr = 2e-3});
  const auto noise = nn::add_noise(0.5F);
  nn::DataLoader loader(train,
                        {.batch_size = 64, .seed = 1, .drop_last = true, .augmentation = noise, .prefetch = true});
  nn::fit(model, criterion, optimizer, loader, {.epochs = epochs, .progress = stdout});

  Matrix<float> noisy = test.x;
  for (Index i = 0; i < noisy.rows(); ++i) noise({&noisy(i, 0), 784}, {99, static_cast<std::uint64_t>(i) << 20});
  Matrix<float> clean = nn::predict(model, noisy);
  activation_forward(ActivationKind::sigmoid, clean, clean);
  show({&test.x(0, 0), &noisy(0, 0), &clean(0, 0)});
  const double before = squares(noisy, test.x), after = squares(clean, test.x);
  std::printf("mean squared error with noise %.4f, after the network %.4f\n", before, after);
  return after / before <= require ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
