// SPDX-License-Identifier: MIT
// Does a piece of DNA hold a motif? Sequences as bags of words of six letters, a vector for each word, their sum, one
// layer. The words with the largest weight, printed at the end, are the motif: TATAAW, W being A or T, once in every
// second sequence of 80 letters. --csv has columns "sequence" and "label".
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <numeric>

#include "tilewright/nn/nn.hpp"

using namespace tilewright;

namespace {

constexpr std::size_t kWord = 6, kWords = 4096;  // 4^6
constexpr std::string_view kLetters = "ACGT";

std::vector<Index> words_of(std::string_view sequence) {
  if (sequence.find_first_not_of(kLetters) != sequence.npos)
    throw ValueError("motifs: not of the letters " + std::string(kLetters) + ": " + std::string(sequence));
  std::vector<Index> words;
  std::size_t word = 0;
  for (std::size_t i = 0; i < sequence.size(); ++i) {
    word = (4 * word + kLetters.find(sequence[i])) % kWords;
    if (i + 1 >= kWord) words.push_back(static_cast<Index>(word));
  }
  return words;
}

std::string letters_of(std::size_t word) {
  std::string text;
  for (std::size_t k = 0; k < kWord; ++k, word /= 4) text.insert(text.begin(), kLetters[word % 4]);
  return text;
}

/// How much speaks for a motif.
std::vector<float> score(const Matrix<float>& y) {
  std::vector<float> s;
  for (Index i = 0; i < y.rows(); ++i) s.push_back(y(i, 1) - y(i, 0));
  return s;
}

using Sequences = std::pair<std::vector<std::vector<Index>>, std::vector<Index>>;  // words, labels

Sequences grow(Index count) {
  Sequences s;
  for (Index i = 0; i < count; ++i) {
    const RandomStream random{3, static_cast<std::uint64_t>(i)};
    std::string text;
    for (std::uint64_t k = 0; k < 80; ++k) text += kLetters[random.below(k, 4)];
    if (i % 2 == 1) text.replace(random.below(90, 75), kWord, random.below(91, 2) == 0 ? "TATAAA" : "TATAAT");
    s.first.push_back(words_of(text));
    s.second.push_back(i % 2);
  }
  return s;
}

Sequences read(const std::string& csv) {
  const nn::CsvTable table = nn::read_csv(csv);
  Sequences s{{}, table.categories("label").ids};
  for (const auto& text : table.column("sequence")) s.first.push_back(words_of(text));
  return s;
}

}  // namespace

int main(int argc, char** argv) try {
  std::string csv;
  double require = 0;
  CLI::App app("Motifs in DNA");
  app.add_option("--csv", csv, "file with columns sequence and label");
  app.add_option("--require", require, "area under the curve below which the program ends with 1");
  CLI11_PARSE(app, argc, argv);
  const auto [words, labels] = csv.empty() ? grow(8000) : read(csv);
  std::size_t longest = 0;
  for (const auto& sequence : words) longest = std::max(longest, sequence.size());
  const nn::Dataset data{nn::pad_sequences(words, static_cast<Index>(longest), kWords), {}, labels};
  const nn::Split split = nn::split_stratified(data.classes, 0.25, 1);
  const nn::Dataset train = nn::subset(data, split.train), test = nn::subset(data, split.test);
  nn::Sequential model(nn::EmbeddingBag(kWords + 1, 4, nn::EmbeddingBag::Mode::sum, kWords), nn::Linear(4, 2));
  nn::init::normal(model.parameters()["0.weight"], {1, 0}, 0, 0.01F);
  nn::CrossEntropyLoss criterion;
  optim::Adam optimizer(model.parameters(), {.lr = 5e-3});
  nn::DataLoader loader(train, {.batch_size = 100, .seed = 1});
  nn::fit(model, criterion, optimizer, loader, {.epochs = 8, .l1 = 2e-5, .progress = stdout});
  const double area = nn::area_under_curve(score(nn::predict(model, test.x)), test.classes);
  Matrix<float> each(kWords, 1);
  std::iota(each.data(), each.data() + kWords, 0.0F);
  const auto weight = score(nn::predict(model, each));
  std::ranges::sort(each.span(), std::greater{}, [&](float word) { return weight[static_cast<std::size_t>(word)]; });
  std::printf("area under the curve %.3f; strongest words:", area);
  for (const float word : each.span().first(5)) std::printf(" %s", letters_of(static_cast<std::size_t>(word)).c_str());
  std::printf("\n");
  return area >= require ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
