// Training of the learned inverses. Their losses are local, so there is no graph: the gradients are written down.
#pragma once

#include <cstdint>
#include <vector>

#include "base/noise.h"
#include "network/network.h"
#include "rules/loss.h"

namespace cortorch {

// What g(f(h̃)), h̃ = h + σ ε, is compared with: h̃ itself (Lee et al. 2015, DTP in Bartunov et al. 2018), or h.
enum class InverseLoss { noise_preserving, de_noising };

template <>
struct Names<InverseLoss> {
  static constexpr const char* kind = "loss of the inverses";
  static constexpr NamedValue<InverseLoss> table[] = {
      {"noise-preserving", InverseLoss::noise_preserving},
      {"de-noising", InverseLoss::de_noising},
  };
};

struct InverseSettings {
  InverseLoss loss = InverseLoss::noise_preserving;
  std::vector<double> noise;  // σ of each inverse, in the order of the layers
};

// Sets the gradients of all inverses' weights and biases: those of Σ ‖g(f(h̃)) − h̃ or h‖² / batch, the units summed
// or averaged. `inputs` are those that Network::forward gave, [batch, …] each. Adds the losses, over the examples and
// the inverses, to the tally.
void inverse_gradients(const Network& network, const std::vector<at::Tensor>& inputs, const InverseSettings& settings,
                       const TargetSettings& targets, uint64_t seed, StepNumber step, Tally& tally);

}  // namespace cortorch
