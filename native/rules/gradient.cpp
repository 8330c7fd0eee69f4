#include "rules/gradient.h"

#include <ATen/ops/abs.h>

#include <memory>
#include <string_view>
#include <utility>

#include "maps/autograd.h"
#include "maps/elementwise.h"
#include "rules/layer_function.h"

namespace cortorch {
namespace {

struct GradientContext : LayerContext {
  Sender sender;  // without its tensor, which autograd keeps
};

struct GradientFunction : Function<GradientFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& feedback,
                            const c10::intrusive_ptr<GradientContext>& context) {
    at::Tensor y = context->map->apply(weight, x, or_undefined(bias), context->activation);
    save_context(ctx, context, {x, context->sender.reads_weight ? weight : at::Tensor(), or_undefined(feedback), y});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto context = saved_context<GradientContext>(ctx);
    const Sender& sender = context->sender;
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &feedback = saved[2], &y = saved[3], &g = grads[0];
    if (sender.exact && at::GradMode::is_enabled()) return differentiable_backward(ctx, *context, x, weight, y, g);
    refuse_second_derivative(sender.rule, kNoDerivative);

    variable_list result(5);
    const at::Tensor delta = own_gradients(ctx, *context, g, x, y, 1, result);
    if (ctx->needs_input_grad(kX) && sender.weights) {
      const at::Tensor weights = sender.weights(weight, feedback);
      TORCH_CHECK(weights.defined(), "rule ", sender.rule,
                  ": this layer has no feedback weights, but something below it is trained");
      result[kX] = context->map->adjoint(weights, delta, {}, Activation::identity);
    }
    return result;
  }

  // The same, of operations that record their own graph.
  static variable_list differentiable_backward(AutogradContext* ctx, const LayerContext& context, const at::Tensor& x,
                                               const at::Tensor& weight, const at::Tensor& y, const at::Tensor& g) {
    const at::Tensor delta = through_activation(context.activation, g, y);
    variable_list result(5);
    if (ctx->needs_input_grad(kX)) result[kX] = differentiable_adjoint(context.map, weight, delta);
    if (ctx->needs_input_grad(kWeight)) result[kWeight] = differentiable_outer(context.map, x, delta);
    if (wants_bias(ctx, context)) result[kBias] = sum_to_bias(*context.map, delta);
    return result;
  }
};

// What fa and sign-symmetry can be told.
struct FeedbackOptions {
  FeedbackOptions(Options& options, FeedbackScale usual_scale, LastLayer usual_last)
      : scale(options.one_of("feedbackScale", usual_scale)), last(options.one_of("lastLayer", usual_last)) {}

  // Does the layer send anything, and not by its own weights?
  bool sends_otherwise(const Site& site) const { return site.sends && !sends_by_weights(site); }
  bool sends_by_weights(const Site& site) const { return site.last && last == LastLayer::bp; }

  FeedbackScale scale;
  LastLayer last;
};

class Backpropagation final : public GradientRule {
 public:
  using GradientRule::GradientRule;

 protected:
  Sender sender(const Layer&, const Pass&) const override { return by_weights(); }
};

class FeedbackAlignment final : public GradientRule {
 public:
  FeedbackAlignment(std::string name, Options& options)
      : GradientRule(std::move(name)), options_(options, FeedbackScale::glorot, LastLayer::rule) {}

  void attach(const Plan& plan, uint64_t seed, OwnParameters& own) override {
    feedback_.resize(plan.sites.size());
    for (const Site& site : plan.sites) {
      if (!options_.sends_otherwise(site)) continue;
      feedback_[site.index] =
          own.add(site, Parameter::Role::fixed, "weight_backward", draw_feedback(site, options_.scale, seed));
    }
  }

 protected:
  Sender sender(const Layer& layer, const Pass&) const override {
    if (options_.sends_by_weights(*layer.site)) return by_weights();
    return by_feedback(name(), compute(feedback_[layer.site->index]));
  }

 private:
  FeedbackOptions options_;
  std::vector<ParameterPtr> feedback_;  // of each site
};

class SignSymmetry final : public GradientRule {
 public:
  enum class Magnitudes { one, redrawn, fixed };

  SignSymmetry(std::string name, Magnitudes magnitudes, Options& options)
      : GradientRule(std::move(name)), magnitudes_(magnitudes), options_(options, FeedbackScale::xiao, LastLayer::bp) {}

  void attach(const Plan& plan, uint64_t seed, OwnParameters& own) override {
    feedback_.resize(plan.sites.size());
    if (magnitudes_ != Magnitudes::fixed) return;
    for (const Site& site : plan.sites) {
      if (!options_.sends_otherwise(site)) continue;
      feedback_[site.index] =
          own.add(site, Parameter::Role::fixed, "weight_backward", draw_feedback(site, options_.scale, seed).abs_());
    }
  }

 protected:
  Sender sender(const Layer& layer, const Pass& pass) const override {
    const Site& site = *layer.site;
    if (options_.sends_by_weights(site)) return by_weights();
    const FeedbackDistribution distribution = feedback_distribution(options_.scale, site);
    switch (magnitudes_) {
      case Magnitudes::one: return by_one_magnitude(name(), distribution.scale);
      case Magnitudes::fixed: return by_magnitudes(name(), compute(feedback_[site.index]));
      case Magnitudes::redrawn: break;
    }
    if (!site.sends) return by_magnitudes(name(), {});
    return by_magnitudes(name(), draw_magnitudes(layer.weight(), distribution.normal, distribution.size,
                                                 {pass.seed, static_cast<uint32_t>(site.index), pass.step}));
  }

 private:
  Magnitudes magnitudes_;
  FeedbackOptions options_;
  std::vector<ParameterPtr> feedback_;  // of each site, where it is fixed
};

}  // namespace

Sender by_weights() {
  return {"bp", {}, [](const at::Tensor& weight, const at::Tensor&) { return weight; }, true, true};
}

Sender by_feedback(const std::string& rule, at::Tensor feedback) {
  return {rule, std::move(feedback), [](const at::Tensor&, const at::Tensor& b) { return b; }};
}

Sender by_one_magnitude(const std::string& rule, double scale) {
  return {
      rule, {}, [scale](const at::Tensor& weight, const at::Tensor&) { return with_signs(weight, {}, scale); }, true};
}

Sender by_magnitudes(const std::string& rule, at::Tensor feedback) {
  return {rule, std::move(feedback),
          [](const at::Tensor& weight, const at::Tensor& b) {
            return b.defined() ? with_signs(weight, b, 1) : at::Tensor();
          },
          true};
}

Sender by_nothing(const std::string& rule) { return {rule, {}, nullptr}; }

Sender sender_of(const std::string& rule, const at::Tensor& feedback, double scale) {
  if (rule == "bp") return by_weights();
  if (rule == "fa") return by_feedback(rule, feedback);
  if (rule == "usf") return by_one_magnitude(rule, scale);
  TORCH_CHECK(rule == "brsf" || rule == "frsf", "layer: rule '", rule,
              "' hands no gradient down from layer to layer; expected bp, fa, usf, brsf or frsf");
  return by_magnitudes(rule, feedback);
}

at::Tensor gradient_layer(const LinearMapPtr& map, Activation activation, const Sender& sender, const at::Tensor& x,
                          const at::Tensor& weight, const at::Tensor& bias) {
  check_layer(*map, x, weight, bias, {sender.feedback});
  TORCH_CHECK(!sender.feedback.defined() || sender.feedback.sizes() == weight.sizes(),
              "layer: expected feedback of weight's shape ", weight.sizes(), ", but its shape is ",
              sender.feedback.sizes());
  auto context = new_context<GradientContext>(map, activation, bias);
  context->sender = {sender.rule, {}, sender.weights, sender.reads_weight, sender.exact};
  return GradientFunction::apply(x, weight, if_defined(bias), if_defined(sender.feedback), context);
}

at::Tensor GradientRule::forward(const Layer& layer, const at::Tensor& x, Pass& pass) const {
  return gradient_layer(layer.map(), layer.activation(), sender(layer, pass), x, layer.weight(), layer.bias());
}

at::Tensor GradientRule::feedback(const Layer& layer, const Pass& pass) const {
  if (!layer.site->sends) return {};
  const Sender by = sender(layer, pass);
  return by.exact || !by.weights ? at::Tensor() : by.weights(layer.weight().detach(), by.feedback);
}

// --- made by their names (rules.cpp) ---------------------------------------------------------------------
// bp: by the weights themselves.
std::unique_ptr<Rule> backpropagation(std::string_view name, Options&) {
  return std::make_unique<Backpropagation>(std::string(name));
}

// fa: by fixed random weights of the same shape (Lillicrap et al. 2016). Options feedbackScale (glorot), lastLayer
// (rule).
std::unique_ptr<Rule> feedback_alignment(std::string_view name, Options& options) {
  return std::make_unique<FeedbackAlignment>(std::string(name), options);
}

// Sign-symmetry (Liao et al. 2016; Xiao et al. 2019): by weights that share only their signs with the forward ones.
// usf: of one magnitude; brsf: of random magnitudes, drawn afresh at each step; frsf: of fixed random magnitudes.
// Options feedbackScale (xiao), lastLayer (bp).
std::unique_ptr<Rule> sign_symmetry(std::string_view name, Options& options) {
  using Magnitudes = SignSymmetry::Magnitudes;
  TORCH_CHECK(name == "usf" || name == "brsf" || name == "frsf", "rule ", name, " is not one of sign-symmetry");
  const auto magnitudes = name == "usf" ? Magnitudes::one : name == "brsf" ? Magnitudes::redrawn : Magnitudes::fixed;
  return std::make_unique<SignSymmetry>(std::string(name), magnitudes, options);
}

}  // namespace cortorch
