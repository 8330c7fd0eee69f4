// The other passes over activations and weights, on raw device pointers.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "base/cuda/precision.h"
#include "maps/activation_kind.h"

namespace cortorch::cuda {

// y[r, c] = σ(y[r, c] + bias[c]) in place; `bias` may be null.
cudaError_t bias_activation(int64_t rows, int64_t columns, Precision precision, Activation activation, void* y,
                            const void* bias, cudaStream_t stream);

// out = a − b.
cudaError_t subtract(int64_t count, Precision precision, const void* a, const void* b, void* out, cudaStream_t stream);

// out = σ(a) − σ(a − u), without the cancellation of the two where u is small; `out` may be `u`.
cudaError_t activation_difference(int64_t count, Precision precision, Activation activation, const void* a,
                                  const void* u, void* out, cudaStream_t stream);

// out = |magnitude| · sign(w), or scale · sign(w) where `magnitude` is null. A weight of 0 has the sign 0.
cudaError_t with_signs(int64_t count, Precision precision, const void* w, const void* magnitude, float scale, void* out,
                       cudaStream_t stream);

}  // namespace cortorch::cuda
