// SPDX-License-Identifier: MIT
#include "tests/calls.hpp"

#include <sys/mman.h>

#include <new>
#include <stdexcept>

namespace tilewright::test {
namespace {

constexpr std::size_t kFence = 1 << 14;  // more than a page anywhere
constexpr std::size_t kMargin = 256;

std::uint64_t next(std::uint64_t& state) {  // SplitMix64 (Steele, Lea, Flood: OOPSLA 2014)
  std::uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

double value_of(std::uint64_t word, Values values) {
  const double u = static_cast<double>(word >> 40) * 0x1p-24;
  switch (values) {
    case Values::positive:
      return 0.1 + 2 * u;
    case Values::probability:
      return 0.01 + 0.98 * u;
    case Values::sign:
      return word % 2 == 0 ? 1 : -1;
    case Values::any:
      break;
  }
  const double value = 4 * u - 2;
  return word % 16 == 0 ? 0 : word % 16 == 1 ? value * 1e-38 : value;  // now and then subnormal
}

}  // namespace

FencedPages::FencedPages() {
  void* all = mmap(nullptr, kBytes + 2 * kFence, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) throw std::bad_alloc();
  begin_ = static_cast<char*>(all) + kFence;
  if (mprotect(begin_, kBytes, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
}

FencedPages::~FencedPages() { munmap(begin_ - kFence, kBytes + 2 * kFence); }

Operands::Operands(std::uint64_t seed, Placement placement, std::vector<std::unique_ptr<FencedPages>>& pages)
    : structure_(seed), where_(~seed), placement_(placement), pages_(pages) {
  operands_.reserve(16);
}

std::uint64_t Operands::bits() { return next(structure_); }

Index Operands::extent(Index most) {
  const std::uint64_t word = bits();
  switch (word % 32) {
    case 0:
      return 0;
    case 1:
    case 2:
      return 1;
    case 3:  // beyond a register, a tile, a line
      if (most >= 40) return 64 + static_cast<Index>(word >> 32) % 70;
      [[fallthrough]];
    default:
      return 1 + static_cast<Index>(word >> 32) % most;
  }
}

std::span<const Index> Operands::ids(const char* name, Index count, Index bound) {
  const Want ids_want{.layout = Layout::rows};
  const MatrixView<Index> view = place<Index>(name, Role::input, 1, count, ids_want, true);
  const Operand& o = operands_.back();
  for (Index j = 0; j < count; ++j)
    *reinterpret_cast<Index*>(o.at(0, j)) = static_cast<Index>(bits() % static_cast<std::uint64_t>(bound));
  return {view.data, static_cast<std::size_t>(view.cols)};
}

Operand& Operands::add(const char* name, Role role, Index rows, Index cols, const Want& want, bool is_span,
                       std::size_t bytes) {
  operands_.push_back({name, role, want, bytes, is_span, rows, cols, cols, 1, nullptr, nullptr, nullptr, {}});
  Operand& o = operands_.back();
  if (pages_.size() < operands_.size()) pages_.push_back(std::make_unique<FencedPages>());
  const FencedPages& pages = *pages_[operands_.size() - 1];
  const Index size = static_cast<Index>(bytes);
  const bool scattered = placement_ == Placement::scattered;
  if (scattered && !is_span) {
    const bool turned = want.layout == Layout::columns || (want.layout == Layout::any && next(where_) % 3 == 0);
    const Index along =
        want.layout == Layout::any && next(where_) % 4 == 0 ? 2 + static_cast<Index>(next(where_) % 2) : 1;
    const Index inner = turned ? rows : cols;
    const Index across = std::max<Index>(1, inner * along) + static_cast<Index>(next(where_) % 10);
    o.row_stride = turned ? along : across;
    o.col_stride = turned ? across : along;
    if (o.row_stride != 1 && next(where_) % 8 == 0) o.row_stride = -o.row_stride;
    if (want.layout == Layout::any && o.col_stride != 1 && next(where_) % 8 == 0) o.col_stride = -o.col_stride;
  } else if (want.layout == Layout::columns) {
    o.row_stride = 1;
    o.col_stride = std::max<Index>(1, rows);
  }
  // The hull in bytes, relative to element (0, 0).
  const auto hull = [&](Index& low, Index& high) {
    low = high = 0;
    if (rows == 0 || cols == 0) return;
    for (const Index reach : {(rows - 1) * o.row_stride, (cols - 1) * o.col_stride}) (reach < 0 ? low : high) += reach;
    low *= size;
    high = (high + 1) * size;
  };
  Index low = 0, high = 0;
  hull(low, high);
  if (high - low > static_cast<Index>(FencedPages::kBytes)) {
    const bool columns = want.layout == Layout::columns;
    o.row_stride = columns ? 1 : cols;
    o.col_stride = columns ? rows : 1;
    hull(low, high);
    if (high - low > static_cast<Index>(FencedPages::kBytes))
      throw std::length_error(o.name + " is too large for the test's pages");
  }
  const Index room = static_cast<Index>(FencedPages::kBytes) - (high - low);
  Index offset = std::min<Index>(room, 64);
  if (scattered) {
    const std::uint64_t word = next(where_);
    offset = word % 4 == 0 ? 0 : word % 4 == 1 ? std::min(room, static_cast<Index>(word >> 40) % 100 * size) : room;
  }
  o.data = pages.begin() + offset - low;
  o.hull_begin = o.data + low - std::min<Index>(offset, kMargin);
  o.hull_end = o.data + high + std::min<Index>(room - offset, kMargin);
  std::memset(o.hull_begin, 0xff, static_cast<std::size_t>(o.hull_end - o.hull_begin));
  return o;
}

void Operands::fill(const Operand& o, bool is_double, bool is_index) {
  if (o.role == Role::output && placement_ == Placement::scattered) return;  // stays poison
  for (Index i = 0; i < o.rows; ++i)
    for (Index j = 0; j < o.cols; ++j) {
      if (o.role == Role::output) {
        std::memset(o.at(i, j), 0x11, o.element_bytes);
        continue;
      }
      const double value = value_of(next(structure_), o.want.values);
      if (is_index) continue;
      if (is_double)
        *reinterpret_cast<double*>(o.at(i, j)) = value;
      else
        *reinterpret_cast<float*>(o.at(i, j)) = static_cast<float>(value);
    }
}

bool Operands::reuses(const char* data) {
  if (placement_ == Placement::tight || mistake_ != Mistake::none || next(where_) % 4 != 0) return false;
  for (Operand& o : operands_)
    if (o.data == data && o.role == Role::input) {
      o.role = Role::updated;
      return true;
    }
  return false;
}

void Operands::call(const std::function<double()>& operation) {
  for (Operand& o : operands_) o.before.assign(o.hull_begin, o.hull_end);
  result_ = perform(operation);
}

std::uint64_t Operands::hash() const {
  std::uint64_t state = 0xcbf29ce484222325;
  const auto add_word = [&](std::uint64_t word) { state = (state ^ word) * 0x9e3779b97f4a7c15, state ^= state >> 29; };
  const auto add_element = [&](const char* at, std::size_t bytes) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, bytes);
    // A NaN is a NaN: its sign and payload are not promised.
    if (bytes == 4 && (word & 0x7fffffff) > 0x7f800000) word = 0x7fc00000;
    if (bytes == 8 && (word & 0x7fffffffffffffff) > 0x7ff0000000000000) word = 0x7ff8000000000000;
    add_word(word);
  };
  // In the catalogue's order, which aliasing changes: an output in the place of an input is hashed where it stands.
  std::uint64_t sum = 0;
  for (const Operand& o : operands_) {
    if (o.role == Role::input) continue;
    state = 0xcbf29ce484222325;
    for (Index i = 0; i < o.rows; ++i)
      for (Index j = 0; j < o.cols; ++j) add_element(o.at(i, j), o.element_bytes);
    sum += state;
  }
  state = sum;
  add_element(reinterpret_cast<const char*>(&result_), sizeof result_);
  return state;
}

std::string Operands::damage(bool after_error) const {
  for (const Operand& o : operands_) {
    std::vector<char> want = o.before;
    if (o.role != Role::input && !after_error)
      for (Index i = 0; i < o.rows; ++i)
        for (Index j = 0; j < o.cols; ++j) {
          const char* at = o.at(i, j);
          std::memcpy(want.data() + (at - o.hull_begin), at, o.element_bytes);
        }
    if (std::memcmp(want.data(), o.hull_begin, want.size()) == 0) continue;
    std::size_t place = 0;
    while (want[place] == o.hull_begin[place]) ++place;
    return o.name + " (" + std::to_string(o.rows) + "x" + std::to_string(o.cols) + ", strides " +
           std::to_string(o.row_stride) + ", " + std::to_string(o.col_stride) + "): byte " +
           std::to_string(o.hull_begin + place - o.data) + " from its first element was written";
  }
  return "";
}

}  // namespace tilewright::test
