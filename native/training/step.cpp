#include "training/step.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <cmath>

namespace cortorch {

at::Tensor loss_of(Loss loss, const at::Tensor& outputs, const at::Tensor& x, const at::Tensor& targets, Tally& tally,
                   Delivery delivery) {
  switch (loss) {
    case Loss::softmax_cross_entropy: return softmax_cross_entropy(outputs, targets, tally, delivery);
    case Loss::squared_error: return squared_error(outputs, targets, tally, delivery);
    case Loss::reconstruction: return squared_error(outputs, x.flatten(1), tally, delivery);
  }
  TORCH_INTERNAL_ASSERT(false);
}

at::Tensor step_losses(const Network& network, Loss loss, const std::optional<TargetTraining>& targets,
                       const at::Tensor& x, const at::Tensor& labels, Phase phase, TrainingPass& pass, Tally& tally) {
  TORCH_CHECK(!trains_inverse(phase) || targets, "trainer: rule ", name_of(network.rule()),
              " has no inverses to train");
  pass.keep_inputs = trains_inverse(phase);
  // Without targets to send down there is no graph.
  const at::AutoGradMode record(trains_forward(phase));
  const at::Tensor value =
      loss_of(loss, network.forward(x, &pass), x, labels, tally, targets ? Delivery::difference : Delivery::gradient);
  // Before the backward pass: gradients that no update takes would be added to the next ones.
  if (trains_inverse(phase) && (tally.on_gpu.defined() || std::isfinite(tally.host.loss))) {
    inverse_gradients(network, pass.inputs, targets->inverses, pass.targets, pass.seed, pass.step, tally);
  }
  return value;
}

}  // namespace cortorch
