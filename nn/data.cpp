// SPDX-License-Identifier: MIT
#include "tilewright/nn/data.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>

#if defined(TILEWRIGHT_HAVE_ZLIB)
#include <zlib.h>
#endif

namespace tilewright::nn {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw FileError("read_idx: " + path + ": " + what);
}

/// A file read from front to back, decompressed when it is gzip.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {
#if defined(TILEWRIGHT_HAVE_ZLIB)
    file_.reset(gzopen(path.c_str(), "rbe"));
#else
    file_.reset(std::fopen(path.c_str(), "rbe"));
#endif
    if (!file_) fail(path, std::string("cannot open: ") + std::strerror(errno));
  }
  /// Up to `count` bytes; fewer at the end of the file.
  std::size_t read(std::uint8_t* to, std::size_t count) {
#if defined(TILEWRIGHT_HAVE_ZLIB)
    const int got = gzread(file_.get(), to, static_cast<unsigned>(count));
    if (got < 0) {
      int code = 0;
      fail(path_, std::string("cannot decompress: ") + gzerror(file_.get(), &code));
    }
    return static_cast<std::size_t>(got);
#else
    return std::fread(to, 1, count, file_.get());
#endif
  }

 private:
#if defined(TILEWRIGHT_HAVE_ZLIB)
  struct Close {
    void operator()(gzFile_s* file) const { gzclose(file); }
  };
  std::unique_ptr<gzFile_s, Close> file_;
#else
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file_;
#endif
  std::string path_;
};

}  // namespace

ByteArray read_idx(const std::string& path) {
  Reader file(path);
  std::array<std::uint8_t, 4> magic{};
  if (file.read(magic.data(), magic.size()) != magic.size()) fail(path, "shorter than the 4 bytes of an IDX header");
#if !defined(TILEWRIGHT_HAVE_ZLIB)
  if (magic[0] == 0x1f && magic[1] == 0x8b) fail(path, "is gzip, and this build of tilewright has no zlib");
#endif
  if (magic[0] != 0 || magic[1] != 0 || magic[2] != 8 || magic[3] < 1 || magic[3] > 4)
    fail(path, "byte 0: expected the magic number 00 00 08 and 1 to 4 dimensions");
  std::array<Index, 4> extent{1, 1, 1, 1};
  std::size_t expected = 1;
  for (std::size_t axis = 0; axis < magic[3]; ++axis) {
    std::array<std::uint8_t, 4> big{};
    if (file.read(big.data(), big.size()) != big.size())
      fail(path, "byte " + std::to_string(4 + 4 * axis) + ": the header ends too early");
    extent[axis] = Index{big[0]} << 24 | Index{big[1]} << 16 | Index{big[2]} << 8 | Index{big[3]};
    if (__builtin_mul_overflow(expected, static_cast<std::size_t>(extent[axis]), &expected) || expected > SIZE_MAX / 2)
      fail(path, "byte " + std::to_string(4 + 4 * axis) + ": the extents multiply to too large a number");
  }
  ByteArray array;
  switch (magic[3]) {
    case 1:
      array.shape = {extent[0]};
      break;
    case 2:
      array.shape = {extent[0], extent[1]};
      break;
    case 3:
      array.shape = {extent[0], extent[1], extent[2]};
      break;
    default:
      array.shape = {extent[0], extent[1], extent[2], extent[3]};
  }
  constexpr std::size_t kChunk = std::size_t{1} << 20;
  const std::size_t start = 4 + 4 * std::size_t{magic[3]};
  while (array.data.size() < expected) {
    const std::size_t have = array.data.size(), want = std::min(kChunk, expected - have);
    array.data.resize(have + want);
    const std::size_t got = file.read(array.data.data() + have, want);
    if (got < want)
      fail(path, "byte " + std::to_string(start + have + got) + ": the file ends, but its header promises " +
                     array.shape.to_string() + " = " + std::to_string(expected) + " bytes of data");
  }
  std::uint8_t extra = 0;
  if (file.read(&extra, 1) != 0)
    fail(path, "byte " + std::to_string(start + expected) + ": more data than the header's " + array.shape.to_string());
  return array;
}

LabelledImages read_idx_images(const std::string& images_path, const std::string& labels_path) {
  const ByteArray images = read_idx(images_path), labels = read_idx(labels_path);
  if (images.shape.rank() != 3)
    fail(images_path, "is " + images.shape.to_string() + ", expected count x height x width");
  if (labels.shape.rank() != 1 || labels.shape[0] != images.shape[0])
    fail(labels_path, "is " + labels.shape.to_string() + " but there are " + std::to_string(images.shape[0]) +
                          " images in " + images_path);
  LabelledImages out{Matrix<float>(images.shape[0], images.shape[1] * images.shape[2]),
                     {labels.data.begin(), labels.data.end()}};
  std::ranges::transform(images.data, out.images.data(),
                         [](std::uint8_t pixel) { return static_cast<float>(pixel) / 255; });
  return out;
}

namespace {

struct Point {
  float x, y;
};
using Stroke = std::vector<Point>;

/// The strokes of each digit on the unit square, y downwards; round parts are polygons.
const std::vector<Stroke> kDigits[10] = {
    {{{0.5F, 0.1F},
      {0.64F, 0.154F},
      {0.742F, 0.3F},
      {0.78F, 0.5F},
      {0.742F, 0.7F},
      {0.64F, 0.846F},
      {0.5F, 0.9F},
      {0.36F, 0.846F},
      {0.258F, 0.7F},
      {0.22F, 0.5F},
      {0.258F, 0.3F},
      {0.36F, 0.154F},
      {0.5F, 0.1F}}},
    {{{0.36F, 0.24F}, {0.54F, 0.1F}, {0.54F, 0.9F}}},
    {{{0.244F, 0.282F},
      {0.306F, 0.174F},
      {0.425F, 0.109F},
      {0.567F, 0.107F},
      {0.689F, 0.169F},
      {0.755F, 0.276F},
      {0.744F, 0.395F},
      {0.25F, 0.9F},
      {0.78F, 0.9F}}},
    {{{0.216F, 0.232F},
      {0.33F, 0.127F},
      {0.505F, 0.103F},
      {0.659F, 0.171F},
      {0.72F, 0.3F},
      {0.659F, 0.429F},
      {0.46F, 0.48F}},
     {{0.46F, 0.48F},
      {0.64F, 0.529F},
      {0.736F, 0.654F},
      {0.702F, 0.795F},
      {0.556F, 0.887F},
      {0.364F, 0.887F},
      {0.218F, 0.795F}}},
    {{{0.62F, 0.9F}, {0.62F, 0.1F}, {0.2F, 0.65F}, {0.82F, 0.65F}}},
    {{{0.74F, 0.1F},
      {0.34F, 0.1F},
      {0.3F, 0.46F},
      {0.266F, 0.506F},
      {0.438F, 0.423F},
      {0.632F, 0.458F},
      {0.75F, 0.595F},
      {0.732F, 0.764F},
      {0.589F, 0.881F},
      {0.391F, 0.888F},
      {0.238F, 0.78F}}},
    {{{0.66F, 0.1F},
      {0.4F, 0.34F},
      {0.244F, 0.63F},
      {0.333F, 0.494F},
      {0.5F, 0.44F},
      {0.667F, 0.494F},
      {0.756F, 0.63F},
      {0.725F, 0.785F},
      {0.589F, 0.886F},
      {0.411F, 0.886F},
      {0.275F, 0.785F},
      {0.244F, 0.63F}}},
    {{{0.22F, 0.1F}, {0.78F, 0.1F}, {0.42F, 0.9F}}},
    {{{0.5F, 0.48F},
      {0.359F, 0.436F},
      {0.283F, 0.323F},
      {0.309F, 0.195F},
      {0.425F, 0.111F},
      {0.575F, 0.111F},
      {0.691F, 0.195F},
      {0.717F, 0.323F},
      {0.641F, 0.436F},
      {0.5F, 0.48F}},
     {{0.5F, 0.48F},
      {0.674F, 0.529F},
      {0.766F, 0.654F},
      {0.734F, 0.795F},
      {0.592F, 0.887F},
      {0.408F, 0.887F},
      {0.266F, 0.795F},
      {0.234F, 0.654F},
      {0.326F, 0.529F},
      {0.5F, 0.48F}}},
    {{{0.726F, 0.358F},
      {0.641F, 0.489F},
      {0.48F, 0.54F},
      {0.319F, 0.489F},
      {0.234F, 0.358F},
      {0.263F, 0.21F},
      {0.394F, 0.113F},
      {0.566F, 0.113F},
      {0.697F, 0.21F},
      {0.726F, 0.358F},
      {0.68F, 0.62F},
      {0.56F, 0.9F}}},
};

float distance_to_segment(Point p, Point a, Point b) {
  const float dx = b.x - a.x, dy = b.y - a.y;
  const float length = dx * dx + dy * dy;
  const float along = length > 0 ? std::clamp(((p.x - a.x) * dx + (p.y - a.y) * dy) / length, 0.0F, 1.0F) : 0.0F;
  const float ex = p.x - a.x - along * dx, ey = p.y - a.y - along * dy;
  return std::sqrt(ex * ex + ey * ey);
}

constexpr int kSide = 28;

void draw_digit(Index digit, RandomStream stream, float* pixels) {
  std::uint64_t drawn = 0;
  const auto uniform = [&](float low, float high) { return low + (high - low) * stream.uniform(drawn++); };
  // (x, y) -> centre + M (x - 1/2, y - 1/2): scale, slant, a little rotation, shift; in pixels.
  const float width = uniform(15, 22), height = uniform(17, 23), slant = uniform(-0.35F, 0.35F),
              turn = uniform(-0.15F, 0.15F);
  const Point centre{14 + uniform(-2, 2), 14 + uniform(-2, 2)};
  const float thickness = uniform(0.7F, 1.7F);
  std::vector<Stroke> strokes = kDigits[digit];
  for (Stroke& stroke : strokes)
    for (Point& p : stroke) {
      const float x = (p.x - 0.5F) * width + uniform(-0.6F, 0.6F), y = (p.y - 0.5F) * height + uniform(-0.6F, 0.6F);
      p = {centre.x + x - (slant + turn) * y, centre.y + y + turn * x};
    }
  for (int row = 0; row < kSide; ++row)
    for (int col = 0; col < kSide; ++col) {
      const Point here{static_cast<float>(col) + 0.5F, static_cast<float>(row) + 0.5F};
      float nearest = 1e9F;
      for (const Stroke& stroke : strokes)
        for (std::size_t i = 0; i + 1 < stroke.size(); ++i)
          nearest = std::min(nearest, distance_to_segment(here, stroke[i], stroke[i + 1]));
      const float ink = std::clamp(thickness + 0.5F - nearest, 0.0F, 1.0F);
      pixels[row * kSide + col] = std::clamp(ink + uniform(-0.08F, 0.08F), 0.0F, 1.0F);
    }
}

}  // namespace

LabelledImages generate_digits(Index count, std::uint64_t seed) {
  if (count < 0) throw ValueError("generate_digits: count is " + std::to_string(count));
  LabelledImages out{Matrix<float>(count, kSide * kSide), std::vector<Index>(static_cast<std::size_t>(count))};
  for (Index i = 0; i < count; ++i) {
    const RandomStream stream{seed, static_cast<std::uint64_t>(i) + 1};
    const auto digit = static_cast<Index>(RandomStream{seed, 0}.below(static_cast<std::uint64_t>(i), 10));
    out.labels[static_cast<std::size_t>(i)] = digit;
    draw_digit(digit, stream, out.images.row_block(i, 1).data);
  }
  return out;
}

}  // namespace tilewright::nn
