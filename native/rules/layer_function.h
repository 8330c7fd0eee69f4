// What the autograd functions of layers share, whatever their rule.
#pragma once

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <cstddef>
#include <initializer_list>
#include <string>
#include <utility>

#include "maps/custom_function.h"
#include "maps/delta.h"

namespace cortorch {

// The tensors among the arguments of each function are its edges, in their order; an absent bias has none.
enum Edge : std::size_t { kX = 0, kWeight = 1, kBias = 2 };

// What a function keeps for its backward pass, beside tensors. Functions that need more derive from it.
struct LayerContext : torch::CustomClassHolder {
  LinearMapPtr map;
  Activation activation = Activation::identity;
  bool has_bias = false;
};

template <typename Context>
c10::intrusive_ptr<Context> new_context(const LinearMapPtr& map, Activation activation, const at::Tensor& bias) {
  auto context = c10::make_intrusive<Context>();
  context->map = map;
  context->activation = activation;
  context->has_bias = bias.defined();
  return context;
}

inline void save_context(AutogradContext* ctx, const c10::intrusive_ptr<LayerContext>& context, variable_list tensors) {
  ctx->saved_data["context"] = c10::IValue::make_capsule(context);
  ctx->save_for_backward(std::move(tensors));
}

template <typename Context = LayerContext>
c10::intrusive_ptr<Context> saved_context(AutogradContext* ctx) {
  return c10::static_intrusive_pointer_cast<Context>(ctx->saved_data["context"].toCapsule());
}

inline bool wants_bias(AutogradContext* ctx, const LayerContext& context) {
  return context.has_bias && ctx->needs_input_grad(kBias);
}

// The gradients that are the layer's own, whatever the rule: δ = scale · g ⊙ σ'(a), which is returned, and x ⊗ δ and
// Σ δ into the result, where they are wanted.
inline at::Tensor own_gradients(AutogradContext* ctx, const LayerContext& context, const at::Tensor& g,
                                const at::Tensor& x, const at::Tensor& y, double scale, variable_list& result) {
  Delta own = delta(*context.map, context.activation, g, y, scale, wants_bias(ctx, context));
  result[kBias] = std::move(own.bias_sum);
  if (ctx->needs_input_grad(kWeight)) result[kWeight] = context.map->outer(x, own.delta);
  return own.delta;
}

constexpr const char* kNoDerivative = "its backward pass is not the derivative of its forward pass";

inline void refuse_second_derivative(const std::string& rule, const char* why) {
  TORCH_CHECK(!at::GradMode::is_enabled(), "rule ", rule, " cannot be differentiated twice: ", why,
              ". Call backward without create_graph, or use rule bp");
}

// Shapes of x, weight and bias, and that they and `others` are of one type on one device. Throws c10::Error.
void check_layer(const LinearMap& map, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                 std::initializer_list<at::Tensor> others = {});

}  // namespace cortorch
