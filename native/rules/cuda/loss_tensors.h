// The losses on tensors on a GPU, float32 or bfloat16. Nothing waits: what is counted stays there.
#pragma once

#include <ATen/core/Tensor.h>

namespace cortorch::cuda {

// Zeros for sums of LossCounts in its order, float64, on the device of `like`.
at::Tensor zero_counts(const at::Tensor& like);

struct LossAndGradient {
  at::Tensor mean;      // scalar, float32
  at::Tensor gradient;  // (o − y) / divisor or factor · (o − t), of the outputs' type; undefined if it was not wanted
};

// Adds to `counts` (zero_counts). labels int64 [batch].
LossAndGradient cross_entropy(const at::Tensor& logits, const at::Tensor& labels, bool want_gradient, double divisor,
                              const at::Tensor& counts);
// targets [batch, n], or labels int64 [batch], which stand for one-hot targets.
LossAndGradient squared_error(const at::Tensor& outputs, const at::Tensor& targets, bool want_gradient, double factor,
                              const at::Tensor& counts);
// Adds factor · Σ squares (of cuda::residual) to the inverses' loss.
void add_squares(const at::Tensor& squares, double factor, const at::Tensor& counts);

}  // namespace cortorch::cuda
