// The parameters of a network in the order of the state_dict, and where they lie.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <string>
#include <vector>

#include "plan/parameter.h"

namespace cortorch {

class Parameters {
 public:
  // Throws c10::Error if the name is taken.
  void add(const ParameterPtr& parameter);
  // Trained on the task's loss. Null, and none, if the value is undefined.
  ParameterPtr add_trained(std::string name, const at::Tensor& value);

  const std::vector<ParameterPtr>& all() const { return parameters_; }
  // What an optimizer updates.
  std::vector<ParameterPtr> of_role(Parameter::Role role) const;

  // Goes to a device, and is computed with in this type from now on: float32, or bfloat16, of which trained parameters
  // have copies beside their float32 values and of fixed ones nothing else is kept. Once, before anything holds the
  // tensors.
  void move_to(at::Device device, at::ScalarType compute);
  // After values were written: the copies follow.
  void refresh() const;

 private:
  std::vector<ParameterPtr> parameters_;
};

}  // namespace cortorch
