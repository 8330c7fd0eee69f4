#include "node/convert.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "node/errors.h"

namespace cortorch::node {

double number(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsNumber()) throw Napi::TypeError::New(object.Env(), std::string("expected a number for `") + key + "`");
  return value.As<Napi::Number>().DoubleValue();
}

int64_t integer(const Napi::Object& object, const char* key) { return static_cast<int64_t>(number(object, key)); }

std::string text(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsString()) throw Napi::TypeError::New(object.Env(), std::string("expected a string for `") + key + "`");
  return value.As<Napi::String>().Utf8Value();
}

bool boolean(const Napi::Object& object, const char* key) { return object.Get(key).ToBoolean().Value(); }

uint64_t seed_of(const Napi::Value& value) {
  if (value.IsBigInt()) {
    bool lossless = false;
    return value.As<Napi::BigInt>().Uint64Value(&lossless);
  }
  if (!value.IsNumber()) throw Napi::TypeError::New(value.Env(), "expected a number or a BigInt for `seed`");
  return static_cast<uint64_t>(value.As<Napi::Number>().Int64Value());
}

Shape shape_of(const Napi::Value& value) {
  if (!value.IsArray()) throw Napi::TypeError::New(value.Env(), "expected an array for `shape`");
  const Napi::Array array = value.As<Napi::Array>();
  Shape shape;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const int64_t size = array.Get(i).As<Napi::Number>().Int64Value();
    if (size < 0) throw Napi::RangeError::New(value.Env(), "expected sizes that are not negative for `shape`");
    shape.push_back(size);
  }
  return shape;
}

Napi::Array shape_to(Napi::Env env, at::IntArrayRef shape) {
  Napi::Array array = Napi::Array::New(env, shape.size());
  for (std::size_t i = 0; i < shape.size(); ++i) array.Set(static_cast<uint32_t>(i), static_cast<double>(shape[i]));
  return array;
}

std::array<int64_t, 2> pair_of(const Napi::Value& value, const char* key) {
  const Shape shape = shape_of(value);
  TORCH_CHECK(shape.size() == 2, "expected two numbers, (height, width), for `", key, "`");
  return {shape[0], shape[1]};
}

namespace {

std::vector<double> numbers_from(const Napi::Value& value) {
  const Napi::Array array = value.As<Napi::Array>();
  std::vector<double> numbers;
  for (uint32_t i = 0; i < array.Length(); ++i) numbers.push_back(array.Get(i).As<Napi::Number>().DoubleValue());
  return numbers;
}

std::vector<LayerSpec> layer_specs(const Napi::Value& value);

LayerSpec layer_spec(const Napi::Object& from) {
  using Kind = LayerSpec::Kind;
  LayerSpec layer;
  layer.kind = from_name<Kind>(text(from, "type"));
  if (layer.kind == Kind::flatten) return layer;
  if (from.Has("name") && from.Get("name").IsString()) layer.name = text(from, "name");
  if (from.Has("activation")) layer.activation = from_name<Activation>(text(from, "activation"));
  if (layer.kind == Kind::batch_norm) {
    layer.momentum = number(from, "momentum");
    layer.epsilon = number(from, "epsilon");
    return layer;
  }
  if (layer.kind == Kind::residual) {
    layer.layers = layer_specs(from.Get("layers"));
    const Napi::Value shortcut = from.Get("shortcut");
    if (shortcut.IsArray()) {
      layer.shortcut = Shortcut::layers;
      layer.shortcut_layers = layer_specs(shortcut);
      return layer;
    }
    layer.shortcut = from_name<Shortcut>(text(from, "shortcut"));
    if (layer.shortcut == Shortcut::pad) layer.stride = pair_of(from.Get("stride"), "stride");
    return layer;
  }
  if (layer.kind != Kind::dense) {
    layer.kernel = pair_of(from.Get("kernel"), "kernel");
    layer.stride = pair_of(from.Get("stride"), "stride");
    layer.padding = pair_of(from.Get("padding"), "padding");
  }
  if (layer.kind == Kind::max_pool2d || layer.kind == Kind::avg_pool2d) return layer;
  if (layer.kind == Kind::dense) {
    layer.units = integer(from, "units");
  } else {
    layer.channels = integer(from, "channels");
    layer.dilation = pair_of(from.Get("dilation"), "dilation");
  }
  layer.bias = boolean(from, "bias");
  layer.initializer = from_name<Initializer>(text(from, "initializer"));
  return layer;
}

std::vector<LayerSpec> layer_specs(const Napi::Value& value) {
  const Napi::Array array = value.As<Napi::Array>();
  std::vector<LayerSpec> specs;
  for (uint32_t i = 0; i < array.Length(); ++i) specs.push_back(layer_spec(array.Get(i).As<Napi::Object>()));
  return specs;
}

}  // namespace

NetworkSpec network_spec(const Napi::Object& object) {
  NetworkSpec spec;
  spec.input = shape_of(object.Get("input"));
  spec.layers = layer_specs(object.Get("layers"));
  return spec;
}

Place place_of(const Napi::Object& object) {
  return cortorch::place_of(text(object, "device"), from_name<cuda::Precision>(text(object, "precision")),
                            boolean(object, "deterministic"));
}

OptimizerSpec optimizer_spec(const Napi::Object& object) {
  OptimizerSpec spec;
  spec.kind = from_name<OptimizerSpec::Kind>(text(object, "type"));
  spec.lr = number(object, "lr");
  spec.beta1 = number(object, "beta1");
  spec.beta2 = number(object, "beta2");
  spec.eps = number(object, "eps");
  spec.momentum = number(object, "momentum");
  spec.weight_decay = number(object, "weightDecay");
  spec.batch_manhattan = boolean(object, "batchManhattan");
  if (object.Has("moments")) spec.moments = from_name<Moments>(text(object, "moments"));
  return spec;
}

Options options_from(const Napi::Value& value) {
  Options options;
  if (!value.IsObject()) return options;
  const Napi::Object object = value.As<Napi::Object>();
  const Napi::Array names = object.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = names.Get(i).As<Napi::String>().Utf8Value();
    const Napi::Value given = object.Get(name);
    if (given.IsNull() || given.IsUndefined()) continue;
    if (given.IsNumber()) {
      options.set(name, given.As<Napi::Number>().DoubleValue());
    } else if (given.IsArray()) {
      options.set(name, numbers_from(given));
    } else {
      options.set(name, text(object, name.c_str()));
    }
  }
  return options;
}

std::unique_ptr<Rule> rule_from(const Napi::Object& object) {
  const std::string name = text(object, "rule");
  Options options = options_from(object.Get("ruleOptions"));
  auto rule = make_rule(name, options);
  options.done("rule " + name);
  return rule;
}

RuleTraining rule_training(const Napi::Object& object) {
  RuleTraining result;
  result.options = options_from(object.Get("options"));
  const Napi::Value optimizer = object.Get("optimizer");
  if (optimizer.IsObject()) result.optimizer = optimizer_spec(optimizer.As<Napi::Object>());
  return result;
}

Position position_of(const Napi::Object& object) {
  return {seed_of(object.Get("seed")), static_cast<uint32_t>(integer(object, "epoch")), integer(object, "firstStep"),
          static_cast<uint32_t>(integer(object, "step")), from_name<Phase>(text(object, "phase"))};
}

Normalization normalization_of(const Napi::Value& value) {
  Normalization result;
  if (!value.IsObject()) return result;
  result.mean = numbers_from(value.As<Napi::Object>().Get("mean"));
  result.deviation = numbers_from(value.As<Napi::Object>().Get("std"));
  return result;
}

Augmentation augmentation_of(const Napi::Object& object) {
  return {integer(object, "cropPadding"), from_name<Border>(text(object, "cropBorder")),
          boolean(object, "flipHorizontal"), boolean(object, "flipVertical")};
}

Loss loss_of(const Napi::Value& value) { return from_name<Loss>(value.As<Napi::String>().Utf8Value()); }

LossCounts counts_of(const Napi::Object& object) {
  return {number(object, "loss"), number(object, "error"), number(object, "error5"), number(object, "inverse"),
          integer(object, "examples")};
}

Napi::Object counts_to(Napi::Env env, const LossCounts& counts) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("loss", counts.loss);
  object.Set("error", counts.error);
  object.Set("error5", counts.error5);
  object.Set("inverse", counts.inverse);
  object.Set("examples", static_cast<double>(counts.examples));
  return object;
}

namespace {

struct DtypeName {
  at::ScalarType dtype;
  const char* name;
  napi_typedarray_type array;
};

constexpr DtypeName kDtypes[] = {
    {at::kFloat, "float32", napi_float32_array}, {at::kDouble, "float64", napi_float64_array},
    {at::kByte, "uint8", napi_uint8_array},      {at::kInt, "int32", napi_int32_array},
    {at::kLong, "int64", napi_bigint64_array},
};

}  // namespace

std::string dtype_name(at::ScalarType dtype) {
  for (const DtypeName& known : kDtypes) {
    if (known.dtype == dtype) return known.name;
  }
  return c10::toString(dtype);
}

at::ScalarType dtype_of(const std::string& name) {
  for (const DtypeName& known : kDtypes) {
    if (name == known.name) return known.dtype;
  }
  TORCH_CHECK(false, "unknown dtype '", name, "'; known are float32, float64, uint8, int32, int64");
}

at::Tensor tensor_from(const Napi::Value& value, const Shape& shape) {
  if (!value.IsTypedArray()) throw Napi::TypeError::New(value.Env(), "expected a typed array");
  const Napi::TypedArray array = value.As<Napi::TypedArray>();
  const napi_typedarray_type type =
      array.TypedArrayType() == napi_uint8_clamped_array ? napi_uint8_array : array.TypedArrayType();
  for (const DtypeName& known : kDtypes) {
    if (known.array != type) continue;
    at::Tensor tensor = at::empty(shape, known.dtype);
    TORCH_CHECK(static_cast<std::size_t>(tensor.numel()) == array.ElementLength(), "a tensor of shape ",
                at::IntArrayRef(shape), " holds ", tensor.numel(), " values, but the array has ",
                array.ElementLength());
    if (tensor.numel() > 0) {
      std::memcpy(tensor.mutable_data_ptr(), static_cast<const char*>(array.ArrayBuffer().Data()) + array.ByteOffset(),
                  array.ByteLength());
    }
    return tensor;
  }
  throw Napi::TypeError::New(value.Env(),
                             "expected a Float32Array, Float64Array, Uint8Array, Int32Array or BigInt64Array");
}

Examples examples_from(const Napi::Object& object) {
  Shape shape = shape_of(object.Get("shape"));
  const bool channels_last = boolean(object, "channelsLast");
  TORCH_CHECK(!channels_last || shape.size() == 4,
              "images with their channels last: expected [n, channels, height, width]");
  if (channels_last) std::rotate(shape.begin() + 1, shape.begin() + 2, shape.end());
  const at::Tensor images = tensor_from(object.Get("images"), shape);
  const int64_t outputs = integer(object, "outputs");
  return {channels_last ? images.permute({0, 3, 1, 2}) : images,
          tensor_from(object.Get("targets"), outputs > 0 ? Shape{shape.at(0), outputs} : Shape{shape.at(0)})};
}

at::Tensor host_copy(const at::Tensor& tensor) {
  // First the move: a GPU that is full has no room for the wider copy.
  return tensor.detach().to(at::kCPU, tensor.scalar_type(), /*non_blocking=*/false, /*copy=*/true).to(at::kFloat);
}

Napi::Value typed_array_from(Napi::Env env, const at::Tensor& tensor) {
  for (const DtypeName& known : kDtypes) {
    if (known.dtype != tensor.scalar_type()) continue;
    // One copy: straight into V8's memory.
    const std::size_t bytes = static_cast<std::size_t>(tensor.numel()) * tensor.element_size();
    Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, bytes);
    const at::Tensor values = tensor.detach().cpu().contiguous();
    if (bytes > 0) std::memcpy(buffer.Data(), values.const_data_ptr(), bytes);
    napi_value result;
    const napi_status status =
        napi_create_typedarray(env, known.array, static_cast<std::size_t>(tensor.numel()), buffer, 0, &result);
    if (status != napi_ok) throw Napi::Error::New(env);
    return Napi::Value(env, result);
  }
  TORCH_CHECK(false, "a tensor of dtype ", tensor.scalar_type(), " has no typed array; convert it first");
}

}  // namespace cortorch::node
