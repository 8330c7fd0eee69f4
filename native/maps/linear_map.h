// A linear map: the one idea that carries the house. Whatever a layer is (dense, convolution, locally
// connected), it is three operations, and the learning rules are written over these alone.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <cstdint>
#include <vector>

#include "maps/activation.h"

namespace cortorch {

using Shape = std::vector<int64_t>;

// Shapes are per example, without the batch. Implementations do not record gradients: maps/autograd.h
// makes differentiable operations of them, once for all maps. They are immutable and may be shared
// between threads. Inputs of the operations have one batch dimension in front; float32 takes the fast
// path, float64 a plain one. Images may lie in memory in any order, see maps/image_layout.h.
class LinearMap : public torch::CustomClassHolder {
 public:
  // y = σ(W x + b). x [batch, input_shape], bias [bias_shape] or undefined → [batch, output_shape].
  virtual at::Tensor apply(const at::Tensor& weight, const at::Tensor& x, const at::Tensor& bias,
                           Activation activation) const = 0;
  // σ(Vᵀ y + c) with any V of the weight's shape: the transposed map, and a learned inverse. y [batch, output_shape],
  // c [input_shape] or undefined → [batch, input_shape].
  virtual at::Tensor adjoint(const at::Tensor& v, const at::Tensor& y, const at::Tensor& c,
                             Activation activation) const = 0;
  // Σ_batch x ⊗ δ: the gradient of the weights. x [batch, input_shape], δ [batch, output_shape] → weight_shape.
  virtual at::Tensor outer(const at::Tensor& x, const at::Tensor& delta) const = 0;
  // δ = scale · g ⊙ σ'(a), and its sum over everything that shares a bias into `bias_gradient` [bias_shape] (which
  // is skipped if undefined). g, y [batch, output_shape].
  virtual at::Tensor delta(Activation activation, const at::Tensor& g, const at::Tensor& y, at::Tensor& bias_gradient,
                           double scale) const = 0;

  // Σ δ over the batch and over everything that shares a bias → bias_shape; of libtorch's own operations,
  // hence differentiable.
  virtual at::Tensor sum_to_bias(const at::Tensor& delta) const = 0;

  virtual Shape input_shape() const = 0;
  virtual Shape output_shape() const = 0;
  virtual Shape weight_shape() const = 0;
  virtual Shape bias_shape() const = 0;
  // For initialisation: inputs that one unit sees, and units that one input reaches.
  virtual int64_t fan_in() const = 0;
  virtual int64_t fan_out() const = 0;
};

using LinearMapPtr = c10::intrusive_ptr<LinearMap>;

}  // namespace cortorch
