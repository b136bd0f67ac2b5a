// SPDX-License-Identifier: MIT
#include "bench/peers.hpp"

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>

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
    // OpenBLAS's threads spin for 2^26 clock ticks after a call unless told otherwise, and nobody else is measured in
    // peace meanwhile. 2^22 (a millisecond or two) are enough between the calls of a sample.
    setenv("OPENBLAS_THREAD_TIMEOUT", "22", 0);
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
void add_onednn(std::vector<Peer>&, FunctionKind, const float*, float*, Index) {}
void add_onednn_rows(std::vector<Peer>&, const std::string&, const RowOperands&) {}
#endif
#if !defined(TILEWRIGHT_BENCH_EIGEN)
void add_eigen(std::vector<Peer>&, const Product<float>&, int) {}
void add_eigen(std::vector<Peer>&, const Product<double>&, int) {}
void add_eigen(std::vector<Peer>&, ActivationKind, const float*, float*, Index) {}
void add_eigen(std::vector<Peer>&, FunctionKind, const float*, float*, Index) {}
#endif
#if !defined(TILEWRIGHT_BENCH_LIBXSMM)
void add_libxsmm(std::vector<Peer>&, const Product<float>&, int) {}
#endif

namespace {

/// torch_peer.py, for as long as this program runs.
class Torch {
 public:
  Torch() {
    int questions[2], answers[2];
    if (std::system("python3 -c 'import torch' 2>/dev/null") != 0 || pipe(questions) != 0 || pipe(answers) != 0) return;
    signal(SIGPIPE, SIG_IGN);  // should it end early, there is no answer and no more
    child_ = fork();
    if (child_ < 0) return;
    if (child_ == 0) {
      dup2(questions[0], STDIN_FILENO);
      dup2(answers[1], STDOUT_FILENO);
      for (const int end : {questions[0], questions[1], answers[0], answers[1]}) close(end);
      unsetenv("GLIBC_TUNABLES");  // as its users start it
      execlp("python3", "python3", TILEWRIGHT_BENCH_SOURCE "/torch_peer.py", nullptr);
      _exit(127);
    }
    close(questions[0]);
    close(answers[1]);
    ask_ = fdopen(questions[1], "w");
    answer_ = fdopen(answers[0], "r");
  }
  ~Torch() {
    for (std::FILE* end : {ask_, answer_})
      if (end != nullptr) std::fclose(end);
    if (child_ > 0) waitpid(child_, nullptr, 0);
  }
  Torch(const Torch&) = delete;
  Torch& operator=(const Torch&) = delete;
  /// 0: no answer.
  double seconds(const std::string& words) {
    double t = 0;
    if (ask_ == nullptr || std::fprintf(ask_, "%s\n", words.c_str()) < 0 || std::fflush(ask_) != 0) return 0;
    return std::fscanf(answer_, "%lf", &t) == 1 ? t : 0;
  }

 private:
  pid_t child_ = -1;
  std::FILE *ask_ = nullptr, *answer_ = nullptr;
};

std::unique_ptr<Torch>& torch() {
  static std::unique_ptr<Torch> process;
  return process;
}

}  // namespace

void add_torch(Race& race, const std::vector<std::string>& words) {
  if (!with_peers()) return;
  if (torch() == nullptr) torch() = std::make_unique<Torch>();
  std::string line = std::to_string(num_threads());
  for (const std::string& word : words) line += " " + word;
  if (const double seconds = torch()->seconds(line); seconds > 0) race.elsewhere["pytorch"] = seconds;
}

void end_peers() { torch().reset(); }

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

std::vector<Peer> map_peers(ActivationKind kind, const float* x, const float* dy, float* y, Index n) {
  std::vector<Peer> peers;
  add_onednn(peers, kind, x, dy, y, n);
  if (dy == nullptr) add_eigen(peers, kind, x, y, n);
  if (dy == nullptr) add_vectors(peers, kind, x, y, n);
  return peers;
}

std::vector<Peer> map_peers(FunctionKind kind, const float* x, float* y, Index n) {
  std::vector<Peer> peers;
  add_onednn(peers, kind, x, y, n);
  add_eigen(peers, kind, x, y, n);
  add_vectors(peers, kind, x, y, n);
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
#if defined(TILEWRIGHT_BENCH_SLEEF)
  names += ", sleef";
#endif
#if defined(TILEWRIGHT_BENCH_HIGHWAY)
  names += ", highway";
#endif
  return names.empty() ? "none" : names;
}

}  // namespace tilewright::bench
