// The linear maps, the layers with their rules and the losses as functions of tensors.
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/max_pool2d.h>

#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "base/optional_tensor.h"
#include "maps/operators.h"
#include "node/convert.h"
#include "node/tensor_functions.h"
#include "rules/direct.h"
#include "rules/gradient.h"
#include "rules/loss.h"
#include "rules/target_layer.h"

namespace cortorch::node {
namespace {

using Pair = std::array<int64_t, 2>;

Pair pair_at(Info info, std::size_t i, const char* name) { return pair_of(info[i], name); }

std::optional<at::Tensor> if_given(Info info, std::size_t i, const char* name) {
  return if_defined(optional_argument(info, i, name));
}

std::string string_at(Info info, std::size_t i) { return info[i].As<Napi::String>().Utf8Value(); }

// f(x, weight, bias, stride, padding, dilation)
template <typename Function>
auto image_map(Function f) {
  return [f](Info info) {
    return f(argument(info, 0, "x"), argument(info, 1, "weight"), if_given(info, 2, "bias"), pair_at(info, 3, "stride"),
             pair_at(info, 4, "padding"), pair_at(info, 5, "dilation"));
  };
}

// adjoint(v, y, inputSize, stride, padding, dilation) and outer(x, delta, kernel, stride, padding, dilation)
template <typename Function>
auto image_map_of_two(Function f, const char* first, const char* second, const char* size) {
  return [=](Info info) {
    return f(argument(info, 0, first), argument(info, 1, second), pair_at(info, 2, size), pair_at(info, 3, "stride"),
             pair_at(info, 4, "padding"), pair_at(info, 5, "dilation"));
  };
}

// The map of a layer, from { type, stride, padding, dilation } and the layer's tensors.
LinearMapPtr map_of(const Napi::Value& value, const at::Tensor& x, const at::Tensor& weight) {
  if (!value.IsObject()) return dense_map("layer", weight);
  const Napi::Object object = value.As<Napi::Object>();
  const std::string type = text(object, "type");
  if (type == "dense") return dense_map("layer", weight);
  const Pair stride = pair_of(object.Get("stride"), "stride"), padding = pair_of(object.Get("padding"), "padding"),
             dilation = pair_of(object.Get("dilation"), "dilation");
  TORCH_CHECK(type == "conv2d" || type == "locally-connected2d", "unknown map '", type, "'");
  return type == "conv2d" ? conv2d_map("layer", x, weight, {stride, padding, dilation})
                          : locally_connected2d_map("layer", x, weight, {stride, padding, dilation});
}

void define_maps(const TensorFunctions& set) {
  set.tensor("dense", [](Info info) {
    return dense(argument(info, 0, "x"), argument(info, 1, "weight"), if_given(info, 2, "bias"));
  });
  set.tensor("denseAdjoint", [](Info info) { return dense_adjoint(argument(info, 0, "v"), argument(info, 1, "y")); });
  set.tensor("denseOuter", [](Info info) { return dense_outer(argument(info, 0, "x"), argument(info, 1, "delta")); });
  set.tensor("locallyConnected2d", image_map(locally_connected2d));
  set.tensor("locallyConnected2dAdjoint", image_map_of_two(locally_connected2d_adjoint, "v", "y", "inputSize"));
  set.tensor("locallyConnected2dOuter", image_map_of_two(locally_connected2d_outer, "x", "delta", "kernel"));
  set.tensor("conv2d", image_map(conv2d));
  set.tensor("conv2dAdjoint", image_map_of_two(conv2d_adjoint, "v", "y", "inputSize"));
  set.tensor("conv2dOuter", image_map_of_two(conv2d_outer, "x", "delta", "kernel"));
  // maxPool2d(x, kernel, stride, padding)
  set.tensor("maxPool2d", [](Info info) {
    return at::max_pool2d(argument(info, 0, "x"), pair_at(info, 1, "kernel"), pair_at(info, 2, "stride"),
                          pair_at(info, 3, "padding"));
  });
  set.tensor("avgPool2d", [](Info info) {
    return at::avg_pool2d(argument(info, 0, "x"), pair_at(info, 1, "kernel"), pair_at(info, 2, "stride"),
                          pair_at(info, 3, "padding"));
  });
}

void define_layers(const TensorFunctions& set) {
  // layer(x, weight, bias, feedback, activation, rule, map, scale)
  set.tensor("layer", [](Info info) {
    const at::Tensor &x = argument(info, 0, "x"), &weight = argument(info, 1, "weight");
    const Sender sender =
        sender_of(string_at(info, 5), optional_argument(info, 3, "feedback"), info[7].As<Napi::Number>().DoubleValue());
    return gradient_layer(map_of(info[6], x, weight), from_name<Activation>(string_at(info, 4)), sender, x, weight,
                          optional_argument(info, 2, "bias"));
  });
  // dfaHiddenLayer(x, weight, bias, feedback, activation, map) → [y, port]
  set.plain("dfaHiddenLayer", [](Info info) -> Napi::Value {
    const at::Tensor &x = argument(info, 0, "x"), &weight = argument(info, 1, "weight");
    LayerOutput out = dfa_hidden_layer(map_of(info[5], x, weight), from_name<Activation>(string_at(info, 4)), x, weight,
                                       optional_argument(info, 2, "bias"), argument(info, 3, "feedback"));
    Napi::Array result = Napi::Array::New(info.Env(), 2);
    result.Set(0u, TensorHandle::wrap(info.Env(), std::move(out.y)));
    result.Set(1u, TensorHandle::wrap(info.Env(), std::move(out.error_port)));
    return result;
  });
  // dfaOutputLayer(x, weight, bias, activation, ports, map)
  set.tensor("dfaOutputLayer", [](Info info) {
    const at::Tensor &x = argument(info, 0, "x"), &weight = argument(info, 1, "weight");
    std::vector<at::Tensor> ports;
    const Napi::Array array = info[4].As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length(); ++i) ports.push_back(TensorHandle::unwrap(array.Get(i), "ports").tensor());
    return dfa_output_layer(map_of(info[5], x, weight), from_name<Activation>(string_at(info, 3)), x, weight,
                            optional_argument(info, 2, "bias"), ports);
  });
}

at::Tensor tensor_of(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  return value.IsUndefined() || value.IsNull() ? at::Tensor() : TensorHandle::unwrap(value, key).tensor();
}

// From { weight, bias, activation }, or nothing.
Inverse inverse_of(const Napi::Value& value, const LinearMapPtr& map) {
  if (!value.IsObject()) return {};
  const Napi::Object object = value.As<Napi::Object>();
  return {map, from_name<Activation>(text(object, "activation")), tensor_of(object, "weight"),
          tensor_of(object, "bias")};
}

void define_target_layers(const TensorFunctions& set) {
  // targetLayer(x, weight, bias, activation, map, { rule, lossReduction, inverse })
  set.tensor("targetLayer", [](Info info) {
    const at::Tensor &x = argument(info, 0, "x"), &weight = argument(info, 1, "weight");
    const Napi::Object options = info[5].As<Napi::Object>();
    const LinearMapPtr map = map_of(info[4], x, weight);
    const Napi::Value inverse = options.Get("inverse");
    TargetSettings settings;
    settings.reduction = from_name<UnitReduction>(text(options, "lossReduction"));
    return target_layer(map, from_name<Activation>(string_at(info, 3)), x, weight, optional_argument(info, 2, "bias"),
                        inverse_of(inverse, map), target_kind(text(options, "rule")), settings,
                        inverse.IsString() ? InverseKind::transposed_jacobian : InverseKind::learned);
  });
  // targetOutputLayer(x, weight, bias, activation, map, { rule, loss, targetStep, targetStepLoss, inverse, auxiliary })
  set.tensor("targetOutputLayer", [](Info info) {
    const at::Tensor &x = argument(info, 0, "x"), &weight = argument(info, 1, "weight");
    const Napi::Object options = info[5].As<Napi::Object>();
    const LinearMapPtr map = map_of(info[4], x, weight);
    Inverse inverse = inverse_of(options.Get("inverse"), map);
    Auxiliary auxiliary;
    if (options.Get("auxiliary").IsObject()) {
      const Napi::Object object = options.Get("auxiliary").As<Napi::Object>();
      auxiliary = {tensor_of(object, "weight"), tensor_of(object, "bias")};
      if (inverse.defined()) inverse.map = dense_map("targetOutputLayer", inverse.weight);
    }
    TargetSettings settings;
    settings.head = head_of(from_name<Loss>(text(options, "loss")));
    settings.target_step = number(options, "targetStep");
    settings.step_loss = from_name<StepLoss>(text(options, "targetStepLoss"));
    return target_output_layer(map, from_name<Activation>(string_at(info, 3)), x, weight,
                               optional_argument(info, 2, "bias"), inverse, auxiliary,
                               target_kind(text(options, "rule")), settings);
  });
}

// Either one over the other's layer would train, on something else than what was meant.
Delivery delivery_at(Info info, std::size_t i, const at::Tensor& outputs) {
  const auto delivery = from_name<Delivery>(string_at(info, i));
  const bool difference = delivery == Delivery::difference, target = is_target_output(outputs);
  TORCH_CHECK(!target || difference,
              "a loss over targetOutputLayer has to hand down differences: pass { deliver: 'difference' }");
  TORCH_CHECK(target || !difference || !outputs.requires_grad(),
              "{ deliver: 'difference' } is for what targetOutputLayer gives, as it is; leave it out, or put the loss "
              "straight on that layer");
  return delivery;
}

void define_losses(const TensorFunctions& set) {
  // softmaxCrossEntropy(logits, labels, deliver) and squaredError(outputs, targets, deliver)
  set.tensor("softmaxCrossEntropy", [](Info info) {
    Tally counts;
    const at::Tensor& logits = argument(info, 0, "logits");
    return softmax_cross_entropy(logits, argument(info, 1, "labels"), counts, delivery_at(info, 2, logits));
  });
  set.tensor("squaredError", [](Info info) {
    Tally counts;
    const at::Tensor& outputs = argument(info, 0, "outputs");
    return squared_error(outputs, argument(info, 1, "targets"), counts, delivery_at(info, 2, outputs));
  });
}

}  // namespace

void define_tensor_maps(Napi::Env env, Napi::Object to) {
  const TensorFunctions set(env, to);
  define_maps(set);
  define_layers(set);
  define_target_layers(set);
  define_losses(set);
}

}  // namespace cortorch::node
