// The learned inverse of a layer, g(h) = σ(Vᵀh + c): from the layer's output back to its input.
#pragma once

#include "maps/elementwise.h"
#include "maps/linear_map.h"

namespace cortorch {

struct Inverse {
  LinearMapPtr map;                              // of the layer; its adjoint is what the inverse does
  Activation activation = Activation::identity;  // of the layer below, whose activity is given back
  at::Tensor weight, bias;                       // V [weight_shape], c [input_shape]

  bool defined() const { return weight.defined(); }
  // h [batch, output_shape] → [batch, input_shape].
  at::Tensor operator()(const at::Tensor& h) const { return map->adjoint(weight, h, bias, activation); }
  // g(h) − g(h − d), with the digits of a small d: the maps are linear, so only σ has to be subtracted.
  at::Tensor difference(const at::Tensor& h, const at::Tensor& d) const {
    const at::Tensor u = map->adjoint(weight, d, {}, Activation::identity);
    if (activation == Activation::identity) return u;
    return activation_difference(activation, map->adjoint(weight, h, bias, Activation::identity), u);
  }
};

}  // namespace cortorch
