// SPDX-License-Identifier: MIT
// Eigen, compiled for this machine.
#include <Eigen/Core>

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

}  // namespace

void add_eigen(std::vector<Peer>& peers, const Product<float>& p, int threads) { add(peers, p, threads); }
void add_eigen(std::vector<Peer>& peers, const Product<double>& p, int threads) { add(peers, p, threads); }

}  // namespace tilewright::bench
