// The maps as torch operators, namespace `cortorch`: what Python sees as torch.ops.cortorch.*, and what the
// Tensor class of JavaScript calls. All are differentiable any number of times.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "maps/linear_map.h"

namespace cortorch {

// y = x Wᵀ + b. x [..., in], weight [out, in], bias [out] → [..., out].
at::Tensor dense(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias);
// x = y V. y [..., out], v [out, in] → [..., in].
at::Tensor dense_adjoint(const at::Tensor& v, const at::Tensor& y);
// W = Σ δ ⊗ x. x [..., in], delta [..., out] with equal leading sizes → [out, in].
at::Tensor dense_outer(const at::Tensor& x, const at::Tensor& delta);

// The maps over images, [batch, channels, height, width]. Stride, padding and dilation are (height, width); the
// sizes of the other operand are read off the weights.
//
// The unshared convolution, y = W x + b: weight [out_h, out_w, k_h, k_w, in, out], bias [out_h, out_w, out].
at::Tensor locally_connected2d(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                               at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation);
// Vᵀ y → [batch, in, input_size]: an argument, since two input sizes can give one output size.
at::Tensor locally_connected2d_adjoint(const at::Tensor& v, const at::Tensor& y, at::IntArrayRef input_size,
                                       at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation);
// Σ_batch x ⊗ δ → [out_h, out_w, kernel_size, in, out].
at::Tensor locally_connected2d_outer(const at::Tensor& x, const at::Tensor& delta, at::IntArrayRef kernel_size,
                                     at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation);
// The ordinary convolution: weight [out, in, k_h, k_w], bias [out].
at::Tensor conv2d(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                  at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation);
at::Tensor conv2d_adjoint(const at::Tensor& v, const at::Tensor& y, at::IntArrayRef input_size, at::IntArrayRef stride,
                          at::IntArrayRef padding, at::IntArrayRef dilation);
at::Tensor conv2d_outer(const at::Tensor& x, const at::Tensor& delta, at::IntArrayRef kernel_size,
                        at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation);

// How a map over images is to be made from a layer's tensors; the sizes are read off them.
struct ImageMapOptions {
  at::IntArrayRef stride, padding, dilation;
};
// Throw c10::Error beginning with `op` if the tensors' shapes do not fit together.
LinearMapPtr dense_map(const char* op, const at::Tensor& weight);
LinearMapPtr locally_connected2d_map(const char* op, const at::Tensor& x, const at::Tensor& weight,
                                     const ImageMapOptions& options);
LinearMapPtr conv2d_map(const char* op, const at::Tensor& x, const at::Tensor& weight, const ImageMapOptions& options);

}  // namespace cortorch
