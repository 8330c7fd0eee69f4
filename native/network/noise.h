// The noise that inverses are trained with: drawn by all threads at once, and added where it is drawn.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace cortorch {

// Which noise: that of one layer at one step. Every normal number of it is a function of these and its place alone (up to
// the rounding of the last bit, which differs between processors with and without fused multiply-adds).
struct NoiseSource {
  uint64_t seed = 0;
  uint32_t layer = 0;
  uint32_t step = 0;
};

// h + σ ε, ε standard normal, numbered in the order of h's memory. h float32 on the CPU, [batch, …] in one of the
// orders that the maps give.
at::Tensor add_noise(const at::Tensor& h, double sigma, const NoiseSource& source);

// The first `count` of those normal numbers, float32.
at::Tensor normals(int64_t count, const NoiseSource& source);

}  // namespace cortorch
