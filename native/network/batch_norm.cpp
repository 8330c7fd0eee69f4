#include "network/batch_norm.h"

#include <ATen/ops/batch_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include "maps/activation.h"
#include "maps/autograd.h"

namespace cortorch {

BatchNorm BatchNorm::fresh(int64_t channels) {
  BatchNorm norm;
  norm.weight = at::ones({channels}, at::kFloat).set_requires_grad(true);
  norm.bias = at::zeros({channels}, at::kFloat).set_requires_grad(true);
  norm.running_mean = at::zeros({channels}, at::kFloat);
  norm.running_var = at::ones({channels}, at::kFloat);
  return norm;
}

at::Tensor BatchNorm::forward(const at::Tensor& x, std::vector<MovedStatistics>* moved) const {
  const at::Tensor image = x.dim() == 4 ? differentiable_plain(x) : x;
  const auto normalize = [&](const at::Tensor& mean, const at::Tensor& var, bool training) {
    const at::Tensor y =
        at::batch_norm(image, weight, bias, mean, var, training, momentum, epsilon, /*cudnn_enabled=*/true);
    return activate_in_place(activation, y);  // its backward pass keeps what came in
  };
  if (moved == nullptr) return normalize(running_mean, running_var, false);
  TORCH_CHECK(x.numel() > x.size(1),
              "batch norm: a batch of one example has no variance; use a batch size of 2 or more, that "
              "does not leave one example over at the end of an epoch");
  // libtorch moves them in place, but a step whose loss is not finite must leave them as they are.
  MovedStatistics statistics{running_mean, running_var, running_mean.clone(), running_var.clone()};
  moved->push_back(statistics);
  return normalize(statistics.moved_mean, statistics.moved_var, true);
}

}  // namespace cortorch
