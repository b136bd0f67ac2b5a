// SPDX-License-Identifier: MIT
// oneDNN: its sgemm, its matmul, and its matmul with the weights in a layout of its own choice.
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>

#include "bench/peers.hpp"

namespace tilewright::bench {
namespace {

struct Engine {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
};

/// Everything a primitive needs, in the C types that cost the least per call.
struct Matmul {
  dnnl::matmul primitive;
  std::vector<dnnl::memory> memories;
  std::vector<dnnl_exec_arg_t> arguments;
};

Call matmul(const Product<float>& p, bool packed) {
  static Engine& e = *new Engine;  // its threads outlive main's statics
  using tag = dnnl::memory::format_tag;
  const auto type = dnnl::memory::data_type::f32;
  const dnnl::memory::desc a({p.m, p.k}, type, p.ta ? tag::ba : tag::ab), b({p.k, p.n}, type, p.tb ? tag::ba : tag::ab),
      c({p.m, p.n}, type, tag::ab), any({p.k, p.n}, type, tag::any);
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::matmul::primitive_desc description(e.engine, a, packed ? any : b, c);
#else
  const dnnl::matmul::primitive_desc description({a, packed ? any : b, c}, e.engine);
#endif
  auto m = std::make_shared<Matmul>();
  m->primitive = dnnl::matmul(description);
  dnnl::memory plain_b(b, e.engine, const_cast<float*>(p.b)), weights = plain_b;
  if (description.weights_desc() != b) {
    weights = dnnl::memory(description.weights_desc(), e.engine);
    dnnl::reorder(plain_b, weights).execute(e.stream, plain_b, weights);
    e.stream.wait();
  }
  m->memories = {dnnl::memory(a, e.engine, const_cast<float*>(p.a)), weights, dnnl::memory(c, e.engine, p.c)};
  const int names[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
  for (std::size_t i = 0; i < 3; ++i) m->arguments.push_back({names[i], m->memories[i].get()});
  return [m] { dnnl_primitive_execute(m->primitive.get(), e.stream.get(), 3, m->arguments.data()); };
}

}  // namespace

void add_onednn(std::vector<Peer>& peers, const Product<float>& p, bool packed) {
  if (packed) {
    peers.push_back({"onednn own layout", matmul(p, true)});
    return;
  }
  peers.push_back({"onednn sgemm", [p] {
                     dnnl_sgemm(p.ta ? 'T' : 'N', p.tb ? 'T' : 'N', p.m, p.n, p.k, 1, p.a, p.ta ? p.m : p.k, p.b,
                                p.tb ? p.k : p.n, 0, p.c, p.n);
                   }});
  peers.push_back({"onednn matmul", matmul(p, false)});
}

}  // namespace tilewright::bench
