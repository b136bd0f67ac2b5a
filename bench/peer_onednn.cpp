// SPDX-License-Identifier: MIT
// oneDNN: its sgemm, its matmul, and its matmul with the weights in a layout of its own choice; activations, softmax
// and layer norm (from version 3 on).
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <stdexcept>

#include "bench/peers.hpp"

namespace tilewright::bench {
namespace {

struct Engine {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
};

Engine& shared_engine() {
  static Engine& e = *new Engine;  // its threads outlive main's statics
  return e;
}

/// Everything a primitive needs, in the C types that cost the least per call.
struct Ready {
  dnnl::primitive primitive;
  std::vector<dnnl::memory> memories;
  std::vector<dnnl_exec_arg_t> arguments;
};

struct Argument {
  int name;
  dnnl::memory memory;
};

Call ready(const dnnl::primitive& primitive, const std::vector<Argument>& arguments) {
  auto r = std::make_shared<Ready>();
  r->primitive = primitive;
  for (const Argument& a : arguments) r->memories.push_back(a.memory);
  for (std::size_t i = 0; i < arguments.size(); ++i) r->arguments.push_back({arguments[i].name, r->memories[i].get()});
  if (dnnl_primitive_execute(r->primitive.get(), shared_engine().stream.get(), static_cast<int>(r->arguments.size()),
                             r->arguments.data()) != dnnl_success)
    throw std::runtime_error("oneDNN does not run this");
  return [r] {
    dnnl_primitive_execute(r->primitive.get(), shared_engine().stream.get(), static_cast<int>(r->arguments.size()),
                           r->arguments.data());
  };
}

dnnl::memory wrap(const dnnl::memory::desc& description, const float* data) {
  return {description, shared_engine().engine, const_cast<float*>(data)};
}

Call matmul(const Product<float>& p, bool packed) {
  Engine& e = shared_engine();
  using tag = dnnl::memory::format_tag;
  const auto type = dnnl::memory::data_type::f32;
  const dnnl::memory::desc a({p.m, p.k}, type, p.ta ? tag::ba : tag::ab), b({p.k, p.n}, type, p.tb ? tag::ba : tag::ab),
      c({p.m, p.n}, type, tag::ab), any({p.k, p.n}, type, tag::any);
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::matmul::primitive_desc description(e.engine, a, packed ? any : b, c);
#else
  const dnnl::matmul::primitive_desc description({a, packed ? any : b, c}, e.engine);
#endif
  dnnl::memory plain_b(b, e.engine, const_cast<float*>(p.b)), weights = plain_b;
  if (description.weights_desc() != b) {
    weights = dnnl::memory(description.weights_desc(), e.engine);
    dnnl::reorder(plain_b, weights).execute(e.stream, plain_b, weights);
    e.stream.wait();
  }
  return ready(dnnl::matmul(description),
               {{DNNL_ARG_SRC, wrap(a, p.a)}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, wrap(c, p.c)}});
}

#if DNNL_VERSION_MAJOR >= 3

/// What oneDNN calls an activation, whether it derives from the output, and its numbers; undef where it has none.
struct Eltwise {
  dnnl::algorithm forward = dnnl::algorithm::undef, backward = dnnl::algorithm::undef;
  float alpha = 0, beta = 0;
};

Eltwise eltwise_of(ActivationKind kind) {
  using enum ActivationKind;
  using algorithm = dnnl::algorithm;
  switch (kind) {
    case relu:
      return {algorithm::eltwise_relu, algorithm::eltwise_relu_use_dst_for_bwd};
    case leaky_relu:
      return {algorithm::eltwise_relu, algorithm::eltwise_relu_use_dst_for_bwd, 0.01F};
    case sigmoid:
      return {algorithm::eltwise_logistic, algorithm::eltwise_logistic_use_dst_for_bwd};
    case ActivationKind::tanh:
      return {algorithm::eltwise_tanh, algorithm::eltwise_tanh_use_dst_for_bwd};
    case gelu:
      return {algorithm::eltwise_gelu_erf, algorithm::eltwise_gelu_erf};
    case gelu_tanh:
      return {algorithm::eltwise_gelu_tanh, algorithm::eltwise_gelu_tanh};
    case silu:
      return {algorithm::eltwise_swish, algorithm::eltwise_swish, 1};
    case relu6:
      return {algorithm::eltwise_clip_v2, algorithm::eltwise_clip_v2_use_dst_for_bwd, 0, 6};
    case hardtanh:
      return {algorithm::eltwise_clip_v2, algorithm::eltwise_clip_v2, -1, 1};
    case hardsigmoid:
      return {algorithm::eltwise_hardsigmoid, algorithm::eltwise_hardsigmoid, 1 / 6.0F, 0.5F};
    case hardswish:
      return {algorithm::eltwise_hardswish, algorithm::eltwise_hardswish, 1 / 6.0F, 0.5F};
    case elu:
    case celu:
      return {algorithm::eltwise_elu, algorithm::eltwise_elu, 1};
    case softplus:
      return {algorithm::eltwise_soft_relu, algorithm::eltwise_soft_relu, 1};
    case log_sigmoid:
      return {algorithm::eltwise_soft_relu, algorithm::eltwise_soft_relu, -1};
    case mish:
      return {algorithm::eltwise_mish, algorithm::eltwise_mish};
    case quick_gelu:
      return {algorithm::eltwise_swish, algorithm::eltwise_swish, 1.702F};
    default:
      return {};
  }
}

#endif

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

#if DNNL_VERSION_MAJOR >= 3

void add_onednn(std::vector<Peer>& peers, FunctionKind kind, const float* x, float* y, Index n) {
  if (kind != FunctionKind::exp && kind != FunctionKind::log) return;
  const dnnl::memory::desc d({n}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::a);
  const dnnl::eltwise_forward::primitive_desc description(
      shared_engine().engine, dnnl::prop_kind::forward_inference,
      kind == FunctionKind::exp ? dnnl::algorithm::eltwise_exp : dnnl::algorithm::eltwise_log, d, d);
  peers.push_back(
      {"onednn", ready(dnnl::eltwise_forward(description), {{DNNL_ARG_SRC, wrap(d, x)}, {DNNL_ARG_DST, wrap(d, y)}})});
}

void add_onednn(std::vector<Peer>& peers, ActivationKind kind, const float* x, const float* dy, float* y, Index n) {
  const Eltwise f = eltwise_of(kind);
  if (f.forward == dnnl::algorithm::undef) return;
  const dnnl::memory::desc d({n}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::a);
  const auto& engine = shared_engine().engine;
  const bool from_output = f.forward != f.backward;
  const dnnl::eltwise_forward::primitive_desc forward(engine, dnnl::prop_kind::forward_training,
                                                      dy == nullptr ? f.forward : f.backward, d, d, f.alpha, f.beta);
  if (dy == nullptr) {
    peers.push_back(
        {"onednn", ready(dnnl::eltwise_forward(forward), {{DNNL_ARG_SRC, wrap(d, x)}, {DNNL_ARG_DST, wrap(d, y)}})});
    return;
  }
  const dnnl::eltwise_backward::primitive_desc backward(engine, f.backward, d, d, d, f.alpha, f.beta, forward);
  peers.push_back(
      {"onednn", ready(dnnl::eltwise_backward(backward), {{from_output ? DNNL_ARG_DST : DNNL_ARG_SRC, wrap(d, x)},
                                                          {DNNL_ARG_DIFF_DST, wrap(d, dy)},
                                                          {DNNL_ARG_DIFF_SRC, wrap(d, y)}})});
}

void add_onednn_rows(std::vector<Peer>& peers, const std::string& name, const RowOperands& o) {
  using tag = dnnl::memory::format_tag;
  using algorithm = dnnl::algorithm;
  const auto type = dnnl::memory::data_type::f32;
  const dnnl::memory::desc d({o.rows, o.cols}, type, tag::ab), row({o.cols}, type, tag::a),
      column({o.rows}, type, tag::a);
  const auto& engine = shared_engine().engine;
  const auto training = dnnl::prop_kind::forward_training;
  const std::vector<Argument> in_out = {{DNNL_ARG_SRC, wrap(d, o.x)}, {DNNL_ARG_DST, wrap(d, o.y)}};
  if (name.find("softmax") != std::string::npos) {
    const algorithm kind = name == "log_softmax" ? algorithm::softmax_log : algorithm::softmax_accurate;
    const dnnl::softmax_forward::primitive_desc forward(engine, training, kind, d, d, 1);
    if (!name.ends_with("backward")) {
      peers.push_back({"onednn", ready(dnnl::softmax_forward(forward), in_out)});
      return;
    }
    const dnnl::softmax_backward::primitive_desc backward(engine, kind, d, d, d, 1, forward);
    peers.push_back({"onednn", ready(dnnl::softmax_backward(backward), {{DNNL_ARG_DST, wrap(d, o.y)},
                                                                        {DNNL_ARG_DIFF_DST, wrap(d, o.dy)},
                                                                        {DNNL_ARG_DIFF_SRC, wrap(d, o.dx)}})});
    return;
  }
  if (!name.starts_with("layer_norm")) return;
  const auto flags = dnnl::normalization_flags::use_scale | dnnl::normalization_flags::use_shift;
  const dnnl::layer_normalization_forward::primitive_desc forward(engine, training, d, d, 1e-5F, flags);
  // Its statistics and gradients are its own.
  const dnnl::memory mean(column, engine), variance(column, engine), dgamma(row, engine), dbeta(row, engine);
  std::vector<Argument> arguments = in_out;
  for (const Argument& a : {Argument{DNNL_ARG_SCALE, wrap(row, o.gamma)}, Argument{DNNL_ARG_SHIFT, wrap(row, o.beta)},
                            Argument{DNNL_ARG_MEAN, mean}, Argument{DNNL_ARG_VARIANCE, variance}})
    arguments.push_back(a);
  const Call run_forward = ready(dnnl::layer_normalization_forward(forward), arguments);
  if (!name.ends_with("backward")) {
    peers.push_back({"onednn", run_forward});
    return;
  }
  run_forward();
  const dnnl::layer_normalization_backward::primitive_desc backward(engine, dnnl::prop_kind::backward, d, d, d, 1e-5F,
                                                                    flags, forward);
  peers.push_back({"onednn", ready(dnnl::layer_normalization_backward(backward), {{DNNL_ARG_SRC, wrap(d, o.x)},
                                                                                  {DNNL_ARG_DIFF_DST, wrap(d, o.dy)},
                                                                                  {DNNL_ARG_DIFF_SRC, wrap(d, o.dx)},
                                                                                  {DNNL_ARG_SCALE, wrap(row, o.gamma)},
                                                                                  {DNNL_ARG_SHIFT, wrap(row, o.beta)},
                                                                                  {DNNL_ARG_MEAN, mean},
                                                                                  {DNNL_ARG_VARIANCE, variance},
                                                                                  {DNNL_ARG_DIFF_SCALE, dgamma},
                                                                                  {DNNL_ARG_DIFF_SHIFT, dbeta}})});
}

#else

void add_onednn(std::vector<Peer>&, ActivationKind, const float*, const float*, float*, Index) {}
void add_onednn(std::vector<Peer>&, FunctionKind, const float*, float*, Index) {}
void add_onednn_rows(std::vector<Peer>&, const std::string&, const RowOperands&) {}

#endif

}  // namespace tilewright::bench
