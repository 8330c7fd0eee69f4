#include "rules/feedback.h"

#include <algorithm>
#include <cmath>

#include "base/initialize.h"
#include "base/pool.h"

namespace cortorch {

FeedbackDistribution feedback_distribution(FeedbackScale scale, const Site& site) {
  const double in = static_cast<double>(site.map->fan_in()), out = static_cast<double>(site.map->fan_out());
  if (scale == FeedbackScale::glorot) {
    const double variance = 2.0 / std::max(1.0, in + out);
    return {false, std::sqrt(3 * variance), std::sqrt(variance)};
  }
  const double s = site.convolution ? std::sqrt(2 / out) : 1 / std::sqrt(in);
  return {site.convolution, s, s};
}

at::Tensor draw_feedback(const Site& site, FeedbackScale scale, uint64_t seed) {
  const FeedbackDistribution distribution = feedback_distribution(scale, site);
  const RandomStream random(seed, Purpose::feedback, static_cast<uint32_t>(site.index));
  at::Tensor feedback = pooled_empty(site.map->weight_shape());
  if (distribution.normal) {
    fill_normal(feedback, distribution.size, random);
  } else {
    fill_uniform(feedback, distribution.size, random);
  }
  return feedback;
}

}  // namespace cortorch
