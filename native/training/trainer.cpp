#include "training/trainer.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace cortorch {
namespace {

at::Tensor loss_of(Loss loss, const at::Tensor& outputs, const at::Tensor& targets, LossCounts& counts) {
  return loss == Loss::softmax_cross_entropy ? softmax_cross_entropy(outputs, targets, counts)
                                             : squared_error(outputs, targets, counts);
}

std::vector<at::Tensor> values(const std::vector<std::pair<std::string, at::Tensor>>& named) {
  std::vector<at::Tensor> result;
  for (const auto& [name, tensor] : named) result.push_back(tensor);
  return result;
}

}  // namespace

Trainer::Trainer(Network& network, Loss loss, OptimizerSpec optimizer, Normalization normalization)
    : network_(network),
      loss_(loss),
      normalization_(std::move(normalization)),
      optimizer_(optimizer, values(network.trainable())) {}

PassResult Trainer::step(const at::Tensor& x, const at::Tensor& targets, double lr_factor) {
  PassResult result;
  at::AutoGradMode record(true);
  const at::Tensor loss = loss_of(loss_, network_.forward(x), targets, result.counts);
  if (!std::isfinite(result.counts.loss)) {
    result.not_finite = true;
    return result;
  }
  loss.backward();
  optimizer_.step(lr_factor);
  result.steps = 1;
  return result;
}

PassResult Trainer::run(const Dataset& data, int64_t batch_size, uint64_t seed, uint32_t epoch, int64_t first_step,
                        std::span<const double> lr_factors, const LossCounts& counts, const std::atomic<bool>& stop) {
  if (order_.seed != seed || order_.epoch != epoch || order_.indices.size() != static_cast<std::size_t>(data.size())) {
    order_ = {seed, epoch, permutation(seed, epoch, data.size())};
  }
  PassResult total;
  total.counts = counts;
  for (std::size_t i = 0; i < lr_factors.size() && !stop.load(std::memory_order_relaxed); ++i) {
    const int64_t begin = (first_step + static_cast<int64_t>(i)) * batch_size;
    const int64_t count = std::min(batch_size, data.size() - begin);
    TORCH_CHECK(begin >= 0 && count > 0, "step ", first_step + static_cast<int64_t>(i), " is past the end of the data set (", data.size(), " examples in batches of ", batch_size, ")");
    const auto batch = data.gather(order_.indices.data() + begin, count, normalization_);
    const PassResult one = step(batch.x, batch.targets, lr_factors[i]);
    if (one.not_finite) {
      total.not_finite = true;
      break;
    }
    total.counts.add(one.counts);
    total.steps += one.steps;
  }
  return total;
}

LossCounts evaluate(const Network& network, Loss loss, const Dataset& data, const Normalization& normalization,
                    int64_t batch_size, const std::atomic<bool>& stop) {
  at::NoGradGuard no_grad;
  LossCounts counts;
  std::vector<int64_t> indices(static_cast<std::size_t>(data.size()));
  std::iota(indices.begin(), indices.end(), 0);
  for (int64_t begin = 0; begin < data.size() && !stop.load(std::memory_order_relaxed); begin += batch_size) {
    const auto batch = data.gather(indices.data() + begin, std::min(batch_size, data.size() - begin), normalization);
    loss_of(loss, network.forward(batch.x), batch.targets, counts);
  }
  return counts;
}

}  // namespace cortorch
