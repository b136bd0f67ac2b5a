// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#if defined(TILEWRIGHT_HAVE_ZLIB)
#include <zlib.h>
#endif

#include "tests/support.hpp"
#include "tilewright/nn/nn.hpp"

namespace tilewright {
namespace {

using test::message_of;

class Idx : public testing::Test {
 protected:
  Idx() { std::filesystem::create_directories(folder_); }
  ~Idx() override { std::filesystem::remove_all(folder_); }
  std::string write(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary) << bytes;
    return path_;
  }
  /// The error for these bytes, without "read_idx: FILE: ".
  std::string error_of(const std::string& bytes) const {
    const std::string text = message_of<FileError>([&] { (void)nn::read_idx(write(bytes)); });
    const std::string start = "read_idx: " + path_ + ": ";
    EXPECT_EQ(text.substr(0, start.size()), start);
    return text.substr(start.size());
  }
  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("tilewright-test-" + std::to_string(getpid()));
  const std::string path_ = (folder_ / "file").string();
};

std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (const int v : values) text += static_cast<char>(v);
  return text;
}

TEST_F(Idx, ReadsPlainAndGzip) {
  const std::string plain = bytes({0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 255});
  const auto array = nn::read_idx(write(plain));
  EXPECT_EQ(array.shape, (Shape{2, 3}));
  EXPECT_EQ(array.data, (std::vector<std::uint8_t>{1, 2, 3, 4, 5, 255}));
#if defined(TILEWRIGHT_HAVE_ZLIB)
  const gzFile file = gzopen(path_.c_str(), "wb");
  gzwrite(file, plain.data(), static_cast<unsigned>(plain.size()));
  gzclose(file);
  EXPECT_EQ(nn::read_idx(path_).data, array.data);
#endif
}

TEST_F(Idx, MalformedFilesAreNamed) {
  EXPECT_EQ(error_of(""), "shorter than the 4 bytes of an IDX header");
  EXPECT_EQ(error_of(bytes({0, 0, 9, 1, 0, 0, 0, 0})),
            "byte 0: expected the magic number 00 00 08 and 1 to 4 dimensions");
  EXPECT_EQ(error_of(bytes({0, 0, 8, 5})), "byte 0: expected the magic number 00 00 08 and 1 to 4 dimensions");
  EXPECT_EQ(error_of(bytes({0, 0, 8, 2, 0, 0, 0, 1, 0, 0})), "byte 8: the header ends too early");
  EXPECT_EQ(error_of(bytes({0, 0, 8, 1, 0, 0, 0, 3, 1})),
            "byte 9: the file ends, but its header promises 3 = 3 bytes of data");
  EXPECT_EQ(error_of(bytes({0, 0, 8, 1, 0, 0, 0, 1, 1, 2})), "byte 9: more data than the header's 1");
  // Promises 2^62 bytes: must fail by what is there, not by running out of memory.
  EXPECT_EQ(error_of(bytes({0, 0, 8, 2, 127, 0, 0, 0, 127, 0, 0, 0, 1})).substr(0, 34),
            "byte 13: the file ends, but its he");
  EXPECT_EQ(error_of(bytes({0, 0, 8, 3, 255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0})),
            "byte 8: the extents multiply to too large a number");
  EXPECT_EQ(message_of<FileError>([] { (void)nn::read_idx("/nonexistent/file"); }),
            "read_idx: /nonexistent/file: cannot open: No such file or directory");
}

/// Every beginning of a good file, and every way to change a byte of its header by one bit, is refused.
TEST_F(Idx, DamagedFiles) {
  const std::string good = bytes({0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6});
  for (std::size_t size = 0; size < good.size(); ++size) EXPECT_NE(error_of(good.substr(0, size)), "") << size;
  for (std::size_t i = 0; i < 16; ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      EXPECT_NE(error_of(bad), "") << i << ", " << bit;
    }
}

TEST_F(Idx, ImagesAndLabelsBelongTogether) {
  const std::string images = write(bytes({0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 255}));
  const std::string labels = (folder_ / "labels").string();
  std::ofstream(labels, std::ios::binary) << bytes({0, 0, 8, 1, 0, 0, 0, 1, 7});
  const auto data = nn::read_idx_images(images, labels);
  EXPECT_EQ(data.images(0, 0), 0);
  EXPECT_EQ(data.images(0, 1), 1);
  EXPECT_EQ(data.labels, std::vector<Index>{7});
  std::ofstream(labels, std::ios::binary) << bytes({0, 0, 8, 1, 0, 0, 0, 2, 7, 8});
  EXPECT_EQ(message_of<FileError>([&] { nn::read_idx_images(images, labels); }),
            "read_idx: " + labels + ": is 2 but there are 1 images in " + images);
}

TEST(GenerateDigits, DependsOnSeedAndIndexOnly) {
  const auto few = nn::generate_digits(5, 7), many = nn::generate_digits(50, 7), other = nn::generate_digits(5, 8);
  test::Hash a, b, c;
  EXPECT_EQ(a.add(few.images.span()).value(), b.add(many.images.span().first(few.images.span().size())).value());
  EXPECT_NE(a.value(), c.add(other.images.span()).value());
  EXPECT_EQ(a.value(), 13293348215121139666U);  // the same pictures on every machine
  std::vector<bool> seen(10);
  for (const Index label : many.labels) seen.at(static_cast<std::size_t>(label)) = true;
  EXPECT_EQ(std::count(seen.begin(), seen.end(), true), 10);
}

}  // namespace
}  // namespace tilewright
