// SPDX-License-Identifier: MIT
#include <algorithm>
#include <charconv>
#include <cmath>

#include "nn/file.hpp"
#include "tilewright/nn/tables.hpp"

namespace tilewright::nn {
namespace {

[[noreturn]] void fail(const std::string& path, Index line, const std::string& what) {
  throw FileError("read_csv: " + path + ": line " + std::to_string(line) + ": " + what);
}

/// Cells of one row after the other.
class Scanner {
 public:
  Scanner(std::string_view text, const std::string& path, char separator)
      : text_(text), path_(path), separator_(separator) {
    if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;  // byte order mark
  }
  Index line() const { return line_; }
  /// False at the end of the text. Empty lines are skipped.
  bool row(std::vector<std::string>& cells) {
    cells.clear();
    while (at_ < text_.size() && (text_[at_] == '\n' || text_[at_] == '\r')) line_ += text_[at_++] == '\n';
    if (at_ == text_.size()) return false;
    row_line_ = line_;
    do cells.push_back(cell());
    while (at_ < text_.size() && text_[at_] == separator_ && ++at_);
    if (at_ < text_.size() && text_[at_] == '\r') ++at_;
    if (at_ < text_.size() && text_[at_] != '\n') fail(path_, line_, "expected a separator after a quoted cell");
    if (at_ < text_.size()) ++at_, ++line_;
    return true;
  }
  Index row_line() const { return row_line_; }

 private:
  bool ends_cell(char c) const { return c == separator_ || c == '\n' || c == '\r'; }
  std::string cell() {
    while (at_ < text_.size() && text_[at_] == ' ' && separator_ != ' ') ++at_;
    if (at_ == text_.size() || text_[at_] != '"') {
      const std::size_t begin = at_;
      while (at_ < text_.size() && !ends_cell(text_[at_])) ++at_;
      std::size_t end = at_;
      while (end > begin && text_[end - 1] == ' ') --end;
      return std::string(text_.substr(begin, end - begin));
    }
    const Index begin = line_;
    std::string inside;
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] != '"') {
        line_ += text_[at_] == '\n';
        inside += text_[at_];
      } else if (at_ + 1 < text_.size() && text_[at_ + 1] == '"') {
        inside += '"';
        ++at_;
      } else {
        ++at_;
        while (at_ < text_.size() && text_[at_] == ' ') ++at_;
        return inside;
      }
    }
    fail(path_, begin, "a quoted cell does not end");
  }
  std::string_view text_;
  const std::string& path_;
  char separator_;
  std::size_t at_ = 0;
  Index line_ = 1, row_line_ = 1;
};

}  // namespace

CsvTable parse_csv(std::string_view text, const std::string& path, const CsvOptions& options) {
  CsvTable table;
  table.path_ = path;
  table.options_ = options;
  Scanner scanner(text, path, options.separator);
  std::vector<std::string> cells;
  if (text.find('\0') != std::string_view::npos)
    throw FileError("read_csv: " + path + ": holds bytes of zero: not text");
  while (scanner.row(cells)) {
    if (table.columns_.empty()) {
      for (std::size_t i = 0; i < cells.size(); ++i)
        table.names_.push_back(options.header ? cells[i] : std::to_string(i));
      for (std::size_t i = 0; i < cells.size(); ++i)
        if (std::ranges::count(table.names_, table.names_[i]) > 1)
          fail(path, scanner.row_line(), "the column \"" + table.names_[i] + "\" stands twice");
      table.columns_.resize(cells.size());
      if (options.header) continue;
    }
    if (cells.size() != table.columns_.size())
      fail(path, scanner.row_line(),
           std::to_string(cells.size()) + " cells, expected " + std::to_string(table.columns_.size()));
    for (std::size_t i = 0; i < cells.size(); ++i) table.columns_[i].push_back(std::move(cells[i]));
    table.lines_.push_back(scanner.row_line());
  }
  if (table.columns_.empty()) throw FileError("read_csv: " + path + ": is empty");
  return table;
}

CsvTable read_csv(const std::string& path, const CsvOptions& options) {
  const MappedFile file("read_csv", path);
  return parse_csv(file.text(), path, options);
}

std::span<const std::string> CsvTable::column(std::string_view name) const {
  std::string known;
  for (std::size_t i = 0; i < names_.size(); ++i) {
    if (names_[i] == name) return columns_[i];
    known += " " + names_[i];
  }
  throw FileError("read_csv: " + path_ + ": no column \"" + std::string(name) + "\"; there are:" + known);
}

bool CsvTable::is_missing(std::string_view cell) const {
  return cell.empty() || std::ranges::any_of(options_.missing, [&](const std::string& m) { return m == cell; });
}

std::vector<float> CsvTable::numbers(std::string_view name) const {
  const auto cells = column(name);
  std::vector<float> values;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    float value = NAN;
    const std::string& cell = cells[i];
    if (!is_missing(cell)) {
      const char* begin = cell.data() + (cell[0] == '+' ? 1 : 0);
      const auto result = std::from_chars(begin, cell.data() + cell.size(), value);
      if (result.ec != std::errc() || result.ptr != cell.data() + cell.size())
        fail(path_, lines_[i], "column \"" + std::string(name) + "\": \"" + cell + "\" is not a number");
    }
    values.push_back(value);
  }
  return values;
}

Matrix<float> CsvTable::matrix(std::span<const std::string> names) const {
  Matrix<float> m(rows(), static_cast<Index>(names.size()));
  for (std::size_t j = 0; j < names.size(); ++j) {
    const auto values = numbers(names[j]);
    for (std::size_t i = 0; i < values.size(); ++i) m(static_cast<Index>(i), static_cast<Index>(j)) = values[i];
  }
  return m;
}

CsvTable::Categories CsvTable::categories(std::string_view name) const {
  const auto cells = column(name);
  Categories result;
  for (const std::string& cell : cells)
    if (!is_missing(cell)) result.names.push_back(cell);
  std::ranges::sort(result.names);
  result.names.erase(std::unique(result.names.begin(), result.names.end()), result.names.end());
  for (const std::string& cell : cells)
    result.ids.push_back(is_missing(cell) ? -1 : std::ranges::lower_bound(result.names, cell) - result.names.begin());
  return result;
}

void fill_missing(MatrixView<float> x) {
  for (Index j = 0; j < x.cols; ++j) {
    double sum = 0, count = 0;
    for (Index i = 0; i < x.rows; ++i)
      if (!std::isnan(x(i, j))) sum += static_cast<double>(x(i, j)), count += 1;
    const float mean = count > 0 ? static_cast<float>(sum / count) : 0;
    for (Index i = 0; i < x.rows; ++i)
      if (std::isnan(x(i, j))) x(i, j) = mean;
  }
}

Matrix<float> one_hot(std::span<const Index> ids, Index categories) {
  Matrix<float> m(static_cast<Index>(ids.size()), categories);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= categories)
      throw ValueError("one_hot: id " + std::to_string(ids[i]) + " of " + std::to_string(categories) + " categories");
    if (ids[i] >= 0) m(static_cast<Index>(i), ids[i]) = 1;
  }
  return m;
}

}  // namespace tilewright::nn
