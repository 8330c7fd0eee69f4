// Noise and magnitudes on tensors on a GPU: see network/noise.h and network/feedback.h. Float32 or bfloat16.
#pragma once

#include <ATen/core/Tensor.h>

#include "network/feedback.h"
#include "network/noise.h"

namespace cortorch::cuda {

at::Tensor add_noise(const at::Tensor& h, double sigma, const NoiseSource& source);
// In the shape and on the device of `like`.
at::Tensor draw_magnitudes(const at::Tensor& like, const FeedbackDistribution& distribution, const NoiseSource& source);

}  // namespace cortorch::cuda
