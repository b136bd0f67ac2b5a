// SPDX-License-Identifier: MIT
// Activations against long double references: error in units of the last place, special values, tails, strides.
#include <algorithm>
#include <array>

#include "kernels/core/table.hpp"
#include "tests/reference.hpp"
#include "tests/support.hpp"

namespace tilewright {
namespace {

using test::Guarded;
using test::message_of;
using test::reference;
using test::reference_derivative;
using test::ulp_error;
using L = long double;

/// A little more than the largest errors in docs/accuracy.md.
struct Published {
  struct Ulp {
    double forward, backward;
  };
  Activation f;
  Ulp ulp;
};

using enum ActivationKind;
const Published kPublished[] = {
    {identity, {0, 0}},
    {relu, {0, 0}},
    {leaky_relu, {0.5, 0}},
    {sigmoid, {1.3, 2}},
    {ActivationKind::tanh, {1, 2}},
    {gelu, {1.8, 1.9}},
    {gelu_tanh, {1.3, 1.6}},
    {silu, {1.4, 1.4}},
    {relu6, {0, 0}},
    {elu, {1.1, 1}},
    {Activation::elu(0.7), {1.6, 1.7}},
    {selu, {1.9, 1.9}},
    {celu, {1.1, 1}},
    {Activation::celu(0.3), {1.7, 1.1}},
    {softplus, {1.4, 1.2}},
    {Activation::softplus(3, 15), {2.1, 1}},
    {log_sigmoid, {1.4, 1.2}},
    {mish, {1.9, 1.4}},
    {softsign, {1.5, 1.3}},
    {quick_gelu, {1.7, 1.5}},
    {hardsigmoid, {1, 0.5}},
    {hardswish, {1.9, 1}},
    {hardtanh, {0, 0}},
    {tanhshrink, {2, 1.9}},
    {softshrink, {0.5, 0}},
    {Activation::threshold(0.1, 20), {0, 0}},
};

/// long double is emulated in software on aarch64, and the processor with it in our tests; the bits are compared
/// elsewhere.
constexpr int kSparser = test::kEmulated ? 29 : 1;

/// Inputs over the whole range of float: every exponent, with the corners.
std::vector<float> float_inputs() {
  std::vector<float> x;
  for (std::uint64_t bits = 0; bits < 0x100000000; bits += 10007 * kSparser) {
    const float v = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (!std::isnan(v)) x.push_back(v);
  }
  // Where something happens: dense from -20 to 20, and the thresholds of under- and overflow.
  for (int i = -20000; i <= 20000; i += kSparser) x.push_back(static_cast<float>(i) * 1e-3F);
  for (int i = -12000; i <= 12000; i += kSparser) x.push_back(static_cast<float>(i) * 1e-2F);
  const float infinity = INFINITY, tiny = 1e-45F;
  for (const float v : {0.0F, -0.0F, tiny, -tiny, infinity, -infinity, NAN, 0.625F, -0.625F}) x.push_back(v);
  return x;
}

/// The derivative's error in units of the terms: the sum of a positive and a negative one has no relative accuracy at
/// its root.
template <class T>
double derivative_error(T got, test::Derivative<L> want) {
  if (std::isnan(want.value)) return std::isnan(got) ? 0 : INFINITY;
  if (want.terms == std::fabs(want.value)) return ulp_error(got, want.value);
  return ulp_error(static_cast<T>(static_cast<L>(got) - want.value + want.terms), want.terms);
}

/// Forward and backward over all inputs; the largest errors, and where.
template <class T>
void check_published(const std::vector<T>& x, bool print, auto&& bounds) {
  Matrix<T> in(1, static_cast<Index>(x.size())), saved(1, in.cols()), out(1, in.cols()), dy(1, in.cols()),
      dx(1, in.cols());
  std::ranges::copy(x, in.data());
  std::ranges::fill(dy.span(), T(1));
  for (const Published& p : kPublished) {
    const Activation f = p.f;
    activation_forward(f, in, out);
    saved = saves_input(f.kind) ? in : out;
    activation_backward(f, saved, dy, dx);
    double forward = 0, backward = 0;
    T forward_at = 0, backward_at = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double error = ulp_error(out.data()[i], reference<T, L>(f, static_cast<L>(x[i])));
      if (error > forward) forward = error, forward_at = x[i];
      if (f.kind == identity) continue;
      // Derivatives from the output are a few operations on a number that is rounded already; take that for exact.
      const L y = static_cast<L>(out.data()[i]);
      test::Derivative<L> want = reference_derivative<T, L>(f, static_cast<L>(x[i]));
      if (f.kind == sigmoid) want = {y * (1 - y), y * (1 - y)};
      if (f.kind == ActivationKind::tanh) want = {(1 - y) * (1 + y), (1 - y) * (1 + y)};
      const double derivative = derivative_error(dx.data()[i], want);
      if (derivative > backward) backward = derivative, backward_at = x[i];
    }
    const auto [most_forward, most_backward] = bounds(p);
    EXPECT_LE(forward, most_forward) << to_string(f.kind) << " at " << forward_at;
    EXPECT_LE(backward, most_backward) << "derivative of " << to_string(f.kind) << " at " << backward_at;
    if (print)
      std::printf("  %-12s %4g %4g  %.3f ulp at %-10g derivative %.3f at %g\n", std::string(to_string(f.kind)).c_str(),
                  f.a, f.b, forward, static_cast<double>(forward_at), backward, static_cast<double>(backward_at));
  }
}

TEST(Activations, FloatWithinPublishedError) {
  check_published<float>(float_inputs(), true, [](const Published& p) { return p.ulp; });
}

TEST(Activations, DoubleWithinAFewUnits) {
  std::vector<double> x;
  for (int i = -76000; i <= 76000; i += kSparser) x.push_back(i * 0.01);
  for (int i = -40000; i <= 40000; i += kSparser) x.push_back(i * 5e-4);
  for (const double v : {0.0, -0.0, 1e-310, -1e-310, 1e300, -1e300, static_cast<double>(INFINITY),
                         -static_cast<double>(INFINITY), std::nan("")})
    x.push_back(v);
  // The reference has 11 bits more than double; exp of an argument near 700 costs it 10 of them, hence not tighter.
  check_published<double>(x, true, [](const Published&) { return Published::Ulp{3, 3}; });
}

/// Every element gives the same bits wherever it stands: in a whole register, in the tail, alone.
template <class T>
void check_tails() {
  Matrix<T> x(1, 67), whole(1, 67), dy(1, 67), dwhole(1, 67);
  for (Index i = 0; i < 67; ++i)
    x(0, i) = static_cast<T>(RandomStream{3, 3}.uniform(static_cast<std::uint64_t>(i))) * 20 - 10,
         dy(0, i) = x(0, 66 - i);
  for (int kind = 0; kind < kActivationKinds; ++kind) {
    const Activation f = static_cast<ActivationKind>(kind);
    activation_forward(f, x, whole);
    activation_backward(f, x, dy, dwhole);
    for (Index n = 0; n <= 67; ++n) {
      Guarded<T> part(1, n, Guarded<T>::Order::row_major, 1), dpart(1, n, Guarded<T>::Order::row_major, 1);
      activation_forward(f, MatrixView<const T>(x.data(), 1, n), part.view());
      activation_backward(f, MatrixView<const T>(x.data(), 1, n), MatrixView<const T>(dy.data(), 1, n), dpart.view());
      for (Index i = 0; i < n; ++i) {
        ASSERT_EQ(part(0, i), whole(0, i)) << to_string(f.kind) << " " << n;
        ASSERT_EQ(dpart(0, i), dwhole(0, i)) << to_string(f.kind) << " " << n;
      }
      ASSERT_TRUE(part.padding_intact() && dpart.padding_intact());
    }
  }
}
TEST(Activations, TailsEqualBodies) {
  check_tails<float>();
  check_tails<double>();
}

/// The same bits, or both NaN.
bool same(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (a != a && b != b);
}

TEST(Activations, SoftshrinkBeyondTheLargestFloat) {
  const float values[] = {-INFINITY, 1, INFINITY};
  Matrix<float> y(1, 3);
  activation_forward(Activation::softshrink(1e39), MatrixView<const float>(values, 1, 3), y, 1);
  EXPECT_EQ(y(0, 0), -INFINITY);
  EXPECT_EQ(y(0, 1), 0);
  EXPECT_EQ(y(0, 2), INFINITY);
}

/// Arguments that a table serves beside such that it does not, sparse and dense, and beside NaN, infinities, zeros and
/// subnormals: as if each were alone.
TEST(Activations, NearAndFarArguments) {
  const Index n = test::kEmulated ? 500 : 4000;
  // None that ends a loop, or all of them.
  const float corners[] = {NAN, 0.0F, -0.0F, 1e-40F, -1e-40F, 1e-45F, NAN, NAN, INFINITY, -INFINITY};
  for (const auto& [most, kinds] :
       std::initializer_list<std::pair<float, Index>>{{3.9F, 8}, {4.2F, 10}, {8, 0}, {100, 0}}) {
    Matrix<float> x(1, n), y(1, n), dy(1, n), dx(1, n);
    fill_uniform(x.span(), {5, 3}, -most, most);
    fill_uniform(dy.span(), {5, 4}, -1, 1);
    for (Index i = 3; kinds > 0 && i < n; i += 7) x(0, i) = corners[i / 7 % kinds];
    for (int kind = 0; kind < kActivationKinds; ++kind) {
      const Activation f = static_cast<ActivationKind>(kind);
      activation_forward(f, x, y, 1);
      activation_backward(f, x, dy, dx, 1);
      Matrix<float> over_x = x, over_saved = x, over_dy = dy;
      activation_forward(f, over_x, over_x, 1);
      activation_backward(f, over_saved, dy, over_saved, 1);
      activation_backward(f, x, over_dy, over_dy, 1);
      for (Index i = 0; i < n; ++i) {
        float value, slope;
        activation_forward(f, {&x(0, i), 1, 1}, {&value, 1, 1});
        activation_backward(f, {&x(0, i), 1, 1}, {&dy(0, i), 1, 1}, {&slope, 1, 1});
        ASSERT_TRUE(same(y(0, i), value)) << to_string(f.kind) << " " << x(0, i);
        ASSERT_TRUE(same(over_x(0, i), value)) << to_string(f.kind) << " " << x(0, i);
        ASSERT_TRUE(same(dx(0, i), slope)) << to_string(f.kind) << " " << x(0, i);
        ASSERT_TRUE(same(over_saved(0, i), slope)) << to_string(f.kind) << " " << x(0, i);
        ASSERT_TRUE(same(over_dy(0, i), slope)) << to_string(f.kind) << " " << x(0, i);
      }
    }
  }
}

TEST(Activations, StridesThreadsAndInPlace) {
  using Order = Guarded<float>::Order;
  const Index rows = test::kEmulated ? 101 : 301, cols = 703;
  for (int kind = 0; kind < kActivationKinds; ++kind) {
    const Activation f = static_cast<ActivationKind>(kind);
    Matrix<float> x(rows, cols), y(rows, cols);
    fill_uniform(x.span(), {5, 1}, -6, 6);
    activation_forward(f, x, y, 1);
    for (const auto order : {Order::row_major, Order::column_major, Order::both_strided}) {
      Guarded<float> a(rows, cols, order), b(rows, cols, order);
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < cols; ++j) a(i, j) = x(i, j);
      activation_forward(f, a.view(), b.view(), 7);
      activation_forward(f, a.view(), a.view(), 2);
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < cols; ++j) {
          ASSERT_EQ(b(i, j), y(i, j));
          ASSERT_EQ(a(i, j), y(i, j));
        }
      ASSERT_TRUE(a.padding_intact() && b.padding_intact());
    }
  }
}

TEST(Activations, SaveTheirInputOrOutput) {
  using enum ActivationKind;
  for (int kind = 0; kind < kActivationKinds; ++kind) {
    const auto f = static_cast<ActivationKind>(kind);
    const bool from_output = f == identity || f == relu || f == leaky_relu || f == sigmoid ||
                             f == ActivationKind::tanh || f == relu6 || f == hardtanh;
    EXPECT_EQ(saves_input(f), !from_output) << to_string(f);
  }
}

TEST(Activations, NamesAndErrors) {
  EXPECT_EQ(to_string(ActivationKind::gelu_tanh), "gelu_tanh");
  Matrix<float> x(2, 3), y(3, 2);
  EXPECT_EQ(message_of<ShapeError>([&] { activation_forward(ActivationKind::relu, x, y); }),
            "activation_forward: x is 2x3 but y is 3x2");
  EXPECT_EQ(message_of<ShapeError>([&] { activation_backward(ActivationKind::relu, x, y, y); }),
            "activation_backward: saved is 2x3 but dx is 3x2");
  EXPECT_EQ(
      message_of<ValueError>([&] { activation_forward(Activation::leaky_relu(NAN), x, x); }),
      "activation_forward: leaky_relu with a = nan, b = 0.000000: not in the ranges of tilewright/activations.hpp");
  EXPECT_EQ(message_of<ValueError>([&] { activation_forward(static_cast<ActivationKind>(99), x, x); }),
            "activation_forward: unknown activation 99");
}

}  // namespace
}  // namespace tilewright
