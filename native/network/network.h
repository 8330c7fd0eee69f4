// A network: layers in a row, their parameters by name, and the forward pass under a rule.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "maps/linear_map.h"
#include "network/initialize.h"
#include "rules/rule.h"

namespace cortorch {

// One entry of a network's description. `flatten` has no parameters and uses none of the other fields.
struct LayerSpec {
  enum class Kind { flatten, dense } kind = Kind::dense;
  std::string name;  // prefix of the parameter names; empty: layers.<i>
  int64_t units = 0;
  Activation activation = Activation::identity;
  bool bias = true;
  Initializer initializer = Initializer::glorot_uniform;
};

struct NetworkSpec {
  Shape input;  // (C, H, W) or (features)
  std::vector<LayerSpec> layers;
  Rule rule = Rule::bp;
};

class Network {
 public:
  // Builds the layers and draws all parameters from `seed`. Forward weights depend on the seed and the
  // layer alone, so networks that differ in their rule start equal. Throws c10::Error naming the layer.
  Network(NetworkSpec spec, uint64_t seed);

  // x [batch, input] → [batch, outputs], the last layer's output (logits for a classifier). Records the
  // graph of the rule if gradients are enabled.
  at::Tensor forward(const at::Tensor& x) const;

  // Every tensor of the state_dict by its name, in the order of the layers.
  const std::vector<std::pair<std::string, at::Tensor>>& parameters() const { return parameters_; }
  // Those that the optimizer updates; the fixed feedback is not among them.
  std::vector<std::pair<std::string, at::Tensor>> trainable() const;

  const Shape& input_shape() const { return spec_.input; }
  int64_t outputs() const { return outputs_; }
  Rule rule() const { return spec_.rule; }

 private:
  struct Layer {
    LinearMapPtr map;
    Activation activation;
    at::Tensor weight, bias, feedback;
  };

  void add_layer(const LayerSpec& spec, LinearMapPtr map, uint64_t seed);
  void add_feedback(uint64_t seed);
  std::string prefix(const LayerSpec& spec, std::size_t index) const;

  NetworkSpec spec_;
  // A flatten only changes how the next layer reads its input, and layers reshape their input anyway.
  std::vector<Layer> layers_;
  std::vector<std::string> prefixes_;
  std::vector<std::pair<std::string, at::Tensor>> parameters_;
  int64_t outputs_ = 0;
};

}  // namespace cortorch
