// A network: nodes in a row, their parameters by name, and the rule that trains it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "network/nodes.h"
#include "network/parameters.h"
#include "plan/plan.h"
#include "rules/rule.h"

namespace cortorch {

class Network {
 public:
  // Builds the layers and draws all parameters from `seed`. Forward weights depend on the seed and the layer alone, so
  // networks that differ in their rule start equal. Throws c10::Error that names the layers that the rule cannot train.
  Network(NetworkSpec spec, std::unique_ptr<Rule> rule, uint64_t seed);

  // x [batch, input] → [batch, outputs], the last layer's output (logits for a classifier). Records the graph of the
  // rule if gradients are enabled. Without a pass: evaluation, where batch norm takes its running statistics.
  at::Tensor forward(const at::Tensor& x, TrainingPass* pass = nullptr) const;

  // To a device, to compute in float32 or bfloat16 there: see Parameters::move_to.
  void move_to(at::Device device, at::ScalarType compute) { parameters_.move_to(device, compute); }
  at::Device device() const { return parameters().front()->value.device(); }
  at::ScalarType compute_type() const { return layers_.front().weight().scalar_type(); }
  // After values were written: what layers compute with follows.
  void refresh() const { parameters_.refresh(); }

  // Makes what a pass moved the network's.
  static void keep(const std::vector<Moved>& moved);

  const Rule& rule() const { return *rule_; }
  // The linear maps with their weights, a residual block's own before those of its shortcut.
  const std::vector<Layer>& layers() const { return layers_; }
  // Every tensor of the state_dict: the layers', and the rule's.
  const std::vector<ParameterPtr>& parameters() const { return parameters_.all(); }
  std::vector<ParameterPtr> of_role(Parameter::Role role) const { return parameters_.of_role(role); }

 private:
  Plan plan_;
  std::unique_ptr<Rule> rule_;
  Parameters parameters_;
  std::vector<Layer> layers_;
  Nodes nodes_;
};

}  // namespace cortorch
