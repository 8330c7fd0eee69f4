#include "training/trainer.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/gpu.h"
#include "training/cuda/gpu_trainer.h"

namespace cortorch {
namespace {

std::vector<Trained> trained(const Network& network, Parameter::Role role) {
  std::vector<Trained> result;
  for (const Parameter& parameter : network.of_role(role)) result.push_back({parameter.value, parameter.compute});
  return result;
}

}  // namespace

Trainer::Trainer(Network& network, Loss loss, OptimizerSpec optimizer, Normalization normalization,
                 std::optional<TargetTraining> targets, Augmentation augmentation)
    : network_(network),
      loss_(loss),
      normalization_(std::move(normalization)),
      augmentation_(augmentation),
      targets_(std::move(targets)),
      optimizer_(optimizer, trained(network, Parameter::Role::forward)) {
  const bool wanted = is_target_rule(network.rule());
  TORCH_CHECK(wanted == targets_.has_value(), "trainer: rule ", name_of(network.rule()),
              wanted ? " needs" : " does not use", " the settings of target propagation");
  if (wanted) {
    std::vector<Trained> inverses = trained(network, Parameter::Role::inverse);
    TORCH_CHECK(2 * targets_->inverses.noise.size() == inverses.size(), "trainer: there are ", inverses.size() / 2,
                " inverses, but noise for ", targets_->inverses.noise.size());
    targets_->targets.activity = loss == Loss::softmax_cross_entropy ? OutputActivity::softmax : OutputActivity::plain;
    inverse_optimizer_.emplace(targets_->inverse_optimizer, std::move(inverses));
  }
#ifdef CORTORCH_CUDA
  if (on_gpu(network.parameters().front().value)) {
    gpu_ = std::make_unique<cuda::GpuTrainer>(network_, loss_, normalization_, augmentation_, targets_, optimizer_,
                                              inverse_optimizer());
  }
#endif
}

Trainer::~Trainer() = default;

TrainingPass Trainer::pass_at(const Position& position) const {
  TrainingPass pass;
  if (targets_) pass.targets = targets_->targets;
  pass.seed = position.seed;
  pass.step = position.step;
  return pass;
}

std::vector<Diagnosis> Trainer::diagnose_ready(const at::Tensor& x, const at::Tensor& targets,
                                               const Position& position) const {
  const auto loss = [&](const at::Tensor& outputs, Delivery delivery) {
    Tally tally;
    return loss_of(loss_, outputs, x, targets, tally, delivery);
  };
  return cortorch::diagnose(network_, x, loss, pass_at(position));
}

std::vector<Diagnosis> Trainer::diagnose(const at::Tensor& images, const at::Tensor& targets,
                                         const Position& position) const {
  return diagnose_ready(prepare_for(network_, images, normalization_), targets.to(network_.device()), position);
}

std::vector<Diagnosis> Trainer::diagnose(const Dataset& data, int64_t batch_size, const Position& position) {
  const auto batch = batch_at(data, batch_size, position, position.first_step);
  return diagnose_ready(batch.x, batch.targets, position);
}

// A step that is broken off leaves no gradient that would be added to the next ones.
PassResult Trainer::step(const at::Tensor& x, const at::Tensor& targets, double lr_factor, const Position& position) {
  try {
    return step_unguarded(x, targets, lr_factor, position);
  } catch (...) {
    optimizer_.take_gradients();
    if (inverse_optimizer_) inverse_optimizer_->take_gradients();
    throw;
  }
}

PassResult Trainer::step_unguarded(const at::Tensor& x, const at::Tensor& targets, double lr_factor,
                                   const Position& position) {
  PassResult result;
  TrainingPass pass = pass_at(position);
  Tally tally;
  tally.of_step = true;
  const at::Tensor loss = step_losses(network_, loss_, targets_, x, targets, position.phase, pass, tally);
  result.counts = tally.host;
  result.not_finite = !std::isfinite(result.counts.loss);
  result.inverse_not_finite = !std::isfinite(result.counts.inverse);
  if (result.not_finite || result.inverse_not_finite) return result;
  if (trains_forward(position.phase)) {
    loss.backward();
    optimizer_.step(lr_factor);
  }
  if (trains_inverse(position.phase)) inverse_optimizer_->step(lr_factor);
  Network::keep(pass.statistics);
  result.steps = 1;
  return result;
}

void Trainer::launch(const at::Tensor& images, const at::Tensor& targets, double lr_factor, const Position& position) {
  TORCH_CHECK(!launched_phase_ || *launched_phase_ == position.phase,
              "trainer: a step of another phase was launched and not collected; collect it first");
#ifdef CORTORCH_CUDA
  if (gpu_) {
    // What it began counts, also where it could not be finished.
    struct Note {
      ~Note() {
        if (trainer.gpu_->launching()) trainer.launched_phase_ = phase;
      }
      Trainer& trainer;
      Phase phase;
    } note{*this, position.phase};
    return gpu_->launch(images, targets, lr_factor, position);
  }
#endif
  if (launched_.not_finite || launched_.inverse_not_finite) return;
  const PassResult one = step(prepare(images, normalization_), targets, lr_factor, position);
  launched_phase_ = position.phase;
  launched_.not_finite = one.not_finite;
  launched_.inverse_not_finite = one.inverse_not_finite;
  if (one.steps == 0) return;
  launched_.counts.add(one.counts);
  launched_.steps += one.steps;
}

PassResult Trainer::collect() {
  launched_phase_.reset();
#ifdef CORTORCH_CUDA
  if (gpu_) return gpu_->collect();
#endif
  return std::exchange(launched_, {});
}

std::string Trainer::graph_failure() const {
#ifdef CORTORCH_CUDA
  if (gpu_) return gpu_->graph_failure();
#endif
  return {};
}

void Trainer::use_graphs([[maybe_unused]] bool use) {
#ifdef CORTORCH_CUDA
  if (gpu_) gpu_->use_graphs = use;
#endif
}

PassResult Trainer::run(const Dataset& data, int64_t batch_size, const Position& position,
                        std::span<const double> lr_factors, const LossCounts& counts, const std::atomic<bool>& stop) {
  TORCH_CHECK(!launched_phase_, "trainer: steps were launched and not collected; collect them first");
  TORCH_CHECK(batch_size > 0 && position.first_step >= 0, "trainer: there is no batch of ", batch_size,
              " examples at step ", position.first_step);
#ifdef CORTORCH_CUDA
  if (gpu_) return gpu_->run(data, batch_size, position, order_of(data, position), lr_factors, counts, stop);
#endif
  const auto [seed, epoch, first_step, first, phase] = position;
  PassResult total;
  total.counts = counts;
  for (std::size_t i = 0; i < lr_factors.size() && !stop.load(std::memory_order_relaxed); ++i) {
    const auto batch = batch_at(data, batch_size, position, first_step + static_cast<int64_t>(i));
    const PassResult one =
        step(batch.x, batch.targets, lr_factors[i], {seed, epoch, 0, first + static_cast<uint32_t>(i), phase});
    total.not_finite = one.not_finite;
    total.inverse_not_finite = one.inverse_not_finite;
    if (one.steps == 0) break;
    total.counts.add(one.counts);
    total.steps += one.steps;
  }
  return total;
}

const std::vector<int64_t>& Trainer::order_of(const Dataset& data, const Position& position) {
  const auto [seed, epoch] = std::pair{position.seed, position.epoch};
  if (order_.seed != seed || order_.epoch != epoch || order_.indices.size() != static_cast<std::size_t>(data.size())) {
    order_ = {seed, epoch, permutation(seed, epoch, data.size())};
  }
  return order_.indices;
}

// The batch of a step of the epoch.
Dataset::Batch Trainer::batch_at(const Dataset& data, int64_t batch_size, const Position& position, int64_t step) {
  TORCH_CHECK(batch_size > 0, "trainer: a batch of ", batch_size, " examples");
  const std::vector<int64_t>& order = order_of(data, position);
  const int64_t begin = step * batch_size;
  const int64_t count = std::min(batch_size, data.size() - begin);
  TORCH_CHECK(begin >= 0 && count > 0, "step ", step, " is past the end of the data set (", data.size(),
              " examples in batches of ", batch_size, ")");
#ifdef CORTORCH_CUDA
  if (gpu_) return gpu_->batch(data, order, batch_size, step, position);
#endif
  return data.gather(order.data() + begin, count, normalization_, {augmentation_, position.seed, position.epoch});
}

at::Tensor prepare_for(const Network& network, const at::Tensor& images, const Normalization& normalization) {
  if (has_gpu_kernels(network.parameters().front().value))
    return cuda::prepare(images.to(network.device()), normalization, network.compute_type());
  return prepare(images, normalization);
}

LossCounts evaluate(const Network& network, Loss loss, const Dataset& data, const Normalization& normalization,
                    int64_t batch_size, const std::atomic<bool>& stop) {
  TORCH_CHECK(batch_size > 0, "evaluate: batches of ", batch_size, " examples");
  if (has_gpu_kernels(network.parameters().front().value))
    return cuda::evaluate(network, loss, data, normalization, batch_size, stop);
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
