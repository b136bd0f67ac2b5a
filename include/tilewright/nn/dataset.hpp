// SPDX-License-Identifier: MIT
// Samples, ways to divide them, and batches of them in an order that is the same on every machine.
#pragma once

#include <functional>
#include <memory>

#include "tilewright/nn/data.hpp"

namespace tilewright::nn {

/// Inputs, one row per sample, and what they should become: rows of numbers, or classes, or nothing.
struct Dataset {
  Matrix<float> x;                  ///< samples x features
  Matrix<float> targets = {};       ///< samples x numbers, or empty
  std::vector<Index> classes = {};  ///< one per sample, or empty
  /// Number of samples.
  Index size() const { return x.rows(); }
};

/// The samples with these numbers. Throws ValueError for one that is not there.
TILEWRIGHT_API Dataset subset(const Dataset& data, std::span<const Index> samples);

/// Numbers of samples to learn from and to test with.
struct Split {
  std::vector<Index> train;  ///< to learn from
  std::vector<Index> test;   ///< to test with
};
/// A random share (0 .. 1) of `count` samples to test with, rounded to nearest.
TILEWRIGHT_API Split split(Index count, double test_share, std::uint64_t seed);
/// The same share of every class.
TILEWRIGHT_API Split split_stratified(std::span<const Index> classes, double test_share, std::uint64_t seed);
/// k splits whose tests together are all samples once. Throws ValueError unless 2 <= k <= count.
TILEWRIGHT_API std::vector<Split> k_fold(Index count, Index k, std::uint64_t seed);

/// y = (x - mean) / deviation of each column; columns that do not vary are only shifted. Fit on what trains, apply to
/// all.
class TILEWRIGHT_API Standardizer {
 public:
  /// Of the columns of x. Throws ShapeError when it has no rows.
  explicit Standardizer(MatrixView<const float> x);
  /// In place. Throws ShapeError for another number of columns.
  void apply(MatrixView<float> x) const;
  /// The other way, in place.
  void undo(MatrixView<float> x) const;

 private:
  std::vector<float> mean_, deviation_;
};

/// Changes a sample in place, with random numbers of its own.
using Augmentation = std::function<void(std::span<float> sample, RandomStream random)>;

/// Adds N(0, deviation^2) to every number.
TILEWRIGHT_API Augmentation add_noise(float deviation);
/// Pixels of an image, row by row.
struct ImageShape {
  Index height;  ///< in pixels
  Index width;   ///< in pixels
};
/// How far random_affine() turns, moves, scales and shears.
struct AffineRange {
  float shift = 2;        ///< pixels
  float rotation = 0.2F;  ///< radians
  float scale = 0.1F;     ///< up to 1 +- scale
};
/// Shifts, turns and scales an image about its centre, each uniformly within the range; bilinear, zeros outside.
TILEWRIGHT_API Augmentation random_affine(ImageShape shape, AffineRange range = {});

/// How a DataLoader cuts a data set into batches.
struct LoaderOptions {
  Index batch_size = 32;   ///< samples
  bool shuffle = true;     ///< another order in every epoch
  std::uint64_t seed = 0;  ///< of orders and augmentation
  /// Leaves out the last batch of an epoch when it is smaller.
  bool drop_last = false;
  Augmentation augmentation = {};  ///< of every sample, or none
  /// Prepares the next batch on a thread of its own while the caller works on this one.
  bool prefetch = false;
};

/// Views of the loader's memory, valid until the next call of next().
struct Batch {
  MatrixView<const float> x;        ///< samples x features
  MatrixView<const float> targets;  ///< samples x numbers, or empty
  std::span<const Index> classes;   ///< one per sample, or empty
  /// Number of samples.
  Index size() const { return x.rows; }
};

/// Gives out all samples once per epoch. The order of epoch e depends on (seed, e), what augmentation does to sample i
/// on (seed, e, i): so it is the same on every machine, with or without prefetching, and from any position on. The
/// dataset must outlive the loader.
class TILEWRIGHT_API DataLoader {
 public:
  /// Throws ValueError for an empty dataset, parts of different lengths, or a batch size below 1.
  explicit DataLoader(const Dataset& data, LoaderOptions options = {});
  ~DataLoader();
  DataLoader(const DataLoader&) = delete;
  DataLoader& operator=(const DataLoader&) = delete;

  /// Fills `batch` with the epoch's next one; false at the end of the epoch, after which the next epoch begins.
  bool next(Batch& batch);
  /// Batches in an epoch.
  Index batches() const { return batches_; }
  /// In the dataset.
  Index samples() const;
  /// Where a loader is; a checkpoint holds it.
  struct Position {
    Index epoch = 0;  ///< from 0
    Index batch = 0;  ///< from 0, in the epoch
  };
  /// What the next call of next() will give; a checkpoint holds it.
  Position position() const { return position_; }
  /// Goes on from there. Throws ValueError for a batch that no epoch has.
  void set_position(Position position);

 private:
  struct Slot;
  struct Worker;
  void fill(Slot& slot, Position position);
  void permute(Index epoch);

  const Dataset* data_;
  LoaderOptions options_;
  Index batches_;
  Position position_;
  std::vector<Index> order_;
  Index order_epoch_ = -1;
  std::unique_ptr<Slot> slots_[2];
  int current_ = 0;
  std::unique_ptr<Worker> worker_;
};

// ---- generated sets, the same for a seed everywhere

/// Two interleaving half circles with noise; 2 features, 2 classes.
TILEWRIGHT_API Dataset generate_moons(Index count, double noise, std::uint64_t seed);
/// Gaussian clouds around random centres in [-4, 4).
TILEWRIGHT_API Dataset generate_blobs(Index count, Index features, Index classes, double deviation, std::uint64_t seed);
/// Spiral arms, one per class; 2 features.
TILEWRIGHT_API Dataset generate_spirals(Index count, Index classes, double noise, std::uint64_t seed);
/// y = x w + noise with x from N(0, 1) and w from N(0, 1); one target.
TILEWRIGHT_API Dataset generate_regression(Index count, Index features, double noise, std::uint64_t seed);

}  // namespace tilewright::nn
