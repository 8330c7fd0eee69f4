// The learned inverse of a layer, g(h) = σ(Vᵀh + c): from the layer's output back to its input.
#pragma once

#include "maps/linear_map.h"

namespace cortorch {

struct Inverse {
  LinearMapPtr map;  // of the layer; its adjoint is what the inverse does
  Activation activation = Activation::identity;  // of the layer below, whose activity is given back
  at::Tensor weight, bias;  // V [weight_shape], c [input_shape]

  bool defined() const { return weight.defined(); }
  // h [batch, output_shape] → [batch, input_shape].
  at::Tensor operator()(const at::Tensor& h) const { return map->adjoint(weight, h, bias, activation); }
};

}  // namespace cortorch
