#include "network/batch_norm.h"

#include <ATen/ops/batch_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include "maps/activation.h"
#include "maps/autograd.h"

namespace cortorch {

BatchNorm::BatchNorm(int64_t channels, const std::string& name, const LayerSpec& spec, Parameters& parameters)
    : momentum_(spec.momentum), epsilon_(spec.epsilon), activation_(spec.activation) {
  const at::Tensor ones = at::ones({channels}, at::kFloat), zeros = at::zeros({channels}, at::kFloat);
  weight_ = parameters.add_trained(name + ".weight", ones.clone());
  bias_ = parameters.add_trained(name + ".bias", zeros.clone());
  running_mean_ = new_parameter(Parameter::Role::fixed, name + ".running_mean", zeros);
  running_var_ = new_parameter(Parameter::Role::fixed, name + ".running_var", ones);
  for (const ParameterPtr& parameter : {running_mean_, running_var_}) parameters.add(parameter);
  for (const ParameterPtr& parameter : {weight_, bias_, running_mean_, running_var_}) parameter->stays_float32 = true;
}

at::Tensor BatchNorm::forward(const at::Tensor& x, std::vector<Moved>* moved) const {
  const at::Tensor image = x.dim() == 4 ? differentiable_plain(x) : x;
  const auto normalize = [&](const at::Tensor& running_mean, const at::Tensor& running_var, bool training) {
    const at::Tensor y = at::batch_norm(image, compute(weight_), compute(bias_), running_mean, running_var, training,
                                        momentum_, epsilon_,
                                        /*cudnn_enabled=*/true);
    return activate_in_place(activation_, y);  // its backward pass keeps what came in
  };
  const at::Tensor mean = compute(running_mean_), var = compute(running_var_);
  if (moved == nullptr) return normalize(mean, var, false);
  TORCH_CHECK(x.numel() > x.size(1),
              "batch norm: a batch of one example has no variance; use a batch size of 2 or more, that "
              "does not leave one example over at the end of an epoch");
  // libtorch moves them in place, but a step whose loss is not finite must leave them as they are.
  const at::Tensor moved_mean = mean.clone(), moved_var = var.clone();
  moved->push_back({mean, moved_mean});
  moved->push_back({var, moved_var});
  return normalize(moved_mean, moved_var, true);
}

}  // namespace cortorch
