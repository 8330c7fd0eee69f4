// A training step, and passes over a data set.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "data/dataset.h"
#include "network/network.h"
#include "rules/loss.h"
#include "training/optimizer.h"

namespace cortorch {

enum class Loss { softmax_cross_entropy, squared_error };

struct PassResult {
  LossCounts counts;
  int64_t steps = 0;         // updates made
  bool not_finite = false;   // the loss of the batch after those steps was NaN or infinite; it was not used
};

class Trainer {
 public:
  // The network must outlive the trainer.
  Trainer(Network& network, Loss loss, OptimizerSpec optimizer, Normalization normalization);

  // One update on a batch: x [batch, input] ready for the network. A loss that is not finite makes no update.
  PassResult step(const at::Tensor& x, const at::Tensor& targets, double lr_factor);

  // Steps `first_step` … of epoch `epoch`, one for each learning-rate factor; the epoch is a permutation of
  // the data set in batches, of which the last may be short. Ends early, between steps, when `stop` is set.
  // The counts go on from `counts`, step by step: how an epoch is cut into runs does not change their bits.
  PassResult run(const Dataset& data, int64_t batch_size, uint64_t seed, uint32_t epoch, int64_t first_step,
                 std::span<const double> lr_factors, const LossCounts& counts, const std::atomic<bool>& stop);

  Optimizer& optimizer() { return optimizer_; }

 private:
  Network& network_;
  Loss loss_;
  Normalization normalization_;
  Optimizer optimizer_;
  // The order of the epoch at work, so that a pass may be run in pieces.
  struct Order {
    uint64_t seed = 0;
    uint32_t epoch = 0;
    std::vector<int64_t> indices;
  } order_;
};

// Loss and error over a whole data set, in its own order. Ends early, between batches, when `stop` is set.
LossCounts evaluate(const Network& network, Loss loss, const Dataset& data, const Normalization& normalization,
                    int64_t batch_size, const std::atomic<bool>& stop);

}  // namespace cortorch
