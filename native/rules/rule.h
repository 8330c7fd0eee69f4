// A learning rule: one object that answers what a network, a trainer, an optimizer and diagnostics ask. Nobody asks for
// its name. The three families are gradient.h, direct.h and target.h; rules.h lists the rules.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/noise.h"
#include "base/options.h"
#include "plan/parameter.h"
#include "plan/plan.h"
#include "rules/loss.h"
#include "rules/phase.h"

namespace cortorch {

// A map with its weights.
struct Layer {
  const Site* site = nullptr;
  ParameterPtr weight_parameter, bias_parameter;  // of the bias null: there is none

  const LinearMapPtr& map() const { return site->map; }
  Activation activation() const { return site->activation; }
  const at::Tensor& weight() const { return weight_parameter->compute; }
  at::Tensor bias() const { return compute(bias_parameter); }
  // σ(W x + b), without a graph.
  at::Tensor operator()(const at::Tensor& x) const { return map()->apply(weight(), x, bias(), activation()); }
};

// A state beside what optimizers train (running statistics): it takes these values if the step is made, on a GPU too.
// Both float32, of one shape.
struct Moved {
  at::Tensor state, values;
};

// What a trainer sets for a rule. Each family has its own.
struct RuleSettings {
  virtual ~RuleSettings() = default;
};

// What a forward pass of a training step tells a rule, and what the rule carries up in it.
struct Pass {
  std::shared_ptr<const RuleSettings> settings;  // of the trainer; null: a pass without one
  uint64_t seed = 0;                             // of what is drawn at each step
  StepNumber step;                               // the number of steps made so far
  std::vector<at::Tensor> carried;               // what the rule's layers leave for those above
  std::vector<Moved> moved;                      // what the step moves
};

// Where a rule puts its parameters; the names are those of the state_dict.
class OwnParameters {
 public:
  // `<the site's name>.<name>`, behind the site's own weight and bias. Null, and none, if the value is undefined. Its
  // role is `learned` or `fixed`; it is float32 and contiguous.
  ParameterPtr add(const Site& site, Parameter::Role role, const char* name, at::Tensor value) {
    ParameterPtr parameter = checked(new_parameter(role, site.name + "." + name, std::move(value)));
    if (parameter) of_sites_.emplace_back(site.index, parameter);
    return parameter;
  }
  // A state of the site that the rule moves itself (Pass::moved): float32 whatever the network computes in.
  ParameterPtr add_state(const Site& site, const char* name, at::Tensor value) {
    ParameterPtr parameter = add(site, Parameter::Role::fixed, name, std::move(value));
    if (parameter) parameter->stays_float32 = true;
    return parameter;
  }
  // `name`, behind those of all layers.
  ParameterPtr add(Parameter::Role role, const std::string& name, at::Tensor value) {
    ParameterPtr parameter = checked(new_parameter(role, name, std::move(value)));
    if (parameter) of_network_.push_back(parameter);
    return parameter;
  }

  const std::vector<std::pair<std::size_t, ParameterPtr>>& of_sites() const { return of_sites_; }
  const std::vector<ParameterPtr>& of_network() const { return of_network_; }

 private:
  static ParameterPtr checked(ParameterPtr parameter) {
    if (!parameter) return parameter;
    const auto& [role, name, value, compute, stays_float32] = *parameter;
    TORCH_CHECK(role != Parameter::Role::forward, "the rule's parameter ", name,
                " has the role of weights, which are trained on the loss; a rule's own are learned or fixed");
    TORCH_CHECK(value.scalar_type() == at::kFloat && value.is_contiguous() && value.device().is_cpu(),
                "the rule's parameter ", name, " must be contiguous float32 on the CPU, but it is ",
                value.scalar_type(), " on ", value.device());
    return parameter;
  }

  std::vector<std::pair<std::size_t, ParameterPtr>> of_sites_;
  std::vector<ParameterPtr> of_network_;
};

class Rule {
 public:
  explicit Rule(std::string name) : name_(std::move(name)) {}
  Rule(const Rule&) = delete;
  Rule& operator=(const Rule&) = delete;
  virtual ~Rule() = default;

  const std::string& name() const { return name_; }

  // What stands in the way of training a network of this plan: for each obstacle a sentence that names the layer and
  // what would work.
  virtual std::vector<std::string> refusals(const Plan&) const { return {}; }

  // Draws the rule's parameters for a network. Called once, before everything below; the plan outlives the rule.
  virtual void attach(const Plan&, uint64_t /*seed*/, OwnParameters&) {}

  // What a trainer sets, read from its options. `loss` is the task's.
  virtual std::shared_ptr<const RuleSettings> settings(Options&, Loss) const { return nullptr; }

  // σ(W x + b) as a custom autograd function, whose backward pass is the rule's. x [batch, input_shape].
  virtual at::Tensor forward(const Layer& layer, const at::Tensor& x, Pass& pass) const = 0;

  // Does the rule do something behind this batch norm or residual block? Then behind(), with what comes out of it.
  virtual bool acts_behind(const PlannedLayer&) const { return false; }
  virtual at::Tensor behind(const PlannedLayer&, const at::Tensor& h, Pass&) const { return h; }

  // What the loss hands down to the last layer.
  virtual Delivery delivery() const { return Delivery::gradient; }

  // In which phases it learns something beside the task: parameters of the role `learned`, or a state.
  virtual bool learns_in(Phase) const { return false; }
  // Writes the gradients of the parameters that it learns, and moves its state, all from the network as it is and
  // without a graph; counts their loss in the tally (LossCounts::inverse). `inputs` are those of all layers in this
  // step's forward pass.
  virtual void learn(const std::vector<Layer>& /*layers*/, const std::vector<at::Tensor>& /*inputs*/, Pass&,
                     Tally&) const {}

  // For diagnostics. By what a layer sends the error down at a step, where that has the weights' shape and is not the
  // weights themselves; else undefined.
  virtual at::Tensor feedback(const Layer&, const Pass&) const { return {}; }
  // What the layer's inverse makes of its output for this input, of the input's shape; undefined where there is none.
  virtual at::Tensor reconstruction(const Layer&, const at::Tensor& /*input*/, const Pass&) const { return {}; }

 private:
  std::string name_;
};

}  // namespace cortorch
