// SPDX-License-Identifier: MIT
// Activations against long double references: error in units of the last place, special values, tails, strides.
#include <algorithm>
#include <array>

#include "kernels/core/table.hpp"
#include "tests/support.hpp"

namespace tilewright {
namespace {

using test::Guarded;
using test::message_of;
using test::ulp_error;
using L = long double;

L logistic(L x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }
L normal_cdf(L x) { return std::erfc(-x / std::sqrt(2.0L)) / 2; }
L normal_density(L x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.0L)); }
const L kLinear = 2 * std::sqrt(2 / std::acos(-1.0L));
L gelu_tanh_argument(L x) { return kLinear * (x + 0.044715L * x * x * x); }

/// The specification: value, derivative, and the size of the terms whose difference the derivative is (errors beside
/// its root count against that).
struct Formula {
  ActivationKind kind;
  L (*value)(L);
  L (*derivative)(L);
  L (*terms)(L);
  // Largest errors on ISAs with FMA, and on sse2, where x^2 has no low part and exp(-x^2/2) pays for it.
  // docs/kernels.md publishes these.
  struct Ulp {
    double forward, backward;
  } fma, sse2;
  const Ulp& ulp() const { return active_isa() == Isa::sse2 ? sse2 : fma; }
};

L limit(L x, L value) { return x < -1e5L ? 0 : value; }  // x * 0 at -infinity

const Formula kFormulas[] = {
    {ActivationKind::identity, [](L x) { return x; }, [](L) { return 1.0L; }, [](L) { return 1.0L; }, {0, 0}, {0, 0}},
    {ActivationKind::relu,
     [](L x) { return std::isnan(x) || x > 0 ? x : 0; },
     [](L x) { return std::isnan(x) ? x : L(x > 0); },
     [](L) { return 1.0L; },
     {0, 0},
     {0, 0}},
    {ActivationKind::leaky_relu,
     [](L x) { return x > 0 ? x : x * static_cast<L>(0.01F); },
     [](L x) { return std::isnan(x) ? x
                      : x > 0       ? 1
                                    : static_cast<L>(0.01F); },
     [](L) { return 0.01L; },
     {0.5, 0},
     {0.5, 0}},
    {ActivationKind::sigmoid,
     logistic,
     [](L x) { return logistic(x) * logistic(-x); },
     [](L x) { return logistic(x) * logistic(-x); },
     {1, 2},
     {1.5, 2}},
    {ActivationKind::tanh,
     [](L x) { return std::tanh(x); },
     [](L x) { return 1 - std::tanh(x) * std::tanh(x); },
     [](L) { return 1.0L; },
     {1, 2},
     {1, 2}},
    {ActivationKind::gelu,
     [](L x) { return limit(x, x * normal_cdf(x)); },
     [](L x) { return std::isinf(x) ? L(x > 0) : normal_cdf(x) + x * normal_density(x); },
     [](L x) { return std::isinf(x) ? L(x > 0) : normal_cdf(x) + std::fabs(x) * normal_density(x); },
     {4.5, 3.5},
     {70, 70}},
    {ActivationKind::gelu_tanh,
     [](L x) { return limit(x, x * logistic(gelu_tanh_argument(x))); },
     [](L x) {
       if (std::fabs(x) > 1e4L) return L(x > 0);
       const L u = gelu_tanh_argument(x), s = logistic(u);
       return s + x * s * logistic(-u) * kLinear * (1 + 3 * 0.044715L * x * x);
     },
     [](L x) {
       if (std::fabs(x) > 1e4L) return L(x > 0);
       const L u = gelu_tanh_argument(x), s = logistic(u);
       return s + std::fabs(x) * s * logistic(-u) * kLinear * (1 + 3 * 0.044715L * x * x);
     },
     {1, 4.5},
     {130, 130}},
    {ActivationKind::silu,
     [](L x) { return limit(x, x * logistic(x)); },
     [](L x) { return std::isinf(x) ? L(x > 0) : logistic(x) + x * logistic(x) * logistic(-x); },
     [](L x) { return std::isinf(x) ? L(x > 0) : logistic(x) + std::fabs(x) * logistic(x) * logistic(-x); },
     {1, 4.5},
     {2, 4.5}},
};

/// long double is emulated in software on aarch64, and the processor with it in our tests; the bits are compared
/// elsewhere.
#if defined(__aarch64__)
constexpr int kSparser = 29;
#else
constexpr int kSparser = 1;
#endif

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

TEST(Activations, FloatForwardWithinPublishedError) {
  const std::vector<float> x = float_inputs();
  Matrix<float> in(1, static_cast<Index>(x.size())), out(1, in.cols());
  std::ranges::copy(x, in.data());
  for (const Formula& f : kFormulas) {
    activation_forward(f.kind, in, out);
    double worst = 0;
    float at = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double error = ulp_error(out.data()[i], f.value(static_cast<L>(x[i])));
      if (error > worst) worst = error, at = x[i];
    }
    EXPECT_LE(worst, f.ulp().forward) << to_string(f.kind) << " at " << at;
    std::printf("  %-10s forward  %.3f ulp at %a\n", std::string(to_string(f.kind)).c_str(), worst,
                static_cast<double>(at));
  }
}

TEST(Activations, FloatBackwardWithinPublishedError) {
  const std::vector<float> x = float_inputs();
  Matrix<float> in(1, static_cast<Index>(x.size())), saved(1, in.cols()), dy(1, in.cols()), dx(1, in.cols());
  std::ranges::copy(x, in.data());
  std::ranges::fill(dy.span(), 1.0F);
  for (const Formula& f : kFormulas) {
    if (saves_input(f.kind))
      saved = in;
    else
      activation_forward(f.kind, in, saved);
    activation_backward(f.kind, saved, dy, dx);
    double worst = 0;
    float at = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float got = dx.data()[i];
      if (std::isnan(x[i])) {
        EXPECT_TRUE(std::isnan(got) || f.kind == ActivationKind::identity) << to_string(f.kind);
        continue;
      }
      double error = 0;
      if (saves_input(f.kind)) {
        const L want = f.derivative(static_cast<L>(x[i])), terms = f.terms(static_cast<L>(x[i]));
        // In units of the terms: the sum of a positive and a negative one has no relative accuracy at its root.
        const L size = std::max(std::fabs(want), terms);
        error = ulp_error(static_cast<float>(static_cast<L>(got) - want + size), size);
      } else {
        // Derivatives from the output are a few operations on a number that is rounded already; take that number for
        // exact.
        const L y = static_cast<L>(saved.data()[i]);
        const L want = f.kind == ActivationKind::sigmoid ? y * (1 - y)
                       : f.kind == ActivationKind::tanh  ? (1 - y) * (1 + y)
                                                         : f.derivative(y);
        error = ulp_error(got, want);
      }
      if (error > worst) worst = error, at = x[i];
    }
    EXPECT_LE(worst, f.ulp().backward) << to_string(f.kind) << " at " << at;
    std::printf("  %-10s backward %.3f ulp at %a\n", std::string(to_string(f.kind)).c_str(), worst,
                static_cast<double>(at));
  }
}

TEST(Activations, DoubleWithinAFewUnits) {
  std::vector<double> x;
  for (int i = -76000; i <= 76000; i += kSparser) x.push_back(i * 0.01);
  for (int i = -40000; i <= 40000; i += kSparser) x.push_back(i * 5e-4);
  for (const double v : {0.0, -0.0, 1e-310, -1e-310, 1e300, -1e300, static_cast<double>(INFINITY),
                         -static_cast<double>(INFINITY), std::nan("")})
    x.push_back(v);
  Matrix<double> in(1, static_cast<Index>(x.size())), out(1, in.cols()), dy(1, in.cols()), dx(1, in.cols());
  std::ranges::copy(x, in.data());
  std::ranges::fill(dy.span(), 1.0);
  for (const Formula& f : kFormulas) {
    if (f.kind == ActivationKind::leaky_relu) continue;  // its slope differs between float and double
    activation_forward(f.kind, in, out);
    activation_backward(f.kind, saves_input(f.kind) ? in.view() : out.view(), dy, dx);
    double worst = 0, worst_derivative = 0, at = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const L v = static_cast<L>(x[i]);
      const double error = ulp_error(out.data()[i], f.value(v));
      if (error > worst) worst = error, at = x[i];
      if (std::isnan(x[i])) continue;
      const L want = f.derivative(v), size = std::max(std::fabs(want), f.terms(v));
      worst_derivative =
          std::max(worst_derivative, ulp_error(static_cast<double>(static_cast<L>(dx.data()[i]) - want + size), size));
    }
    // The reference has 11 bits more than double; exp of an argument near 700 costs it 10 of them, hence not tighter.
    EXPECT_LE(worst, active_isa() == Isa::sse2 ? 1100 : 5) << to_string(f.kind) << " at " << at;
    if (f.kind != ActivationKind::sigmoid && f.kind != ActivationKind::tanh) {
      EXPECT_LE(worst_derivative, active_isa() == Isa::sse2 ? 1100 : 5) << to_string(f.kind);
    }
    std::printf("  %-10s double   %.3f ulp at %g, derivative %.3f\n", std::string(to_string(f.kind)).c_str(), worst, at,
                worst_derivative);
  }
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

TEST(Activations, StridesThreadsAndInPlace) {
  using Order = Guarded<float>::Order;
  const Index rows = 301, cols = 703;
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

TEST(Activations, NamesAndErrors) {
  EXPECT_EQ(to_string(ActivationKind::gelu_tanh), "gelu_tanh");
  Matrix<float> x(2, 3), y(3, 2);
  EXPECT_EQ(message_of<ShapeError>([&] { activation_forward(ActivationKind::relu, x, y); }),
            "activation_forward: x is 2x3 but y is 3x2");
  EXPECT_EQ(message_of<ShapeError>([&] { activation_backward(ActivationKind::relu, x, y, y); }),
            "activation_backward: saved is 2x3 but dx is 3x2");
  EXPECT_EQ(message_of<ValueError>([&] { activation_forward(Activation::leaky_relu(NAN), x, x); }),
            "activation_forward: slope is nan, expected a finite number >= 0");
  EXPECT_EQ(message_of<ValueError>([&] { activation_forward(static_cast<ActivationKind>(99), x, x); }),
            "activation_forward: unknown activation 99");
}

}  // namespace
}  // namespace tilewright
