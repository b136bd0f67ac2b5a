// SPDX-License-Identifier: MIT
#include <algorithm>
#include <charconv>
#include <set>

#include "nn/file.hpp"
#include "tilewright/nn/files.hpp"

namespace tilewright::nn {
namespace {

std::vector<Index> extents(const Shape& shape) {
  std::vector<Index> list;
  for (Index axis = 0; axis < shape.rank(); ++axis) list.push_back(shape[axis]);
  return list;
}

/// PyTorch counts batches in integers.
bool is_counter(const Parameter& p) { return p.name.ends_with("num_batches_tracked"); }

/// What a model's tensors are in a file. Counters are converted into `counters`, which must outlive the list.
void list_model(const Sequential& model, const std::string& prefix, std::vector<TensorToWrite>& tensors,
                std::vector<std::int64_t>& counters) {
  const auto buffers = model.parameters().buffers();
  counters.clear();
  counters.reserve(buffers.size());  // so that nothing moves
  for (const Parameter& p : model.parameters().parameters())
    tensors.push_back({prefix + p.name, "F32", extents(p.shape), bytes_of(p.value)});
  for (const Parameter& p : buffers) {
    if (is_counter(p)) {
      counters.push_back(static_cast<std::int64_t>(p.value[0]));
      tensors.push_back({prefix + p.name, "I64", {}, bytes_of(std::span(&counters.back(), 1))});
    } else {
      tensors.push_back({prefix + p.name, "F32", extents(p.shape), bytes_of(p.value)});
    }
  }
}

/// A tensor of the file and where it goes, after all checks.
struct Move {
  const SafetensorsFile::Tensor* from;
  std::span<float> to;
};

void plan_move(const SafetensorsFile& file, const std::string& name, const std::vector<Index>& shape,
               std::span<float> to, std::vector<Move>& moves) {
  const SafetensorsFile::Tensor& tensor = file[name];
  if (tensor.shape != shape) {
    const auto text = [](const std::vector<Index>& v) {
      std::string s = "[";
      for (const Index n : v) s += (s.size() > 1 ? ", " : "") + std::to_string(n);
      return s + "]";
    };
    throw FileError("load: " + file.path() + ": \"" + name + "\" is " + text(tensor.shape) + ", expected " +
                    text(shape));
  }
  static const std::set<std::string, std::less<>> kNumbers{"F64", "F32", "F16", "BF16", "I64", "U64", "I32",
                                                           "U32", "I16", "U16", "I8",   "U8",  "BOOL"};
  if (!kNumbers.contains(tensor.dtype))
    throw FileError("load: " + file.path() + ": \"" + name + "\": " + tensor.dtype + " cannot be converted");
  moves.push_back({&tensor, to});
}

void plan_model(const SafetensorsFile& file, Sequential& model, const std::string& prefix, std::vector<Move>& moves) {
  for (const auto list : {model.parameters().parameters(), model.parameters().buffers()})
    for (const Parameter& p : list) plan_move(file, prefix + p.name, extents(p.shape), p.value, moves);
}

void run(const SafetensorsFile& file, const std::vector<Move>& moves) {
  for (const Move& move : moves) file.read(*move.from, move.to);
}

constexpr const char* kModel = "model.";
constexpr const char* kOptimizer = "optimizer.";
constexpr const char* kArrays = "arrays.";

/// The part of a state array that belongs to a parameter.
std::span<float> part_of(optim::Optimizer& optimizer, std::span<float> state, const Parameter& p) {
  return state.subspan(static_cast<std::size_t>(p.value.data() - optimizer.block().values().data()), p.value.size());
}

std::uint64_t number(const SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  std::uint64_t value = 0;
  const bool there = found != file.metadata().end();
  const std::string text = there ? found->second : "";
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
  if (!there || end.ec != std::errc() || end.ptr != text.data() + text.size())
    throw FileError("load_checkpoint: " + file.path() + ": __metadata__: \"" + key + "\" is \"" + text +
                    "\", expected a whole number");
  return value;
}

std::vector<double> numbers(const SafetensorsFile& file, const std::string& name, std::size_t count) {
  std::vector<double> values(count);
  file.read(file[name], std::span<double>(values));
  return values;
}

}  // namespace

void save_model(const std::string& path, const Sequential& model, const std::string& prefix) {
  std::vector<TensorToWrite> tensors;
  std::vector<std::int64_t> counters;
  list_model(model, prefix, tensors, counters);
  save_safetensors(path, std::move(tensors), {{"format", "pt"}});
}

void load_model(const std::string& path, Sequential& model, bool strict, const std::string& prefix) {
  const SafetensorsFile file(path);
  std::vector<Move> moves;
  plan_model(file, model, prefix, moves);
  for (const auto& tensor : file.tensors())
    if (strict && tensor.name.starts_with(prefix) &&
        std::ranges::none_of(moves, [&](const Move& move) { return move.from == &tensor; }))
      throw FileError("load_model: " + path + ": \"" + tensor.name + "\" is not in the model");
  run(file, moves);
}

void save_checkpoint(const std::string& path, const Checkpoint& checkpoint) {
  std::vector<TensorToWrite> tensors;
  std::vector<std::int64_t> counters;
  std::vector<double> rates;
  Metadata metadata;
  if (checkpoint.model != nullptr) {
    list_model(*checkpoint.model, kModel, tensors, counters);
    const auto random = checkpoint.model->random_state();
    metadata["random.seed"] = std::to_string(random.seed);
    metadata["random.passes"] = std::to_string(random.passes);
  }
  if (optim::Optimizer* optimizer = checkpoint.optimizer) {
    for (const auto& state : optimizer->state())
      for (const Parameter& p : optimizer->block().parameters())
        tensors.push_back({std::string(kOptimizer) + state.name + "." + p.name, "F32", extents(p.shape),
                           bytes_of(part_of(*optimizer, state.values, p))});
    for (const auto& group : optimizer->groups())
      rates.insert(rates.end(), {group.lr, group.weight_decay, group.base_lr});
    tensors.push_back({"optimizer.groups", "F64", {static_cast<Index>(rates.size())}, bytes_of(rates)});
    const auto counted = optimizer->counters();
    tensors.push_back({"optimizer.counters", "F64", {static_cast<Index>(counted.size())}, bytes_of(counted)});
    metadata["optimizer"] = optimizer->name();
  }
  if (checkpoint.schedule != nullptr) metadata["schedule.time"] = std::to_string(checkpoint.schedule->time());
  for (const auto& [key, value] : checkpoint.notes) metadata["notes." + key] = value;
  for (const auto& [name, values] : checkpoint.arrays)
    tensors.push_back({kArrays + name, "F32", {static_cast<Index>(values.size())}, bytes_of(values)});
  save_safetensors(path, std::move(tensors), metadata);
}

void load_checkpoint(const std::string& path, Checkpoint& checkpoint) {
  const SafetensorsFile file(path);
  std::vector<Move> moves;
  Sequential::RandomState random;
  if (checkpoint.model != nullptr) {
    plan_model(file, *checkpoint.model, kModel, moves);
    random = {number(file, "random.seed"), number(file, "random.passes")};
  }
  std::vector<double> rates, counters;
  if (optim::Optimizer* optimizer = checkpoint.optimizer) {
    const auto name = file.metadata().find("optimizer");
    if (name == file.metadata().end() || name->second != optimizer->name())
      throw FileError("load_checkpoint: " + path + ": holds the optimizer \"" +
                      (name == file.metadata().end() ? "" : name->second) + "\", expected " + optimizer->name());
    for (const auto& state : optimizer->state())
      for (const Parameter& p : optimizer->block().parameters())
        plan_move(file, std::string(kOptimizer) + state.name + "." + p.name, extents(p.shape),
                  part_of(*optimizer, state.values, p), moves);
    rates = numbers(file, "optimizer.groups", 3 * optimizer->groups().size());
    counters = numbers(file, "optimizer.counters", optimizer->counters().size());
  }
  for (const auto& [name, values] : checkpoint.arrays)
    plan_move(file, kArrays + name, {static_cast<Index>(values.size())}, values, moves);
  const std::uint64_t time = checkpoint.schedule != nullptr ? number(file, "schedule.time") : 0;
  // Nothing throws from here on.
  run(file, moves);
  if (checkpoint.model != nullptr) checkpoint.model->set_random_state(random);
  if (checkpoint.schedule != nullptr) checkpoint.schedule->set_time(static_cast<Index>(time));
  if (optim::Optimizer* optimizer = checkpoint.optimizer) {
    std::ranges::copy(counters, optimizer->counters().begin());
    for (std::size_t i = 0; i < optimizer->groups().size(); ++i) {
      auto& group = optimizer->groups()[i];
      group.lr = rates[3 * i];
      group.weight_decay = rates[3 * i + 1];
      group.base_lr = rates[3 * i + 2];
    }
  }
  checkpoint.notes.clear();
  for (const auto& [key, value] : file.metadata())
    if (key.starts_with("notes.")) checkpoint.notes[key.substr(6)] = value;
}

}  // namespace tilewright::nn
