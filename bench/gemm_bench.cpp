// SPDX-License-Identifier: MIT
// Suite gemm: squares, the layers of neural networks forward (nt: weights out x in) and backward, few rows, long k.
#include <cmath>

#include "bench/race.hpp"

namespace tilewright::bench {
namespace {

struct Form {
  std::string layout;  // nn, tn (a stored k x m), nt (b stored n x k)
  Index m, n, k;
};

template <class T>
struct Operands {
  Matrix<T> a, b, c;
  MatrixView<const T> av, bv;
};

template <class T>
void fill(Matrix<T>& m, std::uint64_t stream) {
  const RandomStream random{1, stream};
  for (Index i = 0; i < m.size(); ++i)
    m.data()[i] = static_cast<T>(random.uniform(static_cast<std::uint64_t>(i))) * 2 - 1;
}

template <class T>
std::shared_ptr<Operands<T>> make(const Form& f) {
  auto o = std::make_shared<Operands<T>>();
  o->a = f.layout == "tn" ? Matrix<T>(f.k, f.m) : Matrix<T>(f.m, f.k);
  o->b = f.layout == "nt" ? Matrix<T>(f.n, f.k) : Matrix<T>(f.k, f.n);
  o->c = Matrix<T>(f.m, f.n);
  fill(o->a, 1);
  fill(o->b, 2);
  o->av = f.layout == "tn" ? std::as_const(o->a).t() : std::as_const(o->a).view();
  o->bv = f.layout == "nt" ? std::as_const(o->b).t() : std::as_const(o->b).view();
  return o;
}

/// 64 elements of c against double.
template <class T>
bool right(const Operands<T>& o) {
  for (Index probe = 0; probe < 64; ++probe) {
    const Index i = probe * 7919 % o.c.rows(), j = probe * 104729 % o.c.cols();
    double want = 0, size = 0;
    for (Index p = 0; p < o.av.cols; ++p) {
      const double term = static_cast<double>(o.av(i, p)) * static_cast<double>(o.bv(p, j));
      want += term;
      size += std::fabs(term);
    }
    if (!(std::fabs(static_cast<double>(o.c(i, j)) - want) <=
          600 * static_cast<double>(std::numeric_limits<T>::epsilon()) * size))
      return false;
  }
  return true;
}

template <class T>
Race prepare(const Case& c, const Form& f) {
  const auto o = make<T>(f);
  Race race;
  race.ours = [o] { gemm(o->av, o->bv, o->c); };
  race.ours();
  if (!right(*o)) race.error = "wrong product";
  race.roof_seconds = compute_roof(c, c.flops, sizeof(T));
  if (const Blas* blas = openblas()) {
    const int m = static_cast<int>(f.m), n = static_cast<int>(f.n), k = static_cast<int>(f.k);
    const int ta = f.layout == "tn" ? 112 : 111, tb = f.layout == "nt" ? 112 : 111;
    const int lda = f.layout == "tn" ? m : k, ldb = f.layout == "nt" ? k : n;
    blas->set_threads(c.threads);
    race.peer_name = blas->name;
    race.peer = [=] {
      if constexpr (sizeof(T) == 4)
        blas->sgemm(101, ta, tb, m, n, k, 1, o->a.data(), lda, o->b.data(), ldb, 0, o->c.data(), n);
      else
        blas->dgemm(101, ta, tb, m, n, k, 1, o->a.data(), lda, o->b.data(), ldb, 0, o->c.data(), n);
    };
    race.peer();
    if (!right(*o)) race.error = "wrong product by " + blas->name;
  }
  return race;
}

template <class T>
void add_form(const Form& f, Isa isa) {
  for (const int threads : thread_counts()) {
    const std::string name = std::string(sizeof(T) == 4 ? "f32/" : "f64/") + f.layout + "/m:" + std::to_string(f.m) +
                             "/n:" + std::to_string(f.n) + "/k:" + std::to_string(f.k);
    Case c{"gemm", name, isa, threads};
    c.flops = 2.0 * static_cast<double>(f.m) * static_cast<double>(f.n) * static_cast<double>(f.k);
    add(c, [=] { return prepare<T>(c, f); });
  }
}

}  // namespace

void add_gemm() {
  const Isa best = available_isas().back();
  for (const Index n : {8, 16, 32, 64, 128, 256, 512, 1024, 2048}) add_form<float>({"nn", n, n, n}, best);
  for (const Index n : {31, 63, 127, 255, 511, 1023}) add_form<float>({"nn", n, n, n}, best);
  const Index layers[][3] = {{100, 5, 10}, {128, 512, 784}, {128, 256, 512}, {128, 10, 256}, {512, 3072, 768}};
  for (const auto& [batch, out, in] : layers) {
    add_form<float>({"nt", batch, out, in}, best);
    add_form<float>({"tn", out, in, batch}, best);
    add_form<float>({"nn", batch, in, out}, best);
  }
  add_form<float>({"nn", 1, 4096, 4096}, best);
  add_form<float>({"nn", 16, 4096, 4096}, best);
  add_form<float>({"nn", 64, 64, 65536}, best);
  for (const Index n : {128, 512, 1024}) add_form<double>({"nn", n, n, n}, best);
  for (const Isa isa : available_isas())
    if (isa != best) add_form<float>({"nn", 1024, 1024, 1024}, isa);
}

}  // namespace tilewright::bench
