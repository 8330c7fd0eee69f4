#include "network/network.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <algorithm>

#include "maps/dense.h"
#include "rules/layer.h"

namespace cortorch {
namespace {

int64_t count(const Shape& shape) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return n;
}

at::Tensor batch_of(const at::Tensor& x, const Shape& shape) {
  Shape full{x.size(0)};
  full.insert(full.end(), shape.begin(), shape.end());
  return x.sizes() == at::IntArrayRef(full) ? x : x.reshape(full);
}

}  // namespace

Network::Network(NetworkSpec spec, uint64_t seed) : spec_(std::move(spec)) {
  at::NoGradGuard no_grad;
  Shape shape = spec_.input;
  TORCH_CHECK(!shape.empty(), "network: the input shape is empty");
  for (const LayerSpec& layer : spec_.layers) {
    switch (layer.kind) {
      case LayerSpec::Kind::flatten: shape = {count(shape)}; break;
      case LayerSpec::Kind::dense:
        TORCH_CHECK(shape.size() == 1, "layer ", prefix(layer, layers_.size()),
                    ": a dense layer takes a vector, but its input has shape ", at::IntArrayRef(shape),
                    "; put a flatten before it");
        add_layer(layer, c10::make_intrusive<Dense>(shape[0], layer.units), seed);
        shape = {layer.units};
        break;
    }
  }
  TORCH_CHECK(!layers_.empty(), "network: there is no layer with parameters");
  TORCH_CHECK(shape.size() == 1, "network: the output must be a vector, but its shape is ", at::IntArrayRef(shape));
  outputs_ = shape[0];
  add_feedback(seed);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    parameters_.emplace_back(prefixes_[i] + ".weight", layer.weight);
    if (layer.bias.defined()) parameters_.emplace_back(prefixes_[i] + ".bias", layer.bias);
    if (layer.feedback.defined()) parameters_.emplace_back(prefixes_[i] + ".weight_backward", layer.feedback);
  }
}

std::string Network::prefix(const LayerSpec& spec, std::size_t index) const {
  return spec.name.empty() ? "layers." + std::to_string(index) : spec.name;
}

void Network::add_layer(const LayerSpec& spec, LinearMapPtr map, uint64_t seed) {
  const std::size_t index = layers_.size();
  Layer layer{std::move(map), spec.activation, {}, {}, {}};
  layer.weight = at::empty(layer.map->weight_shape(), at::kFloat);
  initialize(layer.weight, spec.initializer, layer.map->fan_in(), layer.map->fan_out(),
             RandomStream(seed, Purpose::weight, static_cast<uint32_t>(index)));
  layer.weight.set_requires_grad(true);
  if (spec.bias) {
    layer.bias = at::zeros(layer.map->bias_shape(), at::kFloat);
    layer.bias.set_requires_grad(true);
  }
  const std::string name = prefix(spec, index);
  TORCH_CHECK(std::find(prefixes_.begin(), prefixes_.end(), name) == prefixes_.end(), "network: two layers are called ",
              name);
  prefixes_.push_back(name);
  layers_.push_back(std::move(layer));
}

void Network::add_feedback(uint64_t seed) {
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = layers_[i];
    const RandomStream random(seed, Purpose::feedback, static_cast<uint32_t>(i));
    // The lowest layer sends nothing further down.
    if (spec_.rule == Rule::fa && i > 0) {
      layer.feedback = at::empty(layer.map->weight_shape(), at::kFloat);
      initialize(layer.feedback, Initializer::glorot_uniform, layer.map->fan_in(), layer.map->fan_out(), random);
    }
    // The output layer has the error itself.
    if (spec_.rule == Rule::dfa && i + 1 < layers_.size()) {
      const int64_t units = count(layer.map->output_shape());
      layer.feedback = at::empty({outputs_, units}, at::kFloat);
      initialize(layer.feedback, Initializer::glorot_uniform, outputs_, units, random);
    }
  }
}

std::vector<std::pair<std::string, at::Tensor>> Network::trainable() const {
  std::vector<std::pair<std::string, at::Tensor>> result;
  std::copy_if(parameters_.begin(), parameters_.end(), std::back_inserter(result),
               [](const auto& parameter) { return parameter.second.requires_grad(); });
  return result;
}

at::Tensor Network::forward(const at::Tensor& x) const {
  at::Tensor h = x;
  std::vector<at::Tensor> ports;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& l = layers_[i];
    h = batch_of(h, l.map->input_shape());
    if (spec_.rule != Rule::dfa) {
      h = layer(l.map, l.activation, spec_.rule, h, l.weight, l.bias, l.feedback);
    } else if (i + 1 < layers_.size()) {
      LayerOutput hidden = dfa_hidden_layer(l.map, l.activation, h, l.weight, l.bias, l.feedback);
      h = std::move(hidden.y);
      ports.push_back(std::move(hidden.error_port));
    } else {
      h = dfa_output_layer(l.map, l.activation, h, l.weight, l.bias, ports);
    }
  }
  return h;
}

}  // namespace cortorch
