// SPDX-License-Identifier: MIT
// gemm and its relatives: check the arguments (checks.hpp), find the way (product.hpp).
#include "tilewright/gemm.hpp"

#include "kernels/core/profile.hpp"
#include "kernels/gemm/checks.hpp"
#include "kernels/gemm/product.hpp"
#include "kernels/gemm/small.hpp"

namespace tilewright {
namespace detail {
namespace {

template <class T>
void column_sums_any(const MatrixView<const T>& x, std::span<T> sums, bool accumulate, int requested) {
  check_neighbours("column_sums", "x", x);
  check_thread_count("column_sums", requested);
  const Place of_x("x", x);
  check_count("column_sums", "sums", sums, x.cols, &of_x);
  check_apart("column_sums", {{"sums", sums}}, {{"x", x}}, Sharing::none);
  const Call call(over_elements<T>, "column_sums", "", x.rows, x.cols, 1, 0);
  if (!accumulate) std::fill(sums.begin(), sums.end(), T(0));
  const GemmKernels<T>& kernels = active_table().gemm<T>();
  // One thread reads some 100 bytes a nanosecond from its caches, 50 from memory.
  const double work = static_cast<double>(x.size()) * sizeof(T) / 80;
  parallel(plan_threads(requested, work), [&](Member member) {
    const auto [first, end] = member.share(x.cols, 4 * kernels.lanes);
    for (Index i = 0; i < x.rows; i += kSumBlock)
      kernels.add_column_sums(x.data + i * x.row_stride + first, x.row_stride, std::min(kSumBlock, x.rows - i),
                              end - first, sums.data() + first);
  });
}

/// For products that do not run(), which does it after nothing can fail any more.
template <class T>
void clear_sums(const GemmOptions<T>& o) {
  for (const std::span<T>& sums : {o.a_row_sums, o.b_column_sums})
    if (o.beta == T(0) && sums.data() != nullptr) std::fill(sums.begin(), sums.end(), T(0));
}

/// What a small product is followed by.
template <class T>
[[gnu::noinline]] void finish_small(const GemmKernels<T>& kernels, const MatrixView<const T>& a,
                                    const MatrixView<const T>& b, const MatrixView<T>& c, const GemmOptions<T>& o) {
  clear_sums(o);
  if (o.a_row_sums.data() != nullptr)
    kernels.add_column_sums(a.data, a.col_stride, a.cols, a.rows, o.a_row_sums.data());
  if (o.b_column_sums.data() != nullptr)
    kernels.add_column_sums(b.data, b.row_stride, b.rows, b.cols, o.b_column_sums.data());
  if (!has_epilogue(o)) return;
  finish(kernels, Epilogue<T>::of(o), c.data, c.row_stride, 0, 0, c.rows, c.cols);
}

/// Everything but a plain tiny product.
template <class T>
[[gnu::noinline]] void gemm_checked(const GemmKernels<T>& kernels, const MatrixView<const T>& a,
                                    const MatrixView<const T>& b, const MatrixView<T>& c, const GemmOptions<T>& o,
                                    bool plain) {
  if (!plain) {
    check_sums("a_row_sums", o.a_row_sums, a.t());
    check_sums("b_column_sums", o.b_column_sums, b);
  }
  if (is_small(kernels, a, c, o) && SmallProduct<T>::fits(kernels, a, b, c)) {
    if (const int parts = small_threads(kernels, a, c, o); parts > 1) [[unlikely]]
      return share_small(kernels, a, b, c, o, parts);
    SmallProduct<T>(kernels, a, b, c, o.alpha, o.beta).compute(a.data, b.data, c.data);
    if (!plain) finish_small(kernels, a, b, c, o);
    return;
  }
  const Problem<T> p = orient(a, b, c, o);
  if (c.empty() || a.cols == 0) {
    clear_sums(o);
    if (o.a_row_sums.data() != nullptr) column_sums_any(a.t(), o.a_row_sums, true, o.num_threads);
    if (o.b_column_sums.data() != nullptr) column_sums_any(b, o.b_column_sums, true, o.num_threads);
    if (!c.empty()) empty_product(p);
    return;
  }
  run(p, o.num_threads);
}

/// A plain product that one call of a tiny kernel computes, of so few rows that nobody would help: whether it was one.
template <class T>
[[gnu::always_inline]] inline bool tiny_product(const GemmKernels<T>& kernels, const MatrixView<const T>& a,
                                                const MatrixView<const T>& b, const MatrixView<T>& c,
                                                const GemmOptions<T>& o) {
  if (c.rows > kMostTinyRows || c.cols < 2 || a.cols == 0 || b.col_stride != 1 || c.col_stride != 1 || o.beta != T(0))
    return false;
  const bool along = a.col_stride == 1;
  if (!along && a.row_stride != 1) return false;
  const TinyKernel<T> kernel = tiny_for(kernels, along, c.rows, c.cols, a.cols);
  if (kernel == nullptr) return false;
  kernel(a.data, along ? a.row_stride : a.col_stride, b.data, b.row_stride, c.cols,
         {c.data, c.row_stride, c.rows, a.cols, o.alpha});
  return true;
}

/// Inlined where users call: tiny products are a matter of 30 ns, and nothing is done for them that they do not need.
template <class T>
[[gnu::always_inline]] inline void gemm_at_once(const char* operation, const MatrixView<const T>& a,
                                                const MatrixView<const T>& b, const MatrixView<T>& c,
                                                const GemmOptions<T>& o) {
  const DefaultFloatState state;
  const bool plain = is_plain(a, b, false, c, o) || check(operation, a, b, false, c, o);
  const Record record(product_info<T>, "gemm", c, a.cols, o.beta);
  const GemmKernels<T>& kernels = active_table().template gemm<T>();
  if (plain && tiny_product(kernels, a, b, c, o)) return;
  gemm_checked(kernels, a, b, c, o, plain);
}

template <class T>
void gemm_any(const char* operation, const MatrixView<const T>& a, const MatrixView<const T>& b, const MatrixView<T>& c,
              const GemmOptions<T>& o) {
  gemm_at_once(operation, a, b, c, o);
}

template <class T>
void gemm_any(const MatrixView<const T>& a, const PackedMatrix<T>& b, const MatrixView<T>& c, const GemmOptions<T>& o) {
  const DefaultFloatState state;
  if (b.data() == nullptr && b.rows() > 0 && b.cols() > 0)
    throw ValueError("gemm: b is a PackedMatrix that was moved from");
  check("gemm", a, MatrixView<const T>(nullptr, b.rows(), b.cols()), true, c, o);
  if (o.b_column_sums.data() != nullptr) throw ValueError("gemm: b_column_sums needs b itself, not a PackedMatrix");
  const Record record(product_info<T>, "gemm_packed", c, a.cols, o.beta);
  check_sums("a_row_sums", o.a_row_sums, a.t());
  if (c.empty() || a.cols == 0) clear_sums(o);
  if (c.empty()) {
    if (o.a_row_sums.data() != nullptr) column_sums_any(a.t(), o.a_row_sums, true, o.num_threads);
    return;
  }
  // Not turned around: only the right operand can be arranged beforehand.
  Problem<T> p;
  p.a = a;
  p.b = MatrixView<const T>(b.data(), b.rows(), b.cols(), b.padded_cols());
  p.c = c;
  if (c.cols == 1) p.c.col_stride = 1;
  p.kernels = &active_table().template gemm<T>();
  p.alpha = o.alpha;
  p.beta = o.beta;
  p.packed_b = b.data();
  p.a_sums = o.a_row_sums.data();
  p.b_sums = nullptr;
  p.finishes = has_epilogue(o);
  if (p.finishes) p.epilogue = Epilogue<T>::of(o);
  if (a.cols == 0) return empty_product(p);
  run(p, o.num_threads);
}

/// Computes item(i) for every i < count: shared among threads when there are enough, else one after the other. `alike`:
/// all have the shapes and strides of the first, which is judged for all of them.
template <class T, class Make>
void batch_any(Index count, bool alike, const GemmOptions<T>& o, Make&& item) {
  const DefaultFloatState state;
  const GemmKernels<T>& kernels = active_table().template gemm<T>();
  const auto is_alone = [&](const Item<T>& i) {
    return !has_epilogue(o) && is_small(kernels, i.a, i.c, o) && SmallProduct<T>::fits(kernels, i.a, i.b, i.c);
  };
  const Record record([&] {
    CallInfo all{"gemm_batched", "", sizeof(T), {count}};
    for (Index i = 0; i < count; ++i) {
      const Item<T> it = item(i);
      const CallInfo one = product_info("", it.c, it.a.cols, o.beta);
      all.flops += one.flops;
      all.bytes_read += one.bytes_read;
      all.bytes_written += one.bytes_written;
    }
    return all;
  });
  const Index judged = alike ? std::min<Index>(count, 1) : count;
  double work = 0;
  Index elements = 1, one_by_one = 0;
  for (Index i = 0; i < judged; ++i) {
    const Item<T> it = item(i);
    if (it.c.empty() || it.a.cols == 0) continue;
    const Problem<T> p = orient(it.a, it.b, it.c, o);
    const Index stands_for = count / judged;
    work += work_of(p) * static_cast<double>(stands_for);
    if (has_epilogue(o) || !is_small(kernels, it.a, it.c, o)) {
      elements = std::max(elements, Plan<T>(p, p.a.cols, 1).elements(1));
      one_by_one = std::max(one_by_one, way_of(p, o.num_threads).elements);
    }
  }
  const int most = most_threads(o.num_threads, work);
  const bool shareable = most > 1 && count >= 2 * most;
  // All that any of them wants, before the first is computed: afterwards nothing fails.
  T* buffer = scratch<T>(shareable ? std::max(elements * most, one_by_one) : one_by_one);
  const int threads = shareable ? ready_threads(most, work) : 1;
  const auto compute = [&](Range range, T* own) {
    if (const Item<T> first = count > 0 && alike ? item(0) : Item<T>{}; is_alone(first)) {
      const SmallProduct<T> product(kernels, first.a, first.b, first.c, o.alpha, o.beta);
      for (Index i = range.first; i < range.end; ++i) {
        const Item<T> it = item(i);
        product(it.a.data, it.b.data, it.c.data);
      }
      return;
    }
    for (Index i = range.first; i < range.end; ++i) {
      const Item<T> it = item(i);
      if (it.c.empty()) continue;
      if (is_alone(it)) {
        SmallProduct<T>(kernels, it.a, it.b, it.c, o.alpha, o.beta).compute(it.a.data, it.b.data, it.c.data);
        continue;
      }
      const Problem<T> p = orient(it.a, it.b, it.c, o);
      if (p.a.cols == 0)
        empty_product(p);
      else if (own == nullptr)
        run(p, o.num_threads);
      else
        blocked_product(p, Plan<T>(p, p.a.cols, 1), Member{0, 1}, Range{0, p.c.cols}, own);
    }
  };
  if (threads == 1) return compute({0, count}, nullptr);
  parallel(threads, [&](Member member) { compute(member.share(count), buffer + member.rank * elements); });
}

/// Whether all but the addresses is the same.
template <class T>
bool have_one_layout(const MatrixView<T>& x, const MatrixView<T>& y) {
  return ((x.rows ^ y.rows) | (x.cols ^ y.cols) | (x.row_stride ^ y.row_stride) | (x.col_stride ^ y.col_stride)) == 0;
}

template <class T>
void gemm_batched_any(std::span<const MatrixView<const T>> a, std::span<const MatrixView<const T>> b,
                      std::span<const MatrixView<T>> c, const GemmOptions<T>& o) {
  if (a.size() != b.size() || a.size() != c.size())
    throw ShapeError("gemm_batched: " + std::to_string(a.size()) + " a, " + std::to_string(b.size()) + " b and " +
                     std::to_string(c.size()) + " c");
  check_batch_options("gemm_batched", o);
  const auto item = [&](Index i) {
    const auto at = static_cast<std::size_t>(i);
    return Item<T>{a[at], b[at], c[at]};
  };
  const Index count = static_cast<Index>(a.size());
  Spread<T> spread;
  bool alike = true;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto named = [&](const char* what) { return "gemm_batched: product " + std::to_string(i) + what; };
    try {
      check("", a[i], b[i], false, c[i], o);
    } catch (const ShapeError& e) {
      throw ShapeError(named(e.what()));
    } catch (const ValueError& e) {
      throw ValueError(named(e.what()));
    }
    spread.add(item(static_cast<Index>(i)));
    alike &= have_one_layout(a[i], a[0]) && have_one_layout(b[i], b[0]) && have_one_layout(c[i], c[0]);
  }
  if (!spread.results_are_apart() || !spread.operands_are_apart())
    check_items_apart<T>("gemm_batched", count, item, spread.results_are_apart());
  batch_any<T>(count, alike, o, item);
}

template <class T>
void gemm_strided_any(Index count, const MatrixView<const T>& a, Index a_step, const MatrixView<const T>& b,
                      Index b_step, const MatrixView<T>& c, Index c_step, const GemmOptions<T>& o) {
  constexpr const char* kName = "gemm_strided_batched";
  if (count < 0) throw ValueError(std::string(kName) + ": count is " + std::to_string(count));
  check(kName, a, b, false, c, o);
  check_batch_options(kName, o);
  for (const auto& [name, step] : {std::pair{"a_step", a_step}, {"b_step", b_step}, {"c_step", c_step}})
    if (Index bytes = 0; __builtin_mul_overflow(step, count * Index{sizeof(T)}, &bytes))
      throw ShapeError(std::string(kName) + ": " + name + " is " + std::to_string(step) + ": no memory is so large");
  // Whether a product's result meets the next ones' is the same for each of them.
  MatrixView<T> other = c;
  for (Index i = 1; i < count && !c.empty(); ++i) {
    other.data += c_step;
    if ((c.row_stride | c.col_stride) >= 0 && are_disjoint(c, other)) break;  // further away they cannot meet
    if (overlap({"c", c}, {"c", other}))
      throw ShapeError(std::string(kName) + ": c_step is " + std::to_string(c_step) + ": the products would overlap");
  }
  const auto item = [&](Index i) {
    Item<T> it{a, b, c};
    it.a.data += i * a_step;
    it.b.data += i * b_step;
    it.c.data += i * c_step;
    return it;
  };
  Spread<T> spread;  // the first and the last bound it
  if (count > 1) spread.add(item(0)), spread.add(item(count - 1));
  if (!spread.operands_are_apart()) check_items_apart<T>(kName, count, item, true);
  batch_any<T>(count, true, o, item);
}

template <class T>
void gemv_any(const MatrixView<const T>& a, std::span<const T> x, std::span<T> y, T alpha, T beta, int threads) {
  check_view("gemv", "a", a);
  const Place of_a("a", a);
  check_count("gemv", "x", x, a.cols, &of_a);
  check_count("gemv", "y", y, a.rows, &of_a);
  check_apart("gemv", {{"y", y}}, {{"a", a}, {"x", x}}, Sharing::none);
  GemmOptions<T> o;
  o.alpha = alpha;
  o.beta = beta;
  o.num_threads = threads;
  gemm_any<T>("gemv", a, MatrixView<const T>(x.data(), a.cols, 1), MatrixView<T>(y.data(), a.rows, 1), o);
}

template <class T>
void ger_any(std::span<const T> x, std::span<const T> y, const MatrixView<T>& a, T alpha, int threads) {
  check_view("ger", "a", a);
  const Place of_a("a", a);
  check_count("ger", "x", x, a.rows, &of_a);
  check_count("ger", "y", y, a.cols, &of_a);
  check_apart("ger", {{"a", a}}, {{"x", x}, {"y", y}}, Sharing::none);
  GemmOptions<T> o;
  o.alpha = alpha;
  o.beta = 1;
  o.num_threads = threads;
  gemm_any<T>("ger", MatrixView<const T>(x.data(), a.rows, 1), MatrixView<const T>(y.data(), 1, a.cols), a, o);
}

}  // namespace
}  // namespace detail

namespace {

template <class T>
std::size_t workspace_any(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, const GemmOptions<T>& o) {
  // Any address will do for the checks.
  T some{};
  a.data = b.data = c.data = &some;
  detail::check_each("gemm_workspace", a, b, false, c, o);
  const auto& kernels = detail::active_table().template gemm<T>();
  if (c.empty() || a.cols == 0) return 0;
  if (detail::is_small(kernels, a, c, o) && detail::SmallProduct<T>::fits(kernels, a, b, c)) return 0;
  return static_cast<std::size_t>(detail::way_of(detail::orient(a, b, c, o), o.num_threads).elements) * sizeof(T);
}

}  // namespace

std::size_t gemm_workspace(const MatrixView<const float>& a, const MatrixView<const float>& b,
                           const MatrixView<float>& c, const GemmOptions<float>& options) {
  return workspace_any(a, b, c, options);
}
std::size_t gemm_workspace(const MatrixView<const double>& a, const MatrixView<const double>& b,
                           const MatrixView<double>& c, const GemmOptions<double>& options) {
  return workspace_any(a, b, c, options);
}

template <class T>
PackedMatrix<T>::PackedMatrix(MatrixView<const T> b) : rows_(b.rows), cols_(b.cols) {
  detail::check_view("PackedMatrix", "b", b);
  if (b.empty()) return;
  const detail::Call call(detail::over_elements<T>, "PackedMatrix", "", rows_, cols_, 1, 1);
  data_.reset(static_cast<T*>(allocate_aligned(bytes())));
  const auto& kernels = detail::active_table().gemm<T>();
  const detail::Operand operand = detail::lanes_of<T>(b.col_stride, b.row_stride, b.cols, b.rows);
  for (Index k0 = 0; k0 < rows_; k0 += kSumBlock)
    detail::pack_panels(kernels, b, operand.layout, k0, std::min(kSumBlock, rows_ - k0), 0, cols_, kPanel,
                        data_.get() + k0 * padded_cols());
}

template class PackedMatrix<float>;
template class PackedMatrix<double>;

template <class T>
GemmPlan<T>::GemmPlan(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, const GemmOptions<T>& options)
    : a_(a), b_(b), c_(c), options_(options) {
  detail::check_batch_options("GemmPlan", options);
  if (detail::has_epilogue(options)) throw ValueError("GemmPlan: a plan has no bias and no activation");
  // Any address will do for the checks.
  T some{};
  a.data = b.data = c.data = &some;
  detail::check_each("GemmPlan", a, MatrixView<const T>(b), false, c, options);
  const auto reach_of = [](const auto& v) {
    Reach r{0, v.empty() ? 0 : 1};
    for (const Index last : {(v.rows - 1) * v.row_stride, (v.cols - 1) * v.col_stride})
      if (!v.empty()) (last < 0 ? r.first : r.end) += last;
    return r;
  };
  a_reach_ = reach_of(a), b_reach_ = reach_of(b), c_reach_ = reach_of(c);
  const auto& kernels = detail::active_table().gemm<T>();
  if (detail::is_small(kernels, a, c, options) && detail::SmallProduct<T>::fits(kernels, a, b, c) &&
      (options.num_threads == 1 || num_threads() == 1 ||
       !detail::takes_at_least(kernels, a, c, 2 * detail::kReadyThreadWork)))  // others may be shared
    small_ = std::make_shared<const detail::SmallProduct<T>>(kernels, a, b, c, options.alpha, options.beta);
}

template <class T>
void GemmPlan<T>::operator()(const T* a, const T* b, T* c) const {
  const auto apart = [c, end = c + c_reach_.end, this](const T* p, Reach r) {
    return (end <= p + r.first) | (p + r.end <= c + c_reach_.first);
  };
  if (small_ != nullptr && a != nullptr && b != nullptr && c != nullptr && (apart(a, a_reach_) & apart(b, b_reach_)))
      [[likely]] {
    const detail::DefaultFloatState state;
    const detail::Record record(detail::product_info<T>, "GemmPlan", c_, a_.cols, options_.beta);
    return (*small_)(a, b, c);
  }
  MatrixView<const T> av = a_, bv = b_;
  MatrixView<T> cv = c_;
  av.data = a;
  bv.data = b;
  cv.data = c;
  detail::gemm_any("GemmPlan", av, bv, cv, options_);
}

template class GemmPlan<float>;
template class GemmPlan<double>;

void gemm(const MatrixView<const float>& a, const MatrixView<const float>& b, const MatrixView<float>& c,
          const GemmOptions<float>& options) {
  detail::gemm_at_once("gemm", a, b, c, options);
}
void gemm(const MatrixView<const double>& a, const MatrixView<const double>& b, const MatrixView<double>& c,
          const GemmOptions<double>& options) {
  detail::gemm_at_once("gemm", a, b, c, options);
}
void gemm(const MatrixView<const float>& a, const PackedMatrix<float>& b, const MatrixView<float>& c,
          const GemmOptions<float>& options) {
  detail::gemm_any(a, b, c, options);
}
void gemm(const MatrixView<const double>& a, const PackedMatrix<double>& b, const MatrixView<double>& c,
          const GemmOptions<double>& options) {
  detail::gemm_any(a, b, c, options);
}
void gemm_batched(std::span<const MatrixView<const float>> a, std::span<const MatrixView<const float>> b,
                  std::span<const MatrixView<float>> c, const GemmOptions<float>& options) {
  detail::gemm_batched_any(a, b, c, options);
}
void gemm_batched(std::span<const MatrixView<const double>> a, std::span<const MatrixView<const double>> b,
                  std::span<const MatrixView<double>> c, const GemmOptions<double>& options) {
  detail::gemm_batched_any(a, b, c, options);
}
void gemm_strided_batched(Index count, const MatrixView<const float>& a, Index a_step, const MatrixView<const float>& b,
                          Index b_step, const MatrixView<float>& c, Index c_step, const GemmOptions<float>& options) {
  detail::gemm_strided_any(count, a, a_step, b, b_step, c, c_step, options);
}
void gemm_strided_batched(Index count, const MatrixView<const double>& a, Index a_step,
                          const MatrixView<const double>& b, Index b_step, const MatrixView<double>& c, Index c_step,
                          const GemmOptions<double>& options) {
  detail::gemm_strided_any(count, a, a_step, b, b_step, c, c_step, options);
}
void gemv(const MatrixView<const float>& a, std::span<const float> x, std::span<float> y, float alpha, float beta,
          int num_threads) {
  detail::gemv_any(a, x, y, alpha, beta, num_threads);
}
void gemv(const MatrixView<const double>& a, std::span<const double> x, std::span<double> y, double alpha, double beta,
          int num_threads) {
  detail::gemv_any(a, x, y, alpha, beta, num_threads);
}
void ger(std::span<const float> x, std::span<const float> y, const MatrixView<float>& a, float alpha, int num_threads) {
  detail::ger_any(x, y, a, alpha, num_threads);
}
void ger(std::span<const double> x, std::span<const double> y, const MatrixView<double>& a, double alpha,
         int num_threads) {
  detail::ger_any(x, y, a, alpha, num_threads);
}
void column_sums(const MatrixView<const float>& x, std::span<float> sums, bool accumulate, int num_threads) {
  detail::column_sums_any(x, sums, accumulate, num_threads);
}
void column_sums(const MatrixView<const double>& x, std::span<double> sums, bool accumulate, int num_threads) {
  detail::column_sums_any(x, sums, accumulate, num_threads);
}

}  // namespace tilewright
