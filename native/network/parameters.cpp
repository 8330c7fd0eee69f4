#include "network/parameters.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

namespace cortorch {

void Parameters::add(const ParameterPtr& parameter) {
  const bool taken = std::any_of(parameters_.begin(), parameters_.end(),
                                 [&](const ParameterPtr& other) { return other->name == parameter->name; });
  TORCH_CHECK(!taken, "network: two parameters are called ", parameter->name, "; give the layer another name");
  parameters_.push_back(parameter);
}

ParameterPtr Parameters::add_trained(std::string name, const at::Tensor& value) {
  ParameterPtr parameter = new_parameter(Parameter::Role::forward, std::move(name), value);
  if (!parameter) return nullptr;
  parameter->compute.set_requires_grad(true);
  add(parameter);
  return parameter;
}

std::vector<ParameterPtr> Parameters::of_role(Parameter::Role role) const {
  std::vector<ParameterPtr> result;
  for (const ParameterPtr& parameter : parameters_) {
    if (parameter->role == role) result.push_back(parameter);
  }
  return result;
}

void Parameters::move_to(at::Device device, at::ScalarType compute) {
  const at::NoGradGuard no_grad;
  for (const ParameterPtr& parameter : parameters_) {
    const at::ScalarType type = parameter->stays_float32 ? at::kFloat : compute;
    const bool trained = parameter->role != Parameter::Role::fixed;
    parameter->value =
        parameter->value.detach().to(device, trained ? at::kFloat : type, /*non_blocking=*/false, /*copy=*/true);
    parameter->compute = parameter->value.scalar_type() == type ? parameter->value : parameter->value.to(type);
    if (parameter->role == Parameter::Role::forward) parameter->compute.set_requires_grad(true);
  }
}

void Parameters::refresh() const {
  const at::NoGradGuard no_grad;
  for (const ParameterPtr& parameter : parameters_) {
    if (!parameter->compute.is_same(parameter->value)) parameter->compute.detach().copy_(parameter->value);
  }
}

}  // namespace cortorch
