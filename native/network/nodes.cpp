#include "network/nodes.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/zeros.h>

#include <optional>

#include "base/pool.h"
#include "maps/activation.h"
#include "maps/autograd.h"
#include "rules/gradient.h"

namespace cortorch {
namespace {

using Kind = LayerSpec::Kind;

class MapNode final : public Node {
 public:
  MapNode(const PlannedLayer& layer, const Site& site, const Materials& materials)
      : layer_(materials.layers.at(site.index)), rule_(materials.rule) {
    const LayerSpec& spec = *layer.spec;
    at::Tensor weight = pooled_empty(site.map->weight_shape());
    const bool by_location = spec.initializer == Initializer::glorot_uniform_location && site.convolution;
    initialize(weight, spec.initializer, site.map->fan_in(), by_location ? spec.channels : site.map->fan_out(),
               RandomStream(materials.seed, Purpose::weight, static_cast<uint32_t>(site.index)));
    const at::Tensor bias = spec.bias ? at::zeros(site.map->bias_shape(), at::kFloat) : at::Tensor();
    materials.layers[site.index] = {&site, materials.parameters.add_trained(site.name + ".weight", weight),
                                    materials.parameters.add_trained(site.name + ".bias", bias)};
    for (const auto& [index, parameter] : materials.own.of_sites()) {
      if (index == site.index) materials.parameters.add(parameter);
    }
  }
  at::Tensor forward(const at::Tensor& h, TrainingPass& pass, bool) const override {
    if (pass.keep_inputs) pass.inputs.push_back(h.detach());
    at::Tensor y = map(h, pass);
    if (pass.keep_outputs) pass.outputs.push_back(y);
    return y;
  }

 private:
  at::Tensor map(const at::Tensor& h, TrainingPass& pass) const {
    if (!at::GradMode::is_enabled()) return layer_(h);  // without a graph a layer is only its map
    if (pass.backpropagate)
      return gradient_layer(layer_.map(), layer_.activation(), by_weights(), h, layer_.weight(), layer_.bias());
    return rule_.forward(layer_, h, pass);
  }

  const Layer& layer_;
  const Rule& rule_;
};

class FlattenNode final : public Node {
 public:
  at::Tensor forward(const at::Tensor& h, TrainingPass&, bool) const override {
    return differentiable_channels_first(h).flatten(1);
  }
};

class PoolNode final : public Node {
 public:
  explicit PoolNode(const LayerSpec& spec) : spec_(spec) {}
  at::Tensor forward(const at::Tensor& h, TrainingPass&, bool) const override {
    const at::Tensor x = differentiable_plain(h);
    return spec_.kind == Kind::max_pool2d ? at::max_pool2d(x, spec_.kernel, spec_.stride, spec_.padding)
                                          : at::avg_pool2d(x, spec_.kernel, spec_.stride, spec_.padding);
  }

 private:
  const LayerSpec& spec_;
};

// A batch norm or a residual block, behind which a rule may act.
class OrdinaryNode : public Node {
 protected:
  OrdinaryNode(const PlannedLayer& layer, const Rule& rule)
      : layer_(layer), acting_(rule.acts_behind(layer) ? &rule : nullptr) {}
  at::Tensor then(const at::Tensor& h, TrainingPass& pass) const {
    if (acting_ == nullptr || pass.backpropagate || !at::GradMode::is_enabled()) return h;
    return acting_->behind(layer_, h, pass);
  }

  const PlannedLayer& layer_;

 private:
  const Rule* acting_;
};

class NormNode final : public OrdinaryNode {
 public:
  NormNode(const PlannedLayer& layer, const Materials& materials)
      : OrdinaryNode(layer, materials.rule), norm_(layer.input[0], layer.name, *layer.spec, materials.parameters) {}
  at::Tensor forward(const at::Tensor& h, TrainingPass& pass, bool training) const override {
    return then(norm_.forward(h, training ? &pass.moved : nullptr), pass);
  }

 private:
  BatchNorm norm_;
};

class ResidualNode final : public OrdinaryNode {
 public:
  ResidualNode(const PlannedLayer& layer, const Materials& materials)
      : OrdinaryNode(layer, materials.rule),
        layers_(make_nodes(layer.layers, materials)),
        shortcut_(make_nodes(layer.shortcut, materials)) {
    if (layer.layers.empty()) return;
    const PlannedLayer& last = layer.layers.back();
    in_place_ = last.kind() == Kind::batch_norm && last.spec->activation == Activation::identity &&
                !materials.rule.acts_behind(last);
  }
  at::Tensor forward(const at::Tensor& h, TrainingPass& pass, bool training) const override {
    const at::Tensor y = cortorch::forward(layers_, h, pass, training);
    const at::Tensor past = shortcut(h, y, pass, training);
    return then(activate_in_place(layer_.spec->activation, in_place_ ? at::Tensor(y).add_(past) : at::add(y, past)),
                pass);
  }

 private:
  at::Tensor shortcut(const at::Tensor& h, const at::Tensor& y, TrainingPass& pass, bool training) const {
    switch (layer_.spec->shortcut) {
      case Shortcut::identity: return h;
      case Shortcut::pad: return padded(h, y);
      case Shortcut::layers: return cortorch::forward(shortcut_, h, pass, training);
    }
    TORCH_INTERNAL_ASSERT(false);
  }

  // Every stride-th row and column, and channels of zeros on both sides: parameter-free (He et al. 2016, option A).
  at::Tensor padded(const at::Tensor& h, const at::Tensor& y) const {
    const auto& stride = layer_.spec->stride;
    const at::Tensor sampled = h.slice(2, 0, std::nullopt, stride[0]).slice(3, 0, std::nullopt, stride[1]);
    const int64_t zeros = y.size(1) - h.size(1);
    return at::constant_pad_nd(sampled, {0, 0, 0, 0, zeros / 2, zeros - zeros / 2});
  }

  Nodes layers_, shortcut_;
  bool in_place_ = false;  // what batch norm gave nobody keeps, so the sum may take its place
};

std::unique_ptr<Node> make_node(const PlannedLayer& layer, const Materials& materials) {
  switch (layer.kind()) {
    case Kind::flatten: return std::make_unique<FlattenNode>();
    case Kind::max_pool2d:
    case Kind::avg_pool2d: return std::make_unique<PoolNode>(*layer.spec);
    case Kind::batch_norm: return std::make_unique<NormNode>(layer, materials);
    case Kind::residual: return std::make_unique<ResidualNode>(layer, materials);
    case Kind::dense:
    case Kind::locally_connected2d:
    case Kind::conv2d: return std::make_unique<MapNode>(layer, materials.sites.at(layer.index), materials);
  }
  TORCH_INTERNAL_ASSERT(false);
}

}  // namespace

Nodes make_nodes(const std::vector<PlannedLayer>& layers, const Materials& materials) {
  Nodes nodes;
  for (const PlannedLayer& layer : layers) nodes.push_back(make_node(layer, materials));
  return nodes;
}

}  // namespace cortorch
