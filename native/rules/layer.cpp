#include "rules/layer.h"

#include <ATen/ops/add.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <optional>

#include "maps/autograd.h"
#include "maps/delta.h"
#include "maps/dense.h"
#include "maps/elementwise.h"
#include "rules/layer_checks.h"
#include "rules/layer_function.h"

namespace cortorch {
namespace {

void save(AutogradContext* ctx, const LinearMapPtr& map, Activation activation, Rule rule, bool has_bias,
          variable_list tensors) {
  ctx->saved_data["has_bias"] = has_bias;
  save_map(ctx, map);
  ctx->saved_data["activation"] = static_cast<int64_t>(activation);
  ctx->saved_data["rule"] = static_cast<int64_t>(rule);
  ctx->save_for_backward(std::move(tensors));
}

Activation saved_activation(AutogradContext* ctx) {
  return static_cast<Activation>(ctx->saved_data["activation"].toInt());
}

// Of one example; also where there is none.
int64_t units_of(const at::Tensor& h) { return c10::multiply_integers(h.sizes().slice(1)); }

constexpr const char* kNoDerivative = "its backward pass is not the derivative of its forward pass";

// The gradients that are the layer's own, whatever the rule.
struct Local {
  at::Tensor delta, weight, bias;
};

Local local_gradients(const LinearMap& map, Activation activation, const at::Tensor& g, const at::Tensor& x,
                      const at::Tensor& y, bool want_weight, bool want_bias) {
  const auto [delta, bias_sum] = cortorch::delta(map, activation, g, y, 1, want_bias);
  Local local{delta, {}, bias_sum};
  if (want_weight) local.weight = map.outer(x, local.delta);
  return local;
}

struct LayerFunction : Function<LayerFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& feedback,
                            const LinearMapPtr& map, Activation activation, Rule rule, double scale) {
    at::Tensor y = map->apply(weight, x, or_undefined(bias), activation);
    const bool needs_weight = rule == Rule::bp || is_sign_symmetric(rule);
    save(ctx, map, activation, rule, bias.has_value(),
         {x, needs_weight ? weight : at::Tensor(), or_undefined(feedback), y});
    ctx->saved_data["scale"] = scale;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto map = saved_map(ctx);
    const auto activation = saved_activation(ctx);
    const auto rule = static_cast<Rule>(ctx->saved_data["rule"].toInt());
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &feedback = saved[2], &y = saved[3], &g = grads[0];
    if (rule == Rule::bp && at::GradMode::is_enabled())
      return differentiable_backward(ctx, *map, map, activation, x, weight, y, g);
    refuse_second_derivative(rule, kNoDerivative);

    const Local local = local_gradients(*map, activation, g, x, y, ctx->needs_input_grad(kWeight), wants_bias(ctx));
    at::Tensor down;
    if (ctx->needs_input_grad(kX) && rule != Rule::dfa) {
      const at::Tensor sent_by = down_weight(rule, weight, feedback, ctx->saved_data["scale"].toDouble());
      TORCH_CHECK(sent_by.defined(), "rule ", name_of(rule),
                  ": this layer has no feedback weights, but something below it is trained");
      down = map->adjoint(sent_by, local.delta, {}, Activation::identity);
    }
    return {down, local.weight, local.bias, {}, {}, {}, {}, {}};
  }

  // The same, of operations that record their own graph.
  static variable_list differentiable_backward(AutogradContext* ctx, const LinearMap& shape, const LinearMapPtr& map,
                                               Activation activation, const at::Tensor& x, const at::Tensor& weight,
                                               const at::Tensor& y, const at::Tensor& g) {
    const at::Tensor delta = through_activation(activation, g, y);
    variable_list result(8);
    if (ctx->needs_input_grad(kX)) result[kX] = differentiable_adjoint(map, weight, delta);
    if (ctx->needs_input_grad(kWeight)) result[kWeight] = differentiable_outer(map, x, delta);
    if (wants_bias(ctx)) result[kBias] = sum_to_bias(shape, delta);
    return result;
  }
};

int64_t count_units(const LinearMap& map) {
  int64_t units = 1;
  for (const int64_t size : map.output_shape()) units *= size;
  return units;
}

// e B: the output error through dense feedback B [classes, units]. error [batch, classes] → [batch, units].
at::Tensor broadcast(const at::Tensor& feedback, const at::Tensor& error) {
  return Dense(feedback.size(1), feedback.size(0)).adjoint(feedback, error, {}, Activation::identity);
}

// One zero seen [batch, width] times: as wide as the classes, or as the units.
at::Tensor error_port(const at::Tensor& like, int64_t width) {
  return at::zeros({1, 1}, like.options().requires_grad(false)).expand({like.size(0), width});
}

void require_error(const at::Tensor& error) {
  TORCH_CHECK(error.defined(),
              "rule dfa: no output error arrived at a hidden layer; its port must be given to the output layer");
}

// Bᵀ e, and what came down past the maps above, if anything did. Without B the output layer has multiplied.
at::Tensor arrived(const at::Tensor& feedback, const at::Tensor& error, at::IntArrayRef shape, const at::Tensor& past) {
  const at::Tensor g = (feedback.defined() ? broadcast(feedback, error) : error).reshape(shape);
  return past.defined() ? at::add(g, past) : g;
}

struct DfaHidden : Function<DfaHidden> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                               const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& feedback,
                               const LinearMapPtr& map, Activation activation) {
    at::Tensor y = map->apply(weight, x, or_undefined(bias), activation);
    save(ctx, map, activation, Rule::dfa, bias.has_value(), {x, or_undefined(feedback), y});
    ctx->set_materialize_grads(false);  // nothing comes down to y, and no zeros are made in its place
    return {y, error_port(x, feedback.has_value() ? feedback->size(0) : count_units(*map))};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_second_derivative(Rule::dfa, kNoDerivative);
    const auto map = saved_map(ctx);
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &feedback = saved[1], &y = saved[2], &error = grads[1];
    require_error(error);
    const at::Tensor g = arrived(feedback, error, y.sizes(), grads[0]);
    const Local local =
        local_gradients(*map, saved_activation(ctx), g, x, y, ctx->needs_input_grad(kWeight), wants_bias(ctx));
    return {{}, local.weight, local.bias, {}, {}, {}};
  }
};

struct DfaPort : Function<DfaPort> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& h, const std::optional<at::Tensor>& feedback) {
    ctx->save_for_backward({or_undefined(feedback)});
    ctx->saved_data["shape"] = h.sizes().vec();
    ctx->set_materialize_grads(false);
    return {h, error_port(h, feedback.has_value() ? feedback->size(0) : units_of(h))};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_second_derivative(Rule::dfa, kNoDerivative);
    const at::Tensor feedback = ctx->get_saved_variables()[0], &error = grads[1];
    require_error(error);
    return {arrived(feedback, error, ctx->saved_data["shape"].toIntVector(), grads[0]), {}};
  }
};

struct DfaOutput : Function<DfaOutput> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& shared_feedback,
                            const LinearMapPtr& map, Activation activation, at::TensorList ports) {
    at::Tensor y = map->apply(weight, x, or_undefined(bias), activation);
    save(ctx, map, activation, Rule::dfa, bias.has_value(), {x, or_undefined(shared_feedback), y});
    std::vector<int64_t> widths;
    for (const at::Tensor& port : ports) widths.push_back(port.size(1));
    ctx->saved_data["widths"] = std::move(widths);
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_second_derivative(Rule::dfa, kNoDerivative);
    const auto map = saved_map(ctx);
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &shared_feedback = saved[1], &y = saved[2];
    const Local local =
        local_gradients(*map, saved_activation(ctx), grads[0], x, y, ctx->needs_input_grad(kWeight), wants_bias(ctx));
    variable_list result{{}, local.weight, local.bias, {}, {}, {}};
    const at::Tensor error = local.delta.flatten(1);
    const at::Tensor sent = shared_feedback.defined() ? broadcast(shared_feedback, error) : error;
    for (const int64_t width : ctx->saved_data["widths"].toIntVector()) result.push_back(sent.narrow(1, 0, width));
    return result;
  }
};

}  // namespace

at::Tensor layer(const LinearMapPtr& map, Activation activation, Rule rule, const at::Tensor& x,
                 const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& feedback, double scale) {
  TORCH_CHECK(!is_target_rule(rule), "rule ", name_of(rule), " sends targets down: use target_layer");
  TORCH_CHECK(rule != Rule::dfa,
              "rule dfa needs to know which layer is the output: use dfa_hidden_layer and dfa_output_layer");
  check_layer(*map, x, weight, bias, {feedback});
  TORCH_CHECK(!feedback.defined() || feedback.sizes() == weight.sizes(), "layer: expected feedback of weight's shape ",
              weight.sizes(), ", but its shape is ", feedback.sizes());
  return LayerFunction::apply(x, weight, if_defined(bias), if_defined(feedback), map, activation, rule, scale);
}

at::Tensor dfa_inner_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x,
                           const at::Tensor& weight, const at::Tensor& bias) {
  check_layer(*map, x, weight, bias);
  return LayerFunction::apply(x, weight, if_defined(bias), std::nullopt, map, activation, Rule::dfa, 1.0);
}

at::Tensor down_weight(Rule rule, const at::Tensor& weight, const at::Tensor& feedback, double scale) {
  switch (rule) {
    case Rule::bp: return weight;
    case Rule::usf: return with_signs(weight, {}, scale);
    case Rule::brsf:
    case Rule::frsf: return feedback.defined() ? with_signs(weight, feedback, 1) : at::Tensor();
    case Rule::fa: return feedback;
    default: return {};
  }
}

LayerOutput dfa_port(const at::Tensor& h, const at::Tensor& feedback) {
  const int64_t units = units_of(h);
  TORCH_CHECK(!feedback.defined() || (feedback.dim() == 2 && feedback.size(1) == units),
              "dfa_port: expected feedback [classes, ", units, "], but its shape is ", feedback.sizes());
  const auto outputs = DfaPort::apply(h, if_defined(feedback));
  return {outputs[0], outputs[1]};
}

LayerOutput dfa_hidden_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x,
                             const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& feedback) {
  check_layer(*map, x, weight, bias, {feedback});
  const int64_t units = count_units(*map);
  TORCH_CHECK(!feedback.defined() || (feedback.dim() == 2 && feedback.size(1) == units),
              "dfa_hidden_layer: expected feedback [classes, ", units, "], but its shape is ", feedback.sizes());
  const auto outputs = DfaHidden::apply(x, weight, if_defined(bias), if_defined(feedback), map, activation);
  return {outputs[0], outputs[1]};
}

at::Tensor dfa_output_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x,
                            const at::Tensor& weight, const at::Tensor& bias, const std::vector<at::Tensor>& ports,
                            const at::Tensor& shared_feedback) {
  check_layer(*map, x, weight, bias, {shared_feedback});
  const int64_t units = count_units(*map);
  TORCH_CHECK(!shared_feedback.defined() || (shared_feedback.dim() == 2 && shared_feedback.size(0) == units),
              "dfa_output_layer: expected shared feedback [", units, ", units], but its shape is ",
              shared_feedback.sizes());
  const int64_t most = shared_feedback.defined() ? shared_feedback.size(1) : units;
  for (const at::Tensor& port : ports) {
    const bool fits = port.dim() == 2 && port.size(0) == x.size(0) &&
                      (port.size(1) == most || (shared_feedback.defined() && port.size(1) < most));
    TORCH_CHECK(fits, "dfa_output_layer: expected error ports [", x.size(0), ", ",
                shared_feedback.defined() ? "at most " : "", most, "], but one's shape is ", port.sizes());
  }
  return DfaOutput::apply(x, weight, if_defined(bias), if_defined(shared_feedback), map, activation,
                          at::TensorList(ports));
}

}  // namespace cortorch
