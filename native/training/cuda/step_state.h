// Where a run of training steps stands, in the GPU's memory: read and moved on by the kernels themselves, so that a
// step is the same work every time, can be recorded once, and nobody waits for it.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "rules/cuda/loss.h"

namespace cortorch::cuda {

struct StepState {
  int64_t batch;            // number of the batch in the epoch
  int64_t made;             // steps of this run that were made
  double total[kCounts];    // of the steps made, going on from before the run
  double current[kCounts];  // of the step at work
  uint32_t epoch;           // from 0: of the augmentation
  uint32_t step;            // made before, in all: of what is drawn at each step
  // The loss, or that of the inverses, was NaN or infinite: no further step of the run is made, and none is counted.
  int32_t not_finite, inverse_not_finite;
  int32_t go;  // the step at work is made
};

// After the losses of a step: is it made? Then it is counted, and the state is that of the next step, but for `made`,
// by which the updates of this one find their constants: those of made − 1.
cudaError_t judge(StepState* state, cudaStream_t stream);

// Statistics that the step moved become those that are kept, if it is made.
struct KeepList {
  static constexpr int most = 128;
  int count = 0;
  struct Entry {
    float* to;
    const float* from;
    int64_t values;
  } entries[most];
};
cudaError_t keep(const KeepList& list, const StepState* state, cudaStream_t stream);

}  // namespace cortorch::cuda
