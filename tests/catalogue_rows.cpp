// SPDX-License-Identifier: MIT
// Operations on rows, and losses.
#include "tests/catalogue.hpp"

namespace tilewright::test {
namespace {

// ---- rows

template <auto Operation>
void of_rows(Operands& o) {
  const Index m = o.extent(), n = o.extent(200);
  const auto x = o.in("x", m, n, kRows);
  const auto y = o.out_or("y", x, kRows);
  o.call([&] { return Operation(x, y, o.threads()), 0.0; });
}

template <auto Operation>
void of_rows_backward(Operands& o) {
  const Index m = o.extent(), n = o.extent(200);
  const auto y = o.in("y", m, n, kRows), dy = o.in("dy", m, n, kRows);
  const auto dx = o.out_or("dx", o.maybe() ? y : dy, kRows);
  o.call([&] { return Operation(y, dy, dx, o.threads()), 0.0; });
}

template <auto Operation, class Out = float>
void number_of_rows(Operands& o) {
  const Index m = o.extent(), n = o.at_least_one(200);
  const auto x = o.in("x", m, n, {.layout = Layout::rows, .free_cols = true});
  const auto out = o.out<Out>("out", m);
  o.call([&] { return Operation(x, out, o.threads()), 0.0; });
}

void variances(Operands& o) {
  const Index m = o.extent(), n = o.at_least_one(200);
  const double correction = o.maybe() ? 1 : 0;
  const auto x = o.in("x", m, n, {.layout = Layout::rows, .free_cols = true});
  const auto out = o.out("out", m);
  o.call([&] { return row_variance(x, out, correction, o.threads()), 0.0; });
}

/// Of rows of x.
template <auto Operation>
void number_of_rows_backward(Operands& o) {
  const Index m = o.extent(), n = o.at_least_one(200);
  const auto x = o.in("x", m, n, kRows);
  const auto dy = o.in("dy", m);
  const auto dx = o.out_or("dx", x, kRows);
  o.call([&] { return Operation(x, dy, dx, o.threads()), 0.0; });
}

/// Of rows that it need not know.
template <auto Operation>
void spread_over_rows(Operands& o) {
  const Index m = o.extent(), n = o.extent(200);
  const auto dy = o.in("dy", m);
  const auto dx = o.out("dx", m, n, {.layout = Layout::rows, .free_cols = true});
  o.call([&] { return Operation(dy, dx, o.threads()), 0.0; });
}

void logsumexps_backward(Operands& o) {
  const Index m = o.extent(), n = o.extent(200);
  const auto x = o.in("x", m, n, kRows);
  const auto out = o.in("out", m), dy = o.in("dy", m);
  const auto dx = o.out_or("dx", x, kRows);
  o.call([&] { return row_logsumexp_backward(x, out, dy, dx, o.threads()), 0.0; });
}

void variances_backward(Operands& o) {
  const Index m = o.extent(), n = o.at_least_one(200);
  const double correction = o.maybe() ? 1 : 0;
  const auto x = o.in("x", m, n, kRows);
  const auto dy = o.in("dy", m);
  const auto dx = o.out_or("dx", x, kRows);
  o.call([&] { return row_variance_backward(x, dy, dx, correction, o.threads()), 0.0; });
}

/// Given or empty.
std::span<const float> maybe_in(Operands& o, const char* name, Index count) {
  return o.maybe() ? o.in(name, count) : std::span<const float>{};
}
std::span<float> maybe_out(Operands& o, const char* name, Index count) {
  return o.maybe() ? o.out(name, count) : std::span<float>{};
}

void layer_norms(Operands& o) {
  const Index m = o.extent(), n = o.extent(200);
  const auto x = o.in("x", m, n, kRows);
  const auto y = o.out_or("y", x, kRows);
  const auto gamma = maybe_in(o, "gamma", n), beta = maybe_in(o, "beta", n);
  const auto mean = maybe_out(o, "mean", m), rstd = maybe_out(o, "rstd", m);
  o.call([&] { return layer_norm(x, gamma, beta, y, mean, rstd, 1e-5, o.threads()), 0.0; });
}

void layer_norms_backward(Operands& o) {
  const Index m = o.extent(), n = o.extent(200);
  const auto x = o.in("x", m, n, kRows), dy = o.in("dy", m, n, kRows);
  const auto dx = o.out_or("dx", o.maybe() ? x : dy, kOptionalRows);
  const auto gamma = maybe_in(o, "gamma", n);
  const auto mean = o.in("mean", m), rstd = o.in("rstd", m, kPositive);
  const auto dgamma = maybe_out(o, "dgamma", n), dbeta = maybe_out(o, "dbeta", n);
  o.call([&] { return layer_norm_backward(x, dy, gamma, mean, rstd, dx, dgamma, dbeta, o.threads()), 0.0; });
}

void rms_norms(Operands& o) {
  const Index m = o.extent(), n = o.extent(200);
  const auto x = o.in("x", m, n, kRows);
  const auto y = o.out_or("y", x, kRows);
  const auto gamma = maybe_in(o, "gamma", n);
  const auto rstd = maybe_out(o, "rstd", m);
  o.call([&] { return rms_norm(x, gamma, y, rstd, 1e-5, o.threads()), 0.0; });
}

void rms_norms_backward(Operands& o) {
  const Index m = o.extent(), n = o.extent(200);
  const auto x = o.in("x", m, n, kRows), dy = o.in("dy", m, n, kRows);
  const auto dx = o.out_or("dx", o.maybe() ? x : dy, kOptionalRows);
  const auto gamma = maybe_in(o, "gamma", n);
  const auto rstd = o.in("rstd", m, kPositive);
  const auto dgamma = maybe_out(o, "dgamma", n);
  o.call([&] { return rms_norm_backward(x, dy, gamma, rstd, dx, dgamma, o.threads()), 0.0; });
}

struct Grouping {
  Index m, n;
  Groups groups;
};
Grouping any_groups(Operands& o) {
  const Index groups = o.at_least_one(4), channels = groups * o.at_least_one(4);
  return {o.extent(12), channels * o.at_least_one(8), {channels, groups}};
}

void group_norms(Operands& o) {
  const Grouping shape = any_groups(o);
  const Index m = shape.m, n = shape.n;
  const Groups groups = shape.groups;
  const auto x = o.in("x", m, n, kRows);
  const auto y = o.out_or("y", x, kRows);
  const auto gamma = maybe_in(o, "gamma", groups.channels), beta = maybe_in(o, "beta", groups.channels);
  const auto mean = maybe_out(o, "mean", m * groups.groups), rstd = maybe_out(o, "rstd", m * groups.groups);
  o.call([&] { return group_norm(x, groups, gamma, beta, y, mean, rstd, 1e-5, o.threads()), 0.0; });
}

void group_norms_backward(Operands& o) {
  const Grouping shape = any_groups(o);
  const Index m = shape.m, n = shape.n;
  const Groups groups = shape.groups;
  const auto x = o.in("x", m, n, kRows), dy = o.in("dy", m, n, kRows);
  const auto dx = o.out_or("dx", o.maybe() ? x : dy, kOptionalRows);
  const auto gamma = maybe_in(o, "gamma", groups.channels);
  const auto mean = o.in("mean", m * groups.groups), rstd = o.in("rstd", m * groups.groups, kPositive);
  const auto dgamma = maybe_out(o, "dgamma", groups.channels), dbeta = maybe_out(o, "dbeta", groups.channels);
  o.call([&] { return group_norm_backward(x, dy, groups, gamma, mean, rstd, dx, dgamma, dbeta, o.threads()), 0.0; });
}

void batch_norms(Operands& o) {
  const Index m = 1 + o.at_least_one(), n = o.extent(100);
  const auto x = o.in("x", m, n, kRows);
  const auto y = o.out_or("y", x, kRows);
  const auto gamma = maybe_in(o, "gamma", n), beta = maybe_in(o, "beta", n);
  const auto mean = o.out("mean", n), rstd = o.out("rstd", n);
  RunningStatistics running;
  if (o.maybe()) running.mean = o.updated("running mean", n);
  if (o.maybe()) running.variance = o.updated("running variance", n, kPositive);
  o.call([&] { return batch_norm(x, gamma, beta, y, mean, rstd, 1e-5, running, o.threads()), 0.0; });
}

void batch_norms_inference(Operands& o) {
  const Index m = o.extent(), n = o.extent(100);
  const auto x = o.in("x", m, n, kRows);
  const auto y = o.out_or("y", x, kRows);
  const auto gamma = maybe_in(o, "gamma", n), beta = maybe_in(o, "beta", n);
  const auto mean = o.in("mean", n), variance = o.in("variance", n, kPositive);
  o.call([&] { return batch_norm_inference(x, gamma, beta, mean, variance, y, 1e-5, o.threads()), 0.0; });
}

void batch_norms_backward(Operands& o) {
  const Index m = o.at_least_one(), n = o.extent(100);
  const auto x = o.in("x", m, n, kRows), dy = o.in("dy", m, n, kRows);
  const auto dx = o.out_or("dx", o.maybe() ? x : dy, kOptionalRows);
  const auto gamma = maybe_in(o, "gamma", n);
  const auto mean = o.in("mean", n), rstd = o.in("rstd", n, kPositive);
  const auto dgamma = maybe_out(o, "dgamma", n), dbeta = maybe_out(o, "dbeta", n);
  o.call([&] { return batch_norm_backward(x, dy, gamma, mean, rstd, dx, dgamma, dbeta, o.threads()), 0.0; });
}

/// Never two: one slope less, or one more, would be right then.
Index prelu_columns(Operands& o) {
  const Index n = o.extent(100);
  return n == 2 ? 3 : n;
}

void prelus(Operands& o) {
  const Index m = o.extent(), n = prelu_columns(o);
  const auto x = o.in("x", m, n, kRows);
  const auto slope = o.in("slope", o.maybe() ? 1 : n, {.free_cols = n == 0});  // one will do
  const auto y = o.out_or("y", x, kRows);
  o.call([&] { return prelu(x, slope, y, o.threads()), 0.0; });
}

void prelus_backward(Operands& o) {
  const Index m = o.extent(), n = prelu_columns(o), slopes = o.maybe() ? 1 : n;
  const auto x = o.in("x", m, n, kRows), dy = o.in("dy", m, n, kRows);
  const auto slope = o.in("slope", slopes, {.free_cols = n == 0});
  const auto dx = o.out_or("dx", o.maybe() ? x : dy, kOptionalRows);
  const auto dslope = maybe_out(o, "dslope", slopes);
  o.call([&] { return prelu_backward(x, dy, slope, dx, dslope, o.threads()), 0.0; });
}

// ---- losses

Reduction any_reduction(Operands& o) { return static_cast<Reduction>(o.bits() % 4); }

LossOptions loss_options(Operands& o, Index m, Index n) {
  LossOptions options{.reduction = any_reduction(o)};
  if (o.maybe()) options.weight = o.in("weight", m, n, {.values = Values::positive, .optional = true});
  if (options.reduction == Reduction::none || o.maybe())
    options.values = o.out("values", m, n, {.optional = options.reduction != Reduction::none});
  return options;
}

MatrixView<float> maybe_gradient(Operands& o, const char* name, MatrixView<const float> x, Want want = kOptional) {
  return o.maybe() ? o.out_or(name, x, want) : MatrixView<float>{};
}

template <auto Operation>
void element_losses(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const auto x = o.in("x", m, n, kProbabilities), target = o.in("target", m, n, kProbabilities);
  const LossOptions options = loss_options(o, m, n);
  const auto dx = maybe_gradient(o, "dx", x);
  o.call([&] { return Operation(x, target, dx, options, o.threads()); });
}

template <auto Operation>
void element_losses_with_number(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const double number = o.number(0.1, 2);
  const auto x = o.in("x", m, n), target = o.in("target", m, n, kSigns);
  const LossOptions options = loss_options(o, m, n);
  const auto dx = maybe_gradient(o, "dx", x);
  o.call([&] { return Operation(x, target, dx, number, options, o.threads()); });
}

void bce_with_logits(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const auto x = o.in("x", m, n), target = o.in("target", m, n, kProbabilities);
  const LossOptions options = loss_options(o, m, n);
  const auto pos_weight = o.maybe() ? o.in("pos_weight", n, kPositive) : std::span<const float>{};
  const auto dx = maybe_gradient(o, "dx", x);
  o.call([&] { return bce_with_logits_loss(x, target, dx, options, o.threads(), pos_weight); });
}

void kl_divs(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const bool of_logs = o.maybe();
  const auto x = o.in("x", m, n), target = o.in("target", m, n, kProbabilities);
  const LossOptions options = loss_options(o, m, n);
  const auto dx = maybe_gradient(o, "dx", x);
  o.call([&] { return kl_div_loss(x, target, dx, of_logs, options, o.threads()); });
}

void margin_rankings(Operands& o) {
  const Index m = o.extent(), n = o.extent();
  const auto x = o.in("x", m, n), other = o.in("other", m, n), target = o.in("target", m, n, kSigns);
  const LossOptions options = loss_options(o, m, n);
  const auto dx = maybe_gradient(o, "dx", x);
  o.call([&] { return margin_ranking_loss(x, other, target, dx, 0.5, options, o.threads()); });
}

ClassLossOptions class_options(Operands& o, Index m, Index n, bool smoothing) {
  ClassLossOptions options{.reduction = any_reduction(o)};
  if (o.maybe()) options.weight = o.in("weight", n, kPositive);
  if (o.maybe(4)) options.ignore_index = 0;
  if (smoothing && o.maybe()) options.label_smoothing = o.number(0, 1);
  if (options.reduction == Reduction::none || o.maybe())
    options.values = o.out("values", m, {.optional = options.reduction != Reduction::none});
  return options;
}

void cross_entropies(Operands& o) {
  const Index m = o.extent(), n = o.at_least_one(200);
  const auto x = o.in("x", m, n, {.layout = Layout::rows, .free_cols = true});
  const auto classes = o.ids("classes", m, n);
  const ClassLossOptions options = class_options(o, m, n, true);
  const auto dx = maybe_gradient(o, "dx", x, kOptionalRows);
  o.call([&] { return cross_entropy_loss(x, classes, dx, options, o.threads()); });
}

void cross_entropies_of_probabilities(Operands& o) {
  const Index m = o.extent(), n = o.at_least_one(200);
  const auto x = o.in("x", m, n, kRows);
  const auto target = o.in("target", m, n, {.layout = Layout::rows, .values = Values::probability});
  const ClassLossOptions options = class_options(o, m, n, true);
  const auto dx = maybe_gradient(o, "dx", x, kOptionalRows);
  o.call([&] { return cross_entropy_loss(x, target, dx, options, o.threads()); });
}

void nlls(Operands& o) {
  const Index m = o.extent(), n = o.at_least_one();
  const auto x = o.in("x", m, n, {.free_cols = true});
  const auto classes = o.ids("classes", m, n);
  const ClassLossOptions options = class_options(o, m, n, false);
  const auto dx = maybe_gradient(o, "dx", x);
  o.call([&] { return nll_loss(x, classes, dx, options, o.threads()); });
}

void linear_cross_entropies(Operands& o) {
  const Index m = o.extent(), features = o.extent(), n = o.at_least_one();
  const auto x = o.in("x", m, features), w = o.in("w", n, features, {.free_rows = true});
  const auto classes = o.ids("classes", m, n);
  const ClassLossOptions options = class_options(o, m, n, true);
  const auto dx = maybe_gradient(o, "dx", x);
  const auto dw = o.maybe() ? o.out("dw", n, features, kOptional) : MatrixView<float>{};
  o.call([&] { return linear_cross_entropy_loss(x, w, classes, dx, dw, options, o.threads()); });
}

void cosine_embeddings(Operands& o) {
  const Index m = o.extent(), n = o.extent(100);
  const auto x = o.in("x", m, n, kRows), y = o.in("y", m, n, kRows);
  const auto target = o.in("target", m, kSigns);
  ClassLossOptions options{.reduction = any_reduction(o)};
  if (options.reduction == Reduction::none || o.maybe())
    options.values = o.out("values", m, {.optional = options.reduction != Reduction::none});
  const auto dx = o.maybe() ? o.out("dx", m, n, kOptionalRows) : MatrixView<float>{};
  const auto dy = o.maybe() ? o.out("dy", m, n, kOptionalRows) : MatrixView<float>{};
  o.call([&] { return cosine_embedding_loss(x, y, target, dx, dy, 0.2, options, o.threads()); });
}

constexpr CatalogueEntry kRowsAndLosses[] = {
    {"softmax", of_rows<softmax>},
    {"softmax_backward", of_rows_backward<softmax_backward>},
    {"log_softmax", of_rows<log_softmax>},
    {"log_softmax_backward", of_rows_backward<log_softmax_backward>},
    {"row_logsumexp", number_of_rows<row_logsumexp>},
    {"row_logsumexp_backward", logsumexps_backward},
    {"row_sum", number_of_rows<row_sum>},
    {"row_sum_backward", spread_over_rows<row_sum_backward>},
    {"row_mean", number_of_rows<row_mean>},
    {"row_mean_backward", spread_over_rows<row_mean_backward>},
    {"row_max", number_of_rows<row_max>},
    {"row_max_backward", number_of_rows_backward<row_max_backward>},
    {"row_argmax", number_of_rows<row_argmax, Index>},
    {"row_variance", variances},
    {"row_variance_backward", variances_backward},
    {"layer_norm", layer_norms},
    {"layer_norm_backward", layer_norms_backward},
    {"rms_norm", rms_norms},
    {"rms_norm_backward", rms_norms_backward},
    {"group_norm", group_norms},
    {"group_norm_backward", group_norms_backward},
    {"batch_norm", batch_norms},
    {"batch_norm_inference", batch_norms_inference},
    {"batch_norm_backward", batch_norms_backward},
    {"prelu", prelus},
    {"prelu_backward", prelus_backward},
    {"mse_loss", element_losses<mse_loss>},
    {"l1_loss", element_losses<l1_loss>},
    {"smooth_l1_loss", element_losses_with_number<smooth_l1_loss>},
    {"huber_loss", element_losses_with_number<huber_loss>},
    {"bce_loss", element_losses<bce_loss>},
    {"bce_with_logits_loss", bce_with_logits},
    {"kl_div_loss", kl_divs},
    {"hinge_embedding_loss", element_losses_with_number<hinge_embedding_loss>},
    {"margin_ranking_loss", margin_rankings},
    {"cross_entropy_loss", cross_entropies},
    {"cross_entropy_loss", cross_entropies_of_probabilities},
    {"nll_loss", nlls},
    {"linear_cross_entropy_loss", linear_cross_entropies},
    {"cosine_embedding_loss", cosine_embeddings},
};

}  // namespace

std::span<const CatalogueEntry> rows_and_losses() { return kRowsAndLosses; }

}  // namespace tilewright::test
