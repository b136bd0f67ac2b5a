// SPDX-License-Identifier: MIT
// A digit classifier: 784-512-10, ReLU, cross-entropy, Adam, mini-batches.
//
//   digits [--images FILE --labels FILE] [--train N] [--test N] [--epochs N] [--batch N] [--hidden N] [--seed N]
//   [--require ACCURACY]
//
// FILEs are IDX, plain or gzip (MNIST's format); the first N pictures train, the last N test. Without files the program
// draws its own digits. Ends with 1 when the test accuracy stays below --require.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "tilewright/nn/nn.hpp"

using namespace tilewright;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::map<std::string, std::string> parse(int argc, char** argv) {
  std::map<std::string, std::string> options{{"--images", ""},    {"--labels", ""},   {"--train", "9000"},
                                             {"--test", "1000"},  {"--epochs", "12"}, {"--batch", "32"},
                                             {"--hidden", "512"}, {"--seed", "1"},    {"--require", "0"}};
  for (int i = 1; i < argc; i += 2) {
    if (!options.contains(argv[i]) || i + 1 == argc)
      throw ValueError(std::string("digits: unknown or incomplete option ") + argv[i]);
    options[argv[i]] = argv[i + 1];
  }
  return options;
}

Index largest(MatrixView<const float> row) { return std::max_element(row.data, row.data + row.cols) - row.data; }

int run(int argc, char** argv) {
  auto options = parse(argc, argv);
  const auto number = [&](const char* name) {
    return static_cast<Index>(std::strtoll(options[name].c_str(), nullptr, 10));
  };
  const Index train = number("--train"), test = number("--test"), epochs = number("--epochs"),
              batch = number("--batch");
  const auto seed = static_cast<std::uint64_t>(number("--seed"));
  const nn::LabelledImages data = options["--images"].empty()
                                      ? nn::generate_digits(train + test, seed)
                                      : nn::read_idx_images(options["--images"], options["--labels"]);
  const Index count = data.images.rows(), pixels = data.images.cols();
  if (train < 1 || test < 1 || batch < 1 || epochs < 1 || train + test > count)
    throw ValueError("digits: " + std::to_string(train) + " to train and " + std::to_string(test) +
                     " to test do not fit " + std::to_string(count));

  nn::Sequential model(nn::Linear(pixels, number("--hidden")), nn::ReLU(), nn::Linear(number("--hidden"), 10));
  model.reset_parameters(seed);
  nn::CrossEntropyLoss criterion;
  optim::Adam optimizer(model.parameters());
  std::printf("%s\n%td parameters, %td pictures to train, %td to test\n", model.describe().c_str(),
              model.parameters().count(), train, test);

  std::vector<Index> order(static_cast<std::size_t>(train)), classes(static_cast<std::size_t>(batch));
  Matrix<float> x(batch, pixels);
  std::array<std::array<int, 10>, 10> confusion{};
  double accuracy = 0;
  const auto start = Clock::now();
  for (Index epoch = 0; epoch < epochs; ++epoch) {
    fill_permutation(order, {seed, static_cast<std::uint64_t>(epoch)});
    double loss = 0;
    for (Index first = 0; first < train; first += batch) {
      const Index size = std::min(batch, train - first);
      for (Index i = 0; i < size; ++i) {
        const Index sample = order[static_cast<std::size_t>(first + i)];
        std::copy_n(&data.images(sample, 0), pixels, &x(i, 0));
        classes[static_cast<std::size_t>(i)] = data.labels[static_cast<std::size_t>(sample)];
      }
      optimizer.zero_grad();
      const auto logits = model.forward(x.row_block(0, size));
      loss += criterion(logits, {classes.data(), static_cast<std::size_t>(size)}) * static_cast<double>(size);
      model.backward(criterion.gradient());
      optimizer.step();
    }
    Index right = 0;
    confusion = {};
    const auto logits = model.forward(data.images.row_block(count - test, test));
    for (Index i = 0; i < test; ++i) {
      const Index is = data.labels[static_cast<std::size_t>(count - test + i)], seen = largest(logits.row(i));
      ++confusion.at(static_cast<std::size_t>(is)).at(static_cast<std::size_t>(seen));
      right += is == seen;
    }
    accuracy = static_cast<double>(right) / static_cast<double>(test);
    const double elapsed = seconds_since(start), done = static_cast<double>(epoch + 1);
    std::printf("epoch %2td/%td  loss %.4f  test accuracy %.2f%%  %.1f s, %.1f s left\n", epoch + 1, epochs,
                loss / static_cast<double>(train), 100 * accuracy, elapsed,
                elapsed / done * (static_cast<double>(epochs) - done));
    std::fflush(stdout);
  }
  std::printf("\nrows: what it is, columns: what the network sees\n     ");
  for (int j = 0; j < 10; ++j) std::printf("%5d", j);
  for (std::size_t i = 0; i < 10; ++i) {
    std::printf("\n%5zu", i);
    for (const int n : confusion.at(i)) std::printf("%5d", n);
  }
  std::printf("\n");
  return accuracy >= std::strtod(options["--require"].c_str(), nullptr) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
