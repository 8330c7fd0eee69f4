// The passes between the maps' products, on raw device pointers: δ and its sums, of gradients and of residuals.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "base/cuda/precision.h"
#include "maps/activation_kind.h"
#include "maps/tiles.h"

namespace cortorch::cuda {

// Each returns the error of its launch; cudaErrorInvalidValue if there are more blocks than a launch can have.

// δ = scale · g ⊙ σ'(a) as a function of y = σ(a), and its sum over the batch into `bias_gradient` [count, columns]; a
// result that is null is skipped. `delta` may be `g` itself. Of the precision only the type in memory matters.
cudaError_t delta(const Tiles& tiles, Precision precision, Activation activation, float scale, const void* g,
                  const void* y, void* delta, void* bias_gradient, cudaStream_t stream);

// The same of the squared error of r = σ(a): δ = scale · (r − t) ⊙ σ'(a), its sum over the batch, and the sums of (r −
// t)² of each block of threads into `squares` [residual_blocks(tiles)], float.
int64_t residual_blocks(const Tiles& tiles);
cudaError_t residual(const Tiles& tiles, Precision precision, Activation activation, float scale, const void* r,
                     const void* t, void* delta, void* bias_gradient, float* squares, cudaStream_t stream);

}  // namespace cortorch::cuda
