#include "rules/feedback.h"

#include <algorithm>
#include <cmath>

#include "base/initialize.h"
#include "base/pool.h"

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

}  // namespace cortorch
