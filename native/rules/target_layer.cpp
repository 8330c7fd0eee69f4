#include "rules/target_layer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string>

#include "maps/delta.h"
#include "maps/dense.h"
#include "maps/elementwise.h"
#include "rules/layer_checks.h"
#include "rules/layer_function.h"

namespace cortorch {
namespace {

// What both functions keep beside their tensors.
struct Kept : torch::CustomClassHolder {
  LinearMapPtr map;
  Activation activation;
  Inverse inverse;
  Auxiliary auxiliary;
  TargetLayerSettings hidden;
  TargetOutputSettings output;
};

void keep(AutogradContext* ctx, c10::intrusive_ptr<Kept> kept, bool has_bias, variable_list tensors) {
  ctx->saved_data["kept"] = c10::IValue::make_capsule(std::move(kept));
  ctx->saved_data["has_bias"] = has_bias;
  ctx->save_for_backward(std::move(tensors));
}

c10::intrusive_ptr<Kept> kept_by(AutogradContext* ctx) {
  return c10::static_intrusive_pointer_cast<Kept>(ctx->saved_data["kept"].toCapsule());
}

// The gradient of weight and bias from δ = scale · g ⊙ σ'(a), which is returned.
at::Tensor own_gradients(AutogradContext* ctx, const Kept& kept, const at::Tensor& g, const at::Tensor& x,
                         const at::Tensor& y, double scale, variable_list& result) {
  const auto [delta, bias_sum] = cortorch::delta(*kept.map, kept.activation, g, y, scale, wants_bias(ctx));
  result[kBias] = bias_sum;
  if (ctx->needs_input_grad(kWeight)) result[kWeight] = kept.map->outer(x, delta);
  return delta;
}

constexpr const char* kNoGradient = "what travels down is no gradient";

// For h of `units` values an example (or of the map's output shape) back to x.
void check_inverse(const Inverse& inverse, const LinearMap& map) {
  if (!inverse.defined()) return;
  TORCH_CHECK(inverse.weight.sizes() == at::IntArrayRef(inverse.map->weight_shape()),
              "layer: expected the inverse's weight of shape ", at::IntArrayRef(inverse.map->weight_shape()),
              ", but its shape is ", inverse.weight.sizes());
  TORCH_CHECK(inverse.map->input_shape() == map.input_shape(), "layer: the inverse gives ",
              at::IntArrayRef(inverse.map->input_shape()), ", but the layer's input is ",
              at::IntArrayRef(map.input_shape()));
  TORCH_CHECK(!inverse.bias.defined() || inverse.bias.sizes() == at::IntArrayRef(map.input_shape()),
              "layer: expected the inverse's bias of the input's shape ", at::IntArrayRef(map.input_shape()),
              ", but its shape is ", inverse.bias.defined() ? inverse.bias.sizes() : at::IntArrayRef());
}

void require_inverse(const Inverse& inverse, Rule rule) {
  TORCH_CHECK(inverse.defined(), "rule ", name_of(rule),
              ": this layer has no inverse, but something below it is trained");
}

// The difference at the layer below, whose activity is x, from that at a layer, whose activity is h.
at::Tensor send_down(Rule rule, const Inverse& inverse, const at::Tensor& h, const at::Tensor& d, const at::Tensor& x) {
  if (rule == Rule::tp) return difference(x, inverse(difference(h, d)));
  return inverse.difference(h, d);
}

struct TargetHidden : Function<TargetHidden> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, const c10::intrusive_ptr<Kept>& kept) {
    at::Tensor y = kept->map->apply(weight, x, or_undefined(bias), kept->activation);
    // The forward weights are kept for the control alone: a learned inverse never sees them.
    const bool jacobian = kept->hidden.kind == InverseKind::transposed_jacobian;
    keep(ctx, kept, bias.has_value(), {x, y, jacobian ? weight : at::Tensor()});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto kept = kept_by(ctx);
    const Rule rule = kept->hidden.rule;
    refuse_second_derivative(rule, kNoGradient);
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &y = saved[1], &weight = saved[2], &d = grads[0];
    variable_list result(4);
    const double batch = static_cast<double>(std::max<int64_t>(1, y.size(0)));
    const double units = kept->hidden.reduction == UnitReduction::mean ? static_cast<double>(y.numel()) / batch : 1;
    own_gradients(ctx, *kept, d, x, y, 2 / (batch * units), result);
    if (!ctx->needs_input_grad(kX)) return result;
    if (kept->hidden.kind == InverseKind::transposed_jacobian) {
      const auto jacobian = [&](const at::Tensor& h) {
        const at::Tensor through = delta(*kept->map, kept->activation, h, y, 1, false).delta;
        return kept->map->adjoint(weight, through, {}, Activation::identity);
      };
      result[kX] = rule == Rule::tp ? difference(x, jacobian(difference(y, d))) : jacobian(d);
    } else {
      require_inverse(kept->inverse, rule);
      result[kX] = send_down(rule, kept->inverse, y, d, x);
    }
    return result;
  }
};

struct TargetOutput : Function<TargetOutput> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, const c10::intrusive_ptr<Kept>& kept) {
    at::Tensor y = kept->map->apply(weight, x, or_undefined(bias), kept->activation);
    // Only dtp sends anything down by the forward weights.
    keep(ctx, kept, bias.has_value(), {x, y, kept->output.rule == Rule::dtp ? weight : at::Tensor()});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto kept = kept_by(ctx);
    const TargetOutputSettings& settings = kept->output;
    refuse_second_derivative(settings.rule, kNoGradient);
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &y = saved[1], &weight = saved[2], &d = grads[0];
    variable_list result(4);
    const double batch = static_cast<double>(std::max<int64_t>(1, y.size(0)));
    // ∂/∂y of an example's loss: of the cross-entropy o − y, of the squared error 2 (o − t).
    const double factor = settings.activity == OutputActivity::softmax ? 1 : 2;
    const at::Tensor delta = own_gradients(ctx, *kept, d, x, y, factor / batch, result);
    if (!ctx->needs_input_grad(kX)) return result;
    if (settings.rule == Rule::dtp) {
      const double step = settings.of_batch_mean ? settings.target_step : settings.target_step * batch;
      result[kX] = kept->map->adjoint(weight, at::mul(delta, step), {}, Activation::identity);
      return result;
    }
    require_inverse(kept->inverse, settings.rule);
    const at::Tensor h = top_activity(settings.activity, kept->auxiliary, y, x);
    // The auxiliary outputs are their own targets.
    const at::Tensor all =
        kept->auxiliary.defined() ? at::cat({d, at::zeros({d.size(0), h.size(1) - d.size(1)}, d.options())}, 1) : d;
    result[kX] = send_down(settings.rule, kept->inverse, h, all, x);
    return result;
  }
};

}  // namespace

at::Tensor target_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x, const at::Tensor& weight,
                        const at::Tensor& bias, const Inverse& inverse, const TargetLayerSettings& settings) {
  TORCH_CHECK(is_target_rule(settings.rule), "rule ", name_of(settings.rule), " sends no targets: use layer()");
  check_layer(*map, x, weight, bias, {inverse.weight, inverse.bias});
  check_inverse(inverse, *map);
  auto kept = c10::make_intrusive<Kept>();
  kept->map = map;
  kept->activation = activation;
  kept->inverse = inverse;
  kept->hidden = settings;
  return TargetHidden::apply(x, weight, if_defined(bias), kept);
}

at::Tensor target_output_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x,
                               const at::Tensor& weight, const at::Tensor& bias, const Inverse& inverse,
                               const Auxiliary& auxiliary, const TargetOutputSettings& settings) {
  TORCH_CHECK(is_target_rule(settings.rule), "rule ", name_of(settings.rule), " sends no targets: use layer()");
  check_layer(*map, x, weight, bias, {inverse.weight, inverse.bias, auxiliary.weight, auxiliary.bias});
  check_inverse(inverse, *map);
  if (auxiliary.defined()) {
    const Shape in = map->input_shape(), out = map->output_shape();
    TORCH_CHECK(in.size() == 1 && out.size() == 1, "auxiliary outputs need a dense last layer");
    TORCH_CHECK(auxiliary.weight.dim() == 2 && auxiliary.weight.size(1) == in[0],
                "layer: expected auxiliary weight [n, ", in[0], "], but its shape is ", auxiliary.weight.sizes());
    TORCH_CHECK(!auxiliary.bias.defined() || auxiliary.bias.sizes() == at::IntArrayRef({auxiliary.weight.size(0)}),
                "layer: expected auxiliary bias [", auxiliary.weight.size(0), "], but its shape is ",
                auxiliary.bias.sizes());
    TORCH_CHECK(!inverse.defined() || inverse.weight.size(0) == out[0] + auxiliary.weight.size(0),
                "layer: expected the inverse's weight [", out[0] + auxiliary.weight.size(0), ", ", in[0],
                "], but its shape is ", inverse.weight.sizes());
  }
  auto kept = c10::make_intrusive<Kept>();
  kept->map = map;
  kept->activation = activation;
  kept->inverse = inverse;
  kept->auxiliary = auxiliary;
  kept->output = settings;
  return TargetOutput::apply(x, weight, if_defined(bias), kept);
}

bool is_target_output(const at::Tensor& y) {
  // Of what reshape() and flatten() record.
  static const std::set<std::string> kViews{"ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0"};
  torch::autograd::Node* node = y.grad_fn().get();
  while (node != nullptr && dynamic_cast<torch::autograd::CppNode<TargetOutput>*>(node) == nullptr) {
    node = kViews.count(node->name()) != 0 ? node->next_edge(0).function.get() : nullptr;
  }
  return node != nullptr;
}

at::Tensor top_activity(OutputActivity activity, const Auxiliary& auxiliary, const at::Tensor& y, const at::Tensor& x) {
  at::Tensor o = y;
  if (activity == OutputActivity::softmax) o = at::softmax(y.flatten(1), 1).reshape(y.sizes());
  if (!auxiliary.defined()) return o;
  const Dense features(auxiliary.weight.size(1), auxiliary.weight.size(0));
  return at::cat({o, features.apply(auxiliary.weight, x, auxiliary.bias, Activation::tanh)}, 1);
}

}  // namespace cortorch
