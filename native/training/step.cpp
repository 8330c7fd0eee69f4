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

namespace {

// Before anything is updated: what is found only then would leave the step half made.
void check_moved(std::vector<Moved>& moved) {
  for (auto& [state, values] : moved) {
    TORCH_CHECK(state.scalar_type() == at::kFloat && state.is_contiguous() && values.scalar_type() == at::kFloat &&
                    values.sizes() == state.sizes() && values.device() == state.device(),
                "a rule moves a state of ", state.scalar_type(), " ", state.sizes(), " on ", state.device(), " to ",
                values.scalar_type(), " ", values.sizes(), " on ", values.device(),
                "; expected float32 of one shape in one place: OwnParameters::add_state");
    values = values.contiguous();
  }
}

}  // namespace

at::Tensor step_losses(const Task& task, const at::Tensor& x, const at::Tensor& labels, Phase phase, TrainingPass& pass,
                       Tally& tally) {
  const Rule& rule = task.rule();
  const bool learns = rule.learns_in(phase);
  TORCH_CHECK(learns || phase == Phase::forward, "trainer: rule ", rule.name(),
              " learns nothing beside the task, so there is nothing to train in phase ", name_of(phase));
  pass.keep_inputs = learns;
  // Without targets to send down there is no graph.
  const at::AutoGradMode record(trains_forward(phase));
  const at::Tensor value = loss_of(task.loss, task.network.forward(x, &pass), x, labels, tally, rule.delivery());
  // Before the backward pass: gradients that no update takes would be added to the next ones.
  if (learns && (tally.device_sums.defined() || std::isfinite(tally.host.loss)))
    rule.learn(task.network.layers(), pass.inputs, pass, tally);
  check_moved(pass.moved);
  return value;
}

}  // namespace cortorch
