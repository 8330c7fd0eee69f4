#include "network/network.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <algorithm>

#include "maps/autograd.h"
#include "maps/conv2d.h"
#include "maps/dense.h"
#include "maps/locally_connected2d.h"
#include "maps/pool.h"
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
  for (const LayerSpec& layer : spec_.layers) shape = add(layer, shape, seed);
  TORCH_CHECK(!layers_.empty(), "network: there is no layer with parameters");
  TORCH_CHECK(shape.size() == 1, "network: the output must be a vector, but its shape is ", at::IntArrayRef(shape));
  outputs_ = shape[0];
  add_feedback(seed);
  name_parameters();
}

// The shape that comes out of the layer.
Shape Network::add(const LayerSpec& spec, const Shape& input, uint64_t seed) {
  using Kind = LayerSpec::Kind;
  const std::string name = prefix(spec, layers_.size());
  if (spec.kind == Kind::flatten) return {count(input)};
  if (spec.kind == Kind::dense) {
    TORCH_CHECK(input.size() == 1, "layer ", name, ": a dense layer takes a vector, but its input has shape ",
                at::IntArrayRef(input), "; put a flatten before it");
    add_layer(spec, c10::make_intrusive<Dense>(input[0], spec.units), seed);
    return {spec.units};
  }
  TORCH_CHECK(input.size() == 3, "layer ", name, ": it takes an image, but its input has shape ", at::IntArrayRef(input));
  const bool pool = spec.kind == Kind::max_pool2d || spec.kind == Kind::avg_pool2d;
  const Conv2dGeometry geometry{input[0], input[1], input[2], pool ? input[0] : spec.channels, spec.kernel[0], spec.kernel[1],
                                spec.stride[0], spec.stride[1], spec.padding[0], spec.padding[1], spec.dilation[0], spec.dilation[1]};
  check(geometry, ("layer " + name).c_str());
  if (spec.kind == Kind::locally_connected2d) add_layer(spec, c10::make_intrusive<LocallyConnected2d>(geometry), seed);
  if (spec.kind == Kind::conv2d) add_layer(spec, c10::make_intrusive<Conv2d>(geometry), seed);
  return {geometry.out_channels, geometry.out_height(), geometry.out_width()};
}

void Network::name_parameters() {
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    parameters_.emplace_back(prefixes_[i] + ".weight", layer.weight);
    if (layer.bias.defined()) parameters_.emplace_back(prefixes_[i] + ".bias", layer.bias);
    if (layer.feedback.defined()) parameters_.emplace_back(prefixes_[i] + ".weight_backward", layer.feedback);
  }
  if (shared_feedback_.defined()) parameters_.emplace_back("weight_backward", shared_feedback_);
}

std::string Network::prefix(const LayerSpec& spec, std::size_t index) const {
  return spec.name.empty() ? "layers." + std::to_string(index) : spec.name;
}

void Network::add_layer(const LayerSpec& spec, LinearMapPtr map, uint64_t seed) {
  const std::size_t index = layers_.size();
  Layer layer{std::move(map), spec.activation, {}, {}, {}};
  layer.weight = pooled_empty(layer.map->weight_shape());
  const bool by_location = spec.initializer == Initializer::glorot_uniform_location && spec.channels > 0;
  initialize(layer.weight, spec.initializer, layer.map->fan_in(), by_location ? spec.channels : layer.map->fan_out(),
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
  const bool shared = spec_.dfa_feedback == DfaFeedback::shared;
  int64_t most_units = 0;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = layers_[i];
    const RandomStream random(seed, Purpose::feedback, static_cast<uint32_t>(i));
    // The lowest layer sends nothing further down.
    if (spec_.rule == Rule::fa && i > 0) {
      layer.feedback = pooled_empty(layer.map->weight_shape());
      initialize(layer.feedback, Initializer::glorot_uniform, layer.map->fan_in(), layer.map->fan_out(), random);
    }
    // The output layer has the error itself.
    if (spec_.rule == Rule::dfa && i + 1 < layers_.size()) {
      const int64_t units = count(layer.map->output_shape());
      most_units = std::max(most_units, units);
      if (shared) continue;
      layer.feedback = pooled_empty({outputs_, units});
      initialize(layer.feedback, Initializer::glorot_uniform, outputs_, units, random);
    }
  }
  if (shared && most_units > 0) {
    shared_feedback_ = pooled_empty({outputs_, most_units});
    initialize(shared_feedback_, Initializer::glorot_uniform, outputs_, most_units,
               RandomStream(seed, Purpose::feedback, static_cast<uint32_t>(layers_.size())));
  }
}

std::vector<std::pair<std::string, at::Tensor>> Network::trainable() const {
  std::vector<std::pair<std::string, at::Tensor>> result;
  std::copy_if(parameters_.begin(), parameters_.end(), std::back_inserter(result),
               [](const auto& parameter) { return parameter.second.requires_grad(); });
  return result;
}

at::Tensor Network::forward(const at::Tensor& x) const {
  at::Tensor h = batch_of(x, spec_.input);
  std::vector<at::Tensor> ports;
  std::size_t index = 0;
  for (const LayerSpec& spec : spec_.layers) {
    switch (spec.kind) {
      case LayerSpec::Kind::flatten: h = differentiable_channels_first(h).flatten(1); break;
      case LayerSpec::Kind::max_pool2d:
        h = at::max_pool2d(differentiable_channels_first(h), spec.kernel, spec.stride, spec.padding);
        break;
      case LayerSpec::Kind::avg_pool2d:
        h = at::avg_pool2d(differentiable_channels_first(h), spec.kernel, spec.stride, spec.padding);
        break;
      default: h = forward_layer(index++, h, ports);
    }
  }
  return h;
}

at::Tensor Network::forward_layer(std::size_t index, const at::Tensor& x, std::vector<at::Tensor>& ports) const {
  const Layer& l = layers_[index];
  if (spec_.rule != Rule::dfa) return layer(l.map, l.activation, spec_.rule, x, l.weight, l.bias, l.feedback);
  if (index + 1 == layers_.size()) {
    return dfa_output_layer(l.map, l.activation, x, l.weight, l.bias, ports, shared_feedback_);
  }
  LayerOutput hidden = dfa_hidden_layer(l.map, l.activation, x, l.weight, l.bias, l.feedback);
  ports.push_back(std::move(hidden.error_port));
  return hidden.y;
}

}  // namespace cortorch
