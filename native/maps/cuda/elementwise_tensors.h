// The passes between the maps' products on tensors on a GPU, float32 or bfloat16. The work goes to the current stream.
#pragma once

#include <ATen/core/Tensor.h>

#include "maps/activation_kind.h"

namespace cortorch::cuda {

// y = σ(y + bias) in place and back. y contiguous [rows, columns], bias [columns] or undefined.
at::Tensor bias_activation(Activation activation, at::Tensor y, const at::Tensor& bias);

// As LinearMap::delta: of [batch, units]; of location-major images, with a bias for each location and channel; of
// values in any order that share no bias here.
at::Tensor delta_of_rows(Activation activation, const at::Tensor& g, const at::Tensor& y, at::Tensor& bias_gradient,
                         double scale);
at::Tensor delta_of_locations(Activation activation, const at::Tensor& g, const at::Tensor& y,
                              at::Tensor& bias_gradient, double scale);
at::Tensor delta_of_values(Activation activation, const at::Tensor& g, const at::Tensor& y, double scale);

// As residual() of maps/elementwise.h; the squares as sums of each block of threads, float32 [blocks].
struct ResidualOnGpu {
  at::Tensor delta, bias_sum, squares;
};
ResidualOnGpu residual(Activation activation, const at::Tensor& r, const at::Tensor& t, double scale);

// As the functions of maps/elementwise.h.
at::Tensor difference(const at::Tensor& a, const at::Tensor& b);
at::Tensor activation_difference(Activation activation, const at::Tensor& a, const at::Tensor& u);
at::Tensor with_signs(const at::Tensor& w, const at::Tensor& magnitude, double scale);

}  // namespace cortorch::cuda
