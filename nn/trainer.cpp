// SPDX-License-Identifier: MIT
#include "tilewright/nn/trainer.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>
#include <limits>

#include "nn/file.hpp"
#include "tilewright/elementwise.hpp"
#include "tilewright/nn/metrics.hpp"
#include "tilewright/profile.hpp"

namespace tilewright::nn {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Evaluation mode for the length of a scope.
class Evaluating {
 public:
  explicit Evaluating(Sequential& model) : model_(model), before_(model.training()) { model.eval(); }
  ~Evaluating() { model_.train(before_); }
  Evaluating(const Evaluating&) = delete;
  Evaluating& operator=(const Evaluating&) = delete;

 private:
  Sequential& model_;
  bool before_;
};

double call(Loss& loss, MatrixView<const float> y, MatrixView<const float> targets, std::span<const Index> classes) {
  return targets.data != nullptr ? loss(y, targets) : loss(y, classes);
}

/// A number in a checkpoint's notes, to the last bit and in any locale.
std::string exact(double value) {
  char text[40];
  return {text, std::to_chars(text, text + sizeof text, value, std::chars_format::hex).ptr};
}

/// The numbers of a note in a checkpoint, as many as expected.
std::vector<double> exact_numbers(const SafetensorsFile& file, const std::string& key, std::size_t count) {
  const Metadata& notes = file.metadata();
  std::vector<double> values;
  const auto found = notes.find("notes." + key);
  const std::string text = found == notes.end() ? "" : found->second;
  const char *at = text.data(), *end = at + text.size();
  while (at != end) {
    double value = 0;
    const auto [next, error] = std::from_chars(at, end, value, std::chars_format::hex);
    if (error != std::errc()) break;
    values.push_back(value);
    at = next != end && *next == ' ' ? next + 1 : next;
  }
  if (at != end || values.size() != count)
    throw FileError("fit: " + file.path() + ": the note \"" + key + "\" is \"" + text + "\", expected " +
                    std::to_string(count) + " numbers");
  return values;
}

volatile std::sig_atomic_t interrupts = 0;

/// Counts SIGINT for the length of a scope; the second one does what it did before.
class CatchInterrupt {
 public:
  explicit CatchInterrupt(bool wanted) : wanted_(wanted) {
    if (!wanted) return;
    interrupts = 0;
    struct sigaction action {};
    action.sa_handler = [](int) { interrupts = 1; };
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, &before_);
  }
  ~CatchInterrupt() {
    if (wanted_) sigaction(SIGINT, &before_, nullptr);
  }
  CatchInterrupt(const CatchInterrupt&) = delete;
  CatchInterrupt& operator=(const CatchInterrupt&) = delete;
  bool caught() const { return wanted_ && interrupts != 0; }

 private:
  bool wanted_;
  struct sigaction before_ {};
};

/// Keras's rules.
class Stopper {
 public:
  Stopper(const EarlyStopping& rules, ParameterBlock& block) : rules_(rules), block_(block) {
    best_ = rules.baseline.value_or(sign() * std::numeric_limits<double>::infinity());
  }
  /// Whether training ends now.
  bool look(double value, Index epoch) {
    if (epoch < rules_.start_from_epoch) return false;
    if (rules_.restore_best_weights && weights_.empty()) keep();
    ++waited_;
    if (sign() * (best_ - value) > rules_.min_delta) {
      best_ = value;
      waited_ = 0;
      if (rules_.restore_best_weights) keep();
    }
    return waited_ >= rules_.patience && waited_ > 0;
  }
  /// Into a checkpoint, and out of one whose arrays are then loaded.
  void write(Checkpoint& c) {
    c.notes["stopping"] = exact(best_) + ' ' + exact(static_cast<double>(waited_));
    if (!weights_.empty()) c.arrays.insert(c.arrays.end(), {{kValues, weights_}, {kBuffers, buffers_}});
  }
  void read(const SafetensorsFile& file, Checkpoint& c) {
    const auto numbers = exact_numbers(file, "stopping", 2);
    best_ = numbers[0];
    waited_ = static_cast<Index>(numbers[1]);
    if (!file.contains(std::string("arrays.") + kValues)) return;
    keep();
    c.arrays.insert(c.arrays.end(), {{kValues, weights_}, {kBuffers, buffers_}});
  }
  void restore() {
    if (weights_.empty()) return;
    std::ranges::copy(weights_, block_.values().begin());
    std::ranges::copy(buffers_, block_.buffer_values().begin());
  }

 private:
  static constexpr const char *kValues = "stopping.values", *kBuffers = "stopping.buffers";
  double sign() const { return rules_.mode == EarlyStopping::Mode::min ? 1 : -1; }
  void keep() {
    weights_.assign(block_.values().begin(), block_.values().end());
    buffers_.assign(block_.buffer_values().begin(), block_.buffer_values().end());
  }
  const EarlyStopping& rules_;
  ParameterBlock& block_;
  double best_;
  Index waited_ = 0;
  std::vector<float> weights_, buffers_;
};

class Training {
 public:
  Training(Sequential& model, Loss& loss, optim::Optimizer& optimizer, DataLoader& loader, const FitOptions& options)
      : model_(model), loss_(loss), optimizer_(optimizer), loader_(loader), options_(options) {
    if (options.epochs < 0 || options.accumulate < 1 || options.checkpoint_every < 0)
      throw ValueError("fit: epochs " + std::to_string(options.epochs) + ", accumulate " +
                       std::to_string(options.accumulate) + ", checkpoint_every " +
                       std::to_string(options.checkpoint_every) + ": too small");
    if (options.validation == nullptr && !options.metrics.empty())
      throw ValueError("fit: metrics want a validation set");
    for (const Metric& metric : options.metrics) history_.metric_names.push_back(metric.name);
    if (options.early_stopping) (void)history_.values(options.early_stopping->monitor);
    if (&optimizer.block() != &model.parameters()) throw ValueError("fit: the optimizer is of another model");
  }

  History run() {
    const CatchInterrupt interrupt(options_.stop_on_interrupt);
    if (options_.early_stopping) stopper_.emplace(*options_.early_stopping, model_.parameters());
    resume();
    while (loader_.position().epoch < options_.epochs && !history_.interrupted && !history_.stopped_early) {
      const Index epoch = loader_.position().epoch;
      const auto start = Clock::now();
      model_.train();
      EpochResult result{epoch, train_epoch(interrupt), NAN, optimizer_.lr(), 0, {}};
      if (history_.interrupted) break;
      if (options_.validation != nullptr) {
        const EpochResult seen = evaluate(model_, loss_, *options_.validation, options_.metrics);
        result.validation_loss = seen.loss;
        result.metrics = seen.metrics;
      }
      result.seconds = seconds_since(start);
      history_.epochs.push_back(result);
      if (options_.schedule != nullptr && !options_.schedule_every_step) options_.schedule->step();
      if (options_.plateau != nullptr)
        options_.plateau->step(options_.validation != nullptr ? result.validation_loss : result.loss);
      report(result);
      if (stopper_ && stopper_->look(history_.values(options_.early_stopping->monitor).back(), epoch))
        history_.stopped_early = true;
      save();
      if (options_.after_epoch && !options_.after_epoch(result)) history_.stopped_early = true;
    }
    if (stopper_ && !history_.interrupted) stopper_->restore();
    return std::move(history_);
  }

 private:
  /// The mean loss of the rest of the epoch.
  double train_epoch(const CatchInterrupt& interrupt) {
    const profile::Region region("epoch");
    const auto start = Clock::now();
    Index gathered = 0;
    Batch batch;
    auto shown = start;
    const Index before = samples_;
    while (loader_.next(batch)) {
      if (gathered == 0) optimizer_.zero_grad();
      const double value = call(loss_, model_.forward(batch.x), batch.targets, batch.classes);
      sum_ += value * static_cast<double>(batch.size());
      samples_ += batch.size();
      model_.backward(loss_.gradient());
      ++gathered;
      const bool last = loader_.position().batch == loader_.batches();
      if (gathered == options_.accumulate || last) {
        step(gathered);
        gathered = 0;
        ++steps_;
        if (options_.checkpoint_every > 0 && steps_ % options_.checkpoint_every == 0 && !last) save();
        if (interrupt.caught()) {
          history_.interrupted = true;
          save();
          break;
        }
      }
      if (is_terminal_ && seconds_since(shown) > 0.2) {
        shown = Clock::now();
        show(sum_ / static_cast<double>(samples_), samples_ - before, seconds_since(start));
      }
    }
    const double mean = sum_ / static_cast<double>(samples_);
    if (!history_.interrupted) sum_ = 0, samples_ = 0;
    return mean;
  }

  void step(Index gathered) {
    ParameterBlock& block = model_.parameters();
    if (gathered > 1) {
      const auto g = block.gradients();
      const MatrixView<float> all(g.data(), 1, static_cast<Index>(g.size()));
      scale(1 / static_cast<float>(gathered), all, all);
    }
    if (options_.l1 != 0) optim::add_penalty(block, options_.l1);
    if (options_.max_norm > 0) optim::clip_grad_norm(block, options_.max_norm);
    optimizer_.step();
    if (options_.average != nullptr) options_.average->update();
    if (options_.schedule != nullptr && options_.schedule_every_step) options_.schedule->step();
  }

  Checkpoint checkpoint() {
    Checkpoint c{&model_, &optimizer_, options_.schedule, {}, {}};
    if (options_.average != nullptr) c.arrays.push_back({"average", options_.average->values()});
    return c;
  }

  void save() {
    if (options_.checkpoint.empty()) return;
    Checkpoint c = checkpoint();
    const auto p = loader_.position();
    c.notes = {{"position", exact(static_cast<double>(p.epoch)) + ' ' + exact(static_cast<double>(p.batch))},
               {"loss", exact(sum_) + ' ' + exact(static_cast<double>(samples_))},
               {"stopped", history_.stopped_early ? "1" : "0"}};
    if (stopper_) stopper_->write(c);
    if (options_.plateau != nullptr) {
      const auto& s = options_.plateau->state();
      c.notes["plateau"] =
          exact(s.best) + ' ' + exact(static_cast<double>(s.bad)) + ' ' + exact(static_cast<double>(s.cooling));
    }
    for (const EpochResult& r : history_.epochs) {
      std::string numbers;
      for (const double v : {r.loss, r.validation_loss, r.lr, r.seconds}) numbers += exact(v) + ' ';
      for (const double v : r.metrics) numbers += exact(v) + ' ';
      c.notes["history." + std::to_string(r.epoch)] = numbers;
    }
    save_checkpoint(options_.checkpoint, c);
  }

  void resume() {
    if (options_.checkpoint.empty()) return;
    std::FILE* there = std::fopen(options_.checkpoint.c_str(), "rbe");
    if (there == nullptr) return;
    std::fclose(there);
    // All that may be wrong with the notes, before anything changes.
    const SafetensorsFile file(options_.checkpoint);
    Checkpoint c = checkpoint();
    const auto place = exact_numbers(file, "position", 2), loss = exact_numbers(file, "loss", 2),
               stopped = exact_numbers(file, "stopped", 1);
    const DataLoader::Position position{static_cast<Index>(place[0]), static_cast<Index>(place[1])};
    std::vector<EpochResult> epochs;
    for (Index epoch = 0; epoch < position.epoch; ++epoch) {
      const auto r = exact_numbers(file, "history." + std::to_string(epoch), 4 + options_.metrics.size());
      epochs.push_back({epoch, r[0], r[1], r[2], r[3], {r.begin() + 4, r.end()}});
    }
    std::vector<double> plateau;
    if (options_.plateau != nullptr) plateau = exact_numbers(file, "plateau", 3);
    if (stopper_) stopper_->read(file, c);
    load_checkpoint(options_.checkpoint, c);
    loader_.set_position(position);
    sum_ = loss[0];
    samples_ = static_cast<Index>(loss[1]);
    history_.stopped_early = stopped[0] != 0;
    history_.epochs = std::move(epochs);
    if (options_.plateau != nullptr)
      options_.plateau->set_state({plateau[0], static_cast<Index>(plateau[1]), static_cast<Index>(plateau[2])});
  }

  void show(double loss, Index samples, double seconds) {
    const double done = static_cast<double>(samples) / static_cast<double>(loader_.samples());
    const double rate = static_cast<double>(samples) / seconds;
    char bar[21];
    for (int i = 0; i < 20; ++i) bar[i] = i < static_cast<int>(done * 20) ? '#' : '.';
    bar[20] = '\0';
    std::fprintf(options_.progress, "\repoch %td/%td [%s] loss %.4f  %.0f samples/s  %.0f s left   ",
                 loader_.position().epoch + 1, options_.epochs, bar, loss, rate,
                 seconds / done * (1 - done + static_cast<double>(options_.epochs - 1 - loader_.position().epoch)));
    std::fflush(options_.progress);
  }

  void report(const EpochResult& r) {
    if (options_.progress == nullptr) return;
    // what show() wrote goes
    std::fprintf(options_.progress, "%sepoch %td/%td  loss %.4f", is_terminal_ ? "\r\033[K" : "", r.epoch + 1,
                 options_.epochs, r.loss);
    if (!std::isnan(r.validation_loss)) std::fprintf(options_.progress, "  validation %.4f", r.validation_loss);
    for (std::size_t i = 0; i < r.metrics.size(); ++i)
      std::fprintf(options_.progress, "  %s %.4f", history_.metric_names[i].c_str(), r.metrics[i]);
    std::fprintf(options_.progress, "  lr %.3g  %.2f s\n", r.lr, r.seconds);
    std::fflush(options_.progress);
  }

  Sequential& model_;
  Loss& loss_;
  optim::Optimizer& optimizer_;
  DataLoader& loader_;
  const FitOptions& options_;
  History history_;
  std::optional<Stopper> stopper_;
  Index steps_ = 0;
  double sum_ = 0;  // of the epoch's losses so far
  Index samples_ = 0;
  bool is_terminal_ = options_.progress != nullptr && isatty(fileno(options_.progress)) == 1;
};

}  // namespace

Matrix<float> predict(Sequential& model, MatrixView<const float> x, Index batch_size) {
  if (batch_size < 1) throw ValueError("predict: batch_size is " + std::to_string(batch_size));
  const Evaluating mode(model);
  Matrix<float> all;
  for (Index first = 0; first < x.rows; first += batch_size) {
    const Index size = std::min(batch_size, x.rows - first);
    const auto y = model.forward(x.row_block(first, size));
    if (first == 0) all = Matrix<float>(x.rows, y.cols);
    copy(y, all.row_block(first, size));
  }
  return all;
}

Metric accuracy_metric() {
  return {"accuracy", [](const Predictions& p) { return accuracy(p.y, p.classes); }};
}

EpochResult evaluate(Sequential& model, Loss& loss, const Dataset& data, const std::vector<Metric>& metrics,
                     Index batch_size) {
  const profile::Region region("evaluate");
  const Matrix<float> y = predict(model, data.x, batch_size);
  EpochResult result{0, 0, NAN, NAN, 0, {}};
  double sum = 0;
  for (Index first = 0; first < data.size(); first += batch_size) {
    const Index size = std::min(batch_size, data.size() - first);
    const auto targets = data.targets.rows() > 0 ? data.targets.row_block(first, size) : MatrixView<const float>();
    const auto classes = std::span(data.classes)
                             .subspan(data.classes.empty() ? 0 : static_cast<std::size_t>(first),
                                      data.classes.empty() ? 0 : static_cast<std::size_t>(size));
    sum += call(loss, y.row_block(first, size), targets, classes) * static_cast<double>(size);
  }
  result.loss = sum / static_cast<double>(data.size());
  for (const Metric& metric : metrics) result.metrics.push_back(metric.compute({y, data.targets, data.classes}));
  return result;
}

History fit(Sequential& model, Loss& loss, optim::Optimizer& optimizer, DataLoader& loader, const FitOptions& options) {
  return Training(model, loss, optimizer, loader, options).run();
}

std::vector<double> History::values(std::string_view name) const {
  std::function<double(const EpochResult&)> get;
  if (name == "loss") get = [](const EpochResult& r) { return r.loss; };
  if (name == "validation_loss") get = [](const EpochResult& r) { return r.validation_loss; };
  if (name == "lr") get = [](const EpochResult& r) { return r.lr; };
  if (name == "seconds") get = [](const EpochResult& r) { return r.seconds; };
  for (std::size_t i = 0; i < metric_names.size(); ++i)
    if (metric_names[i] == name) get = [i](const EpochResult& r) { return r.metrics[i]; };
  if (!get) throw ValueError("History: no \"" + std::string(name) + "\"");
  std::vector<double> all;
  for (const EpochResult& r : epochs) all.push_back(get(r));
  return all;
}

void History::save_csv(const std::string& path) const {
  std::vector<std::string> columns{"loss", "validation_loss", "lr", "seconds"};
  columns.insert(columns.end(), metric_names.begin(), metric_names.end());
  std::string text = "epoch";
  for (const std::string& column : columns) text += "," + column;
  text += "\n";
  for (std::size_t i = 0; i < epochs.size(); ++i) {
    text += std::to_string(epochs[i].epoch + 1);
    for (const std::string& column : columns) {
      char number[40];
      std::snprintf(number, sizeof number, ",%.9g", values(column)[i]);
      text += number;
    }
    text += "\n";
  }
  const std::span<const std::byte> piece = bytes_of(text);
  write_atomically("save_csv", path, {&piece, 1});
}

void History::save_svg(const std::string& path, const std::string& title) const {
  nn::save_svg(path, title, "epoch", "loss", {{"training", values("loss")}, {"validation", values("validation_loss")}});
}

}  // namespace tilewright::nn
