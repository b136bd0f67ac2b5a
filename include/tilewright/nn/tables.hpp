// SPDX-License-Identifier: MIT
// Data in files of others: CSV, NPY and NPZ. Whatever is wrong with a file is a FileError that names it, the line or
// byte, and what was expected.
#pragma once

#include <map>

#include "tilewright/nn/dataset.hpp"

namespace tilewright::nn {

/// How a CSV file is written.
struct CsvOptions {
  char separator = ',';  ///< between cells
  bool header = true;    ///< or columns are called "0", "1", ...
  /// Cells that count as missing, besides empty ones.
  std::vector<std::string> missing = {"NA", "NaN", "nan", "null", "?"};
};

/// A table of text, by columns. Cells may be quoted ("" inside of quotes is one quote), also over several lines.
class TILEWRIGHT_API CsvTable {
 public:
  /// Of the columns.
  std::span<const std::string> names() const { return names_; }
  /// Without the header.
  Index rows() const { return columns_.empty() ? 0 : static_cast<Index>(columns_[0].size()); }
  /// Of the file.
  const std::string& path() const { return path_; }
  /// Throws FileError when there is no such column.
  std::span<const std::string> column(std::string_view name) const;
  /// Whether a cell counts as missing.
  bool is_missing(std::string_view cell) const;
  /// The column as numbers, missing ones NaN. FileError with the line of a cell that is not a number.
  std::vector<float> numbers(std::string_view name) const;
  /// Several columns side by side.
  Matrix<float> matrix(std::span<const std::string> names) const;
  /// A column of words as numbers.
  struct Categories {
    std::vector<std::string> names;  ///< sorted
    std::vector<Index> ids;          ///< one per row; -1 where the cell is missing
  };
  /// Throws FileError when there is no such column.
  Categories categories(std::string_view name) const;

 private:
  friend TILEWRIGHT_API CsvTable parse_csv(std::string_view text, const std::string& path, const CsvOptions& options);
  std::string path_;
  std::vector<std::string> names_;
  std::vector<std::vector<std::string>> columns_;
  std::vector<Index> lines_;  ///< where each row begins
  CsvOptions options_;
};
TILEWRIGHT_API CsvTable read_csv(const std::string& path, const CsvOptions& options = {});
/// Of text in memory; `path` is what messages call it.
TILEWRIGHT_API CsvTable parse_csv(std::string_view text, const std::string& path, const CsvOptions& options = {});

/// Replaces NaN by the mean of the other numbers of its column (0 when there are none).
TILEWRIGHT_API void fill_missing(MatrixView<float> x);
/// One column per category; rows with a negative id are zeros.
TILEWRIGHT_API Matrix<float> one_hot(std::span<const Index> ids, Index categories);

/// NumPy's array: floats, integers of any size and bools become floats; either byte order, either element order. At
/// most 6 dimensions.
TILEWRIGHT_API Tensor<float> read_npy(const std::string& path);
/// Format 1.0, '<f4', C order.
TILEWRIGHT_API void save_npy(const std::string& path, const Tensor<float>& tensor);
/// numpy.savez and savez_compressed (the latter wants zlib).
TILEWRIGHT_API std::map<std::string, Tensor<float>> read_npz(const std::string& path);

}  // namespace tilewright::nn
