// Passes over activations and weights that the rules need beside the maps. Results lie in memory as the first operand
// does, so that the maps find the layout they want; on the CPU they come from the pool.
#pragma once

#include <ATen/core/Tensor.h>

#include "maps/activation_kind.h"

namespace cortorch {

// a − b, of one shape.
at::Tensor difference(const at::Tensor& a, const at::Tensor& b);

// σ(a) − σ(a − u) by tanh x − tanh y = tanh(x − y) (1 − tanh x tanh y): a small u keeps its digits, which the
// difference of two activities would lose, in bfloat16 nearly all of them.
at::Tensor activation_difference(Activation activation, const at::Tensor& a, const at::Tensor& u);

// |magnitude| ⊙ sign(w), or scale · sign(w) where `magnitude` is undefined, in w's shape. A weight of 0 has the sign 0.
at::Tensor with_signs(const at::Tensor& w, const at::Tensor& magnitude, double scale);

}  // namespace cortorch
