#include "network/feedback.h"

#include <ATen/Parallel.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/mul.h>

#include <algorithm>
#include <cmath>

#include "maps/gpu.h"
#include "maps/pool.h"
#include "network/initialize.h"

#ifdef CORTORCH_CUDA
#include "network/cuda/noise_tensors.h"
#endif

namespace cortorch {

FeedbackDistribution feedback_distribution(FeedbackScale scale, const LinearMap& map, bool is_convolution) {
  const double in = static_cast<double>(map.fan_in()), out = static_cast<double>(map.fan_out());
  if (scale == FeedbackScale::glorot) {
    const double variance = 2.0 / std::max(1.0, in + out);
    return {false, std::sqrt(3 * variance), std::sqrt(variance)};
  }
  const double s = is_convolution ? std::sqrt(2 / out) : 1 / std::sqrt(in);
  return {is_convolution, s, s};
}

at::Tensor draw_feedback(const Shape& shape, const FeedbackDistribution& distribution, const RandomStream& random) {
  at::Tensor feedback = pooled_empty(shape);
  if (distribution.normal) {
    fill_normal(feedback, distribution.size, random);
  } else {
    fill_uniform(feedback, distribution.size, random);
  }
  return feedback;
}

at::Tensor draw_magnitudes(const at::Tensor& weight, const FeedbackDistribution& distribution,
                           const NoiseSource& source) {
  CORTORCH_RETURN_ON_GPU(weight, cuda::draw_magnitudes(weight, distribution, source));
  at::Tensor result = pooled_empty(weight.sizes());
  const int64_t count = result.numel();
  if (distribution.normal) return normals(count, source).abs_().mul_(distribution.size).view(weight.sizes());
  const RandomStream random(source.seed, Purpose::magnitude, source.layer);
  const int64_t blocks = (count + 3) / 4;
  const auto size = static_cast<float>(distribution.size);
  float* out = result.mutable_data_ptr<float>();
  at::parallel_for(0, blocks, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto words = random.block(static_cast<uint64_t>(source.step.number) * static_cast<uint64_t>(blocks) +
                                      static_cast<uint64_t>(i));
      for (int64_t k = 4 * i; k < std::min(4 * i + 4, count); ++k) {
        out[k] = size * 0x1p-24f * static_cast<float>(words[static_cast<std::size_t>(k - 4 * i)] >> 8);
      }
    }
  });
  return result;
}

}  // namespace cortorch
