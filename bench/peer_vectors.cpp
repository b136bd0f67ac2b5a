// SPDX-License-Identifier: MIT
// Libraries of functions on a vector: SLEEF (those within 1 ULP) and Highway, in a loop over whole vectors, compiled
// for this machine.
#include "bench/peers.hpp"

#if defined(TILEWRIGHT_BENCH_SLEEF)
#include <immintrin.h>
#include <sleef.h>
#endif
#if defined(TILEWRIGHT_BENCH_HIGHWAY)
#include <hwy/highway.h>
// After highway.h.
#include <hwy/contrib/math/math-inl.h>
#endif

namespace tilewright::bench {
namespace {

enum class Function { none, exp, expm1, log, log1p, erf, sin, cos, tanh };

Function function_of(FunctionKind kind) {
  switch (kind) {
    case FunctionKind::exp:
      return Function::exp;
    case FunctionKind::expm1:
      return Function::expm1;
    case FunctionKind::log:
      return Function::log;
    case FunctionKind::log1p:
      return Function::log1p;
    case FunctionKind::erf:
      return Function::erf;
    case FunctionKind::sin:
      return Function::sin;
    case FunctionKind::cos:
      return Function::cos;
    default:
      return Function::none;
  }
}

/// y[i] = step at i for each lanes-th i < n, which is a multiple of them.
template <class Step>
Call loop(Index n, Index lanes, Step step) {
  return [=] {
    in_pieces(n, [=](Index begin, Index end) {
      for (Index i = begin; i < end; i += lanes) step(i);
    });
  };
}

#if defined(TILEWRIGHT_BENCH_SLEEF)

#if defined(__AVX512F__)
#define SLEEF(name) Sleef_##name##f16_u10avx512f
constexpr Index kSleefLanes = 16;
auto load(const float* p) { return _mm512_loadu_ps(p); }
void store(float* p, __m512 v) { _mm512_storeu_ps(p, v); }
#else
#define SLEEF(name) Sleef_##name##f8_u10avx2
constexpr Index kSleefLanes = 8;
auto load(const float* p) { return _mm256_loadu_ps(p); }
void store(float* p, __m256 v) { _mm256_storeu_ps(p, v); }
#endif

Call sleef(Function function, const float* x, float* y, Index n) {
  const auto call = [=](auto f) { return loop(n, kSleefLanes, [=](Index i) { store(y + i, f(load(x + i))); }); };
  switch (function) {
    case Function::exp:
      return call([](auto v) { return SLEEF(exp)(v); });
    case Function::expm1:
      return call([](auto v) { return SLEEF(expm1)(v); });
    case Function::log:
      return call([](auto v) { return SLEEF(log)(v); });
    case Function::log1p:
      return call([](auto v) { return SLEEF(log1p)(v); });
    case Function::erf:
      return call([](auto v) { return SLEEF(erf)(v); });
    case Function::sin:
      return call([](auto v) { return SLEEF(sin)(v); });
    case Function::cos:
      return call([](auto v) { return SLEEF(cos)(v); });
    case Function::tanh:
      return call([](auto v) { return SLEEF(tanh)(v); });
    default:
      return nullptr;
  }
}

#else

Call sleef(Function, const float*, float*, Index) { return nullptr; }

#endif

#if defined(TILEWRIGHT_BENCH_HIGHWAY)

namespace hn = hwy::HWY_NAMESPACE;

Call highway(Function function, const float* x, float* y, Index n) {
  const hn::ScalableTag<float> d;
  const auto call = [=](auto f) {
    return loop(n, static_cast<Index>(hn::Lanes(d)), [=](Index i) { hn::StoreU(f(hn::LoadU(d, x + i)), d, y + i); });
  };
  switch (function) {
    case Function::exp:
      return call([d](auto v) { return hn::Exp(d, v); });
    case Function::expm1:
      return call([d](auto v) { return hn::Expm1(d, v); });
    case Function::log:
      return call([d](auto v) { return hn::Log(d, v); });
    case Function::log1p:
      return call([d](auto v) { return hn::Log1p(d, v); });
    case Function::sin:
      return call([d](auto v) { return hn::Sin(d, v); });
    case Function::cos:
      return call([d](auto v) { return hn::Cos(d, v); });
    case Function::tanh:
      return call([d](auto v) { return hn::Tanh(d, v); });
    default:
      return nullptr;
  }
}

#else

Call highway(Function, const float*, float*, Index) { return nullptr; }

#endif

void add(std::vector<Peer>& peers, Function function, const float* x, float* y, Index n) {
  if (Call call = sleef(function, x, y, n)) peers.push_back({"sleef", std::move(call)});
  if (Call call = highway(function, x, y, n)) peers.push_back({"highway", std::move(call)});
}

}  // namespace

void add_vectors(std::vector<Peer>& peers, FunctionKind kind, const float* x, float* y, Index n) {
  add(peers, function_of(kind), x, y, n);
}

void add_vectors(std::vector<Peer>& peers, ActivationKind kind, const float* x, float* y, Index n) {
  if (kind == ActivationKind::tanh) add(peers, Function::tanh, x, y, n);
}

}  // namespace tilewright::bench
