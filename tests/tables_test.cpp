// SPDX-License-Identifier: MIT
// CSV, NPY, NPZ and tokenizers: what is right comes back, what is wrong is refused.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "tests/numpy_files.hpp"
#include "tests/support.hpp"
#include "tilewright/nn/nn.hpp"

namespace tilewright {
namespace {

using namespace nn;
using test::message_of;
using test::npy;
#if defined(TILEWRIGHT_HAVE_ZLIB)
using test::zip;
#endif

/// A file that goes with the scope.
struct File {
  explicit File(const std::string& bytes) {
    char name[] = "/tmp/tilewright-XXXXXX";
    close(mkstemp(name));
    path = name;
    write(bytes);
  }
  ~File() { std::filesystem::remove(path); }
  void write(const std::string& bytes) const { std::ofstream(path, std::ios::binary) << bytes; }
  std::string path;
};

TEST(Csv, QuotesMissingAndCategories) {
  const CsvTable t = parse_csv(
      "\xef\xbb\xbf"
      "name, size ,\"kind, of\"\r\n"
      "\"a \"\"b\"\"\",1.5,red\r\n\r\n"
      "\"two\nlines\" ,+2e1,?\r\n"
      "c,,blue\n"
      "d,-3,red",
      "t.csv");
  EXPECT_EQ(t.rows(), 4);
  EXPECT_EQ(t.names()[2], "kind, of");
  EXPECT_EQ(t.column("name")[0], "a \"b\"");
  EXPECT_EQ(t.column("name")[1], "two\nlines");
  const auto size = t.numbers("size");
  EXPECT_EQ(size[0], 1.5F);
  EXPECT_EQ(size[1], 20);
  EXPECT_TRUE(std::isnan(size[2]));
  const auto kinds = t.categories("kind, of");
  EXPECT_EQ(kinds.names, (std::vector<std::string>{"blue", "red"}));
  EXPECT_EQ(kinds.ids, (std::vector<Index>{1, -1, 0, 1}));
  Matrix<float> m = t.matrix(std::vector<std::string>{"size", "size"});
  fill_missing(m);
  EXPECT_NEAR(m(2, 1), 18.5 / 3, 1e-6);
  const Matrix<float> hot = one_hot(kinds.ids, 2);
  EXPECT_EQ(hot(0, 1), 1);
  EXPECT_EQ(hot(1, 0) + hot(1, 1), 0);
  EXPECT_EQ(parse_csv("1;2\n3;4", "t", {.separator = ';', .header = false}).numbers("1")[1], 4);
}

TEST(Csv, Errors) {
  const auto message = [](const std::string& text) {
    return message_of<FileError>([&] { (void)parse_csv(text, "t.csv").numbers("a"); });
  };
  EXPECT_EQ(message(""), "read_csv: t.csv: is empty");
  EXPECT_EQ(message("\n\n"), "read_csv: t.csv: is empty");
  EXPECT_EQ(message("a,b\n1,2\n3\n"), "read_csv: t.csv: line 3: 1 cells, expected 2");
  EXPECT_EQ(message("a,b\n1,2,3\n"), "read_csv: t.csv: line 2: 3 cells, expected 2");
  EXPECT_EQ(message("a\n\"1\n2\n"), "read_csv: t.csv: line 2: a quoted cell does not end");
  EXPECT_EQ(message("a\n\"1\"2\n"), "read_csv: t.csv: line 2: expected a separator after a quoted cell");
  EXPECT_EQ(message("a,a\n1,2\n"), "read_csv: t.csv: line 1: the column \"a\" stands twice");
  EXPECT_EQ(message("b\n1\n"), "read_csv: t.csv: no column \"a\"; there are: b");
  EXPECT_EQ(message("a\n\"x\ny\"\n"), "read_csv: t.csv: line 2: column \"a\": \"x\ny\" is not a number");
  EXPECT_EQ(message("a\n1\n\n1,5\n"), "read_csv: t.csv: line 4: 2 cells, expected 1");
  EXPECT_EQ(message("a\n0x10\n"), "read_csv: t.csv: line 2: column \"a\": \"0x10\" is not a number");
  EXPECT_EQ(message("a\n1e\n"), "read_csv: t.csv: line 2: column \"a\": \"1e\" is not a number");
  EXPECT_EQ(message(std::string("a\n1\0\n", 5)), "read_csv: t.csv: holds bytes of zero: not text");
  EXPECT_EQ(message_of<FileError>([] { read_csv("/no/such/file"); }),
            "read_csv: /no/such/file: cannot open: No such file or directory");
}

TEST(Npy, TypesAndOrders) {
  File file("");
  Tensor<float> t({2, 3});
  std::iota(t.data(), t.data() + 6, 1.0F);
  save_npy(file.path, t);
  EXPECT_EQ(std::filesystem::file_size(file.path), 128U + 24);
  const Tensor<float> back = read_npy(file.path);
  EXPECT_EQ(back.shape(), t.shape());
  EXPECT_TRUE(std::ranges::equal(back.span(), t.span()));
  const auto values = [&](const std::string& bytes) {
    file.write(bytes);
    const Tensor<float> read = read_npy(file.path);
    return std::vector<float>(read.span().begin(), read.span().end());
  };
  EXPECT_EQ(values(npy("'|u1'", "False", "(3,)", "\x01\x02\xff")), (std::vector<float>{1, 2, 255}));
  EXPECT_EQ(values(npy("'|i1'", "False", "(1,)", "\xff")), (std::vector<float>{-1}));
  EXPECT_EQ(values(npy("'>i2'", "False", "(1,)", std::string("\x01\x00", 2))), (std::vector<float>{256}));
  EXPECT_EQ(values(npy("'<i2'", "False", "(1,)", std::string("\x01\x00", 2))), (std::vector<float>{1}));
  EXPECT_EQ(values(npy("'>f4'", "False", "()", std::string("\xc0\x00\x00\x00", 4))), (std::vector<float>{-2}));
  EXPECT_EQ(values(npy("'|b1'", "True", "(2, 3)", std::string("\1\2\3\4\5\6"))),
            (std::vector<float>{1, 3, 5, 2, 4, 6}));
  EXPECT_EQ(values(npy("'<f8'", "False", "(0, 5)", "")), (std::vector<float>{}));
}

TEST(Npy, MalformedFiles) {
  const File file("");
  const std::string one(4, '\0'), good = npy("'<f4'", "False", "(1,)", one);
  const std::vector<std::string> bad{"",
                                     "\x93NUMPY",
                                     "NUMPY" + std::string(100, ' '),
                                     good.substr(0, 9),
                                     good.substr(0, 30),
                                     good.substr(0, good.size() - 1),
                                     good + "x",
                                     npy("'<f2'", "False", "(1,)", one),
                                     npy("'<c8'", "False", "(1,)", one),
                                     npy("'<U1'", "False", "(1,)", one),
                                     npy("f4", "False", "(1,)", one),
                                     npy("'xf4'", "False", "(1,)", one),
                                     npy("[('a', '<f4')]", "False", "(1,)", one),
                                     npy("'<f4'", "Maybe", "(1,)", one),
                                     npy("'<f4'", "False", "1", one),
                                     npy("'<f4'", "False", "(1", one),
                                     npy("'<f4'", "False", "(-1,)", one),
                                     npy("'<f4'", "False", "(1.5,)", one),
                                     npy("'<f4'", "False", "(2,)", one),
                                     npy("'<f4'", "False", "(4294967296, 4294967296, 4)", one),
                                     npy("'<f4'", "False", "(4611686018427387904,)", one),
                                     npy("'<f4'", "False", "(1,1,1,1,1,1,1)", one),
                                     npy("'<f4'", "False", "(99999999999999999999,)", one),
                                     std::string("\x93NUMPY\x09\0", 8) + good.substr(8),
                                     std::string("\x93NUMPY\x02\0\xff\xff\xff\xff", 12) + good.substr(12),
                                     std::string("\x93NUMPY\x01\0\x02\0{}", 12)};
  for (std::size_t i = 0; i < bad.size(); ++i) {
    file.write(bad[i]);
    const std::string message = message_of<FileError>([&] { read_npy(file.path); });
    EXPECT_EQ(message.substr(0, 10 + file.path.size()), "read_npy: " + file.path) << i << ": " << message;
  }
}

#if defined(TILEWRIGHT_HAVE_ZLIB)
TEST(Npz, StoredDeflatedAndDamaged) {
  const File file("");
  const std::string inside = npy("'|u1'", "False", "(3,)", "\x01\x02\x03");
  for (const bool deflated : {false, true}) {
    const std::string good = zip("w.npy", inside, deflated);
    file.write(good);
    const auto all = read_npz(file.path);
    ASSERT_EQ(all.count("w"), 1U);
    EXPECT_EQ(all.at("w").data()[2], 3);
    for (std::size_t size = 0; size < good.size(); ++size) {
      file.write(good.substr(0, size));
      EXPECT_NE(message_of<FileError>([&] { read_npz(file.path); }), "no error") << size;
    }
    // Any byte changed: an error, or another name; never a crash. The numbers are under a checksum.
    for (std::size_t i = 0; i < good.size(); ++i) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ 0x55);
      file.write(bad);
      (void)message_of<FileError>([&] {
        for (const auto& [name, tensor] : read_npz(file.path)) EXPECT_EQ(tensor.data()[1], 2);
      });
    }
  }
}
#endif

TEST(Tokenizers, ComeBack) {
  const std::string text = "The quick brown fox, the quick red fox; the end. Größe ändert nichts!\n  the  fox";
  const CharacterTokenizer characters(text);
  EXPECT_EQ(characters.decode(characters.encode(text)), text);
  EXPECT_EQ(characters.encode("ö").size(), 1U);
  EXPECT_EQ(message_of<ValueError>([&] { characters.encode("Q"); }), "CharacterTokenizer: \"Q\" was not in the text");
  EXPECT_EQ(message_of<ValueError>([] { CharacterTokenizer t("ab\xff"); }), "CharacterTokenizer: byte 2 is not UTF-8");
  const WordTokenizer words(text, 6);
  EXPECT_EQ(words.size(), 6);
  EXPECT_EQ(words.encode("THE fox? jumped"), (std::vector<Index>{2, 3, 1}));
  EXPECT_EQ(words.decode(std::vector<Index>{2, 0, 4}), "the quick");
  const BytePairTokenizer pieces(text, 300);
  EXPECT_GT(pieces.size(), 260);
  for (const std::string& t : {text, std::string("unseen \0 bytes \xff", 16), std::string()})
    EXPECT_EQ(pieces.decode(pieces.encode(t)), t);
  EXPECT_LT(pieces.encode(text).size(), text.size() * 2 / 3);
  EXPECT_EQ(pieces.encode(" the").size(), 1U);
  EXPECT_EQ(message_of<ValueError>([&] { pieces.decode(std::vector<Index>{-1}); }).substr(0, 26),
            "BytePairTokenizer: id -1 o");
  const std::vector<std::vector<Index>> sequences{{5, 6, 7}, {8}};
  const Matrix<float> rows = pad_sequences(sequences, 2, 9);
  EXPECT_EQ(rows(0, 1), 6);
  EXPECT_EQ(rows(1, 1), 9);
}

}  // namespace
}  // namespace tilewright
