#include "rules/direct.h"

#include <ATen/ops/add.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/pool.h"
#include "maps/dense.h"
#include "rules/gradient.h"
#include "rules/layer_function.h"

namespace cortorch {

// Where the feedback comes from: a matrix for each hidden layer, or the first columns of one for all.
enum class DfaFeedback { per_layer, shared };

template <>
struct Names<DfaFeedback> {
  static constexpr const char* kind = "feedback of dfa";
  static constexpr NamedValue<DfaFeedback> table[] = {
      {"per-layer", DfaFeedback::per_layer},
      {"shared", DfaFeedback::shared},
  };
};

namespace {

// Of one example; also where there is none.
int64_t units_of(const at::Tensor& h) { return c10::multiply_integers(h.sizes().slice(1)); }

// e B: the output error through dense feedback B [classes, units]. error [batch, classes] → [batch, units].
at::Tensor broadcast(const at::Tensor& feedback, const at::Tensor& error) {
  return Dense(feedback.size(1), feedback.size(0)).adjoint(feedback, error, {}, Activation::identity);
}

// One zero seen [batch, width] times: as wide as the classes, or as the units.
at::Tensor error_port(const at::Tensor& like, int64_t width) {
  return at::zeros({1, 1}, like.options().requires_grad(false)).expand({like.size(0), width});
}

void require_error(const at::Tensor& error) {
  TORCH_CHECK(error.defined(),
              "rule dfa: no output error arrived at a hidden layer; its port must be given to the output layer");
}

// Bᵀ e, and what came down past the maps above, if anything did. Without B the output layer has multiplied.
at::Tensor arrived(const at::Tensor& feedback, const at::Tensor& error, at::IntArrayRef shape, const at::Tensor& past) {
  const at::Tensor g = (feedback.defined() ? broadcast(feedback, error) : error).reshape(shape);
  return past.defined() ? at::add(g, past) : g;
}

struct DfaHidden : Function<DfaHidden> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                               const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& feedback,
                               const c10::intrusive_ptr<LayerContext>& context) {
    at::Tensor y = context->map->apply(weight, x, or_undefined(bias), context->activation);
    save_context(ctx, context, {x, or_undefined(feedback), y});
    ctx->set_materialize_grads(false);  // nothing comes down to y, and no zeros are made in its place
    return {y, error_port(x, feedback.has_value() ? feedback->size(0) : count(context->map->output_shape()))};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_second_derivative("dfa", kNoDerivative);
    const auto context = saved_context(ctx);
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &feedback = saved[1], &y = saved[2], &error = grads[1];
    require_error(error);
    const at::Tensor g = arrived(feedback, error, y.sizes(), grads[0]);
    variable_list result(5);
    own_gradients(ctx, *context, g, x, y, 1, result);
    return result;
  }
};

struct DfaPort : Function<DfaPort> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& h, const std::optional<at::Tensor>& feedback) {
    ctx->save_for_backward({or_undefined(feedback)});
    ctx->saved_data["shape"] = h.sizes().vec();
    ctx->set_materialize_grads(false);
    return {h, error_port(h, feedback.has_value() ? feedback->size(0) : units_of(h))};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_second_derivative("dfa", kNoDerivative);
    const at::Tensor feedback = ctx->get_saved_variables()[0], &error = grads[1];
    require_error(error);
    return {arrived(feedback, error, ctx->saved_data["shape"].toIntVector(), grads[0]), {}};
  }
};

struct DfaOutput : Function<DfaOutput> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& shared_feedback,
                            const c10::intrusive_ptr<LayerContext>& context, at::TensorList ports) {
    at::Tensor y = context->map->apply(weight, x, or_undefined(bias), context->activation);
    save_context(ctx, context, {x, or_undefined(shared_feedback), y});
    std::vector<int64_t> widths;
    for (const at::Tensor& port : ports) widths.push_back(port.size(1));
    ctx->saved_data["widths"] = std::move(widths);
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_second_derivative("dfa", kNoDerivative);
    const auto context = saved_context(ctx);
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &shared_feedback = saved[1], &y = saved[2];
    variable_list result(5);
    const at::Tensor error = own_gradients(ctx, *context, grads[0], x, y, 1, result).flatten(1);
    const at::Tensor sent = shared_feedback.defined() ? broadcast(shared_feedback, error) : error;
    for (const int64_t width : ctx->saved_data["widths"].toIntVector()) result.push_back(sent.narrow(1, 0, width));
    return result;
  }
};

// Where the error arrives, of a plan. It is behind each map, its activation and the batch norm that follows it; behind
// a residual block by the feedback of its last map (its shortcut's, where its layers have none), in place of that one.
// From there ordinary gradients go back: through the sum to the block's last map and along its shortcut. No map sends
// anything down.
class ErrorPorts {
 public:
  explicit ErrorPorts(const Plan& plan) : last_(plan.sites.size() - 1) { walk(plan.layers, false); }

  struct Port {
    std::size_t site;  // the map whose feedback brings the error
    int64_t units;     // values of the error of an example
  };
  // Behind the layer of this number; null: there is none.
  const Port* behind(const PlannedLayer& layer) const {
    const auto found = ports_.find(layer.number);
    return found == ports_.end() ? nullptr : &found->second;
  }
  const std::map<std::size_t, Port>& all() const { return ports_; }
  // At the map's own output, with nothing in between?
  bool at_map(std::size_t site) const { return at_maps_.count(site) != 0; }

  const std::vector<std::string>& refusals() const { return refusals_; }

 private:
  // `summed`: what comes out goes into a sum, from which its gradient comes. Returns the last map.
  std::optional<std::size_t> walk(const std::vector<PlannedLayer>& row, bool summed) {
    using Kind = LayerSpec::Kind;
    std::optional<std::size_t> last;
    const PlannedLayer* end = nullptr;  // where the last map's error arrives, if the path goes on
    for (std::size_t i = 0; i < row.size(); ++i) {
      const PlannedLayer& layer = row[i];
      if (is_map(layer.kind())) {
        const bool normed = i + 1 < row.size() && row[i + 1].kind() == Kind::batch_norm;
        if (end != nullptr) add(*end, *last);
        last = layer.index;
        end = normed ? &row[++i] : &layer;
        if (*last == last_ && (normed || summed))
          refusals_.push_back(called(layer) +
                              ": under rule dfa the last layer's own output must be the network's, without a batch "
                              "norm or a sum behind "
                              "it; end with a dense layer");
      } else if (layer.kind() == Kind::residual) {
        std::optional<std::size_t> inner = walk(layer.layers, true);
        const auto past = walk(layer.shortcut, true);
        if (!inner) inner = past;
        if (!inner) continue;
        if (end != nullptr) add(*end, *last);
        last = inner;
        end = &layer;
      } else if (layer.kind() == Kind::batch_norm) {
        refusals_.push_back(called(layer) +
                            ": rule dfa needs a layer with weights directly before a batch norm, whose error it takes; "
                            "put one there");
      }
    }
    if (end != nullptr && !summed && *last != last_) add(*end, *last);
    return last;
  }

  void add(const PlannedLayer& layer, std::size_t site) {
    ports_[layer.number] = {site, count(layer.output)};
    if (is_map(layer.kind())) at_maps_.insert(site);
  }

  std::size_t last_;
  std::map<std::size_t, Port> ports_;  // by the layer's number
  std::set<std::size_t> at_maps_;
  std::vector<std::string> refusals_;
};

class DirectFeedbackAlignment final : public Rule {
 public:
  DirectFeedbackAlignment(std::string name, Options& options)
      : Rule(std::move(name)), from_(options.one_of("dfaFeedback", DfaFeedback::per_layer)) {}

  std::vector<std::string> refusals(const Plan& plan) const override { return ErrorPorts(plan).refusals(); }

  void attach(const Plan& plan, uint64_t seed, OwnParameters& own) override {
    ports_.emplace(plan);
    feedback_.resize(plan.sites.size());
    const auto draw = [&](int64_t units, std::size_t index) {
      at::Tensor feedback = pooled_empty({plan.outputs, units});
      initialize(feedback, Initializer::glorot_uniform, plan.outputs, units,
                 RandomStream(seed, Purpose::feedback, static_cast<uint32_t>(index)));
      return feedback;
    };
    int64_t most_units = 0;
    for (const auto& [number, port] : ports_->all()) {
      most_units = std::max(most_units, port.units);
      if (from_ == DfaFeedback::shared) continue;
      feedback_[port.site] =
          own.add(plan.sites[port.site], Parameter::Role::fixed, "weight_backward", draw(port.units, port.site));
    }
    if (from_ == DfaFeedback::shared && most_units > 0)
      shared_feedback_ = own.add(Parameter::Role::fixed, "weight_backward", draw(most_units, plan.sites.size()));
  }

  at::Tensor forward(const Layer& layer, const at::Tensor& x, Pass& pass) const override {
    const Site& site = *layer.site;
    if (site.last)
      return dfa_output_layer(site.map, site.activation, x, layer.weight(), layer.bias(), pass.carried,
                              compute(shared_feedback_));
    // Its error arrives behind a batch norm or a sum, and from there by an ordinary gradient.
    if (!ports_->at_map(site.index))
      return gradient_layer(site.map, site.activation, by_nothing(name()), x, layer.weight(), layer.bias());
    return carry(
        dfa_hidden_layer(site.map, site.activation, x, layer.weight(), layer.bias(), compute(feedback_[site.index])),
        pass);
  }

  bool acts_behind(const PlannedLayer& layer) const override { return ports_->behind(layer) != nullptr; }
  at::Tensor behind(const PlannedLayer& layer, const at::Tensor& h, Pass& pass) const override {
    return carry(dfa_port(h, compute(feedback_[ports_->behind(layer)->site])), pass);
  }

 private:
  static at::Tensor carry(LayerOutput output, Pass& pass) {
    pass.carried.push_back(std::move(output.error_port));
    return output.y;
  }

  DfaFeedback from_;
  std::optional<ErrorPorts> ports_;
  std::vector<ParameterPtr> feedback_;  // of each site
  ParameterPtr shared_feedback_;
};

}  // namespace

LayerOutput dfa_port(const at::Tensor& h, const at::Tensor& feedback) {
  const int64_t units = units_of(h);
  TORCH_CHECK(!feedback.defined() || (feedback.dim() == 2 && feedback.size(1) == units),
              "dfa_port: expected feedback [classes, ", units, "], but its shape is ", feedback.sizes());
  const auto outputs = DfaPort::apply(h, if_defined(feedback));
  return {outputs[0], outputs[1]};
}

LayerOutput dfa_hidden_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x,
                             const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& feedback) {
  check_layer(*map, x, weight, bias, {feedback});
  const int64_t units = count(map->output_shape());
  TORCH_CHECK(!feedback.defined() || (feedback.dim() == 2 && feedback.size(1) == units),
              "dfa_hidden_layer: expected feedback [classes, ", units, "], but its shape is ", feedback.sizes());
  const auto outputs = DfaHidden::apply(x, weight, if_defined(bias), if_defined(feedback),
                                        new_context<LayerContext>(map, activation, bias));
  return {outputs[0], outputs[1]};
}

at::Tensor dfa_output_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x,
                            const at::Tensor& weight, const at::Tensor& bias, const std::vector<at::Tensor>& ports,
                            const at::Tensor& shared_feedback) {
  check_layer(*map, x, weight, bias, {shared_feedback});
  const int64_t units = count(map->output_shape());
  TORCH_CHECK(!shared_feedback.defined() || (shared_feedback.dim() == 2 && shared_feedback.size(0) == units),
              "dfa_output_layer: expected shared feedback [", units, ", units], but its shape is ",
              shared_feedback.sizes());
  const int64_t most = shared_feedback.defined() ? shared_feedback.size(1) : units;
  for (const at::Tensor& port : ports) {
    const bool fits = port.dim() == 2 && port.size(0) == x.size(0) &&
                      (port.size(1) == most || (shared_feedback.defined() && port.size(1) < most));
    TORCH_CHECK(fits, "dfa_output_layer: expected error ports [", x.size(0), ", ",
                shared_feedback.defined() ? "at most " : "", most, "], but one's shape is ", port.sizes());
  }
  return DfaOutput::apply(x, weight, if_defined(bias), if_defined(shared_feedback),
                          new_context<LayerContext>(map, activation, bias), at::TensorList(ports));
}

// dfa. Option dfaFeedback (per-layer).
std::unique_ptr<Rule> direct_feedback_alignment(std::string_view name, Options& options) {
  return std::make_unique<DirectFeedbackAlignment>(std::string(name), options);
}

}  // namespace cortorch
