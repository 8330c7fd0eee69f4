#include "training/cuda/step_state.h"

#include "base/cuda/launch.cuh"

namespace cortorch::cuda {
namespace {

__global__ void judge_kernel(StepState* state) {
  if (threadIdx.x != 0) return;
  const bool before = state->not_finite == 0 && state->inverse_not_finite == 0;
  const bool loss = isfinite(state->current[kLoss]), inverse = isfinite(state->current[kInverse]);
  state->go = before && loss && inverse;
  if (before && !loss) state->not_finite = 1;
  // As on the CPU, where nothing more is computed after a loss that is not finite.
  if (before && loss && !inverse) state->inverse_not_finite = 1;
  if (state->go != 0) {
    for (int i = 0; i < kCounts; ++i) state->total[i] += state->current[i];
    ++state->made;
    ++state->batch;
    ++state->step;
  }
  for (int i = 0; i < kCounts; ++i) state->current[i] = 0;
}

// `parts` blocks to an entry.
__global__ void keep_kernel(const KeepList list, int parts, const StepState* state) {
  if (state->go == 0) return;
  const KeepList::Entry entry = list.entries[blockIdx.x / parts];
  const int64_t first = static_cast<int64_t>(blockIdx.x % parts) * blockDim.x + threadIdx.x;
  for (int64_t i = first; i < entry.values; i += static_cast<int64_t>(parts) * blockDim.x) entry.to[i] = entry.from[i];
}

// Statistics of batch norm are small; a rule's state may be as large as the weights.
int parts_of(const KeepList& list) {
  int64_t most = 1;
  for (int i = 0; i < list.count; ++i) most = list.entries[i].values > most ? list.entries[i].values : most;
  const int64_t parts = most / (int64_t{8} * block_threads);
  return parts < 1 ? 1 : parts > 256 ? 256 : static_cast<int>(parts);
}

}  // namespace

cudaError_t judge(StepState* state, cudaStream_t stream) {
  return launch_blocks(judge_kernel, 1, 32, 0, stream, state);
}

cudaError_t keep(const KeepList& list, const StepState* state, cudaStream_t stream) {
  const int parts = parts_of(list);
  return launch_blocks(keep_kernel, list.count * parts, block_threads, 0, stream, list, parts, state);
}

}  // namespace cortorch::cuda
