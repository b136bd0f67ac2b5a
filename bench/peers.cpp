// SPDX-License-Identifier: MIT
#include "bench/peers.hpp"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

namespace tilewright::bench {
namespace {

struct Blas {
  std::string name;
  void (*sgemm)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
  void (*dgemm)(int, int, int, int, int, int, double, const double*, int, const double*, int, double, double*, int);
  void (*set_threads)(int);
};

template <class F>
void find(void* library, const char* name, F& f) {
  f = reinterpret_cast<F>(dlsym(library, name));
}

const std::vector<Blas>& blas_libraries() {
  static const std::vector<Blas> found = [] {
    std::vector<Blas> all;
    const char* files[] = {"libopenblas.so.0", "libblis.so.4"};
    for (const char* file : files) {
      void* library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
      if (library == nullptr) continue;
      Blas b{};
      find(library, "cblas_sgemm", b.sgemm);
      find(library, "cblas_dgemm", b.dgemm);
      char* (*core)() = nullptr;
      find(library, "openblas_get_corename", core);
      b.name = core != nullptr ? std::string("openblas ") + core() : "blis";
      find(library, core != nullptr ? "openblas_set_num_threads" : "bli_thread_set_num_threads", b.set_threads);
      if (b.sgemm != nullptr && b.dgemm != nullptr && b.set_threads != nullptr) all.push_back(b);
    }
    return all;
  }();
  return found;
}

template <class T>
void add_blas(std::vector<Peer>& peers, const Product<T>& p, int threads) {
  constexpr int kRowMajor = 101, kPlain = 111, kTransposed = 112;
  const int m = static_cast<int>(p.m), n = static_cast<int>(p.n), k = static_cast<int>(p.k);
  for (const Blas& blas : blas_libraries()) {
    blas.set_threads(threads);
    const auto call = [&blas, p, m, n, k] {
      const int ta = p.ta ? kTransposed : kPlain, tb = p.tb ? kTransposed : kPlain;
      const int lda = p.ta ? m : k, ldb = p.tb ? k : n;
      if constexpr (sizeof(T) == 4)
        blas.sgemm(kRowMajor, ta, tb, m, n, k, 1, p.a, lda, p.b, ldb, 0, p.c, n);
      else
        blas.dgemm(kRowMajor, ta, tb, m, n, k, 1, p.a, lda, p.b, ldb, 0, p.c, n);
    };
    peers.push_back({blas.name, call});
  }
}

}  // namespace

#if !defined(TILEWRIGHT_BENCH_ONEDNN)
void add_onednn(std::vector<Peer>&, const Product<float>&, bool) {}
void add_onednn(std::vector<Peer>&, ActivationKind, const float*, const float*, float*, Index) {}
void add_onednn_rows(std::vector<Peer>&, const std::string&, const RowOperands&) {}
#endif
#if !defined(TILEWRIGHT_BENCH_EIGEN)
void add_eigen(std::vector<Peer>&, const Product<float>&, int) {}
void add_eigen(std::vector<Peer>&, const Product<double>&, int) {}
#endif
#if !defined(TILEWRIGHT_BENCH_LIBXSMM)
void add_libxsmm(std::vector<Peer>&, const Product<float>&, int) {}
#endif

void add_torch(Race& race, const std::vector<std::string>& words) {
  static const bool found = std::system("python3 -c 'import torch' 2>/dev/null") == 0;
  if (!found) return;
  std::string command = "python3 " TILEWRIGHT_BENCH_SOURCE "/torch_peer.py " + std::to_string(num_threads());
  for (const std::string& word : words) command += " " + word;
  double seconds = 0;
  if (std::FILE* pipe = popen(command.c_str(), "r")) {
    if (std::fscanf(pipe, "%lf", &seconds) != 1) seconds = 0;
    pclose(pipe);
  }
  if (seconds == 0) return;
  race.elsewhere["pytorch"] = seconds;
}

std::vector<Peer> product_peers(const Product<float>& p, int threads) {
  std::vector<Peer> peers;
  add_blas(peers, p, threads);
  add_onednn(peers, p, false);
  add_eigen(peers, p, threads);
  add_libxsmm(peers, p, threads);
  return peers;
}

std::vector<Peer> product_peers(const Product<double>& p, int threads) {
  std::vector<Peer> peers;
  add_blas(peers, p, threads);
  add_eigen(peers, p, threads);
  return peers;
}

std::vector<Peer> packed_product_peers(const Product<float>& p, int) {
  std::vector<Peer> peers;
  add_onednn(peers, p, true);
  return peers;
}

std::string peer_names() {
  std::string names;
  for (const Blas& blas : blas_libraries()) names += (names.empty() ? "" : ", ") + blas.name;
#if defined(TILEWRIGHT_BENCH_ONEDNN)
  names += ", onednn";
#endif
#if defined(TILEWRIGHT_BENCH_EIGEN)
  names += ", eigen";
#endif
#if defined(TILEWRIGHT_BENCH_LIBXSMM)
  names += ", libxsmm";
#endif
  return names.empty() ? "none" : names;
}

}  // namespace tilewright::bench
