#include "node/tensor.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/div.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/log.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/neg.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/sum.h>

#include <atomic>

#include "maps/dense.h"
#include "maps/operators.h"
#include "node/addon.h"
#include "node/convert.h"
#include "rules/layer.h"
#include "rules/loss.h"

namespace cortorch::node {
namespace {

std::atomic<int64_t> live_handles{0};

// --- the exports: functions over handles; the class itself is TypeScript's --------------------------------

const at::Tensor& argument(const Napi::CallbackInfo& info, std::size_t i, const char* name) {
  return TensorHandle::unwrap(info[i], name).tensor();
}

at::Tensor optional_argument(const Napi::CallbackInfo& info, std::size_t i, const char* name) {
  return info[i].IsUndefined() || info[i].IsNull() ? at::Tensor() : argument(info, i, name);
}

template <typename Operation>
Napi::Function function(Napi::Env env, const char* name, Operation operation) {
  return Napi::Function::New(
      env,
      [operation](const Napi::CallbackInfo& info) -> Napi::Value {
        return guarded(info.Env(), [&] { return TensorHandle::wrap(info.Env(), operation(info)); });
      },
      name);
}

template <typename Body>
Napi::Function plain_function(Napi::Env env, const char* name, Body body) {
  return Napi::Function::New(
      env,
      [body](const Napi::CallbackInfo& info) -> Napi::Value { return guarded(info.Env(), [&] { return body(info); }); }, name);
}

using Info = const Napi::CallbackInfo&;

template <typename Operation>
at::Tensor binary(Info info, Operation operation) {
  const at::Tensor& a = argument(info, 0, "tensor");
  // A number stays one, so that it does not change the tensor's dtype where it need not.
  if (info[1].IsNumber()) return operation(a, at::Scalar(info[1].As<Napi::Number>().DoubleValue()));
  return operation(a, argument(info, 1, "other"));
}

// The dimension, or all of them if none is given.
template <typename One, typename All>
at::Tensor reduction(Info info, One one, All all) {
  const at::Tensor& a = argument(info, 0, "tensor");
  if (!info[1].IsNumber()) return all(a);
  return one(a, info[1].As<Napi::Number>().Int64Value());
}

LinearMapPtr dense_map_of(const at::Tensor& weight) {
  TORCH_CHECK(weight.dim() == 2, "expected weight to be [out, in], but its shape is ", weight.sizes());
  return c10::make_intrusive<Dense>(weight.size(1), weight.size(0));
}

}  // namespace

TensorHandle::TensorHandle(const Napi::CallbackInfo& info) : Wrapped(info) {
  // new TensorHandle(typedArray, shape), or without arguments from wrap().
  if (info.Length() == 0) return;
  guarded(info.Env(), [&] { hold(info.Env(), tensor_from(info[0], shape_of(info[1]))); });
}

TensorHandle::~TensorHandle() { dispose(); }

void TensorHandle::hold(Napi::Env env, at::Tensor tensor) {
  tensor_ = std::move(tensor);
  memory_.report(env, static_cast<int64_t>(tensor_.nbytes()));
  ++live_handles;
}

void TensorHandle::dispose() {
  if (!tensor_.defined()) return;
  tensor_.reset();
  memory_.release();
  --live_handles;
}

const at::Tensor& TensorHandle::tensor() const {
  if (!tensor_.defined()) throw CodedError("ERR_DISPOSED", "this tensor was disposed of");
  return tensor_;
}

int64_t TensorHandle::live() { return live_handles; }

Napi::Object TensorHandle::wrap(Napi::Env env, at::Tensor tensor) {
  Napi::Object object = AddonData::of(env).tensor_class.New({});
  unwrap(object, "tensor").hold(env, std::move(tensor));
  return object;
}

void define_tensor(Napi::Env env, Napi::Object exports) {
  const Napi::Function tensor_class = Napi::ObjectWrap<TensorHandle>::DefineClass(env, "TensorHandle", {});
  AddonData::of(env).tensor_class = Napi::Persistent(tensor_class);
  exports.Set("TensorHandle", tensor_class);

  Napi::Object ops = Napi::Object::New(env);
  exports.Set("tensor", ops);

  const auto set = [&](const char* name, auto operation) { ops.Set(name, function(env, name, operation)); };
  const auto set_plain = [&](const char* name, auto body) { ops.Set(name, plain_function(env, name, body)); };

  set_plain("dispose", [](Info info) -> Napi::Value {
    TensorHandle::unwrap(info[0], "tensor").dispose();
    return info.Env().Undefined();
  });
  set_plain("live", [](Info info) -> Napi::Value { return Napi::Number::New(info.Env(), static_cast<double>(TensorHandle::live())); });
  // What V8 has been told of memory outside its heap, in bytes, by all addons.
  set_plain("externalMemory", [](Info info) -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(Napi::MemoryManagement::AdjustExternalMemory(info.Env(), 0)));
  });
  set_plain("shape", [](Info info) -> Napi::Value { return shape_to(info.Env(), argument(info, 0, "tensor").sizes()); });
  set_plain("dtype", [](Info info) -> Napi::Value { return Napi::String::New(info.Env(), dtype_name(argument(info, 0, "tensor").scalar_type())); });
  set_plain("device", [](Info info) -> Napi::Value { return Napi::String::New(info.Env(), argument(info, 0, "tensor").device().str()); });
  set_plain("data", [](Info info) -> Napi::Value { return typed_array_from(info.Env(), argument(info, 0, "tensor")); });
  set_plain("requiresGrad", [](Info info) -> Napi::Value { return Napi::Boolean::New(info.Env(), argument(info, 0, "tensor").requires_grad()); });
  set_plain("setRequiresGrad", [](Info info) -> Napi::Value {
    argument(info, 0, "tensor").set_requires_grad(info[1].ToBoolean().Value());
    return info.Env().Undefined();
  });
  set_plain("grad", [](Info info) -> Napi::Value {
    const at::Tensor& grad = argument(info, 0, "tensor").grad();
    return grad.defined() ? Napi::Value(TensorHandle::wrap(info.Env(), grad)) : info.Env().Null();
  });
  set_plain("clearGrad", [](Info info) -> Napi::Value {
    argument(info, 0, "tensor").mutable_grad().reset();
    return info.Env().Undefined();
  });
  set_plain("backward", [](Info info) -> Napi::Value {
    const at::Tensor gradient = optional_argument(info, 1, "gradient");
    argument(info, 0, "tensor").backward(gradient, /*retain_graph=*/std::nullopt, /*create_graph=*/info[2].ToBoolean().Value());
    return info.Env().Undefined();
  });

  set("add", [](Info info) { return binary(info, [](const at::Tensor& a, const auto& b) { return at::add(a, b); }); });
  set("sub", [](Info info) { return binary(info, [](const at::Tensor& a, const auto& b) { return at::sub(a, b); }); });
  set("mul", [](Info info) { return binary(info, [](const at::Tensor& a, const auto& b) { return at::mul(a, b); }); });
  set("div", [](Info info) { return binary(info, [](const at::Tensor& a, const auto& b) { return at::div(a, b); }); });
  set("matmul", [](Info info) { return at::matmul(argument(info, 0, "tensor"), argument(info, 1, "other")); });
  set("neg", [](Info info) { return at::neg(argument(info, 0, "tensor")); });
  set("exp", [](Info info) { return at::exp(argument(info, 0, "tensor")); });
  set("log", [](Info info) { return at::log(argument(info, 0, "tensor")); });
  set("activate", [](Info info) { return activate(activation_from_name(info[1].As<Napi::String>().Utf8Value()), argument(info, 0, "tensor")); });
  set("softmax", [](Info info) { return at::softmax(argument(info, 0, "tensor"), info[1].As<Napi::Number>().Int64Value()); });
  set("sum", [](Info info) {
    return reduction(info, [](auto& a, int64_t dim) { return at::sum(a, dim); }, [](auto& a) { return at::sum(a); });
  });
  set("mean", [](Info info) {
    return reduction(info, [](auto& a, int64_t dim) { return at::mean(a, dim); }, [](auto& a) { return at::mean(a); });
  });
  set("argmax", [](Info info) {
    return reduction(info, [](auto& a, int64_t dim) { return at::argmax(a, dim); }, [](auto& a) { return at::argmax(a); });
  });
  set("reshape", [](Info info) { return argument(info, 0, "tensor").reshape(shape_of(info[1])); });
  set("transpose", [](Info info) {
    return argument(info, 0, "tensor").transpose(info[1].As<Napi::Number>().Int64Value(), info[2].As<Napi::Number>().Int64Value());
  });
  set("detach", [](Info info) { return argument(info, 0, "tensor").detach(); });
  set("to", [](Info info) { return argument(info, 0, "tensor").to(dtype_of(info[1].As<Napi::String>().Utf8Value()), /*non_blocking=*/false, /*copy=*/true); });

  set("dense", [](Info info) {
    const at::Tensor bias = optional_argument(info, 2, "bias");
    return dense(argument(info, 0, "x"), argument(info, 1, "weight"), bias.defined() ? std::optional(bias) : std::nullopt);
  });
  set("denseAdjoint", [](Info info) { return dense_adjoint(argument(info, 0, "v"), argument(info, 1, "y")); });
  set("denseOuter", [](Info info) { return dense_outer(argument(info, 0, "x"), argument(info, 1, "delta")); });

  // layer(x, weight, bias, feedback, activation, rule)
  set("layer", [](Info info) {
    const at::Tensor &x = argument(info, 0, "x"), &weight = argument(info, 1, "weight");
    const at::Tensor bias = optional_argument(info, 2, "bias"), feedback = optional_argument(info, 3, "feedback");
    return layer(dense_map_of(weight), activation_from_name(info[4].As<Napi::String>().Utf8Value()),
                 rule_from_name(info[5].As<Napi::String>().Utf8Value()), x, weight, bias, feedback);
  });
  // dfaHiddenLayer(x, weight, bias, feedback, activation) → [y, port]
  set_plain("dfaHiddenLayer", [](Info info) -> Napi::Value {
    const at::Tensor &x = argument(info, 0, "x"), &weight = argument(info, 1, "weight"), &feedback = argument(info, 3, "feedback");
    const at::Tensor bias = optional_argument(info, 2, "bias");
    LayerOutput out = dfa_hidden_layer(dense_map_of(weight), activation_from_name(info[4].As<Napi::String>().Utf8Value()), x, weight, bias, feedback);
    Napi::Array result = Napi::Array::New(info.Env(), 2);
    result.Set(0u, TensorHandle::wrap(info.Env(), std::move(out.y)));
    result.Set(1u, TensorHandle::wrap(info.Env(), std::move(out.error_port)));
    return result;
  });
  // dfaOutputLayer(x, weight, bias, activation, ports)
  set("dfaOutputLayer", [](Info info) {
    const at::Tensor &x = argument(info, 0, "x"), &weight = argument(info, 1, "weight");
    const at::Tensor bias = optional_argument(info, 2, "bias");
    std::vector<at::Tensor> ports;
    const Napi::Array array = info[4].As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length(); ++i) ports.push_back(TensorHandle::unwrap(array.Get(i), "ports").tensor());
    return dfa_output_layer(dense_map_of(weight), activation_from_name(info[3].As<Napi::String>().Utf8Value()), x, weight, bias, ports);
  });

  set("softmaxCrossEntropy", [](Info info) {
    LossCounts counts;
    return softmax_cross_entropy(argument(info, 0, "logits"), argument(info, 1, "labels"), counts);
  });
  set("squaredError", [](Info info) {
    LossCounts counts;
    return squared_error(argument(info, 0, "outputs"), argument(info, 1, "targets"), counts);
  });
}

}  // namespace cortorch::node
