// SPDX-License-Identifier: MIT
// Data for examples and small programs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tilewright/matrix.hpp"
#include "tilewright/random.hpp"

namespace tilewright::nn {

/// Bytes with a shape, as IDX files hold them.
struct ByteArray {
  Shape shape;                     ///< the extents
  std::vector<std::uint8_t> data;  ///< the last axis fastest
};

/// Reads an IDX file of unsigned bytes, plain or gzip (MNIST's format: magic 0 0 8 rank, big-endian extents, data).
/// Throws FileError naming the file, the place and what was expected; memory grows with the bytes that are really
/// there, not with what the header claims.
TILEWRIGHT_API ByteArray read_idx(const std::string& path);

/// Pictures and what they show: one row of pixels in [0, 1] per sample.
struct LabelledImages {
  Matrix<float> images;       ///< count x pixels
  std::vector<Index> labels;  ///< count classes
};

/// Reads an images file (count x height x width) and a labels file (count) of IDX; throws FileError when they do not
/// belong together.
TILEWRIGHT_API LabelledImages read_idx_images(const std::string& images_path, const std::string& labels_path);

/// Handwriting-like digits, 28 x 28: the strokes of each digit under a random affine map with jittered joints,
/// thickness and noise. Sample i depends on (seed, i) only.
TILEWRIGHT_API LabelledImages generate_digits(Index count, std::uint64_t seed);

}  // namespace tilewright::nn
