// A training step, and passes over a data set.
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
#include "training/step.h"

namespace cortorch {

// Where training is.
struct Position {
  uint64_t seed = 0;
  uint32_t epoch = 0;
  int64_t first_step = 0;  // of the epoch
  uint32_t step = 0;       // made before, in all: of the noise
  Phase phase = Phase::forward;
};

struct PassResult {
  LossCounts counts;
  int64_t steps = 0;  // updates made
  // The loss of the batch after those steps was NaN or infinite, the task's or that of the inverses; it was not used.
  bool not_finite = false, inverse_not_finite = false;
};

#ifdef CORTORCH_CUDA
namespace cuda {
class GpuTrainer;
}
#endif

class Trainer {
 public:
  // The network must outlive the trainer. The augmentation is of data sets, not of batches that step() is given.
  Trainer(Network& network, Loss loss, OptimizerSpec optimizer, Normalization normalization,
          std::optional<TargetTraining> targets = std::nullopt, Augmentation augmentation = {});
  ~Trainer();

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

  Optimizer& optimizer() { return optimizer_; }
  // Why steps on a GPU are not recorded as a CUDA graph; empty: they are, or will be, or the network is on the CPU.
  std::string graph_failure() const;
  // false: they are launched kernel by kernel
  void use_graphs(bool use);

  // Null without inverses.
  Optimizer* inverse_optimizer() { return inverse_optimizer_ ? &*inverse_optimizer_ : nullptr; }

 private:
  TrainingPass pass_at(const Position& position) const;
  PassResult step(const at::Tensor& x, const at::Tensor& targets, double lr_factor, const Position& position);
  PassResult step_unguarded(const at::Tensor& x, const at::Tensor& targets, double lr_factor, const Position& position);
  std::vector<Diagnosis> diagnose_ready(const at::Tensor& x, const at::Tensor& targets, const Position& position) const;
  const std::vector<int64_t>& order_of(const Dataset& data, const Position& position);
  Dataset::Batch batch_at(const Dataset& data, int64_t batch_size, const Position& position, int64_t step);

  Network& network_;
  Loss loss_;
  Normalization normalization_;
  Augmentation augmentation_;
  std::optional<TargetTraining> targets_;
  Optimizer optimizer_;
  std::optional<Optimizer> inverse_optimizer_;
  std::optional<Phase> launched_phase_;  // of the steps that were launched and not collected
  PassResult launched_;                  // what came of them on the CPU
#ifdef CORTORCH_CUDA
  std::unique_ptr<cuda::GpuTrainer> gpu_;  // null: the network is on the CPU
#endif
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
