// The layers of a network as nodes that a forward pass goes through.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "network/batch_norm.h"
#include "network/parameters.h"
#include "rules/rule.h"

namespace cortorch {

// A forward pass of a training step: what it is told, and what it leaves.
struct TrainingPass : Pass {
  bool backpropagate = false;  // under bp, whatever the network's rule is: what diagnostics compare with
  bool keep_inputs = false, keep_outputs = false;
  std::vector<at::Tensor> inputs;   // of all maps, if they are to be kept
  std::vector<at::Tensor> outputs;  // likewise, as parts of the graph
};

class Node {
 public:
  Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  virtual ~Node() = default;
  // h [batch, …]. `training` false: an evaluation, where batch norm takes its running statistics.
  virtual at::Tensor forward(const at::Tensor& h, TrainingPass& pass, bool training) const = 0;
};

using Nodes = std::vector<std::unique_ptr<Node>>;

inline at::Tensor forward(const Nodes& nodes, at::Tensor h, TrainingPass& pass, bool training) {
  for (const auto& node : nodes) h = node->forward(h, pass, training);
  return h;
}

// What nodes are made from, and where their parameters go.
struct Materials {
  const std::vector<Site>& sites;
  const Rule& rule;
  const OwnParameters& own;    // the rule's
  uint64_t seed;               // of the weights
  std::vector<Layer>& layers;  // of each site, to be filled
  Parameters& parameters;
};

// Rows of nodes in the order of the plan, whose parameters come in that order. All of it outlives them.
Nodes make_nodes(const std::vector<PlannedLayer>& layers, const Materials& materials);

}  // namespace cortorch
