// How the element-wise kernels are launched: one block of threads after the other over a range, or as said.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "base/cuda/precision.h"
#include "base/cuda/primitives.cuh"
#include "base/ranges.h"

namespace cortorch::cuda {

constexpr int block_threads = 256;

// For the next index of a range, each thread its own.
__device__ __forceinline__ int64_t global_thread() {
  return static_cast<int64_t>(blockIdx.x) * block_threads + static_cast<int64_t>(threadIdx.x);
}

template <class... Parameters, class... Arguments>
cudaError_t launch_blocks(void (*kernel)(Parameters...), int64_t blocks, int threads, std::size_t shared,
                          cudaStream_t stream, const Arguments&... arguments) {
  if (blocks == 0) return cudaSuccess;
  if (blocks < 0 || blocks > INT32_MAX) return cudaErrorInvalidValue;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

// A thread for each of `count` indices.
template <class... Parameters, class... Arguments>
cudaError_t launch_over(int64_t count, void (*kernel)(Parameters...), cudaStream_t stream,
                        const Arguments&... arguments) {
  return launch_blocks(kernel, divide_up<int64_t>(count, block_threads), block_threads, 0, stream, arguments...);
}

// work(T{}) with the type that values of the precision have in memory.
template <class Work>
cudaError_t with_type(Precision precision, const Work& work) {
  return precision == Precision::bf16 ? work(bf16{}) : work(float{});
}

// The sum over a block in a fixed order, for all its threads: `shared` has a value for each; their number is a power of
// two.
template <class T>
__device__ __forceinline__ T block_sum(T value, T* shared) {
  const int thread = static_cast<int>(threadIdx.x);
  store_shared(shared + thread, value);
  __syncthreads();
  for (int half = static_cast<int>(blockDim.x) / 2; half > 0; half /= 2) {
    if (thread < half) {
      const T sum = load_shared<T>(shared + thread) + load_shared<T>(shared + thread + half);
      store_shared(shared + thread, sum);
    }
    __syncthreads();
  }
  const T sum = load_shared<T>(shared);
  __syncthreads();  // before `shared` is used for something else
  return sum;
}

}  // namespace cortorch::cuda
