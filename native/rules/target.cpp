// Target propagation (Lee et al. 2015; Bartunov et al. 2018): what travels down is no gradient but the difference of a
// layer's activity and its target, which learned inverses bring from layer to layer. target_layer.cpp has the layers.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/gpu.h"
#include "base/pool.h"
#include "maps/delta.h"
#include "maps/dense.h"
#include "rules/cuda/loss_tensors.h"
#include "rules/inverse.h"
#include "rules/rule.h"
#include "rules/target_layer.h"

namespace cortorch {
namespace {

void count_residual(const Residual& r, double units, Tally& tally) {
  if (has_gpu_kernels(r.delta)) return cuda::add_squares(r.partial_squares, 1 / units, tally.device_sums);
  tally.host.inverse += r.squares / units;
}

at::Tensor drawn(const LinearMap& map, uint64_t seed, Purpose purpose, std::size_t index) {
  at::Tensor weight = pooled_empty(map.weight_shape());
  initialize(weight, Initializer::glorot_uniform, map.fan_in(), map.fan_out(),
             RandomStream(seed, purpose, static_cast<uint32_t>(index)));
  return weight;
}

class TargetPropagation final : public Rule {
 public:
  TargetPropagation(std::string name, Options& options) : Rule(name), kind_(target_kind(name)) {
    if (!kind_.auxiliary) return;
    outputs_beside_ = options.integer("auxiliary", 512);
    TORCH_CHECK(outputs_beside_ > 0, "network: rule ", name, " needs auxiliary outputs, but their number is ",
                outputs_beside_);
  }

  // A target goes down from layer to layer by inverses alone: in between there may only be a flatten.
  std::vector<std::string> refusals(const Plan& plan) const override {
    using Kind = LayerSpec::Kind;
    std::vector<std::string> found;
    bool above = false;  // of the first map
    for (const PlannedLayer& layer : plan.layers) {
      const std::string has_none = called(layer) + ": it has no inverse, which rule " + name() + " needs; ";
      if (layer.kind() == Kind::residual) found.push_back(has_none + "use a plain row of layers");
      if (layer.kind() == Kind::batch_norm) found.push_back(has_none + "leave it out");
      if (above && (layer.kind() == Kind::max_pool2d || layer.kind() == Kind::avg_pool2d))
        found.push_back(has_none + "use a stride in the layer below");
      above = above || is_map(layer.kind());
    }
    const std::size_t least = kind_.steps_down_loss ? 3 : 2;
    if (plan.sites.size() < least)
      found.push_back("network: rule " + name() + " needs " + std::to_string(least) +
                      " layers with parameters or more, but there are " + std::to_string(plan.sites.size()) +
                      "; add a hidden layer");
    if (kind_.auxiliary && plan.sites.back().map->input_shape().size() != 1)
      found.push_back("layer " + plan.sites.back().name + ": auxiliary outputs need a dense last layer; add one");
    return found;
  }

  // The lowest layer's target would be an input's, and nobody asks for it. dtp has its penultimate target from the
  // gradient.
  void attach(const Plan& plan, uint64_t seed, OwnParameters& own) override {
    inverses_.resize(plan.sites.size());
    for (std::size_t i = 1; i < plan.sites.size(); ++i) {
      const Site& site = plan.sites[i];
      if (site.last && kind_.steps_down_loss) break;
      LinearMapPtr map = site.map;
      if (site.last && kind_.auxiliary)
        map = c10::make_intrusive<Dense>(map->input_shape()[0], plan.outputs + outputs_beside_);
      const std::string prefix = "inverses." + std::to_string(i);
      LearnedInverse& inverse = inverses_[i];
      inverse.map = map;
      inverse.activation = plan.sites[i - 1].activation;
      inverse.weight = own.add(Parameter::Role::learned, prefix + ".weight", drawn(*map, seed, Purpose::inverse, i));
      inverse.bias = own.add(Parameter::Role::learned, prefix + ".bias", pooled_empty(map->input_shape()).zero_());
      ++inverse_count_;
    }
    if (!kind_.auxiliary) return;
    const Dense features(plan.sites.back().map->input_shape()[0], outputs_beside_);
    auxiliary_weight_ =
        own.add(Parameter::Role::fixed, "auxiliary.weight", drawn(features, seed, Purpose::auxiliary, 0));
    auxiliary_bias_ = own.add(Parameter::Role::fixed, "auxiliary.bias", at::zeros({outputs_beside_}, at::kFloat));
  }

  std::shared_ptr<const RuleSettings> settings(Options& options, Loss loss) const override {
    auto settings = std::make_shared<TargetSettings>();
    settings->head = head_of(loss);
    settings->reduction = options.one_of("lossReduction", settings->reduction);
    if (kind_.steps_down_loss) {
      settings->target_step = options.number("targetStep", settings->target_step);
      settings->step_loss = options.one_of("targetStepLoss", settings->step_loss);
    }
    const bool preserving = kind_.hands_targets || kind_.steps_down_loss;
    settings->inverse_loss =
        options.one_of("inverseLoss", preserving ? InverseLoss::noise_preserving : InverseLoss::de_noising);
    settings->noise = options.numbers("noise", {0.1});
    if (settings->noise.size() == 1) settings->noise.assign(inverse_count_, settings->noise[0]);
    TORCH_CHECK(settings->noise.size() == inverse_count_, "trainer: there are ", inverse_count_,
                " inverses, but noise for ", settings->noise.size());
    return settings;
  }

  at::Tensor forward(const Layer& layer, const at::Tensor& x, Pass& pass) const override {
    const Site& site = *layer.site;
    const Inverse inverse = inverses_[site.index];
    if (!site.last)
      return target_layer(site.map, site.activation, x, layer.weight(), layer.bias(), inverse, kind_, of(pass));
    return target_output_layer(site.map, site.activation, x, layer.weight(), layer.bias(), inverse, auxiliary(), kind_,
                               of(pass));
  }

  Delivery delivery() const override { return Delivery::difference; }

  bool learns_in(Phase phase) const override { return phase != Phase::forward; }

  // Of Σ ‖g(f(h̃)) − h̃ or h‖² / batch, the units summed or averaged: local losses, which need no graph.
  void learn(const std::vector<Layer>& layers, const std::vector<at::Tensor>& inputs, Pass& pass,
             Tally& tally) const override {
    const at::NoGradGuard no_grad;
    const TargetSettings& settings = of(pass);
    std::size_t number = 0;
    for (const Layer& layer : layers) {
      const std::size_t i = layer.site->index;
      const Inverse inverse = inverses_[i];
      if (!inverse.defined()) continue;
      const double sigma = settings.noise.at(number++);
      const at::Tensor& h = inputs.at(i);
      const double batch = static_cast<double>(h.size(0));
      const double units = settings.reduction == UnitReduction::mean ? static_cast<double>(h.numel()) / batch : 1;

      const at::Tensor noisy = sigma > 0 ? add_noise(h, sigma, {pass.seed, static_cast<uint32_t>(i), pass.step}) : h;
      const at::Tensor above = activity(layer, noisy, settings);
      const at::Tensor& goal = settings.inverse_loss == InverseLoss::noise_preserving ? noisy : h;
      const Residual r = residual(inverse.activation, inverse(above), goal, 2 / (batch * units));
      // g is the adjoint of V, so its weights' gradient is the outer product with the sides exchanged.
      at::Tensor weight = inverse.weight, bias = inverse.bias;
      weight.mutable_grad() = inverse.map->outer(r.delta, above);
      bias.mutable_grad() = r.bias_sum;
      count_residual(r, units, tally);
    }
  }

  at::Tensor reconstruction(const Layer& layer, const at::Tensor& input, const Pass& pass) const override {
    const Inverse inverse = inverses_[layer.site->index];
    return inverse.defined() ? inverse(activity(layer, input, of(pass))) : at::Tensor();
  }

 private:
  struct LearnedInverse {
    LinearMapPtr map;
    Activation activation = Activation::identity;
    ParameterPtr weight, bias;

    operator Inverse() const { return {map, activation, compute(weight), compute(bias)}; }
  };

  static const TargetSettings& of(const Pass& pass) {
    static const TargetSettings usual;
    return pass.settings ? static_cast<const TargetSettings&>(*pass.settings) : usual;
  }

  Auxiliary auxiliary() const { return {compute(auxiliary_weight_), compute(auxiliary_bias_)}; }

  // What an inverse undoes: the layer's activity, at the top h_L with the auxiliary outputs.
  at::Tensor activity(const Layer& layer, const at::Tensor& h, const TargetSettings& settings) const {
    const at::Tensor y = layer(h);
    return layer.site->last ? top_activity(settings.head.activity, auxiliary(), y, h) : y;
  }

  TargetKind kind_;
  int64_t outputs_beside_ = 0;
  std::vector<LearnedInverse> inverses_;  // of each site; the first has none
  std::size_t inverse_count_ = 0;
  ParameterPtr auxiliary_weight_, auxiliary_bias_;
};

}  // namespace

// tp: the target itself goes down; dtp: the difference rule, with the penultimate target by the loss's gradient; sdtp:
// the difference rule at the penultimate layer too; ao-sdtp: the same with auxiliary outputs. Option auxiliary (512) of
// ao-sdtp; a trainer's options are lossReduction (sum), inverseLoss (noise-preserving of tp and dtp, de-noising of the
// others), noise (0.1, or one for each inverse from below), and of dtp targetStep (0.1), targetStepLoss (example).
std::unique_ptr<Rule> target_propagation(std::string_view name, Options& options) {
  return std::make_unique<TargetPropagation>(std::string(name), options);
}

}  // namespace cortorch
