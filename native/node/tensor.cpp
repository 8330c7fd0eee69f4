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

#include "maps/activation.h"
#include "node/addon.h"
#include "node/convert.h"
#include "node/tensor_functions.h"

namespace cortorch::node {
namespace {

std::atomic<int64_t> live_handles{0};

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

}  // namespace

TensorHandle::TensorHandle(const Napi::CallbackInfo& info) : Wrapped(info) {
  // new TensorHandle(typedArray, shape), or without arguments from wrap().
  if (info.Length() == 0) return;
  guarded(info.Env(), [&] { hold(info.Env(), tensor_from(info[0], shape_of(info[1]))); });
}

TensorHandle::~TensorHandle() { dispose(); }

void TensorHandle::hold(Napi::Env env, at::Tensor tensor) {
  tensor_ = std::move(tensor);
  memory_.report(env, tensor_.is_cpu() ? static_cast<int64_t>(tensor_.nbytes()) : 0);
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

  const TensorFunctions set(env, ops);

  set.plain("dispose", [](Info info) -> Napi::Value {
    TensorHandle::unwrap(info[0], "tensor").dispose();
    return info.Env().Undefined();
  });
  set.plain("live", [](Info info) -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(TensorHandle::live()));
  });
  // What V8 has been told of memory outside its heap, in bytes, by all addons.
  set.plain("externalMemory", [](Info info) -> Napi::Value {
    return Napi::Number::New(info.Env(),
                             static_cast<double>(Napi::MemoryManagement::AdjustExternalMemory(info.Env(), 0)));
  });
  set.plain("shape",
            [](Info info) -> Napi::Value { return shape_to(info.Env(), argument(info, 0, "tensor").sizes()); });
  set.plain("dtype", [](Info info) -> Napi::Value {
    return Napi::String::New(info.Env(), dtype_name(argument(info, 0, "tensor").scalar_type()));
  });
  set.plain("device", [](Info info) -> Napi::Value {
    return Napi::String::New(info.Env(), argument(info, 0, "tensor").device().str());
  });
  set.plain("data", [](Info info) -> Napi::Value { return typed_array_from(info.Env(), argument(info, 0, "tensor")); });
  set.plain("requiresGrad", [](Info info) -> Napi::Value {
    return Napi::Boolean::New(info.Env(), argument(info, 0, "tensor").requires_grad());
  });
  set.plain("setRequiresGrad", [](Info info) -> Napi::Value {
    argument(info, 0, "tensor").set_requires_grad(info[1].ToBoolean().Value());
    return info.Env().Undefined();
  });
  set.plain("grad", [](Info info) -> Napi::Value {
    const at::Tensor& grad = argument(info, 0, "tensor").grad();
    return grad.defined() ? Napi::Value(TensorHandle::wrap(info.Env(), grad)) : info.Env().Null();
  });
  set.plain("clearGrad", [](Info info) -> Napi::Value {
    argument(info, 0, "tensor").mutable_grad().reset();
    return info.Env().Undefined();
  });
  set.plain("backward", [](Info info) -> Napi::Value {
    const at::Tensor gradient = optional_argument(info, 1, "gradient");
    argument(info, 0, "tensor")
        .backward(gradient, /*retain_graph=*/std::nullopt, /*create_graph=*/info[2].ToBoolean().Value());
    return info.Env().Undefined();
  });

  set.tensor("add",
             [](Info info) { return binary(info, [](const at::Tensor& a, const auto& b) { return at::add(a, b); }); });
  set.tensor("sub",
             [](Info info) { return binary(info, [](const at::Tensor& a, const auto& b) { return at::sub(a, b); }); });
  set.tensor("mul",
             [](Info info) { return binary(info, [](const at::Tensor& a, const auto& b) { return at::mul(a, b); }); });
  set.tensor("div",
             [](Info info) { return binary(info, [](const at::Tensor& a, const auto& b) { return at::div(a, b); }); });
  set.tensor("matmul", [](Info info) { return at::matmul(argument(info, 0, "tensor"), argument(info, 1, "other")); });
  set.tensor("neg", [](Info info) { return at::neg(argument(info, 0, "tensor")); });
  set.tensor("exp", [](Info info) { return at::exp(argument(info, 0, "tensor")); });
  set.tensor("log", [](Info info) { return at::log(argument(info, 0, "tensor")); });
  set.tensor("activate", [](Info info) {
    return activate(from_name<Activation>(info[1].As<Napi::String>().Utf8Value()), argument(info, 0, "tensor"));
  });
  set.tensor("softmax", [](Info info) {
    return at::softmax(argument(info, 0, "tensor"), info[1].As<Napi::Number>().Int64Value());
  });
  set.tensor("sum", [](Info info) {
    return reduction(info, [](auto& a, int64_t dim) { return at::sum(a, dim); }, [](auto& a) { return at::sum(a); });
  });
  set.tensor("mean", [](Info info) {
    return reduction(info, [](auto& a, int64_t dim) { return at::mean(a, dim); }, [](auto& a) { return at::mean(a); });
  });
  set.tensor("argmax", [](Info info) {
    return reduction(
        info, [](auto& a, int64_t dim) { return at::argmax(a, dim); }, [](auto& a) { return at::argmax(a); });
  });
  set.tensor("reshape", [](Info info) { return argument(info, 0, "tensor").reshape(shape_of(info[1])); });
  set.tensor("transpose", [](Info info) {
    return argument(info, 0, "tensor")
        .transpose(info[1].As<Napi::Number>().Int64Value(), info[2].As<Napi::Number>().Int64Value());
  });
  set.tensor("detach", [](Info info) { return argument(info, 0, "tensor").detach(); });
  set.tensor("to", [](Info info) {
    return argument(info, 0, "tensor")
        .to(dtype_of(info[1].As<Napi::String>().Utf8Value()), /*non_blocking=*/false, /*copy=*/true);
  });

  set.tensor("toDevice", [](Info info) {
    return argument(info, 0, "tensor")
        .to(at::Device(info[1].As<Napi::String>().Utf8Value()), /*dtype=*/argument(info, 0, "tensor").scalar_type());
  });

  define_tensor_maps(env, ops);
}

}  // namespace cortorch::node
