// The unshared convolution's kernels for the CPU: products of small matrices, one a location and a kernel row or
// tap, straight out of the activations. Nothing of the size of the patches (k_h·k_w times the image) is ever made.
#pragma once

#include <ATen/core/Tensor.h>

#include "maps/activation.h"
#include "maps/conv2d_geometry.h"

namespace cortorch::cpu {

// weight contiguous; x and delta [batch, channels, height, width] in any order; results are location-major.
// float32, float64, or bfloat16; sums over float32 there. bias (contiguous, of weight's type) may be undefined.
at::Tensor locally_connected2d_apply(const Conv2dGeometry& geometry, const at::Tensor& weight, const at::Tensor& x,
                                     const at::Tensor& bias, Activation activation);
at::Tensor locally_connected2d_adjoint(const Conv2dGeometry& geometry, const at::Tensor& v, const at::Tensor& y,
                                       const at::Tensor& c, Activation activation);
at::Tensor locally_connected2d_outer(const Conv2dGeometry& geometry, const at::Tensor& x, const at::Tensor& delta);

}  // namespace cortorch::cpu
