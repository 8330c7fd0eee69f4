// The losses of a training step, for whoever makes the updates: on the processor or on a GPU.
#pragma once

#include <cstdint>
#include <optional>

#include "network/network.h"
#include "rules/loss.h"
#include "training/inverses.h"
#include "training/optimizer.h"

namespace cortorch {

// A reconstruction is a squared error whose targets are the inputs.
enum class Loss { softmax_cross_entropy, squared_error, reconstruction };

// Which losses a step is made for: the task's with the layers' targets, the inverses', or both from the same
// parameters.
enum class Phase { forward, inverse, both };

template <>
struct Names<Loss> {
  static constexpr const char* kind = "loss";
  static constexpr NamedValue<Loss> table[] = {
      {"softmax-cross-entropy", Loss::softmax_cross_entropy},
      {"squared-error", Loss::squared_error},
      {"reconstruction", Loss::reconstruction},
  };
};

template <>
struct Names<Phase> {
  static constexpr const char* kind = "phase";
  static constexpr NamedValue<Phase> table[] = {
      {"forward", Phase::forward},
      {"inverse", Phase::inverse},
      {"both", Phase::both},
  };
};

inline bool trains_forward(Phase phase) { return phase != Phase::inverse; }
inline bool trains_inverse(Phase phase) { return phase != Phase::forward; }

// What target propagation has beside a loss and an optimizer.
struct TargetTraining {
  OptimizerSpec inverse_optimizer;
  InverseSettings inverses;
  TargetSettings targets;  // its activity is the loss's
};

at::Tensor loss_of(Loss loss, const at::Tensor& outputs, const at::Tensor& x, const at::Tensor& targets, Tally& tally,
                   Delivery delivery = Delivery::gradient);

// The task's loss on a batch, ready for backward(), and in the phases of the inverses their gradients, all from the
// parameters as they are; counted in the tally. On the CPU inverses get none if the loss is not finite; a GPU is not
// waited for.
at::Tensor step_losses(const Network& network, Loss loss, const std::optional<TargetTraining>& targets,
                       const at::Tensor& x, const at::Tensor& labels, Phase phase, TrainingPass& pass, Tally& tally);

}  // namespace cortorch
