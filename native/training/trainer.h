// Training steps, passes over a data set, and what comes of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "network/network.h"
#include "rules/loss.h"
#include "training/diagnostics.h"
#include "training/optimizer.h"
#include "training/stepper.h"

namespace cortorch {

// What a trainer sets for the network's rule.
struct RuleTraining {
  Options options;
  std::optional<OptimizerSpec> optimizer;  // of what the rule learns beside the task
};

class Trainer {
 public:
  // The network must outlive the trainer. The augmentation is of data sets, not of batches that launch() is given.
  Trainer(Network& network, Loss loss, OptimizerSpec optimizer, Normalization normalization, RuleTraining rule = {},
          Augmentation augmentation = {});
  Trainer(const Trainer&) = delete;  // the stepper has the task's address
  Trainer& operator=(const Trainer&) = delete;

  // One update on a batch of the caller's own, on the CPU: images [batch, input] as those of a data set. A loss that is
  // not finite makes no update. Of the position the seed, the step and the phase count.
  //
  // What comes of it is collected: launch() gives the step to the GPU, if the network is on one, and does not wait for
  // it. After a loss that was not finite no step is made until then. Until then, too, all steps are of one phase.
  void launch(const at::Tensor& images, const at::Tensor& targets, double lr_factor, const Position& position);
  // Of the steps since it was last called; waits for them.
  PassResult collect();
  // Is there something to collect? Until it is collected, the optimizers of a network on a GPU do not count those
  // steps, and their moments have some of them: their state is neither to be read nor to be written.
  bool launching() const { return launched_phase_.has_value(); }

  // Steps of an epoch, one for each learning-rate factor; the epoch is a permutation of
  // the data set in batches, of which the last may be short. Ends early, between steps, when `stop` is set.
  // The counts go on from `counts`, step by step: how an epoch is cut into runs does not change their bits.
  PassResult run(const Dataset& data, int64_t batch_size, const Position& position, std::span<const double> lr_factors,
                 const LossCounts& counts, const std::atomic<bool>& stop);

  // What the step at the position would do, layer by layer; see diagnose(). Of a batch, or of the data set's.
  std::vector<Diagnosis> diagnose(const at::Tensor& images, const at::Tensor& targets, const Position& position) const;
  std::vector<Diagnosis> diagnose(const Dataset& data, int64_t batch_size, const Position& position);

  Optimizer& optimizer() { return task_.optimizer; }
  // Of what the rule learns beside the task; null: nothing.
  Optimizer* rule_optimizer() { return task_.rule_optimizer ? &*task_.rule_optimizer : nullptr; }

  // Why steps on a GPU are not recorded as a CUDA graph; empty: they are, or will be, or the network is on the CPU.
  std::string graph_failure() const { return stepper_->graph_failure(); }
  // false: they are launched kernel by kernel
  void use_graphs(bool use) { stepper_->use_graphs(use); }

 private:
  std::vector<Diagnosis> diagnose_ready(const at::Tensor& x, const at::Tensor& targets, const Position& position) const;
  const std::vector<int64_t>& order_of(const Dataset& data, const Position& position);

  Task task_;
  std::unique_ptr<Stepper> stepper_;
  std::optional<Phase> launched_phase_;  // of the steps that were launched and not collected
  // The order of the epoch at work, so that a pass may be run in pieces.
  struct Order {
    uint64_t seed = 0;
    uint32_t epoch = 0;
    std::vector<int64_t> indices;
  } order_;
};

// A caller's own batch, on the CPU, as the network takes it: scaled and normalised, where the network is.
at::Tensor prepare_for(const Network& network, const at::Tensor& images, const Normalization& normalization);

// Loss and error over a whole data set, in its own order. Ends early, between batches, when `stop` is set.
LossCounts evaluate(const Network& network, Loss loss, const Dataset& data, const Normalization& normalization,
                    int64_t batch_size, const std::atomic<bool>& stop);

}  // namespace cortorch
