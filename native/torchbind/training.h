// Training as one object, made from text: what Python gets as torch.classes.cortorch.Training, for checks and
// measurements on machines without Node, and what test/cuda-emulation trains.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <c10/core/Stream.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "network/place.h"
#include "training/trainer.h"

namespace cortorch {

class Training : public torch::CustomClassHolder {
 public:
  // `model`: see network_from_text. `settings`: words key=value, of rule, seed, device, precision, deterministic, loss,
  // optimizer, lr, beta1, beta2, eps, momentum, weight_decay, manhattan, moments, phase, inverse_lr, crop, border
  // (reflect, black), flip, mean, std, and rule.NAME, the options of the rule (rule.noise, rule.dfaFeedback, …). Throws
  // c10::Error. Precision and determinism are settings of the process: the object made last decides, so keep one at a
  // time where they differ.
  Training(const std::string& model, const std::string& settings);

  // The data set of run(): images [n, shape] uint8 or float32, targets int64 [n] or float32 [n, outputs], on the CPU.
  void set_data(const at::Tensor& images, const at::Tensor& targets, int64_t classes);
  // Steps over it, epochs one after the other; the last batch of an epoch may be short. As result(): see there.
  std::vector<double> run(int64_t steps, int64_t batch_size);
  // Batches of one's own, and what came of them.
  void launch(const at::Tensor& images, const at::Tensor& targets);
  std::vector<double> collect();
  // Of the steps: loss, error, error5, inverse, examples (sums), steps made, whether the loss, the inverses' was not
  // finite.
  static std::vector<double> result(const PassResult& pass);

  // Of the step that run() would make next, for each map: gradient_angle, feedback_angle, feedback_norm_ratio,
  // target_angle, reconstruction_error (training/diagnostics.h); NaN for what it does not have.
  std::vector<std::vector<double>> diagnose(int64_t batch_size);

  std::vector<double> evaluate(const at::Tensor& images, const at::Tensor& targets, int64_t batch_size) const;
  at::Tensor predict(const at::Tensor& images) const;

  std::vector<std::string> names() const;
  at::Tensor value(const std::string& name) const;  // float32, on the CPU
  void set_value(const std::string& name, const at::Tensor& value);
  at::Tensor moment(int64_t parameter, int64_t which) const;

  std::string graph_failure() const { return trainer_->graph_failure(); }
  void use_graphs(bool use) { trainer_->use_graphs(use); }
  void set_lr_factor(double factor) { lr_factor_ = factor; }
  void settle() const;

  Trainer& trainer() { return *trainer_; }
  const Network& network() const { return *network_; }

 private:
  const Parameter& parameter(const std::string& name) const;
  Place place_;
  std::optional<c10::Stream> stream_;  // on a GPU
  Normalization normalization_;
  Loss loss_ = Loss::softmax_cross_entropy;
  std::unique_ptr<Network> network_;
  std::unique_ptr<Trainer> trainer_;
  std::shared_ptr<Dataset> data_;
  Position position_;
  double lr_factor_ = 1;
};

}  // namespace cortorch
