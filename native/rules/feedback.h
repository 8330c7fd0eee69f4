// The weights that errors go down by in place of the forward ones: how large they are, and how they are drawn.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "base/names.h"
#include "plan/plan.h"

namespace cortorch {

// Glorot's deviation √(2 / (fan_in + fan_out)) and a uniform distribution; or those of Xiao et al. (2019): for
// convolutions, shared or not, N(0, s²) with s = √(2 / (k_h k_w C_out)), for dense layers U(−s, s) with s = 1/√fan_in.
enum class FeedbackScale { glorot, xiao };

template <>
struct Names<FeedbackScale> {
  static constexpr const char* kind = "feedback scale";
  static constexpr NamedValue<FeedbackScale> table[] = {
      {"glorot", FeedbackScale::glorot},
      {"xiao", FeedbackScale::xiao},
  };
};

// Whether the last layer sends the error down as its rule has it, or by its own weights.
enum class LastLayer { rule, bp };

template <>
struct Names<LastLayer> {
  static constexpr const char* kind = "way of the last layer";
  static constexpr NamedValue<LastLayer> table[] = {
      {"rule", LastLayer::rule},
      {"bp", LastLayer::bp},
  };
};

struct FeedbackDistribution {
  bool normal = false;
  double size = 1;   // the deviation of a normal one, the bound of a uniform one
  double scale = 1;  // the one magnitude of usf: Glorot's deviation, or s
};

FeedbackDistribution feedback_distribution(FeedbackScale scale, const Site& site);

// Feedback of the weights' shape for a site, from the network's seed.
at::Tensor draw_feedback(const Site& site, FeedbackScale scale, uint64_t seed);

}  // namespace cortorch
