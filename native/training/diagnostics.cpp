#include "training/diagnostics.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace cortorch {
namespace {

struct Products {
  double dot = 0, a = 0, b = 0;  // a·b, a·a, b·b
};

// Sums in double precision: there are millions of terms.
Products products(const at::Tensor& a, const at::Tensor& b) {
  // Those of a GPU come here: that takes time, but no memory there.
  const auto on_host = [](const at::Tensor& t) { return t.detach().cpu().to(at::kFloat).contiguous(); };
  const at::Tensor x = on_host(a), y = on_host(b);
  TORCH_INTERNAL_ASSERT(x.sizes() == y.sizes());
  const float *p = x.const_data_ptr<float>(), *q = y.const_data_ptr<float>();
  Products sums;
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double u = p[i], v = q[i];
    sums.dot += u * v;
    sums.a += u * u;
    sums.b += v * v;
  }
  return sums;
}

std::optional<double> angle(const Products& p) {
  if (!(p.a > 0 && p.b > 0)) return std::nullopt;
  const double cosine = std::clamp(p.dot / std::sqrt(p.a) / std::sqrt(p.b), -1.0, 1.0);
  return std::acos(cosine) * 180 / std::numbers::pi;
}

std::optional<double> angle(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined() || !b.defined()) return std::nullopt;
  return angle(products(a, b));
}

struct Gradients {
  std::vector<at::Tensor> weights;  // of all maps
  // Of rules that hand down differences alone:
  std::vector<at::Tensor> outputs;  // what came down to each map's output; undefined where nothing did
  std::vector<at::Tensor> inputs;   // what each map was given
};

Gradients gradients(const Network& network, const at::Tensor& x, const LossOfOutputs& loss, TrainingPass pass,
                    bool backpropagate) {
  const at::AutoGradMode record(true);
  const bool targets = network.rule().delivery() == Delivery::difference;
  pass.backpropagate = backpropagate;
  // Nothing else asks for them, and gradients of all activities are as large as the activities.
  pass.keep_inputs = pass.keep_outputs = targets;
  const at::Tensor value =
      loss(network.forward(x, &pass), backpropagate ? Delivery::gradient : network.rule().delivery());
  std::vector<at::Tensor> of;
  for (const Layer& layer : network.layers()) of.push_back(layer.weight());
  of.insert(of.end(), pass.outputs.begin(), pass.outputs.end());
  const auto found =
      torch::autograd::grad({value}, of, {}, /*retain_graph=*/false, /*create_graph=*/false, /*allow_unused=*/true);
  const auto middle = found.begin() + static_cast<std::ptrdiff_t>(network.layers().size());
  return {{found.begin(), middle}, {middle, found.end()}, std::move(pass.inputs)};
}

std::optional<double> reconstruction_error(const at::Tensor& reconstruction, const at::Tensor& h) {
  if (!reconstruction.defined()) return std::nullopt;
  const Products sums = products(reconstruction, h);
  return sums.b > 0 ? std::optional((sums.a - 2 * sums.dot + sums.b) / sums.b) : std::nullopt;
}

}  // namespace

std::vector<Diagnosis> diagnose(const Network& network, const at::Tensor& x, const LossOfOutputs& loss,
                                const TrainingPass& pass) {
  const Gradients own = gradients(network, x, loss, pass, false), bp = gradients(network, x, loss, pass, true);
  const Rule& rule = network.rule();
  const at::NoGradGuard no_grad;
  std::vector<Diagnosis> result;
  for (const Layer& layer : network.layers()) {
    const std::size_t i = layer.site->index;
    Diagnosis of{layer.site->name, angle(own.weights[i], bp.weights[i]), {}, {}, {}, {}};
    if (const at::Tensor feedback = rule.feedback(layer, pass); feedback.defined()) {
      const Products sums = products(feedback, layer.weight());
      of.feedback_angle = angle(sums);
      if (sums.b > 0) of.feedback_norm_ratio = std::sqrt(sums.a / sums.b);
    }
    if (rule.delivery() == Delivery::difference) {
      // The last layer has no target of its own: it is trained on the loss.
      if (!layer.site->last) of.target_angle = angle(own.outputs[i], bp.outputs[i]);
      of.reconstruction_error = reconstruction_error(rule.reconstruction(layer, own.inputs[i], pass), own.inputs[i]);
    }
    result.push_back(std::move(of));
  }
  return result;
}

}  // namespace cortorch
