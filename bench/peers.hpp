// SPDX-License-Identifier: MIT
// Other libraries' products, activations, rows, losses and updates. CBLAS libraries are looked for when the benchmark
// runs (OpenBLAS, BLIS), and so is PyTorch; oneDNN, Eigen, libxsmm, SLEEF and Highway when it is built.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "bench/race.hpp"

namespace tilewright::bench {

/// c = op(a) op(b), row-major; ta: a is stored k x m; tb: b is stored n x k.
template <class T>
struct Product {
  bool ta, tb;
  Index m, n, k;
  const T* a;
  const T* b;
  T* c;
};

/// Everyone who can compute it with so many threads.
std::vector<Peer> product_peers(const Product<float>& p, int threads);
std::vector<Peer> product_peers(const Product<double>& p, int threads);

/// Those who arrange b beforehand.
std::vector<Peer> packed_product_peers(const Product<float>& p, int threads);

/// y = f(x), or with dy: y = dy f'(x). n is a multiple of 64.
std::vector<Peer> map_peers(ActivationKind kind, const float* x, const float* dy, float* y, Index n);
std::vector<Peer> map_peers(FunctionKind kind, const float* x, float* y, Index n);

struct RowOperands {
  Index rows, cols;
  float *x, *y, *dy, *dx, *gamma, *beta;
};
/// name: softmax, softmax_backward, log_softmax, layer_norm, layer_norm_backward.
void add_onednn_rows(std::vector<Peer>& peers, const std::string& name, const RowOperands& o);

/// What torch_peer.py does with these words, if there is a PyTorch; on as many threads as the library has been told.
/// The script times itself, before; the race only has the result.
void add_torch(Race& race, const std::vector<std::string>& words);

/// Ends programs that add_torch has started; what they used then counts as this program's.
void end_peers();

/// The libraries that were found.
std::string peer_names();

/// [0, n) in as many pieces of whole cache lines as the library may use threads, on its pool, for libraries that have
/// no threads themselves; what is short stays on one.
template <class Body>
void in_pieces(Index n, const Body& body) {
  constexpr Index kShort = 1 << 15, kLine = 16;
  const int threads = n < kShort ? 1 : num_threads();
  if (threads == 1) return body(Index{0}, n);
  const Index step = (n / threads + kLine - 1) / kLine * kLine;
  auto piece = [&](int i) { body(std::min(n, i * step), i + 1 == threads ? n : std::min(n, (i + 1) * step)); };
  thread_pool().run(
      threads, [](void* context, int i) { (*static_cast<decltype(piece)*>(context))(i); }, &piece);
}

/// One file each; nothing when the library was not there at build time.
void add_onednn(std::vector<Peer>& peers, const Product<float>& p, bool packed);
void add_eigen(std::vector<Peer>& peers, const Product<float>& p, int threads);
void add_eigen(std::vector<Peer>& peers, const Product<double>& p, int threads);
void add_libxsmm(std::vector<Peer>& peers, const Product<float>& p, int threads);
void add_onednn(std::vector<Peer>& peers, ActivationKind kind, const float* x, const float* dy, float* y, Index n);
void add_onednn(std::vector<Peer>& peers, FunctionKind kind, const float* x, float* y, Index n);
void add_eigen(std::vector<Peer>& peers, ActivationKind kind, const float* x, float* y, Index n);
void add_eigen(std::vector<Peer>& peers, FunctionKind kind, const float* x, float* y, Index n);
void add_vectors(std::vector<Peer>& peers, ActivationKind kind, const float* x, float* y, Index n);
void add_vectors(std::vector<Peer>& peers, FunctionKind kind, const float* x, float* y, Index n);

}  // namespace tilewright::bench
