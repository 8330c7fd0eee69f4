#include "network/network.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/add.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "base/pool.h"
#include "maps/activation.h"
#include "maps/autograd.h"
#include "maps/conv2d.h"
#include "maps/dense.h"
#include "maps/locally_connected2d.h"
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

// Every stride-th row and column, and channels of zeros on both sides: parameter-free (He et al. 2016, option A).
at::Tensor padded_shortcut(const at::Tensor& x, const LayerSpec& block, const at::Tensor& y) {
  at::Tensor sampled = x.slice(2, 0, std::nullopt, block.stride[0]).slice(3, 0, std::nullopt, block.stride[1]);
  const int64_t zeros = y.size(1) - x.size(1);
  return at::constant_pad_nd(sampled, {0, 0, 0, 0, zeros / 2, zeros - zeros / 2});
}

}  // namespace

Network::Network(NetworkSpec spec, uint64_t seed) : spec_(std::move(spec)) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(!spec_.input.empty(), "network: the input shape is empty");
  const Shape shape = add(spec_.layers, spec_.input, seed);
  TORCH_CHECK(!layers_.empty(), "network: there is no layer with parameters");
  TORCH_CHECK(shape.size() == 1, "network: the output must be a vector, but its shape is ", at::IntArrayRef(shape));
  outputs_ = shape[0];
  if (spec_.rule == Rule::dfa) add_ports();
  add_feedback(seed);
  if (is_target_rule(spec_.rule)) add_inverses(seed);
  name_parameters();
}

Shape Network::add(std::vector<LayerSpec>& specs, Shape shape, uint64_t seed) {
  for (LayerSpec& spec : specs) spec.output = shape = add(spec, shape, seed);
  return shape;
}

// The shape that comes out of the layer.
Shape Network::add(LayerSpec& spec, const Shape& input, uint64_t seed) {
  using Kind = LayerSpec::Kind;
  const std::string name = prefix(spec);
  if (spec.kind == Kind::flatten) return {count(input)};
  if (spec.kind == Kind::batch_norm) {
    add_norm(spec, input[0]);
    return input;
  }
  if (spec.kind == Kind::residual) return add_residual(spec, input, seed);
  if (spec.kind == Kind::dense) {
    TORCH_CHECK(input.size() == 1, "layer ", name, ": a dense layer takes a vector, but its input has shape ",
                at::IntArrayRef(input), "; put a flatten before it");
    add_layer(spec, c10::make_intrusive<Dense>(input[0], spec.units), seed);
    return {spec.units};
  }
  TORCH_CHECK(input.size() == 3, "layer ", name, ": it takes an image, but its input has shape ",
              at::IntArrayRef(input));
  const bool pool = spec.kind == Kind::max_pool2d || spec.kind == Kind::avg_pool2d;
  const Conv2dGeometry geometry{input[0],        input[1],        input[2],         pool ? input[0] : spec.channels,
                                spec.kernel[0],  spec.kernel[1],  spec.stride[0],   spec.stride[1],
                                spec.padding[0], spec.padding[1], spec.dilation[0], spec.dilation[1]};
  check(geometry, ("layer " + name).c_str());
  if (spec.kind == Kind::locally_connected2d) add_layer(spec, c10::make_intrusive<LocallyConnected2d>(geometry), seed);
  if (spec.kind == Kind::conv2d) add_layer(spec, c10::make_intrusive<Conv2d>(geometry), seed);
  return {geometry.out_channels, geometry.out_height(), geometry.out_width()};
}

Shape Network::add_residual(LayerSpec& spec, const Shape& input, uint64_t seed) {
  const bool below = below_;
  const Shape output = add(spec.layers, input, seed);
  const bool in_layers = std::exchange(below_, below);
  Shape past = input;
  if (spec.shortcut == Shortcut::layers) past = add(spec.shortcut_layers, input, seed);
  below_ = below_ || in_layers;
  if (spec.shortcut == Shortcut::pad) {
    TORCH_CHECK(input.size() == 3 && output.size() == 3 && output[0] >= input[0],
                "network: a padded shortcut goes from images to images of as many channels or more");
    const auto sampled = [&](int i) { return (input[i + 1] - 1) / spec.stride[i] + 1; };
    past = {output[0], sampled(0), sampled(1)};
  }
  TORCH_CHECK(past == output, "network: a residual block's layers give ", at::IntArrayRef(output),
              ", but its shortcut ", at::IntArrayRef(past));
  return output;
}

void Network::name_parameters() {
  using Role = Parameter::Role;
  const auto name = [&](Role role, std::string called, const at::Tensor& value) {
    if (!value.defined()) return;
    const bool taken =
        std::any_of(parameters_.begin(), parameters_.end(), [&](const Parameter& p) { return p.name == called; });
    TORCH_CHECK(!taken, "network: two parameters are called ", called, "; give the layer another name");
    parameters_.push_back({role, std::move(called), value, value});
  };
  for (const auto& [prefix, is_map, index] : named_) {
    const at::Tensor& weight = is_map ? layers_[index].weight : norms_[index].weight;
    name(Role::forward, prefix + ".weight", weight);
    name(Role::forward, prefix + ".bias", is_map ? layers_[index].bias : norms_[index].bias);
    if (is_map) {
      name(Role::fixed, prefix + ".weight_backward", layers_[index].feedback);
    } else {
      name(Role::fixed, prefix + ".running_mean", norms_[index].running_mean);
      name(Role::fixed, prefix + ".running_var", norms_[index].running_var);
    }
  }
  name(Role::fixed, "weight_backward", shared_feedback_);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    name(Role::inverse, "inverses." + std::to_string(i) + ".weight", layers_[i].inverse.weight);
    name(Role::inverse, "inverses." + std::to_string(i) + ".bias", layers_[i].inverse.bias);
  }
  name(Role::fixed, "auxiliary.weight", auxiliary_.weight);
  name(Role::fixed, "auxiliary.bias", auxiliary_.bias);
}

std::string Network::prefix(const LayerSpec& spec) const {
  return spec.name.empty() ? "layers." + std::to_string(named_.size()) : spec.name;
}

void Network::add_name(const LayerSpec& spec, bool is_map, std::size_t index) {
  std::string name = prefix(spec);
  const bool taken =
      std::any_of(named_.begin(), named_.end(), [&](const Named& other) { return other.prefix == name; });
  TORCH_CHECK(!taken, "network: two layers are called ", name);
  named_.push_back({std::move(name), is_map, index});
}

void Network::add_norm(const LayerSpec& spec, int64_t channels) {
  TORCH_CHECK(!is_target_rule(spec_.rule), "layer ", prefix(spec), ": rule ", name_of(spec_.rule),
              " does not go through batch norm");
  add_name(spec, false, norms_.size());
  BatchNorm norm = BatchNorm::fresh(channels);
  norm.momentum = spec.momentum;
  norm.epsilon = spec.epsilon;
  norm.activation = spec.activation;
  norms_.push_back(std::move(norm));
  below_ = true;
}

void Network::add_layer(const LayerSpec& spec, LinearMapPtr map, uint64_t seed) {
  const std::size_t index = layers_.size();
  const auto distribution = feedback_distribution(spec_.feedback_scale, *map, spec.channels > 0);
  Layer layer{std::move(map), spec.activation, {}, {}, {}, {}, spec_.rule, distribution, std::exchange(below_, true)};
  layer.weight = pooled_empty(layer.map->weight_shape());
  const bool by_location = spec.initializer == Initializer::glorot_uniform_location && spec.channels > 0;
  initialize(layer.weight, spec.initializer, layer.map->fan_in(), by_location ? spec.channels : layer.map->fan_out(),
             RandomStream(seed, Purpose::weight, static_cast<uint32_t>(index)));
  layer.weight.set_requires_grad(true);
  if (spec.bias) {
    layer.bias = at::zeros(layer.map->bias_shape(), at::kFloat);
    layer.bias.set_requires_grad(true);
  }
  add_name(spec, true, index);
  layers_.push_back(std::move(layer));
}

// Where the error arrives under dfa: behind each map, its activation and the batch norm that follows it; behind a
// residual block, by the feedback of its last map (its shortcut's, where its layers have none), in place of that one.
// From there ordinary gradients go back: through the sum to the block's last map and along its shortcut. No map sends
// anything down.
void Network::add_ports() {
  std::size_t layer = 0;
  add_ports(spec_.layers, false, layer);
}

std::optional<std::size_t> Network::add_ports(std::vector<LayerSpec>& specs, bool summed, std::size_t& layer) {
  using Kind = LayerSpec::Kind;
  const auto is_map = [](const LayerSpec& spec) {
    return spec.kind == Kind::dense || spec.kind == Kind::conv2d || spec.kind == Kind::locally_connected2d;
  };
  std::optional<std::size_t> last;
  LayerSpec* end = nullptr;  // where the last map's error arrives, if the path goes on
  for (std::size_t i = 0; i < specs.size(); ++i) {
    LayerSpec& spec = specs[i];
    const std::string name = spec.name.empty() ? "batch norm" : spec.name;
    if (is_map(spec)) {
      const bool normed = i + 1 < specs.size() && specs[i + 1].kind == Kind::batch_norm;
      if (end != nullptr) end->port = last;
      last = layer++;
      end = normed ? &specs[++i] : &spec;
      TORCH_CHECK(*last + 1 < layers_.size() || (!normed && !summed),
                  "network: under rule dfa the last layer's own output must be the network's, without a batch norm or "
                  "a sum behind it");
    } else if (spec.kind == Kind::residual) {
      std::optional<std::size_t> inner = add_ports(spec.layers, true, layer);
      const auto past = add_ports(spec.shortcut_layers, true, layer);
      if (!inner) inner = past;
      if (!inner) continue;
      if (end != nullptr) end->port = last;
      last = inner;
      end = &spec;
    } else {
      TORCH_CHECK(spec.kind != Kind::batch_norm, "layer ", name,
                  ": rule dfa needs a layer with weights directly before a batch norm, whose error it is");
    }
  }
  if (end != nullptr && !summed && *last + 1 < layers_.size()) end->port = last;
  return last;
}

void Network::add_feedback(uint64_t seed) {
  if (spec_.last_layer == LastLayer::bp) layers_.back().rule = Rule::bp;
  std::vector<int64_t> arriving(layers_.size());  // values of the error that the map's feedback makes
  const auto mark = [&](const auto& self, const std::vector<LayerSpec>& specs) -> void {
    for (const LayerSpec& spec : specs) {
      if (spec.port) arriving[*spec.port] = count(spec.output);
      self(self, spec.layers);
      self(self, spec.shortcut_layers);
    }
  };
  mark(mark, spec_.layers);
  const bool shared = spec_.dfa_feedback == DfaFeedback::shared;
  int64_t most_units = 0;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = layers_[i];
    const RandomStream random(seed, Purpose::feedback, static_cast<uint32_t>(i));
    if ((layer.rule == Rule::fa || layer.rule == Rule::frsf) && layer.sends) {
      layer.feedback = draw_feedback(layer.map->weight_shape(), layer.feedback_distribution, random);
      if (layer.rule == Rule::frsf) layer.feedback.abs_();
    }
    if (const int64_t units = arriving[i]; units > 0) {
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

const std::string& Network::name(std::size_t index) const {
  const auto found = std::find_if(named_.begin(), named_.end(),
                                  [&](const Named& named) { return named.is_map && named.index == index; });
  return found->prefix;
}

// Of brsf at a step; else the feedback that is kept.
at::Tensor Network::magnitudes(std::size_t index, const TrainingPass& pass) const {
  const Layer& l = layers_[index];
  if (l.rule != Rule::brsf || !l.sends) return l.feedback;
  return draw_magnitudes(l.weight, l.feedback_distribution.normal, l.feedback_distribution.size,
                         {pass.seed, static_cast<uint32_t>(index), pass.step});
}

at::Tensor Network::sends_by(std::size_t index, const TrainingPass& pass) const {
  const Layer& l = layers_[index];
  if (!l.sends || !(l.rule == Rule::fa || is_sign_symmetric(l.rule))) return {};
  return down_weight(l.rule, l.weight.detach(), magnitudes(index, pass), l.feedback_distribution.scale);
}

// The lowest layer's target would be an input's, and nobody asks for it. dtp has its penultimate target from the
// gradient.
void Network::add_inverses(uint64_t seed) {
  check_invertible();
  const std::size_t top = layers_.size() - 1;
  const auto drawn = [&](const Shape& shape, const LinearMap& map, Purpose purpose, std::size_t index) {
    at::Tensor weight = pooled_empty(shape);
    initialize(weight, Initializer::glorot_uniform, map.fan_in(), map.fan_out(),
               RandomStream(seed, purpose, static_cast<uint32_t>(index)));
    return weight;
  };
  if (spec_.rule == Rule::ao_sdtp) {
    TORCH_CHECK(spec_.auxiliary > 0, "network: rule ao-sdtp needs auxiliary outputs, but their number is ",
                spec_.auxiliary);
    const Shape below = layers_[top].map->input_shape();
    TORCH_CHECK(below.size() == 1, "layer ", named_.back().prefix, ": auxiliary outputs need a dense last layer");
    const Dense features(below[0], spec_.auxiliary);
    auxiliary_.weight = drawn(features.weight_shape(), features, Purpose::auxiliary, 0);
    auxiliary_.bias = at::zeros({spec_.auxiliary}, at::kFloat);
  }
  for (std::size_t i = 1; i <= top; ++i) {
    if (i == top && spec_.rule == Rule::dtp) break;
    Layer& layer = layers_[i];
    LinearMapPtr map = layer.map;
    if (i == top && auxiliary_.defined())
      map = c10::make_intrusive<Dense>(map->input_shape()[0], outputs_ + spec_.auxiliary);
    layer.inverse = {map, layers_[i - 1].activation, drawn(map->weight_shape(), *map, Purpose::inverse, i),
                     pooled_empty(map->input_shape()).zero_()};
  }
}

// A target goes down from layer to layer by inverses alone: in between there may only be a flatten.
void Network::check_invertible() const {
  bool above = false;
  for (const LayerSpec& layer : spec_.layers) {
    using Kind = LayerSpec::Kind;
    const bool pool = layer.kind == Kind::max_pool2d || layer.kind == Kind::avg_pool2d;
    TORCH_CHECK(layer.kind != Kind::residual, "network: a residual block has no inverse, which rule ",
                name_of(spec_.rule), " needs");
    TORCH_CHECK(!pool || !above, "network: pooling has no inverse, which rule ", name_of(spec_.rule),
                " needs; use strides instead");
    above = above || (!pool && layer.kind != Kind::flatten);
  }
  const std::size_t least = spec_.rule == Rule::dtp ? 3 : 2;
  TORCH_CHECK(layers_.size() >= least, "network: rule ", name_of(spec_.rule), " needs ", least,
              " layers with parameters or more, but there are ", layers_.size());
}

std::vector<Parameter> Network::of_role(Parameter::Role role) const {
  std::vector<Parameter> result;
  for (const Parameter& parameter : parameters_) {
    if (parameter.role == role) result.push_back(parameter);
  }
  return result;
}

void Network::move_to(at::Device device, at::ScalarType compute) {
  const at::NoGradGuard no_grad;
  // Batch norm computes with float32 parameters whatever comes in.
  const auto move = [&](at::Tensor& tensor, bool of_map) {
    if (!tensor.defined()) return;
    const auto found = std::find_if(parameters_.begin(), parameters_.end(),
                                    [&](const Parameter& p) { return p.value.is_same(tensor); });
    TORCH_INTERNAL_ASSERT(found != parameters_.end());
    const bool trained = found->role != Parameter::Role::fixed;
    const at::ScalarType type = of_map ? compute : at::kFloat;
    found->value = tensor.detach().to(device, trained ? at::kFloat : type, /*non_blocking=*/false, /*copy=*/true);
    found->compute = found->value.scalar_type() == type ? found->value : found->value.to(type);
    if (found->role == Parameter::Role::forward) found->compute.set_requires_grad(true);
    tensor = found->compute;
  };
  for (Layer& layer : layers_) {
    for (at::Tensor* tensor : {&layer.weight, &layer.bias, &layer.feedback, &layer.inverse.weight, &layer.inverse.bias})
      move(*tensor, true);
  }
  for (BatchNorm& norm : norms_) {
    for (at::Tensor* tensor : {&norm.weight, &norm.bias, &norm.running_mean, &norm.running_var}) move(*tensor, false);
  }
  for (at::Tensor* tensor : {&shared_feedback_, &auxiliary_.weight, &auxiliary_.bias}) move(*tensor, true);
}

void Network::refresh() const {
  const at::NoGradGuard no_grad;
  for (const Parameter& parameter : parameters_) {
    if (!parameter.compute.is_same(parameter.value)) parameter.compute.detach().copy_(parameter.value);
  }
}

at::Tensor Network::activity(std::size_t index, const at::Tensor& h, OutputActivity top) const {
  const Layer& l = layers_[index];
  const at::Tensor y = l.map->apply(l.weight, h, l.bias, l.activation);
  return index + 1 == layers_.size() ? top_activity(top, auxiliary_, y, h) : y;
}

at::Tensor Network::forward(const at::Tensor& x, TrainingPass* pass) const {
  Cursor at;
  return forward(spec_.layers, batch_of(x, spec_.input), pass, at);
}

at::Tensor Network::forward(const std::vector<LayerSpec>& specs, at::Tensor h, TrainingPass* pass, Cursor& at) const {
  using Kind = LayerSpec::Kind;
  static const TrainingPass evaluation;
  const TrainingPass& settings = pass == nullptr ? evaluation : *pass;
  for (const LayerSpec& spec : specs) {
    switch (spec.kind) {
      case Kind::flatten: h = differentiable_channels_first(h).flatten(1); break;
      case Kind::max_pool2d: h = at::max_pool2d(differentiable_plain(h), spec.kernel, spec.stride, spec.padding); break;
      case Kind::avg_pool2d: h = at::avg_pool2d(differentiable_plain(h), spec.kernel, spec.stride, spec.padding); break;
      case Kind::batch_norm:
        h = norms_[at.norm++].forward(h, pass == nullptr ? nullptr : &pass->statistics);
        h = with_port(spec, std::move(h), settings, at);
        break;
      case Kind::residual: {
        const at::Tensor y = forward(spec.layers, h, pass, at);
        at::Tensor past = h;
        if (spec.shortcut == Shortcut::pad) past = padded_shortcut(h, spec, y);
        if (spec.shortcut == Shortcut::layers) past = forward(spec.shortcut_layers, h, pass, at);
        // What batch norm gave nobody keeps, so the sum may take its place.
        const bool in_place = !spec.layers.empty() && spec.layers.back().kind == Kind::batch_norm &&
                              !spec.layers.back().port && spec.layers.back().activation == Activation::identity;
        h = activate_in_place(spec.activation, in_place ? at::Tensor(y).add_(past) : at::add(y, past));
        h = with_port(spec, std::move(h), settings, at);
        break;
      }
      default:
        if (settings.keep_inputs) pass->inputs.push_back(h.detach());
        h = forward_layer(spec, h, settings, at);
        if (settings.keep_outputs) pass->outputs.push_back(h);
    }
  }
  return h;
}

void Network::keep(const std::vector<MovedStatistics>& statistics) {
  const at::NoGradGuard no_grad;
  for (const auto& [mean, var, moved_mean, moved_var] : statistics) {
    mean.copy_(moved_mean);
    var.copy_(moved_var);
  }
}

at::Tensor Network::forward_layer(const LayerSpec& spec, const at::Tensor& x, const TrainingPass& pass,
                                  Cursor& at) const {
  const std::size_t index = at.layer++;
  const Layer& l = layers_[index];
  // Without a graph a layer is only its map.
  if (!at::GradMode::is_enabled()) return l.map->apply(l.weight, x, l.bias, l.activation);
  const bool is_last = index + 1 == layers_.size();
  if (pass.backpropagate) return layer(l.map, l.activation, Rule::bp, x, l.weight, l.bias, {});
  if (is_target_rule(l.rule)) {
    const TargetSettings& targets = pass.targets;
    if (!is_last) return target_layer(l.map, l.activation, x, l.weight, l.bias, l.inverse, {l.rule, targets.reduction});
    return target_output_layer(l.map, l.activation, x, l.weight, l.bias, l.inverse, auxiliary_,
                               {l.rule, targets.activity, targets.target_step, targets.step_loss});
  }
  if (l.rule == Rule::dfa && is_last)
    return dfa_output_layer(l.map, l.activation, x, l.weight, l.bias, at.ports, shared_feedback_);
  if (l.rule == Rule::dfa && spec.port) {
    LayerOutput hidden = dfa_hidden_layer(l.map, l.activation, x, l.weight, l.bias, l.feedback);
    at.ports.push_back(std::move(hidden.error_port));
    return hidden.y;
  }
  if (l.rule == Rule::dfa) return dfa_inner_layer(l.map, l.activation, x, l.weight, l.bias);
  return layer(l.map, l.activation, l.rule, x, l.weight, l.bias, magnitudes(index, pass),
               l.feedback_distribution.scale);
}

at::Tensor Network::with_port(const LayerSpec& spec, at::Tensor h, const TrainingPass& pass, Cursor& at) const {
  if (!spec.port || pass.backpropagate || !at::GradMode::is_enabled()) return h;
  LayerOutput output = dfa_port(h, layers_[*spec.port].feedback);
  at.ports.push_back(std::move(output.error_port));
  return output.y;
}

}  // namespace cortorch
