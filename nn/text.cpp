// SPDX-License-Identifier: MIT
#include "tilewright/nn/text.hpp"

#include <algorithm>
#include <vector>

namespace tilewright::nn {
namespace {

/// The bytes of the code point that begins here; 0 when it is not UTF-8.
std::size_t code_point_length(std::string_view rest) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(rest[i]); };
  const std::size_t length = byte(0) < 0x80                      ? 1
                             : byte(0) >= 0xc2 && byte(0) < 0xe0 ? 2
                             : byte(0) >= 0xe0 && byte(0) < 0xf0 ? 3
                             : byte(0) >= 0xf0 && byte(0) < 0xf5 ? 4
                                                                 : 0;
  if (length > rest.size()) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  return length;
}

template <class Use>
void for_characters(std::string_view text, Use use) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = code_point_length(text.substr(at));
    if (length == 0) throw ValueError("CharacterTokenizer: byte " + std::to_string(at) + " is not UTF-8");
    use(text.substr(at, length));
    at += length;
  }
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '\'' ||
         static_cast<unsigned char>(c) > 127;
}

template <class Use>
void for_words(std::string_view text, Use use) {
  std::string word;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && is_letter(text[i])) {
      word += text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] + 32) : text[i];
    } else if (!word.empty()) {
      use(word);
      word.clear();
    }
  }
}

/// Words with the space before them; every other byte that is not a letter by itself.
template <class Use>
void for_pieces(std::string_view text, Use use) {
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at + 1;
    if (is_letter(text[at]) || (text[at] == ' ' && end < text.size() && is_letter(text[end])))
      while (end < text.size() && is_letter(text[end])) ++end;
    use(text.substr(at, end - at));
    at = end;
  }
}

const std::string& piece(const char* tokenizer, const std::vector<std::string>& all, Index id) {
  if (id < 0 || id >= static_cast<Index>(all.size()))
    throw ValueError(std::string(tokenizer) + ": id " + std::to_string(id) + " of " + std::to_string(all.size()));
  return all[static_cast<std::size_t>(id)];
}

}  // namespace

CharacterTokenizer::CharacterTokenizer(std::string_view text) {
  for_characters(text, [&](std::string_view c) { ids_.emplace(c, 0); });
  for (auto& [character, id] : ids_) {  // the order of UTF-8 is that of code points
    id = static_cast<Index>(characters_.size());
    characters_.push_back(character);
  }
}

std::vector<Index> CharacterTokenizer::encode(std::string_view text) const {
  std::vector<Index> ids;
  for_characters(text, [&](std::string_view c) {
    const auto found = ids_.find(c);
    if (found == ids_.end()) throw ValueError("CharacterTokenizer: \"" + std::string(c) + "\" was not in the text");
    ids.push_back(found->second);
  });
  return ids;
}

std::string CharacterTokenizer::decode(std::span<const Index> ids) const {
  std::string text;
  for (const Index id : ids) text += piece("CharacterTokenizer", characters_, id);
  return text;
}

WordTokenizer::WordTokenizer(std::string_view text, Index largest_size) : words_{"", "?"} {
  if (largest_size < 2) throw ValueError("WordTokenizer: largest_size is " + std::to_string(largest_size));
  std::map<std::string, Index, std::less<>> counts;
  for_words(text, [&](const std::string& word) { ++counts[word]; });
  std::vector<std::pair<Index, std::string>> order;
  order.reserve(counts.size());
  for (const auto& [word, count] : counts) order.emplace_back(-count, word);
  std::ranges::sort(order);
  for (const auto& [count, word] : order) {
    if (size() == largest_size) break;
    ids_[word] = size();
    words_.push_back(word);
  }
}

std::vector<Index> WordTokenizer::encode(std::string_view text) const {
  std::vector<Index> ids;
  for_words(text, [&](const std::string& word) {
    const auto found = ids_.find(word);
    ids.push_back(found == ids_.end() ? kUnknown : found->second);
  });
  return ids;
}

std::string WordTokenizer::decode(std::span<const Index> ids) const {
  std::string text;
  for (const Index id : ids)
    if (id != kPadding) text += (text.empty() ? "" : " ") + piece("WordTokenizer", words_, id);
  return text;
}

BytePairTokenizer::BytePairTokenizer(std::string_view text, Index size) {
  if (size < 256) throw ValueError("BytePairTokenizer: size is " + std::to_string(size) + ", expected 256 or more");
  for (int byte = 0; byte < 256; ++byte) pieces_.emplace_back(1, static_cast<char>(byte));
  // Every different word once, with how often it occurs.
  std::map<std::string, Index, std::less<>> counts;
  for_pieces(text, [&](std::string_view word) {
    const auto found = counts.find(word);
    if (found == counts.end())
      counts.emplace(word, 1);
    else
      ++found->second;
  });
  struct Word {
    std::vector<Index> ids;
    Index count;
  };
  std::vector<Word> words;
  std::map<Pair, Index> pairs;
  const auto count_pairs = [&](const Word& word, Index sign) {
    for (std::size_t i = 0; i + 1 < word.ids.size(); ++i) pairs[{word.ids[i], word.ids[i + 1]}] += sign * word.count;
  };
  for (const auto& [word, count] : counts) {
    words.push_back({{}, count});
    for (const char c : word) words.back().ids.push_back(static_cast<unsigned char>(c));
    count_pairs(words.back(), 1);
  }
  while (this->size() < size) {
    const auto best =
        std::ranges::max_element(pairs, {}, [](const auto& p) { return p.second; });  // the first of equals
    if (best == pairs.end() || best->second < 2) break;
    const Pair pair = best->first;
    const Index id = this->size();
    merges_[pair] = id;
    pieces_.push_back(pieces_[static_cast<std::size_t>(pair.first)] + pieces_[static_cast<std::size_t>(pair.second)]);
    for (Word& word : words) {
      auto at = word.ids.begin();
      const auto is_pair = [&] { return at + 1 < word.ids.end() && at[0] == pair.first && at[1] == pair.second; };
      while (at != word.ids.end() && !is_pair()) ++at;
      if (at == word.ids.end()) continue;
      count_pairs(word, -1);
      for (at = word.ids.begin(); at != word.ids.end(); ++at)
        if (is_pair()) {
          *at = id;
          word.ids.erase(at + 1);
        }
      count_pairs(word, 1);
    }
    pairs.erase(pair);
  }
}

void BytePairTokenizer::encode_word(std::string_view word, std::vector<Index>& out) const {
  std::vector<Index> ids;
  for (const char c : word) ids.push_back(static_cast<unsigned char>(c));
  while (ids.size() > 1) {  // the merge that was learned first
    Index best = size();
    std::size_t where = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i)
      if (const auto found = merges_.find({ids[i], ids[i + 1]}); found != merges_.end() && found->second < best) {
        best = found->second;
        where = i;
      }
    if (best == size()) break;
    ids[where] = best;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
  out.insert(out.end(), ids.begin(), ids.end());
}

std::vector<Index> BytePairTokenizer::encode(std::string_view text) const {
  std::vector<Index> ids;
  for_pieces(text, [&](std::string_view word) { encode_word(word, ids); });
  return ids;
}

std::string BytePairTokenizer::decode(std::span<const Index> ids) const {
  std::string text;
  for (const Index id : ids) text += piece("BytePairTokenizer", pieces_, id);
  return text;
}

Matrix<float> pad_sequences(std::span<const std::vector<Index>> sequences, Index length, Index padding) {
  Matrix<float> rows(static_cast<Index>(sequences.size()), length);
  for (Index i = 0; i < rows.rows(); ++i) {
    const auto& ids = sequences[static_cast<std::size_t>(i)];
    for (Index j = 0; j < length; ++j) {
      const Index id = j < static_cast<Index>(ids.size()) ? ids[static_cast<std::size_t>(j)] : padding;
      if (id < 0 || id > 1 << 24)
        throw ValueError("pad_sequences: id " + std::to_string(id) + " is not exact as a float");
      rows(i, j) = static_cast<float>(id);
    }
  }
  return rows;
}

}  // namespace tilewright::nn
