#include "base/cuda/noise.h"

#include "base/cuda/launch.cuh"
#include "base/normal_numbers.h"
#include "base/ranges.h"

namespace cortorch::cuda {
namespace {

__device__ __forceinline__ uint32_t step_of(const NoiseStream& stream) {
  return stream.step_on_gpu == nullptr ? stream.step : *stream.step_on_gpu;
}

// A thread has one block of words, and its four numbers, which lie 16 places apart: neighbours have neighbouring ones.
template <class T, bool is_sum>
__global__ void normal_kernel(int64_t count, const NoiseStream stream, float sigma, const T* h, T* out) {
  const int64_t counter = global_thread(), group = counter / kNormalLanes,
                first = group * kNormalGroup + counter % kNormalLanes;
  if (first >= count) return;
  // The step is the upper word of the counter.
  const Normals n =
      normals_of(random_block(stream.seed, stream.purpose, stream.layer,
                              static_cast<uint64_t>(step_of(stream)) << 32 | static_cast<uint32_t>(counter)));
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t at = first + i * kNormalLanes;
    if (at >= count) return;
    if constexpr (is_sum) {
      out[at] = from_float<T>(to_float(h[at]) + sigma * n.values[i]);
    } else {
      out[at] = from_float<T>(sigma * fabsf(n.values[i]));
    }
  }
}

template <class T>
__global__ void uniform_kernel(int64_t count, const NoiseStream stream, float size, T* out) {
  const int64_t block = global_thread(), blocks = divide_up<int64_t>(count, 4);
  if (block >= blocks) return;
  const uint64_t counter =
      static_cast<uint64_t>(step_of(stream)) * static_cast<uint64_t>(blocks) + static_cast<uint64_t>(block);
  const Words w = random_block(stream.seed, stream.purpose, stream.layer, counter);
  const uint32_t words[4] = {w.a, w.b, w.c, w.d};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t at = 4 * block + i;
    if (at < count) out[at] = from_float<T>(size * uniform_float(words[i]));
  }
}

int64_t normal_blocks(int64_t count) { return divide_up<int64_t>(count, kNormalGroup) * kNormalLanes; }

template <bool is_sum>
cudaError_t normal(int64_t count, Precision precision, const NoiseStream& stream, float sigma, const void* h, void* out,
                   cudaStream_t cuda_stream) {
  if (normal_blocks(count) > int64_t{1} << 32) return cudaErrorInvalidValue;
  return with_type(precision, [&](auto element) {
    using T = decltype(element);
    return launch_over(normal_blocks(count), normal_kernel<T, is_sum>, cuda_stream, count, stream, sigma,
                       static_cast<const T*>(h), static_cast<T*>(out));
  });
}

}  // namespace

cudaError_t add_noise(int64_t count, Precision precision, const NoiseStream& stream, float sigma, const void* h,
                      void* out, cudaStream_t cuda_stream) {
  return normal<true>(count, precision, stream, sigma, h, out, cuda_stream);
}

cudaError_t normal_magnitudes(int64_t count, Precision precision, const NoiseStream& stream, float size, void* out,
                              cudaStream_t cuda_stream) {
  return normal<false>(count, precision, stream, size, nullptr, out, cuda_stream);
}

cudaError_t uniform_magnitudes(int64_t count, Precision precision, const NoiseStream& stream, float size, void* out,
                               cudaStream_t cuda_stream) {
  return with_type(precision, [&](auto element) {
    using T = decltype(element);
    return launch_over(divide_up<int64_t>(count, 4), uniform_kernel<T>, cuda_stream, count, stream, size,
                       static_cast<T*>(out));
  });
}

}  // namespace cortorch::cuda
