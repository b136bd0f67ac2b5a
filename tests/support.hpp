// SPDX-License-Identifier: MIT
// Shared by the tests: reproducible data, units in the last place, hashes.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "tilewright/tilewright.hpp"

namespace tilewright::test {

/// Whether the processor is emulated and slow, and the numbers of threads that must give the bits of one.
#if defined(TILEWRIGHT_EMULATED)
inline constexpr bool kEmulated = true;
inline constexpr int kThreadCounts[] = {2, 7, 64};
#else
inline constexpr bool kEmulated = false;
inline constexpr int kThreadCounts[] = {1, 2, 3, 5, 7, 16, 64};
#endif

/// rows x cols inside a larger buffer whose every other place holds NaN, with any strides: whoever reads padding
/// poisons the result, and padding_intact() finds whoever writes it.
template <class T>
class Guarded {
 public:
  enum class Order { row_major, column_major, both_strided };

  Guarded(Index rows, Index cols, Order order, Index offset = 0) {
    const Index gap = 3;
    const Index along = order == Order::both_strided ? 2 : 1;
    const bool turned = order == Order::column_major;
    const Index inner = turned ? rows : cols, outer = turned ? cols : rows;
    const Index stride = inner * along + gap;
    buffer_.assign(static_cast<std::size_t>(outer * stride + offset + 2 * kMargin), poison());
    T* data = buffer_.data() + kMargin + offset;
    view_ = turned ? MatrixView<T>(data, rows, cols, along, stride) : MatrixView<T>(data, rows, cols, stride, along);
  }
  MatrixView<T> view() { return view_; }
  MatrixView<const T> view() const { return view_; }
  operator MatrixView<T>() { return view_; }
  operator MatrixView<const T>() const { return view_; }
  T& operator()(Index i, Index j) { return view_(i, j); }

  Guarded& fill_uniform(std::uint64_t stream, T low = -1, T high = 1) {
    const RandomStream random{99, stream};
    for (Index i = 0; i < view_.rows; ++i)
      for (Index j = 0; j < view_.cols; ++j)
        view_(i, j) =
            low + (high - low) * static_cast<T>(random.uniform(static_cast<std::uint64_t>(i * view_.cols + j)));
    return *this;
  }
  /// Every place outside the view still has the poison's bits.
  bool padding_intact() const {
    std::vector<bool> inside(buffer_.size());
    for (Index i = 0; i < view_.rows; ++i)
      for (Index j = 0; j < view_.cols; ++j) inside[static_cast<std::size_t>(&view_(i, j) - buffer_.data())] = true;
    const T expected = poison();
    for (std::size_t i = 0; i < buffer_.size(); ++i)
      if (!inside[i] && std::memcmp(&buffer_[i], &expected, sizeof(T)) != 0) return false;
    return true;
  }

 private:
  static constexpr Index kMargin = 64;
  static T poison() { return std::numeric_limits<T>::quiet_NaN(); }
  std::vector<T> buffer_;
  MatrixView<T> view_;
};

/// FNV-1a over the bytes of the elements, row by row.
class Hash {
 public:
  template <class T>
  Hash& add(MatrixView<const T> view) {
    for (Index i = 0; i < view.rows; ++i)
      for (Index j = 0; j < view.cols; ++j) add_bytes(&view(i, j), sizeof(T));
    return *this;
  }
  Hash& add(std::span<const float> values) {
    return add(MatrixView<const float>(values.data(), 1, static_cast<Index>(values.size())));
  }
  Hash& add(double value) {
    add_bytes(&value, sizeof value);
    return *this;
  }
  std::uint64_t value() const { return state_; }

 private:
  void add_bytes(const void* data, std::size_t count) {
    const auto* bytes = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < count; ++i) state_ = (state_ ^ bytes[i]) * 0x100000001b3;
  }
  std::uint64_t state_ = 0xcbf29ce484222325;
};

template <class T>
std::uint64_t hash_of(MatrixView<const T> view) {
  return Hash().add<T>(view).value();
}

/// Uniform in [-0.5, 0.5).
template <class T>
Matrix<T> random_matrix(Index rows, Index cols, std::uint64_t stream) {
  Matrix<T> m(rows, cols);
  for (Index i = 0; i < m.size(); ++i)
    m.data()[i] = static_cast<T>(RandomStream{7, stream}.uniform(static_cast<std::uint64_t>(i))) - T(0.5);
  return m;
}

/// |got - want| in units of the last place of want in T (of the smallest subnormal's, near zero). NaN matches NaN,
/// infinity itself.
template <class T>
double ulp_error(T got, long double want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : INFINITY;
  const T rounded = static_cast<T>(want);
  if (std::isinf(rounded) || std::isinf(got)) return got == rounded ? 0 : INFINITY;
  if (std::isnan(got)) return INFINITY;
  int exponent = 0;
  (void)std::frexp(want, &exponent);
  const int lowest = std::numeric_limits<T>::min_exponent;
  const long double ulp = std::ldexp(1.0L, std::max(exponent, lowest) - std::numeric_limits<T>::digits);
  return static_cast<double>(std::fabs(static_cast<long double>(got) - want) / ulp);
}

/// Sets an ISA for the length of a scope.
class UseIsa {
 public:
  explicit UseIsa(Isa isa) : before_(active_isa()) { set_isa(isa); }
  ~UseIsa() { set_isa(before_); }
  UseIsa(const UseIsa&) = delete;

 private:
  Isa before_;
};

/// Another executor's threads, but as many parts as are asked for, also on a machine with few cores.
class Uncapped final : public Executor {
 public:
  explicit Uncapped(Executor& threads) : threads_(threads) {}
  void run(int parts, Part part, void* context) noexcept override { threads_.run(parts, part, context); }

 private:
  Executor& threads_;
};

template <class E, class Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const E& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace tilewright::test
