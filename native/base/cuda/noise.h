// Random numbers where they are used, on raw device pointers: the same as the processor's, up to the rounding of the
// last bit.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "base/cuda/precision.h"
#include "base/purpose.h"

namespace cortorch::cuda {

// A stream of the key `seed`; the step is `step`, or where it is not null what `step_on_gpu` points to when the kernel
// runs.
struct NoiseStream {
  uint64_t seed;
  Purpose purpose;
  uint32_t layer, step;
  const uint32_t* step_on_gpu;
};

// out = h + sigma · ε. cudaErrorInvalidValue past 2^34 values.
cudaError_t add_noise(int64_t count, Precision precision, const NoiseStream& stream, float sigma, const void* h,
                      void* out, cudaStream_t cuda_stream);
// out = size · |ε|, with the ε of add_noise.
cudaError_t normal_magnitudes(int64_t count, Precision precision, const NoiseStream& stream, float size, void* out,
                              cudaStream_t cuda_stream);
// out = size · u, u uniform in [0, 1).
cudaError_t uniform_magnitudes(int64_t count, Precision precision, const NoiseStream& stream, float size, void* out,
                               cudaStream_t cuda_stream);

}  // namespace cortorch::cuda
