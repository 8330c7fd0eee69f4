// JavaScript values to C++ ones and back. The TypeScript half has validated them; what is checked again here
// is what memory safety depends on.
#pragma once

#include <ATen/core/Tensor.h>
#include <napi.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "data/dataset.h"
#include "maps/linear_map.h"
#include "network/network.h"
#include "network/place.h"
#include "rules/loss.h"
#include "rules/rules.h"
#include "training/optimizer.h"
#include "training/trainer.h"

namespace cortorch::node {

double number(const Napi::Object& object, const char* key);
int64_t integer(const Napi::Object& object, const char* key);
std::string text(const Napi::Object& object, const char* key);
bool boolean(const Napi::Object& object, const char* key);
// A 64-bit seed comes as a BigInt or a safe integer.
uint64_t seed_of(const Napi::Value& value);

Shape shape_of(const Napi::Value& value);
// (height, width); `key` names it in an error.
std::array<int64_t, 2> pair_of(const Napi::Value& value, const char* key);
Napi::Array shape_to(Napi::Env env, at::IntArrayRef shape);

NetworkSpec network_spec(const Napi::Object& object);
// From { name: number, word or list of numbers }; null is as if it were not there.
Options options_from(const Napi::Value& value);
// From { rule, ruleOptions }.
std::unique_ptr<Rule> rule_from(const Napi::Object& object);
// { device, precision, deterministic }
Place place_of(const Napi::Object& object);
OptimizerSpec optimizer_spec(const Napi::Object& object);
// From { options, optimizer or null }.
RuleTraining rule_training(const Napi::Object& object);
Position position_of(const Napi::Object& object);
Normalization normalization_of(const Napi::Value& value);
// { cropPadding, cropBorder, flipHorizontal, flipVertical }
Augmentation augmentation_of(const Napi::Object& object);
Loss loss_of(const Napi::Value& value);
LossCounts counts_of(const Napi::Object& object);
Napi::Object counts_to(Napi::Env env, const LossCounts& counts);

// A batch of the caller's own, of copies.
struct Examples {
  at::Tensor images;   // [n, shape], of any strides
  at::Tensor targets;  // [n] or [n, outputs]
};
// { images, shape, channelsLast, targets, outputs }; shape [n, channels, height, width] also where the bytes of a pixel
// lie together (channelsLast).
Examples examples_from(const Napi::Object& object);

// A new tensor with a copy of a typed array's values. Throws if the shape does not hold as many.
at::Tensor tensor_from(const Napi::Value& typed_array, const Shape& shape);
// A typed array over a copy of the values (which is what it keeps alive): Float32Array, Float64Array,
// Uint8Array, Int32Array or BigInt64Array by dtype.
Napi::Value typed_array_from(Napi::Env env, const at::Tensor& tensor);
// A copy of the values on the CPU, float32.
at::Tensor host_copy(const at::Tensor& tensor);
std::string dtype_name(at::ScalarType dtype);
at::ScalarType dtype_of(const std::string& name);

}  // namespace cortorch::node
