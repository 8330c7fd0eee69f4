// What a trainer is made for, and where it is: what its steps are made from.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "data/dataset.h"
#include "network/network.h"
#include "rules/loss.h"
#include "rules/phase.h"
#include "training/optimizer.h"

namespace cortorch {

struct Task {
  Network& network;
  Loss loss;
  Normalization normalization;
  Augmentation augmentation;                     // of data sets, not of a caller's own batches
  std::shared_ptr<const RuleSettings> settings;  // of the network's rule
  Optimizer optimizer;                           // of what is trained on the loss
  std::optional<Optimizer> rule_optimizer;       // of what the rule learns beside it, if it does

  const Rule& rule() const { return network.rule(); }
  // Are parameters trained in this phase that the rule learns?
  bool trains_own(Phase phase) const { return rule_optimizer.has_value() && rule().learns_in(phase); }
  // Gradients that no update takes would be added to the next ones.
  void drop_gradients() {
    optimizer.take_gradients();
    if (rule_optimizer) rule_optimizer->take_gradients();
  }
};

// Where training is.
struct Position {
  uint64_t seed = 0;
  uint32_t epoch = 0;
  int64_t first_step = 0;  // of the epoch
  uint32_t step = 0;       // the number of steps made so far: of the noise
  Phase phase = Phase::forward;
};

struct PassResult {
  LossCounts counts;
  int64_t steps = 0;  // updates made
  // The loss of the batch after those steps was NaN or infinite, the task's or that of the inverses; it was not used.
  bool not_finite = false, inverse_not_finite = false;
};

}  // namespace cortorch
