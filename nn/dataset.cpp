// SPDX-License-Identifier: MIT
#include "tilewright/nn/dataset.hpp"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <numbers>
#include <numeric>
#include <thread>

#include "tilewright/profile.hpp"

namespace tilewright::nn {
namespace {

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

std::vector<Index> permutation(Index count, RandomStream stream) {
  std::vector<Index> order(at(count));
  fill_permutation(order, stream);
  return order;
}

void check_share(const char* operation, double share) {
  if (!(share >= 0 && share <= 1))
    throw ValueError(std::string(operation) + ": test_share is " + std::to_string(share) + ", expected 0 .. 1");
}

/// The first `count` of the numbers to test with, the others to train; both ascending.
void divide(std::vector<Index> numbers, Index count, Split& split) {
  split.test.insert(split.test.end(), numbers.begin(), numbers.begin() + count);
  split.train.insert(split.train.end(), numbers.begin() + count, numbers.end());
}

Split sorted(Split split) {
  std::ranges::sort(split.train);
  std::ranges::sort(split.test);
  return split;
}

}  // namespace

Dataset subset(const Dataset& data, std::span<const Index> samples) {
  const auto count = static_cast<Index>(samples.size());
  Dataset out{
      Matrix<float>(count, data.x.cols()), Matrix<float>(data.targets.rows() > 0 ? count : 0, data.targets.cols()), {}};
  for (Index i = 0; i < count; ++i) {
    const Index from = samples[at(i)];
    if (from < 0 || from >= data.size())
      throw ValueError("subset: there is no sample " + std::to_string(from) + " among " + std::to_string(data.size()));
    std::copy_n(data.x.data() + from * data.x.cols(), data.x.cols(), out.x.data() + i * data.x.cols());
    if (data.targets.rows() > 0)
      std::copy_n(data.targets.data() + from * data.targets.cols(), data.targets.cols(),
                  out.targets.data() + i * data.targets.cols());
    if (!data.classes.empty()) out.classes.push_back(data.classes[at(from)]);
  }
  return out;
}

Split split(Index count, double test_share, std::uint64_t seed) {
  check_share("split", test_share);
  Split result;
  divide(permutation(count, {seed, 0}), std::llround(test_share * static_cast<double>(count)), result);
  return sorted(std::move(result));
}

Split split_stratified(std::span<const Index> classes, double test_share, std::uint64_t seed) {
  check_share("split_stratified", test_share);
  std::vector<Index> kinds(classes.begin(), classes.end());
  std::ranges::sort(kinds);
  kinds.erase(std::unique(kinds.begin(), kinds.end()), kinds.end());
  const auto order = permutation(static_cast<Index>(classes.size()), {seed, 0});
  Split result;
  for (const Index kind : kinds) {
    std::vector<Index> members;
    std::ranges::copy_if(order, std::back_inserter(members), [&](Index i) { return classes[at(i)] == kind; });
    const auto count = static_cast<double>(members.size());
    divide(std::move(members), std::llround(test_share * count), result);
  }
  return sorted(std::move(result));
}

std::vector<Split> k_fold(Index count, Index k, std::uint64_t seed) {
  if (k < 2 || k > count)
    throw ValueError("k_fold: k is " + std::to_string(k) + ", expected 2 .. " + std::to_string(count));
  const auto order = permutation(count, {seed, 0});
  std::vector<Split> folds;
  for (Index fold = 0; fold < k; ++fold) {
    auto turned = order;
    std::rotate(turned.begin(), turned.begin() + count * fold / k, turned.end());
    folds.emplace_back();
    divide(std::move(turned), count * (fold + 1) / k - count * fold / k, folds.back());
    folds.back() = sorted(std::move(folds.back()));
  }
  return folds;
}

Standardizer::Standardizer(MatrixView<const float> x) {
  if (x.rows < 1) throw ShapeError("Standardizer: no rows");
  for (Index j = 0; j < x.cols; ++j) {
    double sum = 0, squares = 0;
    for (Index i = 0; i < x.rows; ++i) sum += static_cast<double>(x(i, j));
    const double mean = sum / static_cast<double>(x.rows);
    for (Index i = 0; i < x.rows; ++i)
      squares += (static_cast<double>(x(i, j)) - mean) * (static_cast<double>(x(i, j)) - mean);
    const double deviation = std::sqrt(squares / static_cast<double>(x.rows));
    mean_.push_back(static_cast<float>(mean));
    deviation_.push_back(deviation > 0 ? static_cast<float>(deviation) : 1);
  }
}

void Standardizer::apply(MatrixView<float> x) const {
  if (x.cols != static_cast<Index>(mean_.size()))
    throw ShapeError("Standardizer: " + std::to_string(x.cols) + " columns, expected " + std::to_string(mean_.size()));
  for (Index i = 0; i < x.rows; ++i)
    for (Index j = 0; j < x.cols; ++j) x(i, j) = (x(i, j) - mean_[at(j)]) / deviation_[at(j)];
}

void Standardizer::undo(MatrixView<float> x) const {
  if (x.cols != static_cast<Index>(mean_.size()))
    throw ShapeError("Standardizer: " + std::to_string(x.cols) + " columns, expected " + std::to_string(mean_.size()));
  for (Index i = 0; i < x.rows; ++i)
    for (Index j = 0; j < x.cols; ++j) x(i, j) = x(i, j) * deviation_[at(j)] + mean_[at(j)];
}

Augmentation add_noise(float deviation) {
  return [deviation](std::span<float> sample, RandomStream random) {
    float noise[64];
    for (std::size_t first = 0; first < sample.size(); first += 64, ++random.stream) {
      fill_normal(noise, random, 0, deviation);
      for (std::size_t i = first; i < std::min(sample.size(), first + 64); ++i) sample[i] += noise[i - first];
    }
  };
}

Augmentation random_affine(ImageShape shape, AffineRange range) {
  if (shape.height < 1 || shape.width < 1) throw ValueError("random_affine: an image without pixels");
  return [shape, range, before = std::vector<float>()](std::span<float> sample, RandomStream random) mutable {
    if (static_cast<Index>(sample.size()) != shape.height * shape.width)
      throw ShapeError("random_affine: a sample of " + std::to_string(sample.size()) + " numbers is not " +
                       std::to_string(shape.height) + "x" + std::to_string(shape.width));
    before.assign(sample.begin(), sample.end());
    const auto uniform = [&](std::uint64_t i, float limit) { return (2 * random.uniform(i) - 1) * limit; };
    const float dx = uniform(0, range.shift), dy = uniform(1, range.shift), angle = uniform(2, range.rotation),
                scale = 1 / (1 + uniform(3, range.scale));
    const float c = std::cos(angle) * scale, s = std::sin(angle) * scale;
    const float middle_x = static_cast<float>(shape.width - 1) / 2, middle_y = static_cast<float>(shape.height - 1) / 2;
    const auto pixel = [&](Index i, Index j) {
      return i < 0 || j < 0 || i >= shape.height || j >= shape.width ? 0.0F : before[at(i * shape.width + j)];
    };
    for (Index i = 0; i < shape.height; ++i)
      for (Index j = 0; j < shape.width; ++j) {
        // where this pixel comes from
        const float x = static_cast<float>(j) - middle_x - dx, y = static_cast<float>(i) - middle_y - dy;
        const float from_x = c * x + s * y + middle_x, from_y = c * y - s * x + middle_y;
        const float left = std::floor(from_x), top = std::floor(from_y), u = from_x - left, v = from_y - top;
        const auto col = static_cast<Index>(left), row = static_cast<Index>(top);
        sample[at(i * shape.width + j)] = (1 - v) * ((1 - u) * pixel(row, col) + u * pixel(row, col + 1)) +
                                          v * ((1 - u) * pixel(row + 1, col) + u * pixel(row + 1, col + 1));
      }
  };
}

struct DataLoader::Slot {
  Matrix<float> x, targets;
  std::vector<Index> classes;
  Index size = 0;
  Position position{-1, -1};
};

/// A thread that fills one slot at a time.
struct DataLoader::Worker {
  explicit Worker(DataLoader& loader) : thread([this, &loader] { run(loader); }) {}
  ~Worker() {
    {
      const std::lock_guard lock(mutex);
      ends = true;
    }
    changed.notify_all();
    thread.join();
  }
  void run(DataLoader& loader) {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return ends || slot != nullptr; });
      if (ends) return;
      lock.unlock();
      std::exception_ptr caught;
      try {
        loader.fill(*slot, position);
      } catch (...) {
        caught = std::current_exception();
      }
      lock.lock();
      error = caught;
      slot = nullptr;
      changed.notify_all();
    }
  }
  void start(Slot& to, Position from) {
    {
      const std::lock_guard lock(mutex);
      slot = &to;
      position = from;
    }
    changed.notify_all();
  }
  /// Until the slot is filled; throws what filling threw.
  void wait() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return slot == nullptr; });
    if (error) std::rethrow_exception(std::exchange(error, nullptr));
  }
  std::mutex mutex;
  std::condition_variable changed;
  Slot* slot = nullptr;
  Position position;
  std::exception_ptr error;
  bool ends = false;
  std::thread thread;
};

DataLoader::DataLoader(const Dataset& data, LoaderOptions options) : data_(&data), options_(std::move(options)) {
  const Index size = options_.batch_size;
  if (data.size() < 1 || size < 1)
    throw ValueError("DataLoader: " + std::to_string(data.size()) + " samples in batches of " + std::to_string(size));
  if ((data.targets.rows() != 0 && data.targets.rows() != data.size()) ||
      (!data.classes.empty() && static_cast<Index>(data.classes.size()) != data.size()))
    throw ShapeError("DataLoader: " + std::to_string(data.size()) + " samples, " + std::to_string(data.targets.rows()) +
                     " targets and " + std::to_string(data.classes.size()) + " classes do not belong together");
  batches_ = options_.drop_last ? data.size() / size : (data.size() + size - 1) / size;
  if (batches_ == 0) throw ValueError("DataLoader: drop_last leaves no batch of " + std::to_string(size));
  order_.resize(at(data.size()));
  for (auto& slot : slots_) {
    slot = std::make_unique<Slot>();
    slot->x = Matrix<float>(std::min(size, data.size()), data.x.cols());
    slot->targets = Matrix<float>(data.targets.rows() > 0 ? std::min(size, data.size()) : 0, data.targets.cols());
    slot->classes.resize(data.classes.empty() ? 0 : at(std::min(size, data.size())));
  }
  if (options_.prefetch) worker_ = std::make_unique<Worker>(*this);
}

DataLoader::~DataLoader() = default;

Index DataLoader::samples() const { return options_.drop_last ? batches_ * options_.batch_size : data_->size(); }

void DataLoader::permute(Index epoch) {
  if (order_epoch_ == epoch) return;
  if (options_.shuffle)
    fill_permutation(order_, {options_.seed, static_cast<std::uint64_t>(epoch)});
  else
    std::iota(order_.begin(), order_.end(), Index{0});
  order_epoch_ = epoch;
}

void DataLoader::fill(Slot& slot, Position position) {
  permute(position.epoch);
  const Index first = position.batch * options_.batch_size;
  slot.size = std::min(options_.batch_size, data_->size() - first);
  const Index cols = data_->x.cols(), target_cols = data_->targets.cols();
  for (Index i = 0; i < slot.size; ++i) {
    const Index sample = order_[at(first + i)];
    float* x = slot.x.data() + i * cols;
    std::copy_n(data_->x.data() + sample * cols, cols, x);
    if (slot.targets.rows() > 0)
      std::copy_n(data_->targets.data() + sample * target_cols, target_cols, slot.targets.data() + i * target_cols);
    if (!slot.classes.empty()) slot.classes[at(i)] = data_->classes[at(sample)];
    if (options_.augmentation)  // streams of a seed of its own; 2^20 of them for each sample and epoch
      options_.augmentation({x, at(cols)}, {options_.seed ^ 0x6175676d656e7400,
                                            static_cast<std::uint64_t>(position.epoch * data_->size() + sample) << 20});
  }
  slot.position = position;
}

bool DataLoader::next(Batch& batch) {
  const profile::Region region("DataLoader next");
  if (worker_) worker_->wait();
  if (position_.batch == batches_) {
    position_ = {position_.epoch + 1, 0};
    return false;
  }
  current_ = 1 - current_;
  Slot& slot = *slots_[current_];
  const auto is_there = [&] {
    return slot.position.epoch == position_.epoch && slot.position.batch == position_.batch;
  };
  if (!is_there()) fill(slot, position_);
  slot.position = {-1, -1};  // it may be given out once only
  ++position_.batch;
  if (worker_) {
    // The epoch's end is a call of its own, but its next batch may be prepared already.
    const Position ahead = position_.batch == batches_ ? Position{position_.epoch + 1, 0} : position_;
    worker_->start(*slots_[1 - current_], ahead);
  }
  batch.x = slot.x.row_block(0, slot.size);
  batch.targets = slot.targets.rows() > 0 ? MatrixView<const float>(slot.targets.row_block(0, slot.size))
                                          : MatrixView<const float>();
  batch.classes =
      slot.classes.empty() ? std::span<const Index>() : std::span<const Index>(slot.classes).first(at(slot.size));
  return true;
}

void DataLoader::set_position(Position position) {
  if (position.epoch < 0 || position.batch < 0 || position.batch > batches_)
    throw ValueError("DataLoader: no position " + std::to_string(position.epoch) + ", " +
                     std::to_string(position.batch));
  if (worker_) worker_->wait();
  position_ = position;
}

Dataset generate_moons(Index count, double noise, std::uint64_t seed) {
  Dataset data{Matrix<float>(count, 2), {}, {}};
  std::vector<float> disturbance(at(2 * count));
  fill_normal(disturbance, {seed, 1}, 0, static_cast<float>(noise));
  for (Index i = 0; i < count; ++i) {
    const Index kind = i % 2;
    const double angle =
        std::numbers::pi * static_cast<double>(RandomStream{seed, 0}.uniform(static_cast<std::uint64_t>(i)));
    const double x = kind == 0 ? std::cos(angle) : 1 - std::cos(angle),
                 y = kind == 0 ? std::sin(angle) : 0.5 - std::sin(angle);
    data.x(i, 0) = static_cast<float>(x) + disturbance[at(2 * i)];
    data.x(i, 1) = static_cast<float>(y) + disturbance[at(2 * i + 1)];
    data.classes.push_back(kind);
  }
  return data;
}

Dataset generate_blobs(Index count, Index features, Index classes, double deviation, std::uint64_t seed) {
  if (classes < 1) throw ValueError("generate_blobs: " + std::to_string(classes) + " classes");
  Dataset data{Matrix<float>(count, features), {}, {}};
  fill_normal(data.x.span(), {seed, 1}, 0, static_cast<float>(deviation));
  Matrix<float> centres(classes, features);
  fill_uniform(centres.span(), {seed, 0}, -4, 4);
  for (Index i = 0; i < count; ++i) {
    for (Index j = 0; j < features; ++j) data.x(i, j) += centres(i % classes, j);
    data.classes.push_back(i % classes);
  }
  return data;
}

Dataset generate_spirals(Index count, Index classes, double noise, std::uint64_t seed) {
  if (classes < 1) throw ValueError("generate_spirals: " + std::to_string(classes) + " classes");
  Dataset data{Matrix<float>(count, 2), {}, {}};
  fill_normal(data.x.span(), {seed, 1}, 0, static_cast<float>(noise));
  for (Index i = 0; i < count; ++i) {
    const Index kind = i % classes;
    const double way = static_cast<double>(RandomStream{seed, 0}.uniform(static_cast<std::uint64_t>(i)));
    const double angle = 2 * std::numbers::pi * (1.25 * way + static_cast<double>(kind) / static_cast<double>(classes));
    data.x(i, 0) += static_cast<float>(2 * way * std::cos(angle));
    data.x(i, 1) += static_cast<float>(2 * way * std::sin(angle));
    data.classes.push_back(kind);
  }
  return data;
}

Dataset generate_regression(Index count, Index features, double noise, std::uint64_t seed) {
  Dataset data{Matrix<float>(count, features), Matrix<float>(count, 1), {}};
  fill_normal(data.x.span(), {seed, 0});
  fill_normal(data.targets.span(), {seed, 1}, 0, static_cast<float>(noise));
  std::vector<float> w(at(features));
  fill_normal(w, {seed, 2});
  for (Index i = 0; i < count; ++i)
    for (Index j = 0; j < features; ++j) data.targets(i, 0) += data.x(i, j) * w[at(j)];
  return data;
}

}  // namespace tilewright::nn
