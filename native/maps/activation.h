// Activations and their derivatives as functions of the output, fused with the bias.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "base/names.h"
#include "maps/activation_kind.h"

namespace cortorch {

template <>
struct Names<Activation> {
  static constexpr const char* kind = "activation";
  static constexpr NamedValue<Activation> table[] = {
      {"identity", Activation::identity},
      {"tanh", Activation::tanh},
      {"relu", Activation::relu},
      {"sigmoid", Activation::sigmoid},
  };
};

// tile[r, c] = σ(tile[r, c] + bias[c]) in place for a [rows, columns] piece of a row-major matrix; bias may
// be null. Single-threaded: it is the epilogue of a parallel product.
void bias_activation(Activation activation, float* tile, int64_t rows, int64_t columns, int64_t ld, const float* bias);

// σ(a), any floating dtype, new tensor; made of libtorch's own operations, hence differentiable.
at::Tensor activate(Activation activation, const at::Tensor& a);

// The same in the memory of a, for what nobody else reads and no backward pass has kept.
at::Tensor activate_in_place(Activation activation, at::Tensor a);

// δ = scale · g ⊙ σ'(a), with σ' as a function of y = σ(a); made of libtorch's own operations, hence differentiable.
at::Tensor through_activation(Activation activation, const at::Tensor& g, const at::Tensor& y, double scale = 1);

// Is δ g itself?
inline bool passes_through(Activation activation, double scale) {
  return activation == Activation::identity && scale == 1;
}

// The same for one row-major float matrix [rows, columns], single-threaded: δ into `delta` (which is neither
// written nor read where it is g itself), its column sums, in row order, into `sum` [columns].
void through_activation_tile(Activation activation, const float* g, const float* y, float* delta, float* sum,
                             int64_t rows, int64_t columns, int64_t ld, double scale);

}  // namespace cortorch
