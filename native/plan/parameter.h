// A tensor of the state_dict.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>

#include "base/names.h"

namespace cortorch {

struct Parameter {
  // Trained on the task's loss; learned by the rule beside it (inverses); or not trained.
  enum class Role { forward, learned, fixed } role = Role::fixed;
  std::string name;
  at::Tensor value;            // float32; of fixed ones, where the network computes in bfloat16, that
  at::Tensor compute;          // what the layers compute with: the value itself, or its copy in bfloat16
  bool stays_float32 = false;  // also where the network computes in bfloat16
};

// Held by the network and by whoever computes with it, so that it may move to another device.
using ParameterPtr = std::shared_ptr<Parameter>;

inline ParameterPtr new_parameter(Parameter::Role role, std::string name, at::Tensor value) {
  if (!value.defined()) return nullptr;
  return std::make_shared<Parameter>(Parameter{role, std::move(name), value, value});
}

// What is computed with; undefined where there is no such parameter.
inline at::Tensor compute(const ParameterPtr& parameter) { return parameter ? parameter->compute : at::Tensor(); }

template <>
struct Names<Parameter::Role> {
  static constexpr const char* kind = "role";
  static constexpr NamedValue<Parameter::Role> table[] = {
      {"forward", Parameter::Role::forward},
      {"learned", Parameter::Role::learned},
      {"fixed", Parameter::Role::fixed},
  };
};

}  // namespace cortorch
