// SPDX-License-Identifier: MIT
// What gemm and its relatives ask of their arguments. Baseline code only.
#pragma once

#include "kernels/core/check.hpp"
#include "kernels/map/parameter.hpp"
#include "tilewright/gemm.hpp"

namespace tilewright::detail {

/// Every condition on the arguments, in order; throws at the first that fails. Arranged beforehand, b has no data.
template <class T>
[[gnu::cold, gnu::noinline]] void check_each(const char* operation, const MatrixView<const T>& a,
                                             const MatrixView<const T>& b, bool b_is_packed, const MatrixView<T>& c,
                                             const GemmOptions<T>& o) {
  const Place of_a("a", a), of_b("b", b), of_c("c", c);
  check_view(operation, "a", a);
  if (!b_is_packed) check_view(operation, "b", b);
  check_output(operation, "c", c);
  if (a.cols != b.rows) throw_shapes_differ(operation, "a", a.rows, a.cols, "b", b.rows, b.cols);
  if (c.rows != a.rows || c.cols != b.cols)
    throw_shapes_differ(operation, "c", c.rows, c.cols, "a * b", a.rows, b.cols);
  if (o.bias.data() != nullptr) check_count(operation, "bias", o.bias, c.cols, &of_c);
  if (o.pre_activation.data != nullptr) {
    check_same(operation, "pre_activation", o.pre_activation, "c", c);
    check_output(operation, "pre_activation", o.pre_activation);
  }
  if (o.residual.data != nullptr) {
    check_view(operation, "residual", o.residual);
    check_same(operation, "residual", o.residual, "c", c);
  }
  if (o.saved.data != nullptr) {
    check_view(operation, "saved", o.saved);
    check_same(operation, "saved", o.saved, "c", c);
    if (o.pre_activation.data != nullptr)
      throw ValueError(std::string(operation) +
                       ": pre_activation is of the forward pass, saved of the backward pass: give one of them");
  }
  if (o.a_row_sums.data() != nullptr) check_count(operation, "a_row_sums", o.a_row_sums, a.rows, &of_a);
  if (o.b_column_sums.data() != nullptr) check_count(operation, "b_column_sums", o.b_column_sums, b.cols, &of_b);
  check_activation(operation, o.activation);
  check_thread_count(operation, o.num_threads);
}

template <class T>
[[gnu::cold, gnu::noinline]] void check_all(const char* operation, const MatrixView<const T>& a,
                                            const MatrixView<const T>& b, bool b_is_packed, const MatrixView<T>& c,
                                            const GemmOptions<T>& o) {
  check_each(operation, a, b, b_is_packed, c, o);
  check_apart(operation,
              {{"c", c},
               {"pre_activation", o.pre_activation},
               {"a_row_sums", o.a_row_sums},
               {"b_column_sums", o.b_column_sums}},
              {{"a", a}, {"b", b}, {"bias", o.bias}, {"residual", o.residual}, {"saved", o.saved}}, Sharing::none);
}

/// Not 0 when the options ask for more than alpha * a * b + beta * c: a tiny product is a matter of 30 ns.
template <class T>
[[gnu::always_inline]] inline std::uintptr_t extras_of(const GemmOptions<T>& o) {
  const auto address = [](const void* p) { return reinterpret_cast<std::uintptr_t>(p); };
  return address(o.bias.data()) | address(o.pre_activation.data) | address(o.residual.data) | address(o.saved.data) |
         address(o.a_row_sums.data()) | address(o.b_column_sums.data()) |
         static_cast<std::uintptr_t>(o.activation.kind);
}
static_assert(static_cast<int>(ActivationKind::identity) == 0);

/// Whether all is well at first sight: plain matrices, no extras. False says nothing.
template <class T>
[[gnu::always_inline]] inline bool is_plain(const MatrixView<const T>& a, const MatrixView<const T>& b,
                                            bool b_is_packed, const MatrixView<T>& c, const GemmOptions<T>& o) {
  // As has_usual_extents(), and no stride is negative. The extents of b and c are those of a and b where they fit.
  const Index extents = a.rows | a.cols | b.cols | a.row_stride | a.col_stride | b.row_stride | b.col_stride |
                        c.row_stride | c.col_stride;
  const Index differences = (a.cols ^ b.rows) | (c.rows ^ a.rows) | (c.cols ^ b.cols);
  const bool asks_too_much = static_cast<unsigned>(o.num_threads) > unsigned{kMaxThreads};
  if (((static_cast<std::uint64_t>(extents) >> 28) | static_cast<std::uint64_t>(differences) | extras_of(o) |
       std::uint64_t{asks_too_much}) != 0)
    return false;
  if (a.data == nullptr || (b.data == nullptr && !b_is_packed) || c.data == nullptr) return false;
  if (!(c.col_stride == 1 && c.row_stride >= c.cols) && !(c.row_stride == 1 && c.col_stride >= c.rows)) return false;
  return are_disjoint(c, a) && are_disjoint(c, b);
}

/// check_all, but plain matrices without extras pass by a few comparisons. Returns whether there are no extras.
template <class T>
bool check(const char* operation, const MatrixView<const T>& a, const MatrixView<const T>& b, bool b_is_packed,
           const MatrixView<T>& c, const GemmOptions<T>& o) {
  if (is_plain(a, b, b_is_packed, c, o)) [[likely]]
    return true;
  check_all(operation, a, b, b_is_packed, c, o);
  return extras_of(o) == 0;
}

/// Checks a request for the sums of x's columns.
template <class T>
void check_sums(const char* name, std::span<T> sums, const MatrixView<const T>& x) {
  if (sums.data() != nullptr && x.cols > 1 && x.col_stride != 1)
    throw ShapeError(std::string("gemm: ") + name + ": what is summed side by side must lie side by side (stride 1)");
}

/// Refuses what cannot be meant for every product of a batch.
template <class T>
void check_batch_options(const char* operation, const GemmOptions<T>& o) {
  if (o.pre_activation.data != nullptr || o.residual.data != nullptr || o.saved.data != nullptr ||
      o.a_row_sums.data() != nullptr || o.b_column_sums.data() != nullptr)
    throw ValueError(std::string(operation) + ": of the options only alpha, beta, bias, activation and num_threads " +
                     "apply to every product");
}

/// A product of a batch.
template <class T>
struct Item {
  MatrixView<const T> a, b;
  MatrixView<T> c;
};

/// Where the operands of a batch lie, for a quick answer to whether its products can disturb each other.
template <class T>
class Spread {
 public:
  void add(const Item<T>& i) {
    ascending_ &= i.c.empty() || address(i.c.data) >= written_.end;
    add(i.a, read_), add(i.b, read_), add(i.c, written_);
  }
  bool results_are_apart() const { return known_ && ascending_; }
  /// No result lies among what is read.
  bool operands_are_apart() const { return known_ && (written_.end <= read_.begin || read_.end <= written_.begin); }

 private:
  struct Extent {
    std::uintptr_t begin = ~std::uintptr_t{0}, end = 0;
  };
  static std::uintptr_t address(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }
  template <class View>
  void add(const View& v, Extent& extent) {
    if (v.empty()) return;
    known_ &= (v.row_stride | v.col_stride) >= 0;
    extent.begin = std::min(extent.begin, address(v.data));
    extent.end = std::max(extent.end, address(end_of(v)));
  }

  Extent written_, read_;
  bool known_ = true, ascending_ = true;
};

/// check_batch_apart for products that item(i) gives.
template <class T, class Make>
void check_items_apart(const char* operation, Index count, const Make& item, bool results_are_apart) {
  const auto place = [](const void* items, Index product, int operand) {
    const Item<T> i = (*static_cast<const Make*>(items))(product);
    return operand == 0 ? Place("c", i.c) : operand == 1 ? Place("a", i.a) : Place("b", i.b);
  };
  check_batch_apart(operation, count, &item, place, results_are_apart);
}

}  // namespace tilewright::detail
