// The maps as torch operators, namespace `cortorch`: what Python sees as torch.ops.cortorch.*, and what the
// Tensor class of JavaScript calls. All are differentiable any number of times.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace cortorch {

// y = x Wᵀ + b. x [..., in], weight [out, in], bias [out] → [..., out].
at::Tensor dense(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias);
// x = y V. y [..., out], v [out, in] → [..., in].
at::Tensor dense_adjoint(const at::Tensor& v, const at::Tensor& y);
// W = Σ δ ⊗ x. x [..., in], delta [..., out] with equal leading sizes → [out, in].
at::Tensor dense_outer(const at::Tensor& x, const at::Tensor& delta);

}  // namespace cortorch
