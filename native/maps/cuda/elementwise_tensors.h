// The passes between the maps' products on tensors on a GPU, float32 or bfloat16. The work goes to the current stream.
#pragma once

#include <ATen/core/Tensor.h>

#include "maps/activation_kind.h"
#include "maps/elementwise.h"

namespace cortorch::cuda {

// σ(a b + bias), a [rows, depth], b [depth, columns], bias [columns] or undefined.
at::Tensor product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias, Activation activation);

// As LinearMap::delta: of [batch, units]; of location-major images, with a bias for each location and channel; of
// values in any order that share no bias here.
at::Tensor delta_of_rows(Activation activation, const at::Tensor& g, const at::Tensor& y, at::Tensor& bias_gradient,
                         double scale);
at::Tensor delta_of_locations(Activation activation, const at::Tensor& g, const at::Tensor& y,
                              at::Tensor& bias_gradient, double scale);
at::Tensor delta_of_values(Activation activation, const at::Tensor& g, const at::Tensor& y, double scale);

// As the functions of maps/elementwise.h. The squares of a residual are sums of each block of threads, float32
// [blocks].
Residual residual(Activation activation, const at::Tensor& r, const at::Tensor& t, double scale);
at::Tensor difference(const at::Tensor& a, const at::Tensor& b);
at::Tensor activation_difference(Activation activation, const at::Tensor& a, const at::Tensor& u);
at::Tensor with_signs(const at::Tensor& w, const at::Tensor& magnitude, double scale);

}  // namespace cortorch::cuda
