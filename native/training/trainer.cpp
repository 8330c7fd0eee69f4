#include "training/trainer.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace cortorch {
namespace {

at::Tensor loss_of(Loss loss, const at::Tensor& outputs, const at::Tensor& x, const at::Tensor& targets,
                   LossCounts& counts, Delivery delivery = Delivery::gradient) {
  switch (loss) {
    case Loss::softmax_cross_entropy: return softmax_cross_entropy(outputs, targets, counts, delivery);
    case Loss::squared_error: return squared_error(outputs, targets, counts, delivery);
    case Loss::reconstruction: return squared_error(outputs, x.flatten(1), counts, delivery);
  }
  TORCH_INTERNAL_ASSERT(false);
}

}  // namespace

Trainer::Trainer(Network& network, Loss loss, OptimizerSpec optimizer, Normalization normalization,
                 std::optional<TargetTraining> targets, Augmentation augmentation)
    : network_(network),
      loss_(loss),
      normalization_(std::move(normalization)),
      augmentation_(augmentation),
      targets_(std::move(targets)),
      optimizer_(optimizer, network.values(Parameter::Role::forward)) {
  const bool wanted = is_target_rule(network.rule());
  TORCH_CHECK(wanted == targets_.has_value(), "trainer: rule ", rule_name(network.rule()), wanted ? " needs" : " does not use", " the settings of target propagation");
  if (!wanted) return;
  const std::vector<at::Tensor> inverses = network.values(Parameter::Role::inverse);
  TORCH_CHECK(2 * targets_->inverses.noise.size() == inverses.size(), "trainer: there are ", inverses.size() / 2,
              " inverses, but noise for ", targets_->inverses.noise.size());
  targets_->targets.activity = loss == Loss::softmax_cross_entropy ? OutputActivity::softmax : OutputActivity::plain;
  inverse_optimizer_.emplace(targets_->inverse_optimizer, inverses);
}

TrainingPass Trainer::pass_at(const Position& position) const {
  TrainingPass pass;
  if (targets_) pass.targets = targets_->targets;
  pass.seed = position.seed;
  pass.step = position.step;
  return pass;
}

std::vector<Diagnosis> Trainer::diagnose(const at::Tensor& x, const at::Tensor& targets, const Position& position) const {
  const auto loss = [&](const at::Tensor& outputs, Delivery delivery) {
    LossCounts counts;
    return loss_of(loss_, outputs, x, targets, counts, delivery);
  };
  return cortorch::diagnose(network_, x, loss, pass_at(position));
}

std::vector<Diagnosis> Trainer::diagnose(const Dataset& data, int64_t batch_size, const Position& position) {
  const auto batch = batch_at(data, batch_size, position, position.first_step);
  return diagnose(batch.x, batch.targets, position);
}

PassResult Trainer::step(const at::Tensor& x, const at::Tensor& targets, double lr_factor, const Position& position) {
  const bool forward = position.phase != Phase::inverse, inverse = position.phase != Phase::forward;
  TORCH_CHECK(!inverse || targets_, "trainer: rule ", rule_name(network_.rule()), " has no inverses to train");
  PassResult result;
  TrainingPass pass = pass_at(position);
  pass.keep_inputs = inverse;
  // Without targets to send down there is no graph.
  at::AutoGradMode record(forward);
  const at::Tensor loss = loss_of(loss_, network_.forward(x, &pass), x, targets,
                                  result.counts, targets_ ? Delivery::difference : Delivery::gradient);
  // Before the backward pass: gradients that no update takes would be added to the next ones.
  if (inverse && std::isfinite(result.counts.loss)) {
    result.counts.inverse = inverse_gradients(network_, pass.inputs, targets_->inverses, pass.targets, position.seed, position.step);
  }
  result.not_finite = !std::isfinite(result.counts.loss);
  result.inverse_not_finite = !std::isfinite(result.counts.inverse);
  if (result.not_finite || result.inverse_not_finite) return result;
  if (forward) {
    loss.backward();
    optimizer_.step(lr_factor);
  }
  if (inverse) inverse_optimizer_->step(lr_factor);
  Network::keep(pass.statistics);
  result.steps = 1;
  return result;
}

PassResult Trainer::run(const Dataset& data, int64_t batch_size, const Position& position,
                        std::span<const double> lr_factors, const LossCounts& counts, const std::atomic<bool>& stop) {
  const auto [seed, epoch, first_step, first, phase] = position;
  PassResult total;
  total.counts = counts;
  for (std::size_t i = 0; i < lr_factors.size() && !stop.load(std::memory_order_relaxed); ++i) {
    const auto batch = batch_at(data, batch_size, position, first_step + static_cast<int64_t>(i));
    const PassResult one = step(batch.x, batch.targets, lr_factors[i], {seed, epoch, 0, first + static_cast<uint32_t>(i), phase});
    total.not_finite = one.not_finite;
    total.inverse_not_finite = one.inverse_not_finite;
    if (one.steps == 0) break;
    total.counts.add(one.counts);
    total.steps += one.steps;
  }
  return total;
}

// The batch of a step of the epoch.
Dataset::Batch Trainer::batch_at(const Dataset& data, int64_t batch_size, const Position& position, int64_t step) {
  const auto [seed, epoch] = std::pair{position.seed, position.epoch};
  if (order_.seed != seed || order_.epoch != epoch || order_.indices.size() != static_cast<std::size_t>(data.size())) {
    order_ = {seed, epoch, permutation(seed, epoch, data.size())};
  }
  const int64_t begin = step * batch_size;
  const int64_t count = std::min(batch_size, data.size() - begin);
  TORCH_CHECK(begin >= 0 && count > 0, "step ", step, " is past the end of the data set (", data.size(), " examples in batches of ", batch_size, ")");
  return data.gather(order_.indices.data() + begin, count, normalization_, {augmentation_, seed, epoch});
}

LossCounts evaluate(const Network& network, Loss loss, const Dataset& data, const Normalization& normalization,
                    int64_t batch_size, const std::atomic<bool>& stop) {
  at::NoGradGuard no_grad;
  LossCounts counts;
  std::vector<int64_t> indices(static_cast<std::size_t>(data.size()));
  std::iota(indices.begin(), indices.end(), 0);
  for (int64_t begin = 0; begin < data.size() && !stop.load(std::memory_order_relaxed); begin += batch_size) {
    const auto batch = data.gather(indices.data() + begin, std::min(batch_size, data.size() - begin), normalization);
    loss_of(loss, network.forward(batch.x), batch.x, batch.targets, counts);
  }
  return counts;
}

}  // namespace cortorch
