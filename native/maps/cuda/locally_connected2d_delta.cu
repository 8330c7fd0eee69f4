// δ = g ⊙ σ'(a) and its sum over the batch in one pass: bound by its three streams (g, y, δ), nothing else.
#include <cstdint>

#include "maps/cuda/activation.cuh"
#include "maps/cuda/geometry.cuh"
#include "maps/cuda/locally_connected2d.h"
#include "maps/cuda/primitives.cuh"

namespace cortorch::cuda {
namespace {

constexpr int threads = 256;

// A block has up to 256 channels of one location, and as many examples at a time as there are threads for. So
// neighbouring threads have neighbouring elements for any number of channels, and a thread keeps its channel.
template <class T>
__global__ void __launch_bounds__(threads) delta_kernel(const T* g, const T* y, T* delta, T* bias_gradient, int batch,
                                                        int channels, Activation activation) {
  const int pieces = (channels + threads - 1) / threads;
  const int location = static_cast<int>(blockIdx.x) / pieces, first = static_cast<int>(blockIdx.x) % pieces * threads;
  const int width = min(channels - first, threads), at_once = threads / width;
  const int thread = static_cast<int>(threadIdx.x), example = thread / width, channel = first + thread % width;
  const int64_t slab = static_cast<int64_t>(location) * batch * channels;

  float sum = 0.0f;
  if (example < at_once) {
#pragma unroll 4
    for (int b = example; b < batch; b += at_once) {
      const int64_t at = slab + static_cast<int64_t>(b) * channels + channel;
      const float d = through_activation(activation, to_float(g[at]), to_float(y[at]));
      if (delta != nullptr) delta[at] = from_float<T>(d);
      sum += d;
    }
  }
  if (bias_gradient == nullptr) return;
  float* const sums = reinterpret_cast<float*>(dynamic_shared());
  store_shared(sums + thread, sum);
  __syncthreads();
  if (thread < width) {
    float total = 0.0f;
    for (int i = 0; i < at_once; ++i) total += load_shared<float>(sums + i * width + thread);
    bias_gradient[static_cast<int64_t>(location) * channels + channel] = from_float<T>(total);
  }
}

template <class T>
cudaError_t launch(const Geometry& g, Activation activation, const void* gradient, const void* y, void* delta,
                   void* bias_gradient, cudaStream_t stream) {
  const int64_t blocks = int64_t{g.h.out} * g.w.out * ((g.out_channels + threads - 1) / threads);
  if (blocks > INT32_MAX) return cudaErrorInvalidValue;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = threads * sizeof(float);
  config.stream = stream;
  return cudaLaunchKernelEx(&config, delta_kernel<T>, static_cast<const T*>(gradient), static_cast<const T*>(y),
                            static_cast<T*>(delta), static_cast<T*>(bias_gradient), g.batch, g.out_channels, activation);
}

}  // namespace

cudaError_t locally_connected2d_delta(const Conv2dGeometry& geometry, int64_t batch, Precision precision,
                                      Activation activation, const void* g, const void* y, void* delta,
                                      void* bias_gradient, cudaStream_t stream) {
  Geometry device;
  if (!to_device(geometry, batch, device)) return cudaErrorInvalidValue;
  return precision == Precision::bf16 ? launch<bf16>(device, activation, g, y, delta, bias_gradient, stream)
                                      : launch<float>(device, activation, g, y, delta, bias_gradient, stream);
}

}  // namespace cortorch::cuda
