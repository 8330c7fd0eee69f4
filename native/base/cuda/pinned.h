#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace cortorch::cuda {

// Host memory that the GPU copies from by itself.
inline at::Tensor pinned_empty(at::IntArrayRef sizes, at::ScalarType type) {
  return at::empty(sizes, at::TensorOptions().dtype(type).pinned_memory(true));
}

}  // namespace cortorch::cuda
