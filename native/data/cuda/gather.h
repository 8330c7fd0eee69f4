// A batch out of a data set that lies on the GPU, on raw device pointers: as Dataset::gather, to the bit.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "base/cuda/precision.h"

namespace cortorch::cuda {

struct GatherFrom {
  const void* images;  // [n, channels, height, width]; vectors are one channel of one row
  bool bytes;          // else float
  int64_t channels, height, width;
  const float* tables;            // of bytes: what each of the 256 becomes, [channels, 256]
  const float *mean, *deviation;  // of floats: [channels]
};

// Which examples: place i of the batch has example order[(batch number) * size + i]. The number of the batch is where
// `number` points when the kernel runs, or `fixed` where that is null.
struct GatherWhich {
  const int64_t* order;
  const int64_t* number;
  int64_t fixed, size;
};

// What Augmentation and AugmentationSource say; the epoch is where `epoch` points when the kernel runs.
struct GatherHow {
  int32_t crop_padding;
  bool black, flip_horizontal, flip_vertical;
  uint64_t seed;
  const uint32_t* epoch;  // null: no augmentation
};

// `count` examples into x [count, channels, height, width], contiguous, of the precision's type.
cudaError_t gather_images(const GatherFrom& from, const GatherWhich& which, const GatherHow& how, int64_t count,
                          Precision precision, void* x, cudaStream_t stream);
cudaError_t gather_labels(const int64_t* labels, const GatherWhich& which, int64_t count, int64_t* out,
                          cudaStream_t stream);
// values [n, width] → [count, width]
cudaError_t gather_values(const float* values, int64_t width, const GatherWhich& which, int64_t count, float* out,
                          cudaStream_t stream);

}  // namespace cortorch::cuda
