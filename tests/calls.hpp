// SPDX-License-Identifier: MIT
// Every public operation on memory with random operands, for tests of how operations treat memory, threads and
// mistakes. A call is made from a seed: the seed fixes operation, shapes, options and values; where the operands lie,
// and with which strides, is up to the test, and must not change the result.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tilewright/tilewright.hpp"

namespace tilewright::test {

/// Pages that may be touched between pages that may not.
class FencedPages {
 public:
  static constexpr std::size_t kBytes = std::size_t{1} << 21;
  FencedPages();
  ~FencedPages();
  FencedPages(const FencedPages&) = delete;
  char* begin() const { return begin_; }
  char* end() const { return begin_ + kBytes; }

 private:
  char* begin_;
};

/// updated: read and written.
enum class Role { input, output, updated };
/// Which strides an operand may have: any, columns side by side (col_stride 1), rows side by side.
enum class Layout { any, rows, columns };
enum class Values { any, positive, probability, sign };

/// What is special about an operand.
struct Want {
  Layout layout = Layout::any;
  Values values = Values::any;
  /// More rows, or columns, than the others tell would be no mistake.
  bool free_rows = false, free_cols = false;
  /// Without memory it is not wanted.
  bool optional = false;
};

/// A matrix somewhere in a page set of its own.
struct Operand {
  std::string name;
  Role role;
  Want want;
  std::size_t element_bytes;
  bool is_span;
  Index rows, cols, row_stride, col_stride;
  char* data;
  char *hull_begin, *hull_end;  // all that the strides reach, with a margin of poison where there is room
  std::vector<char> before;     // the hull before the call

  char* at(Index i, Index j) const {
    return data + (i * row_stride + j * col_stride) * static_cast<Index>(element_bytes);
  }
};

/// What a test does to an operand that the call is given.
enum class Mistake {
  none,
  null_data,
  negative_rows,
  negative_cols,
  more_rows,
  more_cols,
  endless_stride,
  overlaps_itself,
  overlaps_input
};
inline constexpr int kMistakes = 9;

/// Makes the operands of one call, runs it, and looks at what it did.
class Operands {
 public:
  /// tight: contiguous and aligned. scattered: random strides and misalignment, flush with a fence, poison (NaN) in
  /// every gap, and outputs now and then in the place of an input where that is allowed.
  enum class Placement { tight, scattered };

  Operands(std::uint64_t seed, Placement placement, std::vector<std::unique_ptr<FencedPages>>& pages);
  virtual ~Operands() = default;
  /// Operand number `which` is given to the call with a mistake.
  void mistake(std::size_t which, Mistake mistake) { wrong_ = which, mistake_ = mistake; }

  // ---- for the catalogue: choices
  std::uint64_t bits();
  Index extent(Index most = 40);
  Index at_least_one(Index most = 40) { return std::max<Index>(1, extent(most)); }
  bool maybe(int of = 2) { return bits() % static_cast<std::uint64_t>(of) == 0; }
  double number(double low, double high) { return low + (high - low) * static_cast<double>(bits() >> 40) * 0x1p-24; }
  int threads() const { return threads_; }
  void set_threads(int threads) { threads_ = threads; }

  // ---- operands
  template <class T = float>
  MatrixView<const T> in(const char* name, Index rows, Index cols, Want want = {}) {
    return place<T>(name, Role::input, rows, cols, want, false);
  }
  template <class T = float>
  MatrixView<T> out(const char* name, Index rows, Index cols, Want want = {}) {
    return place<T>(name, Role::output, rows, cols, want, false);
  }
  template <class T = float>
  MatrixView<T> updated(const char* name, Index rows, Index cols, Want want = {}) {
    return place<T>(name, Role::updated, rows, cols, want, false);
  }
  template <class T = float>
  std::span<const T> in(const char* name, Index count, Want want = {}) {
    return span_of(place<T>(name, Role::input, 1, count, want, true));
  }
  template <class T = float>
  std::span<T> out(const char* name, Index count, Want want = {}) {
    return span_of(place<T>(name, Role::output, 1, count, want, true));
  }
  template <class T = float>
  std::span<T> updated(const char* name, Index count, Want want = {}) {
    return span_of(place<T>(name, Role::updated, 1, count, want, true));
  }
  /// Numbers in [0, bound).
  std::span<const Index> ids(const char* name, Index count, Index bound);
  /// An output of the given input's shape, that may be in its place.
  template <class T>
  MatrixView<T> out_or(const char* name, MatrixView<const T> x, Want want = {}) {
    if (reuses(reinterpret_cast<const char*>(x.data)))
      return {const_cast<T*>(x.data), x.rows, x.cols, x.row_stride, x.col_stride};
    Index rows = x.rows, cols = x.cols;
    for (const Operand& o : operands_)
      if (o.data == reinterpret_cast<const char*>(x.data)) rows = o.rows, cols = o.cols;  // x may be a mistake
    return out<T>(name, rows, cols, want);
  }

  /// Runs the operation; its result counts as an output.
  void call(const std::function<double()>& operation);

  // ---- for tests
  const std::vector<Operand>& operands() const { return operands_; }
  /// Of every output element and the result.
  std::uint64_t hash() const;
  /// What was written that should not have been; empty when nothing. After an error: whatever was written.
  std::string damage(bool after_error = false) const;

 protected:
  virtual double perform(const std::function<double()>& operation) { return operation(); }

 private:
  template <class T>
  MatrixView<T> place(const char* name, Role role, Index rows, Index cols, const Want& want, bool is_span) {
    const Operand& o = add(name, role, rows, cols, want, is_span, sizeof(T));
    fill(o, std::is_same_v<T, double>, std::is_same_v<T, Index>);
    MatrixView<T> view(reinterpret_cast<T*>(o.data), o.rows, o.cols, o.row_stride, o.col_stride);
    if (mistake_ != Mistake::none && operands_.size() == wrong_ + 1) spoil(view);
    return view;
  }
  template <class T>
  void spoil(MatrixView<T>& view) const {
    constexpr Index kEndless = Index{1} << 62;
    switch (mistake_) {
      case Mistake::null_data:
        view.data = nullptr;
        break;
      case Mistake::negative_rows:
        view.rows = -1;
        break;
      case Mistake::negative_cols:
        view.cols = -1;
        break;
      case Mistake::more_rows:
        ++view.rows;
        break;
      case Mistake::more_cols:
        ++view.cols;
        break;
      case Mistake::endless_stride:
        view.row_stride = kEndless;
        break;
      case Mistake::overlaps_itself:
        view.row_stride = 0;
        break;
      case Mistake::overlaps_input:
        view.data = reinterpret_cast<T*>(operands_[0].data) + 1;
        break;
      case Mistake::none:
        break;
    }
  }
  template <class T>
  static std::span<T> span_of(const MatrixView<T>& view) {
    return {view.data, static_cast<std::size_t>(view.cols)};
  }
  Operand& add(const char* name, Role role, Index rows, Index cols, const Want& want, bool is_span, std::size_t bytes);
  void fill(const Operand& o, bool is_double, bool is_index);
  bool reuses(const char* data);

  std::uint64_t structure_, where_;
  Placement placement_;
  int threads_ = 1;
  std::size_t wrong_ = 0;
  Mistake mistake_ = Mistake::none;
  std::vector<std::unique_ptr<FencedPages>>& pages_;
  std::vector<Operand> operands_;
  double result_ = 0;
};

struct CatalogueEntry {
  const char* name;  // as messages say it
  void (*make)(Operands&);
};
std::span<const CatalogueEntry> catalogue();

}  // namespace tilewright::test
