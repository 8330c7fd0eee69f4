// Random numbers of a step: drawn by all threads at once, and added where they are drawn.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace cortorch {

// Which step: its number, or for work on a GPU that is recorded once and run at every step, where it stands there.
struct StepNumber {
  uint32_t number = 0;
  const uint32_t* address = nullptr;  // on the device

  StepNumber(uint32_t value = 0) : number(value) {}
  explicit StepNumber(const uint32_t* where) : address(where) {}

  // A tensor of one int32 on the device, which is this step's number whenever the step runs.
  at::Tensor tensor(at::Device device) const;
};

// Which noise: that of one layer at one step. Every normal number of it is a function of these and its place alone (up
// to the rounding of the last bit, which differs between processors with and without fused multiply-adds).
struct NoiseSource {
  uint64_t seed = 0;
  uint32_t layer = 0;
  StepNumber step;
};

// h + σ ε, ε standard normal, numbered in the order of h's memory. h [batch, …] in one of the orders that the maps
// give, float32, or on a GPU bfloat16.
at::Tensor add_noise(const at::Tensor& h, double sigma, const NoiseSource& source);

// The first `count` of those normal numbers, float32.
at::Tensor normals(int64_t count, const NoiseSource& source);

// Random absolute values, like `like` and where it is: |N(0, size²)|, or uniform in [0, size). A function of the source
// and the place alone.
at::Tensor draw_magnitudes(const at::Tensor& like, bool normal, double size, const NoiseSource& source);

}  // namespace cortorch
