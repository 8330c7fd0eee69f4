// In place of native/base/cuda/pinned.h: all memory is the processor's.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace cortorch::cuda {

inline at::Tensor pinned_empty(at::IntArrayRef sizes, at::ScalarType type) { return at::empty(sizes, type); }

}  // namespace cortorch::cuda
