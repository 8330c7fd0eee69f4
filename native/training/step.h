// The losses of a training step, for whoever makes the updates: on the processor or on a GPU.
#pragma once

#include "training/task.h"

namespace cortorch {

TrainingPass pass_of(const Task& task, uint64_t seed, StepNumber step);

// The task's loss on a batch, ready for backward(), and the gradients of what the rule learns in this phase, all from
// the parameters as they are; counted in the tally. On the CPU the latter are not made if the loss is not finite; a GPU
// is not waited for.
at::Tensor step_losses(const Task& task, const at::Tensor& x, const at::Tensor& labels, Phase phase, TrainingPass& pass,
                       Tally& tally);

}  // namespace cortorch
