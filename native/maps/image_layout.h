// How images lie in memory. Their shape is [batch, channels, height, width] wherever a tensor is handed on; in
// which order the values lie is a matter of strides, and only the maps look at it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace cortorch {

// Location-major: memory in the order [height, width, batch, channels], so that every location is a dense matrix
// batch × channels, which is what a product at that location reads and writes. Uninitialised.
at::Tensor empty_location_major(int64_t batch, int64_t channels, int64_t height, int64_t width,
                                at::ScalarType dtype = at::kFloat);
// x itself if it is location-major already.
at::Tensor location_major(const at::Tensor& x);
// Memory in the order of the shape: x itself if it is so already.
at::Tensor channels_first(const at::Tensor& x);
// Memory in the order [batch, height, width, channels], in which libtorch convolves, normalises and pools fastest; x
// itself if it is so already. float64 stays in the order of the shape: it is for checks.
at::Tensor channels_last(const at::Tensor& x);
// One of these two, which libtorch's operations take as it is and keep.
inline bool is_plain(const at::Tensor& x) {
  return x.is_contiguous() || x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

// x itself if nothing lies between its values, in whatever order; else in the order of the shape.
at::Tensor without_gaps(const at::Tensor& x);
// One of the two orders that the kernels for both, images and vectors, take: x itself if it is in the order of its
// shape, other images location-major.
at::Tensor ordered(const at::Tensor& x);
// x in the order of `like`, of the same shape and without gaps: x itself if it is so already.
at::Tensor in_order_of(const at::Tensor& x, const at::Tensor& like);
// Is it, and without gaps?
bool same_order(const at::Tensor& x, const at::Tensor& like);
// Uninitialised, as `like`, which is ordered(): float32 on the CPU.
at::Tensor pooled_like(const at::Tensor& like);

// A working copy in which every location is a matrix channels × batch: a contiguous tensor
// [height, width, channels, stride], whose rows hold the batch and zeros up to a whole number of vectors.
at::Tensor batch_last(const at::Tensor& x);
// The length of those rows.
int64_t batch_stride(int64_t batch);

}  // namespace cortorch
