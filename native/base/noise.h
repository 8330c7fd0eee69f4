// Random numbers of a step: drawn by all threads at once, and added where they are drawn.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cstdint>

namespace cortorch {

// Which step: its number, or for work on a GPU that is recorded once and run at every step, where it stands there.
class StepNumber {
 public:
  StepNumber(uint32_t value = 0) : number_(value) {}
  explicit StepNumber(const uint32_t* where) : address_(where) {}

  // Throws c10::Error where only the device knows it: take tensor().
  uint32_t number() const {
    TORCH_CHECK(address_ == nullptr, "on a GPU the processor does not know a step's number: use its tensor()");
    return number_;
  }
  const uint32_t* address() const { return address_; }  // on the device; null: it is number()

  // A tensor of one int32 on the device, which is this step's number whenever the step runs.
  at::Tensor tensor(at::Device device) const;

 private:
  uint32_t number_ = 0;
  const uint32_t* address_ = nullptr;
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
