// SPDX-License-Identifier: MIT
// Matrix products.
#include "tests/catalogue.hpp"

namespace tilewright::test {
namespace {

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
    c.push_back(result(o, options, e.m, e.n));
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
  const auto c = result(o, options, e.m, e.n);
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

constexpr CatalogueEntry kProducts[] = {
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
};

}  // namespace

std::span<const CatalogueEntry> products() { return kProducts; }

}  // namespace tilewright::test
