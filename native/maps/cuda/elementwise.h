// The other passes over activations and weights, on raw device pointers.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "base/cuda/precision.h"
#include "maps/activation_kind.h"

namespace cortorch::cuda {

// What an element of the result is made of: a and b, the activation σ and the scale, where the operation has them.
enum class Elementwise {
  difference,             // a − b
  activation_difference,  // σ(a) − σ(a − b), without the cancellation of the two where b is small
  magnitudes_with_signs,  // |b| · sign(a); a weight of 0 has the sign 0
  signs,                  // scale · sign(a)
};
// `b` may be null where the operation does not have it; `out` may be a or b.
cudaError_t elementwise(Elementwise operation, int64_t count, Precision precision, Activation activation, float scale,
                        const void* a, const void* b, void* out, cudaStream_t stream);

// y[r, c] = σ(y[r, c] + bias[c]) in place; `bias` may be null.
cudaError_t bias_activation(int64_t rows, int64_t columns, Precision precision, Activation activation, void* y,
                            const void* bias, cudaStream_t stream);

}  // namespace cortorch::cuda
