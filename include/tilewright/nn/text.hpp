// SPDX-License-Identifier: MIT
// Text as numbers: characters, words, or pieces that were learned from text.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tilewright/matrix.hpp"

namespace tilewright::nn {

/// Every code point that occurs in the text it was made from, in ascending order. Others throw ValueError.
class TILEWRIGHT_API CharacterTokenizer {
 public:
  /// Throws ValueError for text that is not UTF-8, with the byte.
  explicit CharacterTokenizer(std::string_view text);
  /// Number of ids.
  Index size() const { return static_cast<Index>(characters_.size()); }
  /// The ids of a text.
  std::vector<Index> encode(std::string_view text) const;
  /// The text of ids. Throws ValueError for one that is not there.
  std::string decode(std::span<const Index> ids) const;

 private:
  std::vector<std::string> characters_;
  std::map<std::string, Index, std::less<>> ids_;
};

/// Words: runs of letters, digits and bytes above 127, in small letters. 0 is padding, 1 any other word; then the most
/// frequent words, of equal frequency in alphabetical order.
class TILEWRIGHT_API WordTokenizer {
 public:
  /// Learns the words of a text, at most largest_size ids.
  explicit WordTokenizer(std::string_view text, Index largest_size = 20000);
  static constexpr Index kPadding = 0;  ///< the id of nothing
  static constexpr Index kUnknown = 1;  ///< the id of other words
  /// Number of ids.
  Index size() const { return static_cast<Index>(words_.size()); }
  /// The ids of a text; never throws for its words.
  std::vector<Index> encode(std::string_view text) const;
  /// The words with spaces between. Throws ValueError for an id that is not there.
  std::string decode(std::span<const Index> ids) const;

 private:
  std::vector<std::string> words_;
  std::map<std::string, Index, std::less<>> ids_;
};

/// Byte-pair encoding: ids 0 .. 255 are bytes, each further one the most frequent pair of neighbours so far (Gage,
/// 1994; Sennrich, Haddow and Birch, 2016). Pairs do not cross the border between a word and the space before it, so
/// any text can be encoded and comes back as it was.
class TILEWRIGHT_API BytePairTokenizer {
 public:
  /// Learns from text until there are `size` ids, or no pair occurs twice. Throws ValueError for less than 256.
  BytePairTokenizer(std::string_view text, Index size);
  /// Number of ids.
  Index size() const { return static_cast<Index>(pieces_.size()); }
  /// The ids of a text.
  std::vector<Index> encode(std::string_view text) const;
  /// The text of ids. Throws ValueError for one that is not there.
  std::string decode(std::span<const Index> ids) const;

 private:
  using Pair = std::pair<Index, Index>;
  void encode_word(std::string_view word, std::vector<Index>& out) const;
  std::vector<std::string> pieces_;
  std::map<Pair, Index> merges_;
};

/// Rows of `length` ids: what is longer is cut, what is shorter filled up with `padding`; as floats, for Embedding.
TILEWRIGHT_API Matrix<float> pad_sequences(std::span<const std::vector<Index>> sequences, Index length,
                                           Index padding = 0);

}  // namespace tilewright::nn
