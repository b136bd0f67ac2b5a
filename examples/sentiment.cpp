// SPDX-License-Identifier: MIT
// Is a sentence friendly? A bag of word vectors and one layer. --csv has columns "text" and "label"; without it the
// program writes sentences, in which "not'" turns a word around: not'good is one word and unfriendly.
#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>

#include "tilewright/nn/nn.hpp"

using namespace tilewright;

namespace {

struct Corpus {
  std::vector<std::string> sentences;
  std::vector<Index> labels;
};

Corpus write_sentences(Index count) {
  static constexpr std::array kGood{"good", "lovely", "brilliant", "moving", "funny", "clever", "warm", "superb"};
  static constexpr std::array kBad{"bad", "dull", "awful", "boring", "weak", "silly", "cold", "clumsy"};
  static constexpr std::array kThings{"film", "plot", "ending", "music", "cast", "story", "book", "scene"};
  Corpus corpus;
  for (Index i = 0; i < count; ++i) {
    const RandomStream random{1, static_cast<std::uint64_t>(i)};
    std::uint64_t drawn = 0;
    const auto pick = [&](const auto& words) { return std::string(words[random.below(drawn++, words.size())]); };
    const Index label = static_cast<Index>(random.below(drawn++, 2));
    std::string text;
    for (int clause = 0; clause < 3; ++clause) {
      // Two of three clauses say what the sentence means.
      const bool good = (clause < 2) == (label == 1);
      const bool denied = random.below(drawn++, 4) == 0;
      text += "the " + pick(kThings) + " was " + (denied ? "not'" : "very ") +
              (good != denied ? pick(kGood) : pick(kBad)) + ", ";
    }
    corpus.sentences.push_back(text + "said the critic");
    corpus.labels.push_back(label);
  }
  return corpus;
}

Corpus read_sentences(const std::string& path) {
  const nn::CsvTable table = nn::read_csv(path);
  const auto text = table.column("text");
  return {{text.begin(), text.end()}, table.categories("label").ids};
}

}  // namespace

int main(int argc, char** argv) try {
  std::string csv;
  double require = 0;
  CLI::App app("Friendly or unfriendly sentences");
  app.add_option("--csv", csv, "file with columns text and label");
  app.add_option("--require", require, "test accuracy below which the program ends with 1");
  CLI11_PARSE(app, argc, argv);
  const Corpus corpus = csv.empty() ? write_sentences(3000) : read_sentences(csv);
  std::string all;
  for (const std::string& sentence : corpus.sentences) all += sentence + "\n";
  const nn::WordTokenizer words(all, 5000);
  std::vector<std::vector<Index>> ids;
  for (const std::string& sentence : corpus.sentences) ids.push_back(words.encode(sentence));
  const nn::Dataset data{nn::pad_sequences(ids, 40, nn::WordTokenizer::kPadding), {}, corpus.labels};
  const nn::Split split = nn::split_stratified(data.classes, 0.2, 1);
  const nn::Dataset train = nn::subset(data, split.train), test = nn::subset(data, split.test);

  nn::Sequential model(nn::EmbeddingBag(words.size(), 16, nn::EmbeddingBag::Mode::mean, nn::WordTokenizer::kPadding),
                       nn::Linear(16, 2));
  nn::CrossEntropyLoss criterion;
  optim::Adam optimizer(model.parameters(), {.lr = 2e-2});
  nn::DataLoader loader(train, {.batch_size = 50, .seed = 1});
  const nn::History history =
      nn::fit(model, criterion, optimizer, loader,
              {.epochs = 12, .validation = &test, .metrics = {nn::accuracy_metric()}, .progress = stdout});
  std::printf("%td words; test accuracy %.1f%%\n", words.size(), 100 * history.values("accuracy").back());
  return history.values("accuracy").back() >= require ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
