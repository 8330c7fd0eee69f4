// δ, what a layer's own gradients are made of: of a gradient that came down, and of a squared loss at the layer itself.
// Written once over all maps, which only say what shares a bias.
#pragma once

#include <ATen/core/Tensor.h>

#include "maps/activation.h"
#include "maps/linear_map.h"

namespace cortorch {

struct Delta {
  at::Tensor delta;     // [batch, output_shape]
  at::Tensor bias_sum;  // its sum over everything that shares a bias, [bias_shape]; undefined if it is not wanted
};

// δ = scale · g ⊙ σ'(a) as a function of y = σ(a), in the order of memory that the map's operations want. g, y [batch,
// output_shape] in any order. Records no gradients; sums do not depend on the number of threads.
Delta delta(const LinearMap& map, Activation activation, const at::Tensor& g, const at::Tensor& y, double scale,
            bool want_bias);

// Σ δ over the batch and over everything that shares a bias → bias_shape; of libtorch's own operations, hence
// differentiable.
at::Tensor sum_to_bias(const LinearMap& map, const at::Tensor& delta);

// What a squared loss ‖r − t‖² of a layer r = σ(a) with a bias of its own for each unit needs.
struct Residual {
  at::Tensor delta;            // scale · (r − t) ⊙ σ'(a), as r
  at::Tensor bias_sum;         // its sum over the batch, of one example's shape
  double squares = 0;          // Σ (r − t)² over everything
  at::Tensor partial_squares;  // on a GPU instead: sums of its parts, float32, which nobody has waited for
};

// r, t [batch, …] in any order. No result depends on the number of threads.
Residual residual(Activation activation, const at::Tensor& r, const at::Tensor& t, double scale);

}  // namespace cortorch
