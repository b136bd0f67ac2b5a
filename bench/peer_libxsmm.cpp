// SPDX-License-Identifier: MIT
// libxsmm: code generated for one small shape, called directly.
#include <libxsmm.h>

#include "bench/peers.hpp"

namespace tilewright::bench {

void add_libxsmm(std::vector<Peer>& peers, const Product<float>& p, int threads) {
  if (p.ta || p.tb || threads > 1 || p.m > 256 || p.n > 512 || p.k > 1024) return;
  // Its matrices are column-major: b times a gives the transpose.
  const libxsmm_mmfunction<float> f(LIBXSMM_GEMM_FLAG_NONE, static_cast<int>(p.n), static_cast<int>(p.m),
                                    static_cast<int>(p.k), 1.0F, 0.0F);
  if (f) peers.push_back({"libxsmm", [f, p] { f(p.b, p.a, p.c); }});
}

}  // namespace tilewright::bench
