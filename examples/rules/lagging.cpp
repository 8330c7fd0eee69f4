// A rule with a state of its own: errors go down by weights that lag behind the forward ones, an average of the past
// with a time constant of `steps`. The state is in the state_dict, so a run goes on with it, and a step that is not
// made does not move it.
//
//   cortorch train --dataset mnist --model mnist-fc --rule examples/rules/lagging.cpp --rule-option steps=50 --epochs 2
#include <ATen/core/grad_mode.h>
#include <ATen/ops/lerp.h>

#include "rules/own_rule.h"

using namespace cortorch;

class Lagging final : public GradientRule {
 public:
  Lagging(std::string name, Options& options) : GradientRule(std::move(name)), steps_(options.number("steps")) {}

  void attach(const Plan& plan, uint64_t seed, OwnParameters& own) override {
    states_.resize(plan.sites.size());
    for (const Site& site : plan.sites) {
      if (!site.sends) continue;
      states_[site.index] = own.add_state(site, "weight_backward", draw_feedback(site, FeedbackScale::glorot, seed));
    }
  }

  bool learns_in(Phase phase) const override { return phase == Phase::forward; }

  void learn(const std::vector<Layer>& layers, const std::vector<at::Tensor>&, Pass& pass, Tally&) const override {
    const at::NoGradGuard no_grad;
    for (const Layer& layer : layers) {
      const ParameterPtr& state = states_[layer.site->index];
      if (!state) continue;
      const at::Tensor weight = layer.weight().to(state->value.scalar_type());
      pass.moved.push_back({state->value, at::lerp(state->value, weight, 1 / steps_)});
    }
  }

 protected:
  Sender sender(const Layer& layer, const Pass&) const override {
    const ParameterPtr& state = states_[layer.site->index];
    return by_feedback(name(), state ? state->value.to(layer.weight().scalar_type()) : at::Tensor());
  }

 private:
  double steps_;
  std::vector<ParameterPtr> states_;  // of each site
};

CORTORCH_RULE("lagging", Lagging, number("steps", 100).at_least(1).describe("how many steps the feedback lags behind"))
