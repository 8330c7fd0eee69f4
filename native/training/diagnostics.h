// What a rule does beside its error: how far its steps are from backpropagation's on the same batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "network/network.h"
#include "rules/loss.h"

namespace cortorch {

// Of one linear map; what its rule does not have is absent, and so is an angle with a vector of zeros. Angles in
// degrees, of everything as one vector: all weights, or all values of the batch.
struct Diagnosis {
  std::string name;                            // in the state_dict
  std::optional<double> gradient_angle;        // between the weights' gradients under the rule and under bp
  std::optional<double> feedback_angle;        // between what the error goes down by and the weights
  std::optional<double> feedback_norm_ratio;   // ‖what the error goes down by‖ / ‖W‖
  std::optional<double> target_angle;          // between h − ĥ and bp's ∂L/∂h, h the layer's activity
  std::optional<double> reconstruction_error;  // ‖h − g(f(h))‖² / ‖h‖² of the layer's inverse, h its input
};

// The loss of the network's outputs on the batch, with what it sends down.
using LossOfOutputs = std::function<at::Tensor(const at::Tensor& outputs, Delivery delivery)>;

// Two backward passes over a batch x [batch, input], one under the network's rule and one under bp. Nothing is changed:
// no gradient is kept, and batch norm's statistics stay. `pass` is that of the training step at hand.
std::vector<Diagnosis> diagnose(const Network& network, const at::Tensor& x, const LossOfOutputs& loss,
                                const TrainingPass& pass);

}  // namespace cortorch
