#include "data/cuda/gather.h"

#include "base/cuda/launch.cuh"
#include "data/placement.h"

namespace cortorch::cuda {
namespace {

__device__ __forceinline__ int64_t example_of(const GatherWhich& which, int64_t i) {
  const int64_t number = which.number == nullptr ? which.fixed : *which.number;
  return which.order[number * which.size + i];
}

template <class T>
__global__ void images_kernel(const GatherFrom from, const GatherWhich which, const GatherHow how, int64_t count,
                              T* x) {
  const int64_t at = global_thread(), area = from.height * from.width, values = from.channels * area;
  if (at >= count * values) return;
  const int64_t i = at / values, channel = at % values / area;
  const int64_t example = example_of(which, i);
  int64_t row = at % area / from.width, column = at % from.width;
  bool visible = true;
  if (how.epoch != nullptr) {
    const Placement place =
        placement_of(how.seed, *how.epoch, example, how.crop_padding, how.flip_horizontal, how.flip_vertical);
    row = inside((place.upside_down ? from.height - 1 - row : row) + place.top, from.height, how.black);
    column = inside((place.mirrored ? from.width - 1 - column : column) + place.left, from.width, how.black);
    visible = row >= 0 && column >= 0;
  }
  const int64_t source = (example * from.channels + channel) * area + row * from.width + column;
  float value;
  if (from.bytes) {
    const int byte = visible ? static_cast<const uint8_t*>(from.images)[source] : 0;
    value = from.tables[channel * 256 + byte];
  } else {
    const float v = visible ? static_cast<const float*>(from.images)[source] : 0.0f;
    value = (v - from.mean[channel]) / from.deviation[channel];
  }
  x[at] = from_float<T>(value);
}

__global__ void labels_kernel(const int64_t* labels, const GatherWhich which, int64_t count, int64_t* out) {
  const int64_t i = global_thread();
  if (i < count) out[i] = labels[example_of(which, i)];
}

__global__ void values_kernel(const float* values, int64_t width, const GatherWhich which, int64_t count, float* out) {
  const int64_t at = global_thread();
  if (at < count * width) out[at] = values[example_of(which, at / width) * width + at % width];
}

}  // namespace

cudaError_t gather_images(const GatherFrom& from, const GatherWhich& which, const GatherHow& how, int64_t count,
                          Precision precision, void* x, cudaStream_t stream) {
  return with_type(precision, [&](auto element) {
    using T = decltype(element);
    return launch_over(count * from.channels * from.height * from.width, images_kernel<T>, stream, from, which, how,
                       count, static_cast<T*>(x));
  });
}

cudaError_t gather_labels(const int64_t* labels, const GatherWhich& which, int64_t count, int64_t* out,
                          cudaStream_t stream) {
  return launch_over(count, labels_kernel, stream, labels, which, count, out);
}

cudaError_t gather_values(const float* values, int64_t width, const GatherWhich& which, int64_t count, float* out,
                          cudaStream_t stream) {
  return launch_over(count * width, values_kernel, stream, values, width, which, count, out);
}

}  // namespace cortorch::cuda
