// The passes between the maps' products on tensors on a GPU, float32 or bfloat16. The work goes to the current stream.
#pragma once

#include <ATen/core/Tensor.h>

#include "maps/delta.h"
#include "maps/tiles.h"

namespace cortorch::cuda {

// σ(a b + bias), a [rows, depth], b [depth, columns], bias [columns] or undefined.
at::Tensor product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias, Activation activation);

// As delta() and residual() of maps/delta.h, of what lies in memory as these tiles, all in one order. `bias_sum`
// contiguous, or undefined; returns g itself where that is δ. Sums of a residual are in the order of the tiles, its
// squares sums of each block of threads, float32 [blocks].
at::Tensor delta(const Tiles& tiles, Activation activation, const at::Tensor& g, const at::Tensor& y,
                 const at::Tensor& bias_sum, double scale);
Residual residual(const Tiles& tiles, Activation activation, const at::Tensor& r, const at::Tensor& t, double scale);

// As the functions of maps/elementwise.h.
at::Tensor difference(const at::Tensor& a, const at::Tensor& b);
at::Tensor activation_difference(Activation activation, const at::Tensor& a, const at::Tensor& u);
at::Tensor with_signs(const at::Tensor& w, const at::Tensor& magnitude, double scale);

}  // namespace cortorch::cuda
