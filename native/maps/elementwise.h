// Passes over activations that target propagation needs beside the maps. Results come from the pool and lie in memory
// as the first operand does, so that the maps find the layout they want.
#pragma once

#include <ATen/core/Tensor.h>

#include "maps/activation_kind.h"

namespace cortorch {

// a − b, of one shape.
at::Tensor difference(const at::Tensor& a, const at::Tensor& b);

// What a squared loss ‖r − t‖² of a layer r = σ(a) with a bias of its own for each unit needs.
struct Residual {
  at::Tensor delta;     // scale · (r − t) ⊙ σ'(a), as r
  at::Tensor bias_sum;  // its sum over the batch, of one example's shape
  double squares;       // Σ (r − t)² over everything
};

// r, t [batch, …] in any order. No result depends on the number of threads.
Residual residual(Activation activation, const at::Tensor& r, const at::Tensor& t, double scale);

}  // namespace cortorch
