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
  return word % 16 == 0 ? 0 : 4 * u - 2;
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

// ---- the catalogue

namespace {

constexpr Want kRows{.layout = Layout::rows};
constexpr Want kPositive{.values = Values::positive};
constexpr Want kOptional{.optional = true};
constexpr Want kOptionalRows{.layout = Layout::rows, .optional = true};
constexpr Want kSigns{.values = Values::sign};
constexpr Want kProbabilities{.values = Values::probability};

Activation any_activation(Operands& o) {
  return static_cast<ActivationKind>(o.bits() % static_cast<std::uint64_t>(kActivationKinds));
}

template <class T>
FunctionKind any_function(Operands& o) {
  return static_cast<FunctionKind>(o.bits() % (std::is_same_v<T, float> ? 8 : 5));
}

template <class T>
void activations(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const Activation f = any_activation(o);
  const auto x = o.in<T>("x", m, n);
  const auto y = o.out_or<T>("y", x);
  o.call([&] { return activation_forward(f, x, y, o.threads()), 0.0; });
}

template <class T>
void activations_backward(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const Activation f = any_activation(o);
  const auto saved = o.in<T>("saved", m, n), dy = o.in<T>("dy", m, n);
  const auto dx = o.out_or<T>("dx", o.maybe() ? saved : dy);
  o.call([&] { return activation_backward(f, saved, dy, dx, o.threads()), 0.0; });
}

template <class T>
void functions(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const FunctionKind f = any_function<T>(o);
  const auto x = o.in<T>("x", m, n);
  const auto y = o.out_or<T>("y", x);
  o.call([&] { return function_forward(f, x, y, o.threads()), 0.0; });
}

template <class T>
void functions_backward(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const FunctionKind f = any_function<T>(o);
  const auto x = o.in<T>("x", m, n), dy = o.in<T>("dy", m, n);
  const auto dx = o.out_or<T>("dx", o.maybe() ? x : dy);
  o.call([&] { return function_backward(f, x, dy, dx, o.threads()), 0.0; });
}

template <class T, auto Operation>
void of_two(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const auto x = o.in<T>("x", m, n), y = o.in<T>("y", m, n);
  const auto out = o.out_or<T>("out", o.maybe() ? x : y);
  o.call([&] { return Operation(x, y, out, o.threads()), 0.0; });
}

template <class T>
void scales(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const T a = static_cast<T>(o.number(-2, 2));
  const auto x = o.in<T>("x", m, n);
  const auto out = o.out_or<T>("out", x);
  o.call([&] { return scale(a, x, out, o.threads()), 0.0; });
}

template <class T>
void axpys(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const T a = static_cast<T>(o.number(-2, 2));
  const auto x = o.in<T>("x", m, n);
  const auto y = o.updated<T>("y", m, n);
  o.call([&] { return axpy(a, x, y, o.threads()), 0.0; });
}

template <class T>
void copies(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const auto x = o.in<T>("x", m, n);
  const auto out = o.out<T>("out", m, n);
  o.call([&] { return copy(x, out, o.threads()), 0.0; });
}

template <class From, class To>
void conversions(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const auto x = o.in<From>("x", m, n);
  const auto out = o.out<To>("out", m, n);
  o.call([&] { return convert(x, out, o.threads()), 0.0; });
}

void dropouts(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const double p = o.number(0, 1);
  const RandomStream stream{o.bits(), o.bits()};
  const auto x = o.in("x", m, n);
  const auto y = o.out_or("y", x);
  o.call([&] { return dropout(x, y, p, stream, o.threads()), 0.0; });
}

void embeddings(Operands& o) {
  const Index rows = o.at_least_one(), cols = o.extent(), count = o.extent();
  const auto table = o.in("table", rows, cols, {.layout = Layout::rows, .free_rows = true});
  const auto ids = o.ids("ids", count, rows);
  const auto out = o.out("out", count, cols, kRows);
  o.call([&] { return embedding(table, ids, out, o.threads()), 0.0; });
}

void embeddings_backward(Operands& o) {
  const Index rows = o.at_least_one(), cols = o.extent(), count = o.extent();
  const auto dy = o.in("dy", count, cols, kRows);
  const auto ids = o.ids("ids", count, rows);
  const auto dtable = o.updated("dtable", rows, cols, {.layout = Layout::rows, .free_rows = true});
  const Index padding = o.maybe() ? 0 : -1;
  o.call([&] { return embedding_backward(dy, ids, dtable, padding, o.threads()), 0.0; });
}

/// Now and then one that takes another way: long k, few rows, many of everything.
struct Extents {
  Index m, n, k;
};
Extents product_extents(Operands& o) {
  Extents e{o.extent(), o.extent(), o.extent()};
  switch (o.bits() % 64) {
    case 0:
      e.k = 500 + o.extent(1100);
      break;
    case 1:
      e = {1 + o.extent(8), 100 + o.extent(300), 100 + o.extent(200)};
      break;
    case 2:
      e = {100 + o.extent(100), 100 + o.extent(100), 50 + o.extent(50)};
      break;
    default:
      break;
  }
  return e;
}

template <class T>
GemmOptions<T> numbers(Operands& o) {
  GemmOptions<T> options;
  if (o.maybe()) options.alpha = static_cast<T>(o.number(-2, 2));
  if (o.maybe()) options.beta = static_cast<T>(o.maybe() ? 1 : o.number(-2, 2));
  options.num_threads = o.threads();
  return options;
}

template <class T>
MatrixView<T> result(Operands& o, const GemmOptions<T>& options, Index m, Index n, const Want& want = {}) {
  return options.beta == 0 ? o.out<T>("c", m, n, want) : o.updated<T>("c", m, n, want);
}

/// What the options of a full product can have; `b_sums` where they are allowed.
template <class T>
void extras(Operands& o, GemmOptions<T>& options, const Extents& e, bool a_sums, bool b_sums) {
  if (o.maybe()) options.bias = o.in<T>("bias", e.n, kOptional);
  if (o.maybe()) options.activation = any_activation(o);
  if (o.maybe(4)) options.residual = o.in<T>("residual", e.m, e.n, kOptional);
  if (o.maybe(4))
    options.saved = o.in<T>("saved", e.m, e.n, kOptional);
  else if (o.maybe(4))
    options.pre_activation = o.out<T>("pre_activation", e.m, e.n, kOptional);
  const auto sums = [&](const char* name, Index count) {
    return options.beta == 0 ? o.out<T>(name, count, kOptional) : o.updated<T>(name, count, kOptional);
  };
  if (a_sums) options.a_row_sums = sums("a_row_sums", e.m);
  if (b_sums) options.b_column_sums = sums("b_column_sums", e.n);
}

template <class T>
void products(Operands& o) {
  const Extents e = product_extents(o);
  GemmOptions<T> options = numbers<T>(o);
  const bool plain = o.maybe(), a_sums = !plain && o.maybe(4), b_sums = !plain && o.maybe(4);
  const auto a = o.in<T>("a", e.m, e.k, {.layout = a_sums ? Layout::columns : Layout::any});
  const auto b = o.in<T>("b", e.k, e.n, {.layout = b_sums ? Layout::rows : Layout::any});
  const auto c = result(o, options, e.m, e.n);
  if (!plain) extras(o, options, e, a_sums, b_sums);
  o.call([&] { return gemm(a, b, c, options), 0.0; });
}

template <class T>
void packed_products(Operands& o) {
  const Extents e = product_extents(o);
  GemmOptions<T> options = numbers<T>(o);
  const bool plain = o.maybe(), a_sums = !plain && o.maybe(4);
  const auto a = o.in<T>("a", e.m, e.k, {.layout = a_sums ? Layout::columns : Layout::any});
  const auto b = o.in<T>("b", e.k, e.n);
  const auto c = result(o, options, e.m, e.n);
  if (!plain) extras(o, options, e, a_sums, false);
  o.call([&] { return gemm(a, PackedMatrix<T>(b), c, options), 0.0; });
}

template <class T>
void batches(Operands& o) {
  GemmOptions<T> options = numbers<T>(o);
  std::vector<MatrixView<const T>> a, b;
  std::vector<MatrixView<T>> c;
  for (int i = 0; i < 3; ++i) {
    const Extents e{o.extent(), o.extent(), o.extent()};
    a.push_back(o.in<T>("a", e.m, e.k));
    b.push_back(o.in<T>("b", e.k, e.n));
    c.push_back(result(o, options, e.m, e.n, {.may_overlap = i > 0}));
  }
  o.call([&] { return gemm_batched(a, b, c, options), 0.0; });
}

template <class T>
void strided_batches(Operands& o) {
  // The products lie below each other.
  const Index count = o.at_least_one(4), m = o.at_least_one(), k = o.extent(), n = o.extent();
  GemmOptions<T> options = numbers<T>(o);
  const Want below{.layout = Layout::rows, .free_rows = true};
  const auto a = o.in<T>("a", count * m, k, below), b = o.in<T>("b", count * k, n, below);
  const auto c = result(o, options, count * m, n, below);
  o.call([&] {
    const auto first = [&](auto view, Index rows) {
      if (view.rows == count * rows) view.rows = rows;  // a mistake stays one
      return view;
    };
    const auto step = [](Index rows, Index stride) {  // may overflow where the stride is a mistake
      return static_cast<Index>(static_cast<std::uint64_t>(rows) * static_cast<std::uint64_t>(stride));
    };
    gemm_strided_batched(count, first(a, m), step(m, a.row_stride), first(b, k), step(k, b.row_stride), first(c, m),
                         step(m, c.row_stride), options);
    return 0.0;
  });
}

template <class T>
void plans(Operands& o) {
  const Extents e{o.extent(), o.extent(), o.extent()};
  const GemmOptions<T> options = numbers<T>(o);
  const auto a = o.in<T>("a", e.m, e.k), b = o.in<T>("b", e.k, e.n);
  const auto c = result(o, options, e.m, e.n, {.may_overlap = true});
  o.call([&] { return GemmPlan<T>(a, b, c, options)(a.data, b.data, c.data), 0.0; });
}

template <class T>
void gemvs(Operands& o) {
  const Index m = o.extent(300), k = o.extent(300);
  const T alpha = static_cast<T>(o.number(-2, 2)), beta = static_cast<T>(o.maybe() ? 0 : o.number(-2, 2));
  const auto a = o.in<T>("a", m, k);
  const auto x = o.in<T>("x", k);
  const auto y = beta == 0 ? o.out<T>("y", m) : o.updated<T>("y", m);
  o.call([&] { return gemv(a, x, y, alpha, beta, o.threads()), 0.0; });
}

template <class T>
void gers(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const T alpha = static_cast<T>(o.number(-2, 2));
  const auto x = o.in<T>("x", m), y = o.in<T>("y", n);
  const auto a = o.updated<T>("a", m, n);
  o.call([&] { return ger(x, y, a, alpha, o.threads()), 0.0; });
}

template <class T>
void sums_of_columns(Operands& o) {
  const Index m = o.extent(100), n = o.extent();
  const bool accumulate = o.maybe();
  const auto x = o.in<T>("x", m, n, {.layout = Layout::rows, .free_rows = true});
  const auto sums = accumulate ? o.updated<T>("sums", n) : o.out<T>("sums", n);
  o.call([&] { return column_sums(x, sums, accumulate, o.threads()), 0.0; });
}

// ---- rows

template <auto Operation>
void of_rows(Operands& o) {
  const Index m = o.extent(), n = o.extent(200);
  const auto x = o.in("x", m, n, kRows);
  const auto y = o.out_or("y", x, kRows);
  o.call([&] { return Operation(x, y, o.threads()), 0.0; });
}

template <auto Operation>
void of_rows_backward(Operands& o) {
  const Index m = o.extent(), n = o.extent(200);
  const auto y = o.in("y", m, n, kRows), dy = o.in("dy", m, n, kRows);
  const auto dx = o.out_or("dx", o.maybe() ? y : dy, kRows);
  o.call([&] { return Operation(y, dy, dx, o.threads()), 0.0; });
}

template <auto Operation, class Out = float>
void number_of_rows(Operands& o) {
  const Index m = o.extent(), n = o.at_least_one(200);
  const auto x = o.in("x", m, n, {.layout = Layout::rows, .free_cols = true});
  const auto out = o.out<Out>("out", m);
  o.call([&] { return Operation(x, out, o.threads()), 0.0; });
}

void variances(Operands& o) {
  const Index m = o.extent(), n = o.at_least_one(200);
  const double correction = o.maybe() ? 1 : 0;
  const auto x = o.in("x", m, n, {.layout = Layout::rows, .free_cols = true});
  const auto out = o.out("out", m);
  o.call([&] { return row_variance(x, out, correction, o.threads()), 0.0; });
}

/// Given or empty.
std::span<const float> maybe_in(Operands& o, const char* name, Index count) {
  return o.maybe() ? o.in(name, count) : std::span<const float>{};
}
std::span<float> maybe_out(Operands& o, const char* name, Index count) {
  return o.maybe() ? o.out(name, count) : std::span<float>{};
}

void layer_norms(Operands& o) {
  const Index m = o.extent(), n = o.extent(200);
  const auto x = o.in("x", m, n, kRows);
  const auto y = o.out_or("y", x, kRows);
  const auto gamma = maybe_in(o, "gamma", n), beta = maybe_in(o, "beta", n);
  const auto mean = maybe_out(o, "mean", m), rstd = maybe_out(o, "rstd", m);
  o.call([&] { return layer_norm(x, gamma, beta, y, mean, rstd, 1e-5, o.threads()), 0.0; });
}

void layer_norms_backward(Operands& o) {
  const Index m = o.extent(), n = o.extent(200);
  const auto x = o.in("x", m, n, kRows), dy = o.in("dy", m, n, kRows);
  const auto dx = o.out_or("dx", o.maybe() ? x : dy, kOptionalRows);
  const auto gamma = maybe_in(o, "gamma", n);
  const auto mean = o.in("mean", m), rstd = o.in("rstd", m, kPositive);
  const auto dgamma = maybe_out(o, "dgamma", n), dbeta = maybe_out(o, "dbeta", n);
  o.call([&] { return layer_norm_backward(x, dy, gamma, mean, rstd, dx, dgamma, dbeta, o.threads()), 0.0; });
}

void rms_norms(Operands& o) {
  const Index m = o.extent(), n = o.extent(200);
  const auto x = o.in("x", m, n, kRows);
  const auto y = o.out_or("y", x, kRows);
  const auto gamma = maybe_in(o, "gamma", n);
  const auto rstd = maybe_out(o, "rstd", m);
  o.call([&] { return rms_norm(x, gamma, y, rstd, 1e-5, o.threads()), 0.0; });
}

void rms_norms_backward(Operands& o) {
  const Index m = o.extent(), n = o.extent(200);
  const auto x = o.in("x", m, n, kRows), dy = o.in("dy", m, n, kRows);
  const auto dx = o.out_or("dx", o.maybe() ? x : dy, kOptionalRows);
  const auto gamma = maybe_in(o, "gamma", n);
  const auto rstd = o.in("rstd", m, kPositive);
  const auto dgamma = maybe_out(o, "dgamma", n);
  o.call([&] { return rms_norm_backward(x, dy, gamma, rstd, dx, dgamma, o.threads()), 0.0; });
}

struct Grouping {
  Index m, n;
  Groups groups;
};
Grouping any_groups(Operands& o) {
  const Index groups = o.at_least_one(4), channels = groups * o.at_least_one(4);
  return {o.extent(12), channels * o.at_least_one(8), {channels, groups}};
}

void group_norms(Operands& o) {
  const Grouping shape = any_groups(o);
  const Index m = shape.m, n = shape.n;
  const Groups groups = shape.groups;
  const auto x = o.in("x", m, n, kRows);
  const auto y = o.out_or("y", x, kRows);
  const auto gamma = maybe_in(o, "gamma", groups.channels), beta = maybe_in(o, "beta", groups.channels);
  const auto mean = maybe_out(o, "mean", m * groups.groups), rstd = maybe_out(o, "rstd", m * groups.groups);
  o.call([&] { return group_norm(x, groups, gamma, beta, y, mean, rstd, 1e-5, o.threads()), 0.0; });
}

void group_norms_backward(Operands& o) {
  const Grouping shape = any_groups(o);
  const Index m = shape.m, n = shape.n;
  const Groups groups = shape.groups;
  const auto x = o.in("x", m, n, kRows), dy = o.in("dy", m, n, kRows);
  const auto dx = o.out_or("dx", o.maybe() ? x : dy, kOptionalRows);
  const auto gamma = maybe_in(o, "gamma", groups.channels);
  const auto mean = o.in("mean", m * groups.groups), rstd = o.in("rstd", m * groups.groups, kPositive);
  const auto dgamma = maybe_out(o, "dgamma", groups.channels), dbeta = maybe_out(o, "dbeta", groups.channels);
  o.call([&] { return group_norm_backward(x, dy, groups, gamma, mean, rstd, dx, dgamma, dbeta, o.threads()), 0.0; });
}

void batch_norms(Operands& o) {
  const Index m = 1 + o.at_least_one(), n = o.extent(100);
  const auto x = o.in("x", m, n, kRows);
  const auto y = o.out_or("y", x, kRows);
  const auto gamma = maybe_in(o, "gamma", n), beta = maybe_in(o, "beta", n);
  const auto mean = o.out("mean", n), rstd = o.out("rstd", n);
  RunningStatistics running;
  if (o.maybe()) running.mean = o.updated("running mean", n);
  if (o.maybe()) running.variance = o.updated("running variance", n, kPositive);
  o.call([&] { return batch_norm(x, gamma, beta, y, mean, rstd, 1e-5, running, o.threads()), 0.0; });
}

void batch_norms_inference(Operands& o) {
  const Index m = o.extent(), n = o.extent(100);
  const auto x = o.in("x", m, n, kRows);
  const auto y = o.out_or("y", x, kRows);
  const auto gamma = maybe_in(o, "gamma", n), beta = maybe_in(o, "beta", n);
  const auto mean = o.in("mean", n), variance = o.in("variance", n, kPositive);
  o.call([&] { return batch_norm_inference(x, gamma, beta, mean, variance, y, 1e-5, o.threads()), 0.0; });
}

void batch_norms_backward(Operands& o) {
  const Index m = o.at_least_one(), n = o.extent(100);
  const auto x = o.in("x", m, n, kRows), dy = o.in("dy", m, n, kRows);
  const auto dx = o.out_or("dx", o.maybe() ? x : dy, kOptionalRows);
  const auto gamma = maybe_in(o, "gamma", n);
  const auto mean = o.in("mean", n), rstd = o.in("rstd", n, kPositive);
  const auto dgamma = maybe_out(o, "dgamma", n), dbeta = maybe_out(o, "dbeta", n);
  o.call([&] { return batch_norm_backward(x, dy, gamma, mean, rstd, dx, dgamma, dbeta, o.threads()), 0.0; });
}

void prelus(Operands& o) {
  const Index m = o.extent(), n = o.extent(100);
  const auto x = o.in("x", m, n, kRows);
  const auto slope = o.in("slope", o.maybe() ? 1 : n, {.free_cols = n == 0});  // one will do
  const auto y = o.out_or("y", x, kRows);
  o.call([&] { return prelu(x, slope, y, o.threads()), 0.0; });
}

void prelus_backward(Operands& o) {
  const Index m = o.extent(), n = o.extent(100), slopes = o.maybe() ? 1 : n;
  const auto x = o.in("x", m, n, kRows), dy = o.in("dy", m, n, kRows);
  const auto slope = o.in("slope", slopes, {.free_cols = n == 0});
  const auto dx = o.out_or("dx", o.maybe() ? x : dy, kOptionalRows);
  const auto dslope = maybe_out(o, "dslope", slopes);
  o.call([&] { return prelu_backward(x, dy, slope, dx, dslope, o.threads()), 0.0; });
}

// ---- losses

Reduction any_reduction(Operands& o) { return static_cast<Reduction>(o.bits() % 4); }

LossOptions loss_options(Operands& o, Index m, Index n) {
  LossOptions options{.reduction = any_reduction(o)};
  if (o.maybe()) options.weight = o.in("weight", m, n, {.values = Values::positive, .optional = true});
  if (options.reduction == Reduction::none || o.maybe())
    options.values = o.out("values", m, n, {.optional = options.reduction != Reduction::none});
  return options;
}

MatrixView<float> maybe_gradient(Operands& o, const char* name, MatrixView<const float> x, Want want = kOptional) {
  return o.maybe() ? o.out_or(name, x, want) : MatrixView<float>{};
}

template <auto Operation>
void element_losses(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const auto x = o.in("x", m, n, kProbabilities), target = o.in("target", m, n, kProbabilities);
  const LossOptions options = loss_options(o, m, n);
  const auto dx = maybe_gradient(o, "dx", x);
  o.call([&] { return Operation(x, target, dx, options, o.threads()); });
}

template <auto Operation>
void element_losses_with_number(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const double number = o.number(0.1, 2);
  const auto x = o.in("x", m, n), target = o.in("target", m, n, kSigns);
  const LossOptions options = loss_options(o, m, n);
  const auto dx = maybe_gradient(o, "dx", x);
  o.call([&] { return Operation(x, target, dx, number, options, o.threads()); });
}

void bce_with_logits(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const auto x = o.in("x", m, n), target = o.in("target", m, n, kProbabilities);
  const LossOptions options = loss_options(o, m, n);
  const auto pos_weight = o.maybe() ? o.in("pos_weight", n, kPositive) : std::span<const float>{};
  const auto dx = maybe_gradient(o, "dx", x);
  o.call([&] { return bce_with_logits_loss(x, target, dx, options, o.threads(), pos_weight); });
}

void kl_divs(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const bool of_logs = o.maybe();
  const auto x = o.in("x", m, n), target = o.in("target", m, n, kProbabilities);
  const LossOptions options = loss_options(o, m, n);
  const auto dx = maybe_gradient(o, "dx", x);
  o.call([&] { return kl_div_loss(x, target, dx, of_logs, options, o.threads()); });
}

void margin_rankings(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const auto x = o.in("x", m, n), other = o.in("other", m, n), target = o.in("target", m, n, kSigns);
  const LossOptions options = loss_options(o, m, n);
  const auto dx = maybe_gradient(o, "dx", x);
  o.call([&] { return margin_ranking_loss(x, other, target, dx, 0.5, options, o.threads()); });
}

ClassLossOptions class_options(Operands& o, Index m, Index n, bool smoothing) {
  ClassLossOptions options{.reduction = any_reduction(o)};
  if (o.maybe()) options.weight = o.in("weight", n, kPositive);
  if (o.maybe(4)) options.ignore_index = 0;
  if (smoothing && o.maybe()) options.label_smoothing = o.number(0, 1);
  if (options.reduction == Reduction::none || o.maybe())
    options.values = o.out("values", m, {.optional = options.reduction != Reduction::none});
  return options;
}

void cross_entropies(Operands& o) {
  const Index m = o.extent(), n = o.at_least_one(200);
  const auto x = o.in("x", m, n, {.layout = Layout::rows, .free_cols = true});
  const auto classes = o.ids("classes", m, n);
  const ClassLossOptions options = class_options(o, m, n, true);
  const auto dx = maybe_gradient(o, "dx", x, kOptionalRows);
  o.call([&] { return cross_entropy_loss(x, classes, dx, options, o.threads()); });
}

void cross_entropies_of_probabilities(Operands& o) {
  const Index m = o.extent(), n = o.at_least_one(200);
  const auto x = o.in("x", m, n, kRows);
  const auto target = o.in("target", m, n, {.layout = Layout::rows, .values = Values::probability});
  const ClassLossOptions options = class_options(o, m, n, true);
  const auto dx = maybe_gradient(o, "dx", x, kOptionalRows);
  o.call([&] { return cross_entropy_loss(x, target, dx, options, o.threads()); });
}

void nlls(Operands& o) {
  const Index m = o.extent(), n = o.at_least_one();
  const auto x = o.in("x", m, n, {.free_cols = true});
  const auto classes = o.ids("classes", m, n);
  const ClassLossOptions options = class_options(o, m, n, false);
  const auto dx = maybe_gradient(o, "dx", x);
  o.call([&] { return nll_loss(x, classes, dx, options, o.threads()); });
}

void linear_cross_entropies(Operands& o) {
  const Index m = o.extent(), features = o.extent(), n = o.at_least_one();
  const auto x = o.in("x", m, features), w = o.in("w", n, features, {.free_rows = true});
  const auto classes = o.ids("classes", m, n);
  const ClassLossOptions options = class_options(o, m, n, true);
  const auto dx = maybe_gradient(o, "dx", x);
  const auto dw = o.maybe() ? o.out("dw", n, features, kOptional) : MatrixView<float>{};
  o.call([&] { return linear_cross_entropy_loss(x, w, classes, dx, dw, options, o.threads()); });
}

void cosine_embeddings(Operands& o) {
  const Index m = o.extent(), n = o.extent(100);
  const auto x = o.in("x", m, n, kRows), y = o.in("y", m, n, kRows);
  const auto target = o.in("target", m, kSigns);
  ClassLossOptions options{.reduction = any_reduction(o)};
  if (options.reduction == Reduction::none || o.maybe())
    options.values = o.out("values", m, {.optional = options.reduction != Reduction::none});
  const auto dx = o.maybe() ? o.out("dx", m, n, kOptionalRows) : MatrixView<float>{};
  const auto dy = o.maybe() ? o.out("dy", m, n, kOptionalRows) : MatrixView<float>{};
  o.call([&] { return cosine_embedding_loss(x, y, target, dx, dy, 0.2, options, o.threads()); });
}

// ---- updates

Index parameters_of(Operands& o) { return o.extent(300) + (o.maybe(32) ? 5000 : 0); }

void sgd_updates(Operands& o) {
  const Index n = parameters_of(o);
  SgdStep step{.momentum = o.maybe() ? 0.9 : 0, .weight_decay = o.maybe() ? 0.01 : 0, .first = o.maybe(4)};
  step.nesterov = step.momentum > 0 && o.maybe();
  const auto p = o.updated("parameters", n);
  const auto g = o.in("gradients", n);
  const auto buffer = step.momentum > 0 ? o.updated("buffer", n) : std::span<float>{};
  o.call([&] { return sgd_update(p, g, buffer, step, o.threads()), 0.0; });
}

void adam_updates(Operands& o) {
  const Index n = parameters_of(o);
  const AdamStep step{.weight_decay = 0.01, .decoupled = o.maybe(), .bias_correction1 = 0.1, .bias_correction2 = 0.01};
  const bool amsgrad = o.maybe();
  const auto p = o.updated("parameters", n);
  const auto g = o.in("gradients", n);
  const auto m = o.updated("m", n), v = o.updated("v", n, kPositive);
  const auto max_v = amsgrad ? o.updated("max_v", n, kPositive) : std::span<float>{};
  o.call([&] {
    amsgrad ? adam_update(p, g, m, v, max_v, step, o.threads()) : adam_update(p, g, m, v, step, o.threads());
    return 0.0;
  });
}

/// Two states; the second is not negative.
template <auto Operation, class Step>
void two_states(Operands& o, const char* first, const char* second, const Step& step, const Want& first_want = {}) {
  const Index n = parameters_of(o);
  const auto p = o.updated("parameters", n);
  const auto g = o.in("gradients", n);
  const auto s = o.updated(first, n, first_want), t = o.updated(second, n, kPositive);
  o.call([&] { return Operation(p, g, s, t, step, o.threads()), 0.0; });
}

void adamax_updates(Operands& o) {
  two_states<adamax_update>(o, "m", "u", AdamaxStep{.weight_decay = 0.01, .bias_correction1 = 0.1});
}
void nadam_updates(Operands& o) {
  two_states<nadam_update>(o, "m", "v", NAdamStep{.decoupled = o.maybe(), .bias_correction2 = 0.01});
}
void radam_updates(Operands& o) {
  two_states<radam_update>(o, "m", "v", RAdamStep{.bias_correction1 = 0.1, .rectification = o.maybe() ? 0.5 : 0});
}
void adadelta_updates(Operands& o) {
  two_states<adadelta_update>(o, "v", "u", AdadeltaStep{.weight_decay = 0.01}, kPositive);
}
void rprop_updates(Operands& o) { two_states<rprop_update>(o, "previous", "step_size", RpropStep{}); }

void rmsprop_updates(Operands& o) {
  const Index n = parameters_of(o);
  const RMSpropStep step{.weight_decay = 0.01, .momentum = o.maybe() ? 0.9 : 0};
  const auto p = o.updated("parameters", n);
  const auto g = o.in("gradients", n);
  const auto v = o.updated("v", n, kPositive);
  const auto average = o.maybe() ? o.updated("average", n) : std::span<float>{};
  const auto buffer = step.momentum > 0 ? o.updated("buffer", n) : std::span<float>{};
  o.call([&] { return rmsprop_update(p, g, v, average, buffer, step, o.threads()), 0.0; });
}

void adagrad_updates(Operands& o) {
  const Index n = parameters_of(o);
  const auto p = o.updated("parameters", n);
  const auto g = o.in("gradients", n);
  const auto sum = o.updated("sum", n, kPositive);
  o.call([&] { return adagrad_update(p, g, sum, {}, o.threads()), 0.0; });
}

void lion_updates(Operands& o) {
  const Index n = parameters_of(o);
  const auto p = o.updated("parameters", n);
  const auto g = o.in("gradients", n);
  const auto m = o.updated("m", n);
  o.call([&] { return lion_update(p, g, m, {.weight_decay = 0.1}, o.threads()), 0.0; });
}

void ema_updates(Operands& o) {
  const Index n = parameters_of(o);
  const auto average = o.updated("average", n);
  const auto values = o.in("values", n);
  o.call([&] { return ema_update(average, values, 0.99, o.threads()), 0.0; });
}

void penalties(Operands& o) {
  const Index n = parameters_of(o);
  const auto g = o.updated("gradients", n);
  const auto p = o.in("parameters", n);
  o.call([&] { return add_penalty(g, p, 0.1, 0.2, o.threads()), 0.0; });
}

void clips_by_value(Operands& o) {
  const auto g = o.updated("gradients", parameters_of(o), {.free_cols = true});
  o.call([&] { return clip_value(g, 0.5, o.threads()), 0.0; });
}

void norms(Operands& o) {
  const auto x = o.in("x", parameters_of(o), {.free_cols = true});
  o.call([&] { return norm(x, o.threads()); });
}

void clips_by_norm(Operands& o) {
  const auto g = o.updated("gradients", parameters_of(o), {.free_cols = true});
  o.call([&] { return clip_norm(g, 0.5, o.threads()); });
}

// ---- random numbers

void uniform_fills(Operands& o) {
  const RandomStream stream{o.bits(), o.bits()};
  const auto out = o.out("out", parameters_of(o), {.free_cols = true});
  o.call([&] { return fill_uniform(out, stream, -1, 3), 0.0; });
}

void normal_fills(Operands& o) {
  const RandomStream stream{o.bits(), o.bits()};
  const auto out = o.out("out", parameters_of(o), {.free_cols = true});
  o.call([&] { return fill_normal(out, stream, -1, 3), 0.0; });
}

void permutations(Operands& o) {
  const RandomStream stream{o.bits(), o.bits()};
  const auto out = o.out<Index>("out", o.extent(300), {.free_cols = true});
  o.call([&] { return fill_permutation(out, stream), 0.0; });
}

using In = MatrixView<const float>;
using Out = MatrixView<float>;
using InD = MatrixView<const double>;
using OutD = MatrixView<double>;

constexpr CatalogueEntry kCatalogue[] = {
    {"activation_forward", activations<float>},
    {"activation_forward", activations<double>},
    {"activation_backward", activations_backward<float>},
    {"activation_backward", activations_backward<double>},
    {"function_forward", functions<float>},
    {"function_forward", functions<double>},
    {"function_backward", functions_backward<float>},
    {"function_backward", functions_backward<double>},
    {"add", of_two<float, [](In x, In y, Out out, int t) { add(x, y, out, t); }>},
    {"add", of_two<double, [](InD x, InD y, OutD out, int t) { add(x, y, out, t); }>},
    {"multiply", of_two<float, [](In x, In y, Out out, int t) { multiply(x, y, out, t); }>},
    {"multiply", of_two<double, [](InD x, InD y, OutD out, int t) { multiply(x, y, out, t); }>},
    {"scale", scales<float>},
    {"scale", scales<double>},
    {"axpy", axpys<float>},
    {"axpy", axpys<double>},
    {"copy", copies<float>},
    {"copy", copies<double>},
    {"convert", conversions<float, double>},
    {"convert", conversions<double, float>},
    {"dropout", dropouts},
    {"embedding", embeddings},
    {"embedding_backward", embeddings_backward},
    {"gemm", products<float>},
    {"gemm", products<double>},
    {"gemm", packed_products<float>},
    {"gemm", packed_products<double>},
    {"gemm_batched", batches<float>},
    {"gemm_batched", batches<double>},
    {"gemm_strided_batched", strided_batches<float>},
    {"gemm_strided_batched", strided_batches<double>},
    {"GemmPlan", plans<float>},
    {"GemmPlan", plans<double>},
    {"gemv", gemvs<float>},
    {"gemv", gemvs<double>},
    {"ger", gers<float>},
    {"ger", gers<double>},
    {"column_sums", sums_of_columns<float>},
    {"column_sums", sums_of_columns<double>},
    {"softmax", of_rows<softmax>},
    {"softmax_backward", of_rows_backward<softmax_backward>},
    {"log_softmax", of_rows<log_softmax>},
    {"log_softmax_backward", of_rows_backward<log_softmax_backward>},
    {"row_logsumexp", number_of_rows<row_logsumexp>},
    {"row_sum", number_of_rows<row_sum>},
    {"row_mean", number_of_rows<row_mean>},
    {"row_max", number_of_rows<row_max>},
    {"row_argmax", number_of_rows<row_argmax, Index>},
    {"row_variance", variances},
    {"layer_norm", layer_norms},
    {"layer_norm_backward", layer_norms_backward},
    {"rms_norm", rms_norms},
    {"rms_norm_backward", rms_norms_backward},
    {"group_norm", group_norms},
    {"group_norm_backward", group_norms_backward},
    {"batch_norm", batch_norms},
    {"batch_norm_inference", batch_norms_inference},
    {"batch_norm_backward", batch_norms_backward},
    {"prelu", prelus},
    {"prelu_backward", prelus_backward},
    {"mse_loss", element_losses<mse_loss>},
    {"l1_loss", element_losses<l1_loss>},
    {"smooth_l1_loss", element_losses_with_number<smooth_l1_loss>},
    {"huber_loss", element_losses_with_number<huber_loss>},
    {"bce_loss", element_losses<bce_loss>},
    {"bce_with_logits_loss", bce_with_logits},
    {"kl_div_loss", kl_divs},
    {"hinge_embedding_loss", element_losses_with_number<hinge_embedding_loss>},
    {"margin_ranking_loss", margin_rankings},
    {"cross_entropy_loss", cross_entropies},
    {"cross_entropy_loss", cross_entropies_of_probabilities},
    {"nll_loss", nlls},
    {"linear_cross_entropy_loss", linear_cross_entropies},
    {"cosine_embedding_loss", cosine_embeddings},
    {"sgd_update", sgd_updates},
    {"adam_update", adam_updates},
    {"adamax_update", adamax_updates},
    {"nadam_update", nadam_updates},
    {"radam_update", radam_updates},
    {"rmsprop_update", rmsprop_updates},
    {"adagrad_update", adagrad_updates},
    {"adadelta_update", adadelta_updates},
    {"rprop_update", rprop_updates},
    {"lion_update", lion_updates},
    {"ema_update", ema_updates},
    {"add_penalty", penalties},
    {"clip_value", clips_by_value},
    {"norm", norms},
    {"clip_norm", clips_by_norm},
    {"fill_uniform", uniform_fills},
    {"fill_normal", normal_fills},
    {"fill_permutation", permutations},
};

}  // namespace

std::span<const CatalogueEntry> catalogue() { return kCatalogue; }

}  // namespace tilewright::test
