// A feedback that is learned, in a phase of its own: weight mirroring in outline (Akrout et al. 2019). Noise goes
// through each layer alone, and what comes out of it teaches B the weights W: E[x yᵀ] = σ² Wᵀ for a linear layer.
//
//   cortorch train --dataset mnist --model mnist-fc --rule examples/rules/mirroring.cpp --epochs 2
#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/zeros_like.h>

#include "rules/own_rule.h"

using namespace cortorch;

class Mirroring final : public GradientRule {
 public:
  Mirroring(std::string name, Options& options)
      : GradientRule(std::move(name)), sigma_(options.number("noise")), decay_(options.number("decay")) {}

  // B of each layer that sends something down, drawn as fa's.
  void attach(const Plan& plan, uint64_t seed, OwnParameters& own) override {
    feedback_.resize(plan.sites.size());
    for (const Site& site : plan.sites) {
      if (!site.sends) continue;
      feedback_[site.index] =
          own.add(site, Parameter::Role::learned, "weight_backward", draw_feedback(site, FeedbackScale::glorot, seed));
    }
  }

  bool learns_in(Phase phase) const override { return phase != Phase::forward; }

  // The gradient of B: −x yᵀ / σ² + λ B, so that B goes to W / λ.
  void learn(const std::vector<Layer>& layers, const std::vector<at::Tensor>& inputs, Pass& pass,
             Tally&) const override {
    const at::NoGradGuard no_grad;
    for (const Layer& layer : layers) {
      const std::size_t i = layer.site->index;
      if (!feedback_[i]) continue;
      const at::Tensor x =
          add_noise(at::zeros_like(inputs[i]), sigma_, {pass.seed, static_cast<uint32_t>(i), pass.step});
      // How many places of the output share a weight.
      const auto places = static_cast<double>(count(layer.map()->output_shape()) / count(layer.map()->bias_shape()));
      const double scale = static_cast<double>(x.size(0)) * sigma_ * sigma_ * places;
      at::Tensor b = compute(feedback_[i]);
      b.mutable_grad() = at::add(at::mul(layer.map()->outer(x, layer(x)), -1 / scale), b, decay_);
    }
  }

 protected:
  Sender sender(const Layer& layer, const Pass&) const override {
    return by_feedback(name(), compute(feedback_[layer.site->index]));
  }

 private:
  double sigma_, decay_;
  std::vector<ParameterPtr> feedback_;  // of each site
};

CORTORCH_RULE("mirroring", Mirroring, number("noise", 0.1).at_least(1e-6).describe("σ of the noise"),
              number("decay", 1).at_least(0).describe("λ of B"))
