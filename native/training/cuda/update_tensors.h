// The updates of an Optimizer whose parameters are on a GPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "training/cuda/step_state.h"
#include "training/optimizer.h"

namespace cortorch::cuda {

// One update from the parameters' gradients, those that Optimizer::take_gradients() gave: with the constants
// table[state->made − 1], if state->go. A parameter without a gradient is left alone. What the table and the state hold
// is read when the kernels run.
void update(Optimizer& optimizer, const std::vector<at::Tensor>& gradients, const UpdateConstants* table,
            const StepState* state);

}  // namespace cortorch::cuda
