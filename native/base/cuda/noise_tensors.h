// Noise and magnitudes on tensors on a GPU: see base/noise.h. Float32 or bfloat16.
#pragma once

#include <ATen/core/Tensor.h>

#include "base/noise.h"

namespace cortorch::cuda {

at::Tensor add_noise(const at::Tensor& h, double sigma, const NoiseSource& source);
at::Tensor draw_magnitudes(const at::Tensor& like, bool normal, double size, const NoiseSource& source);

}  // namespace cortorch::cuda
