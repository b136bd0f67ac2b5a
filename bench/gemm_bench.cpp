// SPDX-License-Identifier: MIT
// Suite gemm: squares, the layers of neural networks forward (nt: weights out x in) and backward, few rows, long k.
#include <algorithm>
#include <array>
#include <cmath>

#include "bench/peers.hpp"

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
bool right(MatrixView<const T> a, MatrixView<const T> b, MatrixView<const T> c) {
  for (Index probe = 0; probe < 64; ++probe) {
    const Index i = probe * 7919 % c.rows, j = probe * 104729 % c.cols;
    double want = 0, size = 0;
    for (Index p = 0; p < a.cols; ++p) {
      const double term = static_cast<double>(a(i, p)) * static_cast<double>(b(p, j));
      want += term;
      size += std::fabs(term);
    }
    if (!(std::fabs(static_cast<double>(c(i, j)) - want) <=
          600 * static_cast<double>(std::numeric_limits<T>::epsilon()) * size))
      return false;
  }
  return true;
}

/// The lower of two roofs: the multiplications, or reading b once when it does not fit into a cache.
std::function<double()> roof_of(const Case& c, const Form& f, int bytes) {
  const auto compute = compute_roof(c, c.flops, bytes);
  constexpr Index kBeyondCaches = Index{32} << 20;
  if (f.n * f.k * bytes <= kBeyondCaches || f.m > 16) return compute;
  const auto stream = stream_roof(c, 1, 0, f.n * f.k * bytes / 4);
  return [=] { return std::max(compute(), stream()); };
}

/// Calls everybody once on a cleared c.
template <class T, class Right>
void check_answers(Race& race, Matrix<T>& c, Right&& is_right) {
  race.ours();
  if (!is_right()) race.error = "wrong product";
  for (const Peer& peer : race.peers) {
    std::ranges::fill(c.span(), T(0));
    peer.call();
    if (!is_right()) race.error = "wrong product by " + peer.name;
  }
}

/// Which call of ours is raced.
enum class Way { plain, packed, plan };

template <class T>
Race prepare(const Case& c, const Form& f, Way way) {
  const bool packed = way == Way::packed;
  const auto o = make<T>(f);
  Race race;
  if (packed) {
    const auto weights = std::make_shared<PackedMatrix<T>>(o->bv);
    race.ours = [o, weights] { gemm(o->av, *weights, o->c); };
  } else if (way == Way::plan) {
    race.ours = [o, plan = GemmPlan<T>(o->av, o->bv, o->c)] { plan(o->av.data, o->bv.data, o->c.data()); };
  } else {
    race.ours = [o] { gemm(o->av, o->bv, o->c); };
  }
  race.roof_seconds = roof_of(c, f, sizeof(T));
  const Product<T> product{f.layout == "tn", f.layout == "nt", f.m, f.n, f.k, o->a.data(), o->b.data(), o->c.data()};
  if constexpr (sizeof(T) == 4)
    race.peers = packed ? packed_product_peers(product, c.threads) : product_peers(product, c.threads);
  else
    race.peers = product_peers(product, c.threads);
  check_answers(race, o->c, [&] { return right<T>(o->av, o->bv, o->c); });
  return race;
}

template <class T>
void add_form(const Form& f, Isa isa, Way way = Way::plain) {
  for (const int threads : thread_counts()) {
    const char* ways[] = {"", "-packed", "-plan"};
    const std::string name = std::string(sizeof(T) == 4 ? "f32/" : "f64/") + f.layout + ways[static_cast<int>(way)] +
                             "/m:" + std::to_string(f.m) + "/n:" + std::to_string(f.n) + "/k:" + std::to_string(f.k);
    Case c{"gemm", name, isa, threads};
    const double m = static_cast<double>(f.m), n = static_cast<double>(f.n), k = static_cast<double>(f.k);
    c.flops = c.operations = 2 * m * n * k;
    c.bytes_read = (m * k + k * n) * sizeof(T);
    c.bytes_written = m * n * sizeof(T);
    c.element_bytes = sizeof(T);
    add(c, [=] { return prepare<T>(c, f, way); });
  }
}

/// 64 products of one shape in one call, against as many calls of the peers.
void add_batch(Index m, Index n, Index k, Isa isa) {
  constexpr Index count = 64;
  for (const int threads : thread_counts()) {
    Case c{"gemm", "f32/batch:64/m:" + std::to_string(m) + "/n:" + std::to_string(n) + "/k:" + std::to_string(k), isa,
           threads};
    c.flops = c.operations = 2.0 * count * static_cast<double>(m * n * k);
    c.bytes_read = 4.0 * count * static_cast<double>(m * k + k * n);
    c.bytes_written = 4.0 * count * static_cast<double>(m * n);
    add(c, [=] {
      const auto o = make<float>({"nn", count * m, n, k});
      const auto many = std::make_shared<Matrix<float>>(count * k, n);
      fill(*many, 3);
      Race race;
      race.ours = [=] {
        gemm_strided_batched(count, std::as_const(o->a).row_block(0, m), m * k, std::as_const(*many).row_block(0, k),
                             k * n, o->c.row_block(0, m), m * n);
      };
      race.roof_seconds = compute_roof(c, c.flops, 4);
      const auto peers = [=](Index i) {
        return product_peers(Product<float>{false, false, m, n, k, o->a.data() + i * m * k, many->data() + i * k * n,
                                            o->c.data() + i * m * n},
                             threads);
      };
      std::vector<std::vector<Peer>> each;
      for (Index i = 0; i < count; ++i) each.push_back(peers(i));
      for (std::size_t p = 0; p < each[0].size(); ++p)
        race.peers.push_back({each[0][p].name, [each, p] {
                                for (const auto& item : each) item[p].call();
                              }});
      check_answers(race, o->c, [&] {
        for (Index i = 0; i < count; ++i)
          if (!right<float>(o->av.row_block(i * m, m), std::as_const(*many).row_block(i * k, k),
                            std::as_const(o->c).row_block(i * m, m)))
            return false;
        return true;
      });
      return race;
    });
  }
}

}  // namespace

void add_gemm(bool full) {
  const Isa best = raced_isas().back();
  std::vector<Index> squares{8, 16, 32, 64, 128, 256, 512, 1024, 2048, 31, 63, 127, 255, 511, 1023};
  std::vector<std::array<Index, 3>> layers{
      {100, 5, 10}, {128, 512, 784}, {128, 256, 512}, {128, 10, 256}, {512, 3072, 768}};
  std::vector<std::array<Index, 3>> others{{1, 4096, 4096}, {16, 4096, 4096}, {64, 64, 65536}};
  if (full) {
    for (const Index n : {48, 96, 192, 384, 768, 4096}) squares.push_back(n);
    layers.push_back({1024, 1024, 4096});
    for (const auto& shape : std::initializer_list<std::array<Index, 3>>{{100, 1, 5},
                                                                         {32, 1024, 1024},
                                                                         {4, 4096, 4096},
                                                                         {8, 4096, 4096},
                                                                         {512, 768, 3072},
                                                                         {64, 50257, 768},
                                                                         {4096, 64, 64},
                                                                         {3136, 64, 576},
                                                                         {196, 256, 2304},
                                                                         {49, 512, 4608}})
      others.push_back(shape);
  }
  std::ranges::sort(squares);
  for (const Index n : squares) add_form<float>({"nn", n, n, n}, best);
  for (const Index n : squares)
    if (n == 8 || n == 16 || (full && n <= 64)) add_form<float>({"nn", n, n, n}, best, Way::plan);
  // Forward with weights in x out, and backward: dW = X^T dY, dX = dY W^T.
  for (const auto& [batch, out, in] : layers) {
    add_form<float>({"nn", batch, out, in}, best);
    add_form<float>({"tn", in, out, batch}, best);
    add_form<float>({"nt", batch, in, out}, best);
  }
  for (const auto& [m, n, k] : others) add_form<float>({"nn", m, n, k}, best);
  for (const Index m : {1, 4, 8, 16})
    if (full || m == 1 || m == 16) {
      add_form<float>({"nt", m, 4096, 4096}, best);
      add_form<float>({"nn", m, 4096, 4096}, best, Way::packed);
    }
  for (const Index n : {128, 512, 1024, 2048})
    if (full || n == 1024) add_form<float>({"nn", n, n, n}, best, Way::packed);
  add_form<float>({"nn", 128, 512, 784}, best, Way::packed);
  add_batch(32, 32, 32, best);
  if (full) add_batch(128, 64, 64, best);
  for (const Index n : {64, 128, 256, 512, 1024, 2048})
    if (full || n == 128 || n == 512 || n == 1024) add_form<double>({"nn", n, n, n}, best);
  for (const Isa isa : raced_isas())
    if (isa != best) add_form<float>({"nn", 1024, 1024, 1024}, isa);
}

}  // namespace tilewright::bench
