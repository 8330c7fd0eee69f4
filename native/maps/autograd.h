// The three operations of any linear map as differentiable functions. Each one's derivatives are made of
// the other two, so they can be differentiated any number of times, and there is nothing to write per map.
#pragma once

#include <optional>

#include "maps/linear_map.h"

namespace cortorch {

// W x + b. x [batch, input_shape], bias [bias_shape] or none → [batch, output_shape].
at::Tensor differentiable_apply(const LinearMapPtr& map, const at::Tensor& weight, const at::Tensor& x,
                                const std::optional<at::Tensor>& bias = std::nullopt);
// Vᵀ y. y [batch, output_shape] → [batch, input_shape].
at::Tensor differentiable_adjoint(const LinearMapPtr& map, const at::Tensor& v, const at::Tensor& y);
// Σ_batch x ⊗ δ → weight_shape.
at::Tensor differentiable_outer(const LinearMapPtr& map, const at::Tensor& x, const at::Tensor& delta);

// The same image with its memory in the order of its shape, for what cannot take it otherwise (see image_layout.h).
at::Tensor differentiable_channels_first(const at::Tensor& x);
// The same, unless its memory is in an order that libtorch's own operations take as it is.
at::Tensor differentiable_plain(const at::Tensor& x);

}  // namespace cortorch
