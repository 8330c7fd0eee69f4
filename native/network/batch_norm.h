// Batch normalisation (Ioffe and Szegedy 2015) over the batch and all places of a channel, with an activation.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "network/parameters.h"
#include "plan/spec.h"
#include "rules/rule.h"

namespace cortorch {

// PyTorch's nn.BatchNorm1d and 2d: biased variance in the batch, unbiased in the running one, which moves by
// `momentum` of the way. All parameters are [channels], and float32 whatever comes in; the gradient is the ordinary one
// under every rule.
class BatchNorm {
 public:
  // Of weight 1, bias 0, mean 0, variance 1.
  BatchNorm(int64_t channels, const std::string& name, const LayerSpec& spec, Parameters& parameters);

  // σ(γ (x − mean) / √(variance + ε) + β) for x [batch, channels, …]. Training, where `moved` is given: with the
  // batch's own statistics, and the running ones moved go there; the batch must hold more than one value of a channel.
  // Evaluation, where it is null: with the running statistics.
  at::Tensor forward(const at::Tensor& x, std::vector<Moved>* moved) const;

 private:
  ParameterPtr weight_, bias_, running_mean_, running_var_;
  double momentum_, epsilon_;
  Activation activation_;
};

}  // namespace cortorch
