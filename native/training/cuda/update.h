// The optimizers on raw device pointers: one pass over parameters, gradients and moments, many tensors a launch.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "training/cuda/step_state.h"
#include "training/update.h"

namespace cortorch::cuda {

enum class UpdateKind { adam, sgd, rmsprop };

// What is the same for all tensors. The constants of the update are table[state->made − 1]; without state->go nothing
// is changed.
struct UpdateRule {
  UpdateKind kind;
  bool signs;           // of each gradient only its sign
  bool bf16_moments;    // else float; rounded at random, by the step and the place alone, since a moment moves by less
                        // than half a unit of bfloat16's last place
  bool bf16_gradients;  // else float; the working copies are bfloat16 then too
};

struct UpdateList {
  static constexpr int most = 48;
  int count = 0;
  struct Entry {
    float* value;
    void* copy;  // bfloat16 working copy, written too; null: there is none
    const void* gradient;
    void *first, *second;  // moments; null where the kind has none
    int64_t values;
    uint32_t first_block, number;  // the parameter's, among all
    bool vector;                   // everything begins at multiples of 16 bytes
  } entries[most];
};

// Fills in first_block.
cudaError_t update(UpdateList& list, const UpdateRule& rule, const UpdateConstants* table, const StepState* state,
                   cudaStream_t stream);

}  // namespace cortorch::cuda
