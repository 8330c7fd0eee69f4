#include "training/trainer.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/gpu.h"
#include "data/cuda/gpu_batches.h"
#include "training/cuda/gpu_stepper.h"
#include "training/step.h"

namespace cortorch {
namespace {

bool is_on_gpu(const Network& network) { return on_gpu(network.parameters().front()->value); }

Task task_for(Network& network, Loss loss, const OptimizerSpec& optimizer, Normalization normalization,
              RuleTraining rule, const Augmentation& augmentation) {
  const std::string name = "rule " + network.rule().name();
  auto settings = network.rule().settings(rule.options, loss);
  rule.options.done("a trainer of " + name);
  Task task{network,
            loss,
            std::move(normalization),
            augmentation,
            std::move(settings),
            Optimizer(optimizer, network.of_role(Parameter::Role::forward)),
            std::nullopt};
  std::vector<ParameterPtr> learned = network.of_role(Parameter::Role::learned);
  const bool in_some_phase = network.rule().learns_in(Phase::forward) || network.rule().learns_in(Phase::inverse) ||
                             network.rule().learns_in(Phase::both);
  TORCH_CHECK(learned.empty() || in_some_phase, name,
              " has parameters to learn, but learns in no phase: its learns_in() has to say in which");
  TORCH_CHECK(learned.empty() != rule.optimizer.has_value(), "trainer: ", name,
              learned.empty() ? " learns nothing beside the task, but an optimizer for it was given"
                              : " needs an optimizer for what it learns beside the task");
  if (rule.optimizer) task.rule_optimizer.emplace(*rule.optimizer, std::move(learned));
  return task;
}

std::unique_ptr<Stepper> stepper_for(Task& task) {
  return is_on_gpu(task.network) ? cuda::gpu_stepper(task) : cpu_stepper(task);
}

}  // namespace

Trainer::Trainer(Network& network, Loss loss, OptimizerSpec optimizer, Normalization normalization, RuleTraining rule,
                 Augmentation augmentation)
    : task_(task_for(network, loss, optimizer, std::move(normalization), std::move(rule), augmentation)),
      stepper_(stepper_for(task_)) {}

std::vector<Diagnosis> Trainer::diagnose_ready(const at::Tensor& x, const at::Tensor& targets,
                                               const Position& position) const {
  const auto loss = [&](const at::Tensor& outputs, Delivery delivery) {
    Tally tally;
    return loss_of(task_.loss, outputs, x, targets, tally, delivery);
  };
  return cortorch::diagnose(task_.network, x, loss, pass_of(task_, position.seed, position.step));
}

std::vector<Diagnosis> Trainer::diagnose(const at::Tensor& images, const at::Tensor& targets,
                                         const Position& position) const {
  return diagnose_ready(prepare_for(task_.network, images, task_.normalization), targets.to(task_.network.device()),
                        position);
}

std::vector<Diagnosis> Trainer::diagnose(const Dataset& data, int64_t batch_size, const Position& position) {
  TORCH_CHECK(batch_size > 0, "trainer: a batch of ", batch_size, " examples");
  const auto batch = stepper_->batch(data, order_of(data, position), batch_size, position.first_step, position);
  return diagnose_ready(batch.x, batch.targets, position);
}

void Trainer::launch(const at::Tensor& images, const at::Tensor& targets, double lr_factor, const Position& position) {
  TORCH_CHECK(!launched_phase_ || *launched_phase_ == position.phase,
              "trainer: a step of another phase was launched and not collected; collect it first");
  // What it began counts, also where it could not be finished.
  struct Note {
    ~Note() {
      if (trainer.stepper_->launching()) trainer.launched_phase_ = phase;
    }
    Trainer& trainer;
    Phase phase;
  } const note{*this, position.phase};
  stepper_->launch(images, targets, lr_factor, position);
}

PassResult Trainer::collect() {
  launched_phase_.reset();
  return stepper_->collect();
}

PassResult Trainer::run(const Dataset& data, int64_t batch_size, const Position& position,
                        std::span<const double> lr_factors, const LossCounts& counts, const std::atomic<bool>& stop) {
  TORCH_CHECK(!launched_phase_, "trainer: steps were launched and not collected; collect them first");
  TORCH_CHECK(batch_size > 0 && position.first_step >= 0, "trainer: there is no batch of ", batch_size,
              " examples at step ", position.first_step);
  return stepper_->run(data, batch_size, position, order_of(data, position), lr_factors, counts, stop);
}

const std::vector<int64_t>& Trainer::order_of(const Dataset& data, const Position& position) {
  const auto [seed, epoch] = std::pair{position.seed, position.epoch};
  if (order_.seed != seed || order_.epoch != epoch || order_.indices.size() != static_cast<std::size_t>(data.size())) {
    order_ = {seed, epoch, permutation(seed, epoch, data.size())};
  }
  return order_.indices;
}

at::Tensor prepare_for(const Network& network, const at::Tensor& images, const Normalization& normalization) {
  if (is_on_gpu(network)) return cuda::prepare(images.to(network.device()), normalization, network.compute_type());
  return prepare(images, normalization);
}

LossCounts evaluate(const Network& network, Loss loss, const Dataset& data, const Normalization& normalization,
                    int64_t batch_size, const std::atomic<bool>& stop) {
  TORCH_CHECK(batch_size > 0, "evaluate: batches of ", batch_size, " examples");
  if (is_on_gpu(network)) return cuda::evaluate(network, loss, data, normalization, batch_size, stop);
  at::NoGradGuard no_grad;
  Tally tally;
  std::vector<int64_t> indices(static_cast<std::size_t>(data.size()));
  std::iota(indices.begin(), indices.end(), 0);
  for (int64_t begin = 0; begin < data.size() && !stop.load(std::memory_order_relaxed); begin += batch_size) {
    const auto batch = data.gather(indices.data() + begin, std::min(batch_size, data.size() - begin), normalization);
    loss_of(loss, network.forward(batch.x), batch.x, batch.targets, tally);
  }
  return tally.read();
}

}  // namespace cortorch
