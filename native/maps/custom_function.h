// What custom autograd functions share. libtorch's header is the most expensive one of all to parse.
#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include "base/optional_tensor.h"
#include "maps/linear_map.h"

namespace cortorch {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

inline void save_map(AutogradContext* ctx, const LinearMapPtr& map) {
  ctx->saved_data["map"] = c10::IValue::make_capsule(map);
}
inline LinearMapPtr saved_map(AutogradContext* ctx) {
  return c10::static_intrusive_pointer_cast<LinearMap>(ctx->saved_data["map"].toCapsule());
}

}  // namespace cortorch
