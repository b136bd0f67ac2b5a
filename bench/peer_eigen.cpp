// SPDX-License-Identifier: MIT
// Eigen, compiled for this machine.
#include <Eigen/Core>
#include <unsupported/Eigen/SpecialFunctions>

#include "bench/peers.hpp"

namespace tilewright::bench {
namespace {

template <class T>
void add(std::vector<Peer>& peers, const Product<T>& p, int threads) {
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Row = Eigen::Matrix<T, 1, Eigen::Dynamic>;
  using In = Eigen::Map<const Matrix, Eigen::Aligned64>;
  using Out = Eigen::Map<Matrix, Eigen::Aligned64>;
  Eigen::setNbThreads(threads);
  peers.push_back({"eigen", [p] {
                     if (p.ta)
                       Out(p.c, p.m, p.n).noalias() = In(p.a, p.k, p.m).transpose() * In(p.b, p.k, p.n);
                     else if (p.m == 1 && p.tb)
                       Eigen::Map<Row>(p.c, p.n).noalias() =
                           Eigen::Map<const Row>(p.a, p.k) * In(p.b, p.n, p.k).transpose();
                     else if (p.m == 1)
                       Eigen::Map<Row>(p.c, p.n).noalias() = Eigen::Map<const Row>(p.a, p.k) * In(p.b, p.k, p.n);
                     else if (p.tb)
                       Out(p.c, p.m, p.n).noalias() = In(p.a, p.m, p.k) * In(p.b, p.n, p.k).transpose();
                     else
                       Out(p.c, p.m, p.n).noalias() = In(p.a, p.m, p.k) * In(p.b, p.k, p.n);
                   }});
}

/// y = f(x) on arrays, as its users write it.
template <class F>
void add(std::vector<Peer>& peers, const float* x, float* y, Index n, F f) {
  using Array = Eigen::Array<float, Eigen::Dynamic, 1>;
  peers.push_back({"eigen", [=] {
                     in_pieces(n, [=](Index begin, Index end) {
                       f(Eigen::Map<const Array, Eigen::Aligned64>(x + begin, end - begin),
                         Eigen::Map<Array, Eigen::Aligned64>(y + begin, end - begin));
                     });
                   }});
}

}  // namespace

void add_eigen(std::vector<Peer>& peers, ActivationKind kind, const float* x, float* y, Index n) {
  using enum ActivationKind;
  switch (kind) {
    case relu:
      return add(peers, x, y, n, [](auto a, auto r) { r = a.max(0.0F); });
    case leaky_relu:
      return add(peers, x, y, n, [](auto a, auto r) { r = (a > 0.0F).select(a, 0.01F * a); });
    case sigmoid:
      return add(peers, x, y, n, [](auto a, auto r) { r = a.logistic(); });
    case ActivationKind::tanh:
      return add(peers, x, y, n, [](auto a, auto r) { r = a.tanh(); });
    case gelu:
      return add(peers, x, y, n, [](auto a, auto r) { r = 0.5F * a * (1.0F + (a * 0.70710678F).erf()); });
    case gelu_tanh:
      return add(peers, x, y, n, [](auto a, auto r) {
        r = 0.5F * a * (1.0F + ((0.79788456F * a) * (1.0F + 0.044715F * a.square())).tanh());
      });
    case silu:
      return add(peers, x, y, n, [](auto a, auto r) { r = a * a.logistic(); });
    case quick_gelu:
      return add(peers, x, y, n, [](auto a, auto r) { r = a * (1.702F * a).logistic(); });
    case relu6:
      return add(peers, x, y, n, [](auto a, auto r) { r = a.max(0.0F).min(6.0F); });
    case hardtanh:
      return add(peers, x, y, n, [](auto a, auto r) { r = a.max(-1.0F).min(1.0F); });
    case hardsigmoid:
      return add(peers, x, y, n, [](auto a, auto r) { r = (a + 3.0F).max(0.0F).min(6.0F) * (1 / 6.0F); });
    case hardswish:
      return add(peers, x, y, n, [](auto a, auto r) { r = a * (a + 3.0F).max(0.0F).min(6.0F) * (1 / 6.0F); });
    case softsign:
      return add(peers, x, y, n, [](auto a, auto r) { r = a / (1.0F + a.abs()); });
    case elu:
    case celu:
      return add(peers, x, y, n, [](auto a, auto r) { r = (a > 0.0F).select(a, a.min(0.0F).exp() - 1.0F); });
    case softplus:
      return add(peers, x, y, n, [](auto a, auto r) { r = a.exp().log1p(); });
    case log_sigmoid:
      return add(peers, x, y, n, [](auto a, auto r) { r = -(-a).exp().log1p(); });
    case mish:
      return add(peers, x, y, n, [](auto a, auto r) { r = a * a.exp().log1p().tanh(); });
    case tanhshrink:
      return add(peers, x, y, n, [](auto a, auto r) { r = a - a.tanh(); });
    default:
      return;
  }
}

void add_eigen(std::vector<Peer>& peers, FunctionKind kind, const float* x, float* y, Index n) {
  using enum FunctionKind;
  switch (kind) {
    case FunctionKind::exp:
      return add(peers, x, y, n, [](auto a, auto r) { r = a.exp(); });
    case FunctionKind::expm1:
      return add(peers, x, y, n, [](auto a, auto r) { r = a.expm1(); });
    case FunctionKind::log:
      return add(peers, x, y, n, [](auto a, auto r) { r = a.log(); });
    case FunctionKind::log1p:
      return add(peers, x, y, n, [](auto a, auto r) { r = a.log1p(); });
    case rsqrt:
      return add(peers, x, y, n, [](auto a, auto r) { r = a.rsqrt(); });
    case FunctionKind::erf:
      return add(peers, x, y, n, [](auto a, auto r) { r = a.erf(); });
    case FunctionKind::sin:
      return add(peers, x, y, n, [](auto a, auto r) { r = a.sin(); });
    case FunctionKind::cos:
      return add(peers, x, y, n, [](auto a, auto r) { r = a.cos(); });
    default:
      return;
  }
}

void add_eigen(std::vector<Peer>& peers, const Product<float>& p, int threads) { add(peers, p, threads); }
void add_eigen(std::vector<Peer>& peers, const Product<double>& p, int threads) { add(peers, p, threads); }

}  // namespace tilewright::bench
