// Who makes a trainer's steps: the processor (cpu_stepper), or a GPU (cuda/gpu_stepper).
#pragma once

#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "training/task.h"

namespace cortorch {

class Stepper {
 public:
  Stepper() = default;
  Stepper(const Stepper&) = delete;
  Stepper& operator=(const Stepper&) = delete;
  virtual ~Stepper() = default;

  // As Trainer::run; `order` are all indices of the epoch.
  virtual PassResult run(const Dataset& data, int64_t batch_size, const Position& position,
                         const std::vector<int64_t>& order, std::span<const double> lr_factors,
                         const LossCounts& counts, const std::atomic<bool>& stop) = 0;

  // As Trainer::launch and collect.
  virtual void launch(const at::Tensor& images, const at::Tensor& targets, double lr_factor,
                      const Position& position) = 0;
  virtual PassResult collect() = 0;
  // Is there something to collect?
  virtual bool launching() const = 0;

  // The batch of a step of the epoch, as a step sees it.
  virtual Dataset::Batch batch(const Dataset& data, const std::vector<int64_t>& order, int64_t batch_size, int64_t step,
                               const Position& position) = 0;

  // Why steps are not recorded as a CUDA graph; empty: they are, or will be, or there is none to record.
  virtual std::string graph_failure() const { return {}; }
  virtual void use_graphs(bool) {}
};

// How many examples the batch of a step of the epoch has. Throws c10::Error past the end of the data set.
inline int64_t examples_of(const Dataset& data, int64_t batch_size, int64_t step) {
  const int64_t size = std::min(batch_size, data.size() - step * batch_size);
  TORCH_CHECK(step >= 0 && size > 0, "step ", step, " is past the end of the data set (", data.size(),
              " examples in batches of ", batch_size, ")");
  return size;
}

// The task outlives it.
std::unique_ptr<Stepper> cpu_stepper(Task& task);

}  // namespace cortorch
