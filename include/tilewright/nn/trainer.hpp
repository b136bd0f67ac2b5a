// SPDX-License-Identifier: MIT
// Training loops: fit, evaluate, predict, early stopping, history. One's own loop needs none of it (examples/).
#pragma once

#include <cstdio>
#include <functional>

#include "tilewright/nn/dataset.hpp"
#include "tilewright/nn/files.hpp"
#include "tilewright/nn/loss.hpp"

namespace tilewright::nn {

/// The model's outputs for all rows of x, in evaluation mode, in batches.
TILEWRIGHT_API Matrix<float> predict(Sequential& model, MatrixView<const float> x, Index batch_size = 1024);

/// What a metric is computed from.
struct Predictions {
  MatrixView<const float> y;        ///< what the model gave
  MatrixView<const float> targets;  ///< numbers, or empty
  std::span<const Index> classes;   ///< classes, or empty
};
/// A number about predictions.
struct Metric {
  std::string name;                                   ///< in tables and History
  std::function<double(const Predictions&)> compute;  ///< of a whole dataset
};
/// nn::accuracy under the name "accuracy".
TILEWRIGHT_API Metric accuracy_metric();

/// What became of an epoch. Values that were not computed are NaN.
struct EpochResult {
  Index epoch = 0;              ///< from 0
  double loss = 0;              ///< of the training set, while it was trained
  double validation_loss = 0;   ///< of the validation set
  double lr = 0;                ///< of the first group
  double seconds = 0;           ///< that it took
  std::vector<double> metrics;  ///< of the validation set
};

/// What fit() saw, epoch by epoch.
struct TILEWRIGHT_API History {
  std::vector<std::string> metric_names;  ///< of EpochResult::metrics
  std::vector<EpochResult> epochs;        ///< in their order
  bool stopped_early = false;             ///< by EarlyStopping
  bool interrupted = false;               ///< by Ctrl-C
  /// By name: "loss", "validation_loss", "lr", "seconds" or a metric. ValueError for others.
  std::vector<double> values(std::string_view name) const;
  /// One row per epoch, with a header.
  void save_csv(const std::string& path) const;
  /// The losses as curves.
  void save_svg(const std::string& path, const std::string& title = "loss") const;
};

/// The loss (the mean over samples, if the loss is a mean) and the metrics on a dataset, in evaluation mode.
TILEWRIGHT_API EpochResult evaluate(Sequential& model, Loss& loss, const Dataset& data,
                                    const std::vector<Metric>& metrics = {}, Index batch_size = 1024);

/// Ends training when a number has not become better for `patience` epochs. Keras's options and defaults.
struct EarlyStopping {
  std::string monitor = "validation_loss";  ///< a name of History::values()
  /// Which numbers are better.
  enum class Mode { min, max };
  Mode mode = Mode::min;                ///< of the monitored number
  double min_delta = 0;                 ///< smaller gains do not count
  Index patience = 0;                   ///< epochs
  std::optional<double> baseline = {};  ///< a first number to beat
  bool restore_best_weights = false;    ///< at the end
  Index start_from_epoch = 0;           ///< earlier ones do not count
};

/// How fit() trains.
struct FitOptions {
  Index epochs = 10;                                 ///< at most
  const Dataset* validation = nullptr;               ///< evaluated after every epoch
  std::vector<Metric> metrics = {};                  ///< of the validation set
  optim::Schedule* schedule = nullptr;               ///< stepped
  bool schedule_every_step = false;                  ///< or every epoch
  optim::ReduceLROnPlateau* plateau = nullptr;       ///< looks at the validation's loss, or the training's
  std::optional<EarlyStopping> early_stopping = {};  ///< or never
  double max_norm = 0;                               ///< of the gradients; 0 does not clip
  double l1 = 0;                            ///< see optim::add_penalty; for L2 use the optimizer's weight decay
  Index accumulate = 1;                     ///< batches whose mean gradient makes one step
  optim::WeightAverage* average = nullptr;  ///< updated after every step
  /// A line for every epoch; on a terminal also one that is rewritten while training goes on, with the time left.
  std::FILE* progress = nullptr;
  /// Called after every epoch; false ends training.
  std::function<bool(const EpochResult&)> after_epoch = {};
  /// A checkpoint, written after every epoch and every checkpoint_every steps (0: epochs only). When the file is there
  /// already, training goes on from it, and weights, averages, history and the end of training become what an
  /// uninterrupted run would have made of them (but for the seconds).
  std::string checkpoint = {};
  Index checkpoint_every = 0;  ///< see checkpoint
  /// Ctrl-C ends training after the step that runs, with a checkpoint if there is one; a second one kills as usual.
  bool stop_on_interrupt = false;
};

/// Trains for `epochs` epochs of the loader. Throws what its parts throw, ValueError for options that contradict each
/// other. Steps allocate nothing after the first epoch.
TILEWRIGHT_API History fit(Sequential& model, Loss& loss, optim::Optimizer& optimizer, DataLoader& loader,
                           const FitOptions& options = {});

// ---- pictures

/// A line of a plot.
struct Series {
  std::string name;       ///< in the legend
  std::vector<double> y;  ///< at 1, 2, ...; NaN leaves a gap
};
/// Curves with labelled axes as an SVG file.
TILEWRIGHT_API void save_svg(const std::string& path, const std::string& title, const std::string& x_label,
                             const std::string& y_label, const std::vector<Series>& series);

}  // namespace tilewright::nn
