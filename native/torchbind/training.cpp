#include "torchbind/training.h"

#include <ATen/core/grad_mode.h>
#include <c10/core/StreamGuard.h>
#include <torch/custom_class.h>

#include <algorithm>
#include <cmath>

#include "rules/rules.h"
#include "torchbind/text.h"

namespace cortorch {
namespace {

// While it lives the calling thread works on this stream.
struct OnStream {
  explicit OnStream(const std::optional<c10::Stream>& stream) {
    if (stream) guard.reset_stream(*stream);
  }
  c10::OptionalStreamGuard guard;
};

OptimizerSpec optimizer_from(Options& settings) {
  OptimizerSpec spec;
  spec.kind = settings.one_of("optimizer", spec.kind);
  spec.lr = settings.number("lr", spec.lr);
  spec.beta1 = settings.number("beta1", spec.beta1);
  spec.beta2 = settings.number("beta2", spec.beta2);
  spec.eps = settings.number("eps", spec.eps);
  spec.momentum = settings.number("momentum", 0);
  spec.weight_decay = settings.number("weight_decay", 0);
  spec.batch_manhattan = settings.integer("manhattan", 0) != 0;
  spec.moments = settings.one_of("moments", spec.moments);
  return spec;
}

}  // namespace

Training::Training(const std::string& model, const std::string& text) {
  Options settings = options_from_text(text);
  NetworkSpec spec = network_from_text(model);
  RuleTraining rule_training;
  rule_training.options = settings.with_prefix("rule.");
  auto rule = make_rule(settings.text("rule", "bp"), rule_training.options);
  place_ = place_of(settings.text("device", "cpu"), settings.one_of("precision", cuda::Precision::fp32),
                    settings.integer("deterministic", 0) != 0);
  position_.seed = static_cast<uint64_t>(settings.integer("seed", 0));
  loss_ = settings.one_of("loss", loss_);
  normalization_ = {settings.numbers("mean", {}), settings.numbers("std", {})};
  Augmentation augmentation;
  augmentation.crop_padding = settings.integer("crop", 0);
  augmentation.border = settings.one_of("border", augmentation.border);
  augmentation.flip_horizontal = settings.integer("flip", 0) != 0;
  const OptimizerSpec optimizer = optimizer_from(settings);
  position_.phase = settings.one_of("phase", rule->learns_in(Phase::both) ? Phase::both : Phase::forward);

  use_arithmetic(place_);
  stream_ = new_stream(place_);
  const OnStream guard(stream_);
  network_ = std::make_unique<Network>(std::move(spec), std::move(rule), position_.seed);
  move_to(*network_, place_);
  if (!network_->of_role(Parameter::Role::learned).empty()) {
    rule_training.optimizer = optimizer;
    rule_training.optimizer->lr = settings.number("inverse_lr", optimizer.lr);
  }
  settings.done("training");
  trainer_ =
      std::make_unique<Trainer>(*network_, loss_, optimizer, normalization_, std::move(rule_training), augmentation);
}

void Training::set_data(const at::Tensor& images, const at::Tensor& targets, int64_t classes) {
  data_ = std::make_shared<Dataset>(images, targets, classes);
}

std::vector<double> Training::result(const PassResult& pass) {
  const auto& [loss, error, error5, inverse, examples] = pass.counts;
  return {loss,
          error,
          error5,
          inverse,
          static_cast<double>(examples),
          static_cast<double>(pass.steps),
          pass.not_finite ? 1.0 : 0.0,
          pass.inverse_not_finite ? 1.0 : 0.0};
}

std::vector<double> Training::run(int64_t steps, int64_t batch_size) {
  TORCH_CHECK(data_ != nullptr, "run: there is no data set yet");
  const OnStream guard(stream_);
  const std::atomic<bool> stop{false};
  TORCH_CHECK(batch_size > 0, "run: the batch size is ", batch_size);
  const int64_t per_epoch = (data_->size() + batch_size - 1) / batch_size;
  TORCH_CHECK(position_.first_step < per_epoch, "run: ", position_.first_step,
              " steps of this epoch were made with another batch size; "
              "change it at the end of an epoch");
  PassResult total;
  while (steps > 0 && !total.not_finite && !total.inverse_not_finite) {
    const std::vector<double> factors(static_cast<std::size_t>(std::min(steps, per_epoch - position_.first_step)),
                                      lr_factor_);
    const int64_t before = total.steps;
    const PassResult one = trainer_->run(*data_, batch_size, position_, factors, total.counts, stop);
    total = one;
    total.steps += before;
    steps -= static_cast<int64_t>(factors.size());
    position_.step += static_cast<uint32_t>(one.steps);
    position_.first_step += one.steps;
    if (position_.first_step < per_epoch) continue;
    position_.first_step = 0;
    ++position_.epoch;
  }
  return result(total);
}

void Training::launch(const at::Tensor& images, const at::Tensor& targets) {
  const OnStream guard(stream_);
  trainer_->launch(images, targets, lr_factor_, position_);
  ++position_.step;
}

std::vector<double> Training::collect() {
  const OnStream guard(stream_);
  return result(trainer_->collect());
}

void Training::settle() const {
  const OnStream guard(stream_);
  cortorch::settle(place_);
}

std::vector<std::vector<double>> Training::diagnose(int64_t batch_size) {
  TORCH_CHECK(data_ != nullptr, "diagnose: there is no data set yet");
  const OnStream guard(stream_);
  std::vector<std::vector<double>> result;
  const auto or_nan = [](const std::optional<double>& value) { return value.value_or(std::nan("")); };
  for (const Diagnosis& d : trainer_->diagnose(*data_, batch_size, position_)) {
    result.push_back({or_nan(d.gradient_angle), or_nan(d.feedback_angle), or_nan(d.feedback_norm_ratio),
                      or_nan(d.target_angle), or_nan(d.reconstruction_error)});
  }
  return result;
}

std::vector<double> Training::evaluate(const at::Tensor& images, const at::Tensor& targets, int64_t batch_size) const {
  const OnStream guard(stream_);
  const Dataset data(images, targets, 0);
  PassResult pass;
  pass.counts = cortorch::evaluate(*network_, loss_, data, normalization_, batch_size, false);
  return result(pass);
}

at::Tensor Training::predict(const at::Tensor& images) const {
  const OnStream guard(stream_);
  const at::NoGradGuard no_grad;
  return network_->forward(prepare_for(*network_, images, normalization_)).cpu().to(at::kFloat);
}

std::vector<std::string> Training::names() const {
  std::vector<std::string> result;
  for (const ParameterPtr& parameter : network_->parameters()) result.push_back(parameter->name);
  return result;
}

const Parameter& Training::parameter(const std::string& name) const {
  for (const ParameterPtr& parameter : network_->parameters()) {
    if (parameter->name == name) return *parameter;
  }
  TORCH_CHECK(false, "there is no parameter ", name);
}

at::Tensor Training::value(const std::string& name) const {
  settle();
  return parameter(name).value.detach().to(at::kCPU, at::kFloat, /*non_blocking=*/false, /*copy=*/true);
}

void Training::set_value(const std::string& name, const at::Tensor& value) {
  const OnStream guard(stream_);
  const at::NoGradGuard no_grad;
  parameter(name).value.detach().copy_(value);
  network_->refresh();
}

at::Tensor Training::moment(int64_t parameter, int64_t which) const {
  TORCH_CHECK(!trainer_->launching(), "moment: steps were launched and not collected; collect them first");
  settle();
  return trainer_->optimizer()
      .state(static_cast<std::size_t>(parameter))
      .at(static_cast<std::size_t>(which))
      .second.cpu()
      .to(at::kFloat);
}

}  // namespace cortorch

TORCH_LIBRARY_FRAGMENT(cortorch, m) {
  using cortorch::Training;
  m.class_<Training>("Training")
      .def(torch::init<const std::string&, const std::string&>())
      .def("set_data", &Training::set_data)
      .def("run", &Training::run)
      .def("launch", &Training::launch)
      .def("collect", &Training::collect)
      .def("diagnose", &Training::diagnose)
      .def("evaluate", &Training::evaluate)
      .def("predict", &Training::predict)
      .def("names", &Training::names)
      .def("value", &Training::value)
      .def("set_value", &Training::set_value)
      .def("moment", &Training::moment)
      .def("graph_failure", &Training::graph_failure)
      .def("use_graphs", &Training::use_graphs)
      .def("set_lr_factor", &Training::set_lr_factor)
      .def("settle", &Training::settle);
}
