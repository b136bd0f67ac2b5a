// SPDX-License-Identifier: MIT
// Models and checkpoints as safetensors files, which PyTorch, and everything around it, reads and writes. Files are
// written beside their name, synced and renamed, so a name never holds half a file. Everything wrong with a file is a
// FileError that names the file, the tensor and the place, before anything in memory has changed.
#pragma once

#include <cstddef>
#include <map>

#include "tilewright/nn/schedule.hpp"

namespace tilewright::nn {

using Metadata = std::map<std::string, std::string>;

/// A safetensors file, mapped into memory: nothing is read before it is asked for.
class TILEWRIGHT_API SafetensorsFile {
 public:
  /// An entry of the file.
  struct Tensor {
    std::string name;                 ///< as in state_dict
    std::string dtype;                ///< "F32", "BF16", ...
    std::vector<Index> shape;         ///< outermost first
    std::span<const std::byte> data;  ///< in the file; not aligned
  };
  /// Checks the whole header: sizes, types, offsets without holes or overlaps, names without duplicates, UTF-8.
  explicit SafetensorsFile(const std::string& path);
  ~SafetensorsFile();
  /// Moves.
  SafetensorsFile(SafetensorsFile&&) noexcept;

  /// As it was given.
  const std::string& path() const;
  /// In the order of their data.
  std::span<const Tensor> tensors() const;
  /// What the header says under __metadata__.
  const Metadata& metadata() const;
  /// Throws FileError when there is none of this name.
  const Tensor& operator[](std::string_view name) const;
  /// Whether there is a tensor of this name.
  bool contains(std::string_view name) const;
  /// Copies numbers out, converted to nearest: from F64 F32 F16 BF16 and integers of any size. FileError when their
  /// number is not out's.
  void read(const Tensor& tensor, std::span<float> out) const;
  /// The same in double.
  void read(const Tensor& tensor, std::span<double> out) const;

 private:
  struct Data;
  std::unique_ptr<Data> data_;
};

/// What is to be written: float, double or 64-bit integers.
struct TensorToWrite {
  std::string name;                 ///< any UTF-8 but __metadata__
  const char* dtype;                ///< "F32", "F64" or "I64"
  std::vector<Index> shape;         ///< outermost first
  std::span<const std::byte> data;  ///< the elements' bytes
};
/// Throws ValueError for duplicate names or data that does not fit its shape.
TILEWRIGHT_API void save_safetensors(const std::string& path, std::vector<TensorToWrite> tensors,
                                     const Metadata& metadata = {});

/// The parameters and buffers under PyTorch's names: torch's load_state_dict takes safetensors.torch.load_file(path).
/// `prefix` stands before the names.
TILEWRIGHT_API void save_model(const std::string& path, const Sequential& model, const std::string& prefix = "");
/// The other way. Every parameter and buffer must be in the file with its shape; so must nothing else, if strict (names
/// that do not begin with the prefix do not count).
TILEWRIGHT_API void load_model(const std::string& path, Sequential& model, bool strict = true,
                               const std::string& prefix = "");

/// A whole training run. Parts that are null are left out; loading wants the parts that were saved.
struct Checkpoint {
  Sequential* model = nullptr;            ///< parameters, buffers, random state
  optim::Optimizer* optimizer = nullptr;  ///< its state and rates
  optim::Schedule* schedule = nullptr;    ///< its time
  /// Words of one's own: epoch, position, best loss. Loading replaces them.
  Metadata notes = {};
  /// Arrays of one's own. Loading fills them: they must be in the file, as long as they are.
  struct Array {
    std::string name;         ///< in the file
    std::span<float> values;  ///< to save or to fill
  };
  std::vector<Array> arrays = {};  ///< see Array
};
/// Parameters, buffers, the optimizer's state and rates, the schedule's time, the random state. Going on from it gives
/// the bits of a run that was never interrupted.
TILEWRIGHT_API void save_checkpoint(const std::string& path, const Checkpoint& checkpoint);
TILEWRIGHT_API void load_checkpoint(const std::string& path, Checkpoint& checkpoint);

}  // namespace tilewright::nn
