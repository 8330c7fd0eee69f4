#include <cmath>
#include <utility>

#include "training/step.h"
#include "training/stepper.h"

namespace cortorch {
namespace {

class CpuStepper final : public Stepper {
 public:
  explicit CpuStepper(Task& task) : task_(task) {}

  PassResult run(const Dataset& data, int64_t batch_size, const Position& position, const std::vector<int64_t>& order,
                 std::span<const double> lr_factors, const LossCounts& counts, const std::atomic<bool>& stop) override {
    PassResult total;
    total.counts = counts;
    Position at = position;
    for (std::size_t i = 0; i < lr_factors.size() && !stop.load(std::memory_order_relaxed); ++i) {
      const auto one_batch = batch(data, order, batch_size, position.first_step + static_cast<int64_t>(i), position);
      at.step = position.step + static_cast<uint32_t>(i);
      if (!add(step(one_batch.x, one_batch.targets, lr_factors[i], at), total)) break;
    }
    return total;
  }

  void launch(const at::Tensor& images, const at::Tensor& targets, double lr_factor,
              const Position& position) override {
    if (launched_.not_finite || launched_.inverse_not_finite) return;
    const PassResult one = step(prepare(images, task_.normalization), targets, lr_factor, position);
    launching_ = true;
    add(one, launched_);
  }

  PassResult collect() override {
    launching_ = false;
    return std::exchange(launched_, {});
  }

  bool launching() const override { return launching_; }

  Dataset::Batch batch(const Dataset& data, const std::vector<int64_t>& order, int64_t batch_size, int64_t step,
                       const Position& position) override {
    const int64_t size = examples_of(data, batch_size, step);
    return data.gather(order.data() + step * batch_size, size, task_.normalization,
                       {task_.augmentation, position.seed, position.epoch});
  }

 private:
  // Was the step made?
  static bool add(const PassResult& one, PassResult& total) {
    total.not_finite = one.not_finite;
    total.inverse_not_finite = one.inverse_not_finite;
    if (one.steps == 0) return false;
    total.counts.add(one.counts);
    total.steps += one.steps;
    return true;
  }

  // A step that is broken off leaves no gradient that would be added to the next ones.
  PassResult step(const at::Tensor& x, const at::Tensor& targets, double lr_factor, const Position& position) {
    try {
      return step_unguarded(x, targets, lr_factor, position);
    } catch (...) {
      task_.drop_gradients();
      throw;
    }
  }

  PassResult step_unguarded(const at::Tensor& x, const at::Tensor& targets, double lr_factor,
                            const Position& position) {
    PassResult result;
    TrainingPass pass = pass_of(task_, position.seed, position.step);
    Tally tally;
    tally.of_step = true;
    const at::Tensor loss = step_losses(task_, x, targets, position.phase, pass, tally);
    result.counts = tally.host;
    result.not_finite = !std::isfinite(result.counts.loss);
    result.inverse_not_finite = !std::isfinite(result.counts.inverse);
    if (result.not_finite || result.inverse_not_finite) {
      task_.drop_gradients();
      return result;
    }
    if (trains_forward(position.phase)) {
      loss.backward();
      task_.optimizer.step(lr_factor);
    }
    if (task_.trains_own(position.phase)) task_.rule_optimizer->step(lr_factor);
    Network::keep(pass.moved);
    result.steps = 1;
    return result;
  }

  Task& task_;
  bool launching_ = false;
  PassResult launched_;
};

}  // namespace

std::unique_ptr<Stepper> cpu_stepper(Task& task) { return std::make_unique<CpuStepper>(task); }

}  // namespace cortorch
