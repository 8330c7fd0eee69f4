#include "maps/autograd.h"

#include "maps/custom_function.h"
#include "maps/delta.h"
#include "maps/image_layout.h"

namespace cortorch {
namespace {

void save(AutogradContext* ctx, const LinearMapPtr& map, const at::Tensor& first, const at::Tensor& second) {
  save_map(ctx, map);
  ctx->save_for_backward({first, second});
}

// y = W x is bilinear; so are the other two, and with z the third argument ⟨z, W x⟩ = ⟨Wᵀ z, x⟩ =
// ⟨x ⊗ z, W⟩. Every derivative below is one reading of that line.
struct Apply : Function<Apply> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& weight, const at::Tensor& x,
                            const std::optional<at::Tensor>& bias, const LinearMapPtr& map) {
    save(ctx, map, weight, x);
    ctx->saved_data["has_bias"] = bias.has_value();
    return map->apply(weight, x, or_undefined(bias), Activation::identity);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto map = saved_map(ctx);
    const auto saved = ctx->get_saved_variables();
    at::Tensor dw, dx, db;
    if (ctx->needs_input_grad(0)) dw = differentiable_outer(map, saved[1], grads[0]);
    if (ctx->needs_input_grad(1)) dx = differentiable_adjoint(map, saved[0], grads[0]);
    if (ctx->saved_data["has_bias"].toBool() && ctx->needs_input_grad(2)) db = sum_to_bias(*map, grads[0]);
    return {dw, dx, db, {}};
  }
};

struct Adjoint : Function<Adjoint> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& v, const at::Tensor& y, const LinearMapPtr& map) {
    save(ctx, map, v, y);
    return map->adjoint(v, y, {}, Activation::identity);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto map = saved_map(ctx);
    const auto saved = ctx->get_saved_variables();
    at::Tensor dv, dy;
    if (ctx->needs_input_grad(0)) dv = differentiable_outer(map, grads[0], saved[1]);
    if (ctx->needs_input_grad(1)) dy = differentiable_apply(map, saved[0], grads[0]);
    return {dv, dy, {}};
  }
};

struct Outer : Function<Outer> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& delta,
                            const LinearMapPtr& map) {
    save(ctx, map, x, delta);
    return map->outer(x, delta);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto map = saved_map(ctx);
    const auto saved = ctx->get_saved_variables();
    at::Tensor dx, dd;
    if (ctx->needs_input_grad(0)) dx = differentiable_adjoint(map, grads[0], saved[1]);
    if (ctx->needs_input_grad(1)) dd = differentiable_apply(map, grads[0], saved[0]);
    return {dx, dd, {}};
  }
};

struct ChannelsFirst : Function<ChannelsFirst> {
  static at::Tensor forward(AutogradContext*, const at::Tensor& x) { return channels_first(x); }
  static variable_list backward(AutogradContext*, const variable_list& grads) { return {grads[0]}; }
};

}  // namespace

at::Tensor differentiable_apply(const LinearMapPtr& map, const at::Tensor& weight, const at::Tensor& x,
                                const std::optional<at::Tensor>& bias) {
  return Apply::apply(weight, x, bias, map);
}

at::Tensor differentiable_adjoint(const LinearMapPtr& map, const at::Tensor& v, const at::Tensor& y) {
  return Adjoint::apply(v, y, map);
}

at::Tensor differentiable_outer(const LinearMapPtr& map, const at::Tensor& x, const at::Tensor& delta) {
  return Outer::apply(x, delta, map);
}

at::Tensor differentiable_plain(const at::Tensor& x) { return is_plain(x) ? x : ChannelsFirst::apply(x); }

at::Tensor differentiable_channels_first(const at::Tensor& x) {
  return x.is_contiguous() ? x : ChannelsFirst::apply(x);
}

}  // namespace cortorch
