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

// What shares a bias: the columns of which row-major matrices, one behind the other, have one each (maps/delta.h).
enum class BiasTiles {
  whole,        // of one, batch × units
  by_location,  // of one a location, batch × channels: of location-major images (maps/image_layout.h)
  shared,       // of none: all locations of a channel share one, and images may lie in any order
};

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

  virtual Shape input_shape() const = 0;
  virtual Shape output_shape() const = 0;
  virtual Shape weight_shape() const = 0;
  virtual Shape bias_shape() const = 0;
  virtual BiasTiles bias_tiles() const = 0;
  // For initialisation: inputs that one unit sees, and units that one input reaches.
  virtual int64_t fan_in() const = 0;
  virtual int64_t fan_out() const = 0;
};

using LinearMapPtr = c10::intrusive_ptr<LinearMap>;

}  // namespace cortorch
