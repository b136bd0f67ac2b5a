// SPDX-License-Identifier: MIT
// Operations on elements, optimizer updates and random numbers.
#include "tests/catalogue.hpp"

namespace tilewright::test {
namespace {

template <class T>
FunctionKind any_function(Operands& o) {
  return static_cast<FunctionKind>(o.bits() % (std::is_same_v<T, float> ? 8 : 5));
}

template <class T>
void activations(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const Activation f = any_activation(o);
  const auto x = o.in<T>("x", m, n);
  const auto y = o.out_or<T>("y", x);
  o.call([&] { return activation_forward(f, x, y, o.threads()), 0.0; });
}

template <class T>
void activations_backward(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const Activation f = any_activation(o);
  const auto saved = o.in<T>("saved", m, n), dy = o.in<T>("dy", m, n);
  const auto dx = o.out_or<T>("dx", o.maybe() ? saved : dy);
  o.call([&] { return activation_backward(f, saved, dy, dx, o.threads()), 0.0; });
}

template <class T>
void functions(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const FunctionKind f = any_function<T>(o);
  const auto x = o.in<T>("x", m, n);
  const auto y = o.out_or<T>("y", x);
  o.call([&] { return function_forward(f, x, y, o.threads()), 0.0; });
}

template <class T>
void functions_backward(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const FunctionKind f = any_function<T>(o);
  const auto x = o.in<T>("x", m, n), dy = o.in<T>("dy", m, n);
  const auto dx = o.out_or<T>("dx", o.maybe() ? x : dy);
  o.call([&] { return function_backward(f, x, dy, dx, o.threads()), 0.0; });
}

template <class T, auto Operation>
void of_two(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const auto x = o.in<T>("x", m, n), y = o.in<T>("y", m, n);
  const auto out = o.out_or<T>("out", o.maybe() ? x : y);
  o.call([&] { return Operation(x, y, out, o.threads()), 0.0; });
}

template <class T>
void scales(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const T a = static_cast<T>(o.number(-2, 2));
  const auto x = o.in<T>("x", m, n);
  const auto out = o.out_or<T>("out", x);
  o.call([&] { return scale(a, x, out, o.threads()), 0.0; });
}

template <class T>
void axpys(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const T a = static_cast<T>(o.number(-2, 2));
  const auto x = o.in<T>("x", m, n);
  const auto y = o.updated<T>("y", m, n);
  o.call([&] { return axpy(a, x, y, o.threads()), 0.0; });
}

template <class T>
void copies(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const auto x = o.in<T>("x", m, n);
  const auto out = o.out<T>("out", m, n);
  o.call([&] { return copy(x, out, o.threads()), 0.0; });
}

template <class From, class To>
void conversions(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const auto x = o.in<From>("x", m, n);
  const auto out = o.out<To>("out", m, n);
  o.call([&] { return convert(x, out, o.threads()), 0.0; });
}

void dropouts(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const double p = o.number(0, 1);
  const RandomStream stream{o.bits(), o.bits()};
  const auto x = o.in("x", m, n);
  const auto y = o.out_or("y", x);
  o.call([&] { return dropout(x, y, p, stream, o.threads()), 0.0; });
}

void embeddings(Operands& o) {
  const Index rows = o.at_least_one(), cols = o.extent(), count = o.extent();
  const auto table = o.in("table", rows, cols, {.layout = Layout::rows, .free_rows = true});
  const auto ids = o.ids("ids", count, rows);
  const auto out = o.out("out", count, cols, kRows);
  o.call([&] { return embedding(table, ids, out, o.threads()), 0.0; });
}

void embeddings_backward(Operands& o) {
  const Index rows = o.at_least_one(), cols = o.extent(), count = o.extent();
  const auto dy = o.in("dy", count, cols, kRows);
  const auto ids = o.ids("ids", count, rows);
  const auto dtable = o.updated("dtable", rows, cols, {.layout = Layout::rows, .free_rows = true});
  const Index padding = o.maybe() ? 0 : -1;
  o.call([&] { return embedding_backward(dy, ids, dtable, padding, o.threads()), 0.0; });
}

// ---- updates

Index parameters_of(Operands& o) { return o.extent(300) + (o.maybe(32) ? 5000 : 0); }

void sgd_updates(Operands& o) {
  const Index n = parameters_of(o);
  SgdStep step{.momentum = o.maybe() ? 0.9 : 0, .weight_decay = o.maybe() ? 0.01 : 0, .first = o.maybe(4)};
  step.nesterov = step.momentum > 0 && o.maybe();
  const auto p = o.updated("parameters", n);
  const auto g = o.in("gradients", n);
  const auto buffer = step.momentum > 0 ? o.updated("buffer", n) : std::span<float>{};
  o.call([&] { return sgd_update(p, g, buffer, step, o.threads()), 0.0; });
}

void adam_updates(Operands& o) {
  const Index n = parameters_of(o);
  const AdamStep step{.weight_decay = 0.01, .decoupled = o.maybe(), .bias_correction1 = 0.1, .bias_correction2 = 0.01};
  const bool amsgrad = o.maybe();
  const auto p = o.updated("parameters", n);
  const auto g = o.in("gradients", n);
  const auto m = o.updated("m", n), v = o.updated("v", n, kPositive);
  const auto max_v = amsgrad ? o.updated("max_v", n, kPositive) : std::span<float>{};
  o.call([&] {
    amsgrad ? adam_update(p, g, m, v, max_v, step, o.threads()) : adam_update(p, g, m, v, step, o.threads());
    return 0.0;
  });
}

/// Two states; the second is not negative.
template <auto Operation, class Step>
void two_states(Operands& o, const char* first, const char* second, const Step& step, const Want& first_want = {}) {
  const Index n = parameters_of(o);
  const auto p = o.updated("parameters", n);
  const auto g = o.in("gradients", n);
  const auto s = o.updated(first, n, first_want), t = o.updated(second, n, kPositive);
  o.call([&] { return Operation(p, g, s, t, step, o.threads()), 0.0; });
}

void adamax_updates(Operands& o) {
  two_states<adamax_update>(o, "m", "u", AdamaxStep{.weight_decay = 0.01, .bias_correction1 = 0.1});
}
void nadam_updates(Operands& o) {
  two_states<nadam_update>(o, "m", "v", NAdamStep{.decoupled = o.maybe(), .bias_correction2 = 0.01});
}
void radam_updates(Operands& o) {
  two_states<radam_update>(o, "m", "v", RAdamStep{.bias_correction1 = 0.1, .rectification = o.maybe() ? 0.5 : 0});
}
void adadelta_updates(Operands& o) {
  two_states<adadelta_update>(o, "v", "u", AdadeltaStep{.weight_decay = 0.01}, kPositive);
}
void rprop_updates(Operands& o) { two_states<rprop_update>(o, "previous", "step_size", RpropStep{}); }

void rmsprop_updates(Operands& o) {
  const Index n = parameters_of(o);
  const RMSpropStep step{.weight_decay = 0.01, .momentum = o.maybe() ? 0.9 : 0};
  const auto p = o.updated("parameters", n);
  const auto g = o.in("gradients", n);
  const auto v = o.updated("v", n, kPositive);
  const auto average = o.maybe() ? o.updated("average", n) : std::span<float>{};
  const auto buffer = step.momentum > 0 ? o.updated("buffer", n) : std::span<float>{};
  o.call([&] { return rmsprop_update(p, g, v, average, buffer, step, o.threads()), 0.0; });
}

void adagrad_updates(Operands& o) {
  const Index n = parameters_of(o);
  const auto p = o.updated("parameters", n);
  const auto g = o.in("gradients", n);
  const auto sum = o.updated("sum", n, kPositive);
  o.call([&] { return adagrad_update(p, g, sum, {}, o.threads()), 0.0; });
}

void lion_updates(Operands& o) {
  const Index n = parameters_of(o);
  const auto p = o.updated("parameters", n);
  const auto g = o.in("gradients", n);
  const auto m = o.updated("m", n);
  o.call([&] { return lion_update(p, g, m, {.weight_decay = 0.1}, o.threads()), 0.0; });
}

void ema_updates(Operands& o) {
  const Index n = parameters_of(o);
  const auto average = o.updated("average", n);
  const auto values = o.in("values", n);
  o.call([&] { return ema_update(average, values, 0.99, o.threads()), 0.0; });
}

void penalties(Operands& o) {
  const Index n = parameters_of(o);
  const auto g = o.updated("gradients", n);
  const auto p = o.in("parameters", n);
  o.call([&] { return add_penalty(g, p, 0.1, 0.2, o.threads()), 0.0; });
}

void clips_by_value(Operands& o) {
  const auto g = o.updated("gradients", parameters_of(o), {.free_cols = true});
  o.call([&] { return clip_value(g, 0.5, o.threads()), 0.0; });
}

void norms(Operands& o) {
  const auto x = o.in("x", parameters_of(o), {.free_cols = true});
  o.call([&] { return norm(x, o.threads()); });
}

void clips_by_norm(Operands& o) {
  const auto g = o.updated("gradients", parameters_of(o), {.free_cols = true});
  o.call([&] { return clip_norm(g, 0.5, o.threads()); });
}

// ---- random numbers

void uniform_fills(Operands& o) {
  const RandomStream stream{o.bits(), o.bits()};
  const auto out = o.out("out", parameters_of(o), {.free_cols = true});
  o.call([&] { return fill_uniform(out, stream, -1, 3), 0.0; });
}

void normal_fills(Operands& o) {
  const RandomStream stream{o.bits(), o.bits()};
  const auto out = o.out("out", parameters_of(o), {.free_cols = true});
  o.call([&] { return fill_normal(out, stream, -1, 3), 0.0; });
}

void permutations(Operands& o) {
  const RandomStream stream{o.bits(), o.bits()};
  const auto out = o.out<Index>("out", o.extent(300), {.free_cols = true});
  o.call([&] { return fill_permutation(out, stream), 0.0; });
}

using In = MatrixView<const float>;
using Out = MatrixView<float>;
using InD = MatrixView<const double>;
using OutD = MatrixView<double>;

constexpr CatalogueEntry kElementsAndUpdates[] = {
    {"activation_forward", activations<float>},
    {"activation_forward", activations<double>},
    {"activation_backward", activations_backward<float>},
    {"activation_backward", activations_backward<double>},
    {"function_forward", functions<float>},
    {"function_forward", functions<double>},
    {"function_backward", functions_backward<float>},
    {"function_backward", functions_backward<double>},
    {"add", of_two<float, [](In x, In y, Out out, int t) { add(x, y, out, t); }>},
    {"add", of_two<double, [](InD x, InD y, OutD out, int t) { add(x, y, out, t); }>},
    {"multiply", of_two<float, [](In x, In y, Out out, int t) { multiply(x, y, out, t); }>},
    {"multiply", of_two<double, [](InD x, InD y, OutD out, int t) { multiply(x, y, out, t); }>},
    {"scale", scales<float>},
    {"scale", scales<double>},
    {"axpy", axpys<float>},
    {"axpy", axpys<double>},
    {"copy", copies<float>},
    {"copy", copies<double>},
    {"convert", conversions<float, double>},
    {"convert", conversions<double, float>},
    {"dropout", dropouts},
    {"embedding", embeddings},
    {"embedding_backward", embeddings_backward},
    {"sgd_update", sgd_updates},
    {"adam_update", adam_updates},
    {"adamax_update", adamax_updates},
    {"nadam_update", nadam_updates},
    {"radam_update", radam_updates},
    {"rmsprop_update", rmsprop_updates},
    {"adagrad_update", adagrad_updates},
    {"adadelta_update", adadelta_updates},
    {"rprop_update", rprop_updates},
    {"lion_update", lion_updates},
    {"ema_update", ema_updates},
    {"add_penalty", penalties},
    {"clip_value", clips_by_value},
    {"norm", norms},
    {"clip_norm", clips_by_norm},
    {"fill_uniform", uniform_fills},
    {"fill_normal", normal_fills},
    {"fill_permutation", permutations},
};

}  // namespace

std::span<const CatalogueEntry> elements_and_updates() { return kElementsAndUpdates; }

std::span<const CatalogueEntry> catalogue() {
  static const std::vector<CatalogueEntry> all = [] {
    std::vector<CatalogueEntry> list;
    for (const auto family : {elements_and_updates(), products(), rows_and_losses()})
      list.insert(list.end(), family.begin(), family.end());
    return list;
  }();
  return all;
}

}  // namespace tilewright::test
