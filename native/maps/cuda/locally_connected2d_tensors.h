// The locally connected map's CUDA kernels on tensors: what LocallyConnected2d calls for tensors on a GPU.
#pragma once

#include <ATen/core/Tensor.h>

#include "maps/activation.h"
#include "maps/conv2d_geometry.h"

namespace cortorch::cuda {

// All tensors on one CUDA device, of one type, float32 or bfloat16 (float64 is refused, naming the remedy);
// weight and bias contiguous, bias and bias_gradient may be undefined. Images [batch, channels, height, width] may
// lie in any order (what is not location-major is copied so first); results are location-major. The work goes to
// the current stream.
//
// float32 is multiplied as tf32 where torch.backends.cuda.matmul.allow_tf32 or torch.set_float32_matmul_precision
// say so for PyTorch's own products, and is true float32 otherwise, which is also their default. With bfloat16 the
// sums are float32, and results and weight gradients bfloat16.
at::Tensor locally_connected2d_apply(const Conv2dGeometry& geometry, const at::Tensor& weight, const at::Tensor& x,
                                     const at::Tensor& bias, Activation activation);
// c contiguous [height, width, in], or undefined.
at::Tensor locally_connected2d_adjoint(const Conv2dGeometry& geometry, const at::Tensor& v, const at::Tensor& y,
                                       const at::Tensor& c, Activation activation);
at::Tensor locally_connected2d_outer(const Conv2dGeometry& geometry, const at::Tensor& x, const at::Tensor& delta);

}  // namespace cortorch::cuda
