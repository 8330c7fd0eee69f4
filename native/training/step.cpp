#include "training/step.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <cmath>

namespace cortorch {

TrainingPass pass_of(const Task& task, uint64_t seed, StepNumber step) {
  TrainingPass pass;
  pass.settings = task.settings;
  pass.seed = seed;
  pass.step = step;
  return pass;
}

at::Tensor step_losses(const Task& task, const at::Tensor& x, const at::Tensor& labels, Phase phase, TrainingPass& pass,
                       Tally& tally) {
  const Rule& rule = task.rule();
  const bool learns = rule.learns_in(phase);
  TORCH_CHECK(learns || trains_forward(phase), "trainer: rule ", rule.name(), " has no inverses to train");
  pass.keep_inputs = learns;
  // Without targets to send down there is no graph.
  const at::AutoGradMode record(trains_forward(phase));
  const at::Tensor value = loss_of(task.loss, task.network.forward(x, &pass), x, labels, tally, rule.delivery());
  // Before the backward pass: gradients that no update takes would be added to the next ones.
  if (learns && (tally.device_sums.defined() || std::isfinite(tally.host.loss)))
    rule.learn(task.network.layers(), pass.inputs, pass, tally);
  return value;
}

}  // namespace cortorch
