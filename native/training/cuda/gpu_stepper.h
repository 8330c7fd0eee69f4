// Training where the network is on a GPU: steps are given to its stream one after the other, and only at the end of a
// run somebody waits. Where a step stands is in the GPU's own memory (step_state.h), so a step is always the same work,
// and is recorded as a CUDA graph once it has run a few times.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "training/stepper.h"

namespace cortorch::cuda {

// The task outlives it.
std::unique_ptr<Stepper> gpu_stepper(Task& task);

// As evaluate() of training/trainer.h.
LossCounts evaluate(const Network& network, Loss loss, const Dataset& data, const Normalization& normalization,
                    int64_t batch_size, const std::atomic<bool>& stop);

}  // namespace cortorch::cuda
