#include "rules/target_layer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string>

#include "maps/dense.h"
#include "maps/elementwise.h"
#include "rules/layer_function.h"

namespace cortorch {
namespace {

struct TargetContext : LayerContext {
  TargetKind kind;
  TargetSettings settings;
  Inverse inverse;
  InverseKind inverse_kind = InverseKind::learned;
  Auxiliary auxiliary;
};

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

void require_inverse(const Inverse& inverse, const TargetKind& kind) {
  TORCH_CHECK(inverse.defined(), "rule ", kind.rule, ": this layer has no inverse, but something below it is trained");
}

// The difference at the layer below, whose activity is x, from that at a layer, whose activity is h.
at::Tensor send_down(const TargetContext& context, const at::Tensor& h, const at::Tensor& d, const at::Tensor& x) {
  const Inverse& inverse = context.inverse;
  require_inverse(inverse, context.kind);
  return context.kind.hands_targets ? difference(x, inverse(difference(h, d))) : inverse.difference(h, d);
}

double batch_of(const at::Tensor& y) { return static_cast<double>(std::max<int64_t>(1, y.size(0))); }

struct TargetHidden : Function<TargetHidden> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, const c10::intrusive_ptr<TargetContext>& context) {
    at::Tensor y = context->map->apply(weight, x, or_undefined(bias), context->activation);
    // The forward weights are kept for the control alone: a learned inverse never sees them.
    const bool jacobian = context->inverse_kind == InverseKind::transposed_jacobian;
    save_context(ctx, context, {x, y, jacobian ? weight : at::Tensor()});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto context = saved_context<TargetContext>(ctx);
    refuse_second_derivative(context->kind.rule, kNoGradient);
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &y = saved[1], &weight = saved[2], &d = grads[0];
    variable_list result(4);
    const double batch = batch_of(y);
    const double units =
        context->settings.reduction == UnitReduction::mean ? static_cast<double>(y.numel()) / batch : 1;
    own_gradients(ctx, *context, d, x, y, 2 / (batch * units), result);
    if (!ctx->needs_input_grad(kX)) return result;
    result[kX] = context->inverse_kind == InverseKind::learned ? send_down(*context, y, d, x)
                                                               : by_jacobian(*context, weight, x, y, d);
    return result;
  }

  static at::Tensor by_jacobian(const TargetContext& context, const at::Tensor& weight, const at::Tensor& x,
                                const at::Tensor& y, const at::Tensor& d) {
    const auto g = [&](const at::Tensor& h) {
      return context.map->adjoint(weight, delta(*context.map, context.activation, h, y, 1, false).delta, {},
                                  Activation::identity);
    };
    return context.kind.hands_targets ? difference(x, g(difference(y, d))) : g(d);
  }
};

struct TargetOutput : Function<TargetOutput> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, const c10::intrusive_ptr<TargetContext>& context) {
    at::Tensor y = context->map->apply(weight, x, or_undefined(bias), context->activation);
    // Only dtp sends anything down by the forward weights.
    save_context(ctx, context, {x, y, context->kind.steps_down_loss ? weight : at::Tensor()});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto context = saved_context<TargetContext>(ctx);
    const TargetSettings& settings = context->settings;
    refuse_second_derivative(context->kind.rule, kNoGradient);
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &y = saved[1], &weight = saved[2], &d = grads[0];
    variable_list result(4);
    const double batch = batch_of(y);
    const at::Tensor delta = own_gradients(ctx, *context, d, x, y, settings.head.factor / batch, result);
    if (!ctx->needs_input_grad(kX)) return result;
    if (context->kind.steps_down_loss) {
      const double step =
          settings.step_loss == StepLoss::batch_mean ? settings.target_step : settings.target_step * batch;
      result[kX] = context->map->adjoint(weight, at::mul(delta, step), {}, Activation::identity);
      return result;
    }
    const at::Tensor h = top_activity(settings.head.activity, context->auxiliary, y, x);
    // The auxiliary outputs are their own targets.
    const at::Tensor all =
        context->auxiliary.defined() ? at::cat({d, at::zeros({d.size(0), h.size(1) - d.size(1)}, d.options())}, 1) : d;
    result[kX] = send_down(*context, h, all, x);
    return result;
  }
};

c10::intrusive_ptr<TargetContext> target_context(const LinearMapPtr& map, Activation activation, const at::Tensor& bias,
                                                 const Inverse& inverse, const TargetKind& kind,
                                                 const TargetSettings& settings) {
  check_inverse(inverse, *map);
  auto context = new_context<TargetContext>(map, activation, bias);
  context->kind = kind;
  context->settings = settings;
  context->inverse = inverse;
  return context;
}

}  // namespace

TargetKind target_kind(const std::string& rule) {
  static const TargetKind kKinds[] = {{"tp", true}, {"dtp", false, true}, {"sdtp"}, {"ao-sdtp", false, false, true}};
  for (const TargetKind& kind : kKinds) {
    if (kind.rule == rule) return kind;
  }
  TORCH_CHECK(false, "rule ", rule, " sends no targets: use layer()");
}

at::Tensor target_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x, const at::Tensor& weight,
                        const at::Tensor& bias, const Inverse& inverse, const TargetKind& kind,
                        const TargetSettings& settings, InverseKind inverse_kind) {
  check_layer(*map, x, weight, bias, {inverse.weight, inverse.bias});
  const auto context = target_context(map, activation, bias, inverse, kind, settings);
  context->inverse_kind = inverse_kind;
  return TargetHidden::apply(x, weight, if_defined(bias), context);
}

at::Tensor target_output_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x,
                               const at::Tensor& weight, const at::Tensor& bias, const Inverse& inverse,
                               const Auxiliary& auxiliary, const TargetKind& kind, const TargetSettings& settings) {
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
  const auto context = target_context(map, activation, bias, inverse, kind, settings);
  context->auxiliary = auxiliary;
  return TargetOutput::apply(x, weight, if_defined(bias), context);
}

bool is_target_output(const at::Tensor& y) {
  // Of what reshape() and flatten() record: of a contiguous y a view, of another one an alias where its strides have
  // one, else a view of a copy.
  static const std::set<std::string> kViews{"ViewBackward0", "ReshapeAliasBackward0", "UnsafeViewBackward0",
                                            "CloneBackward0"};
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
