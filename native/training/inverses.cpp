#include "training/inverses.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include "base/gpu.h"
#include "maps/delta.h"
#include "rules/cuda/loss_tensors.h"

namespace cortorch {

namespace {

void count(const Residual& r, double units, Tally& tally) {
  if (has_gpu_kernels(r.delta)) return cuda::add_squares(r.partial_squares, 1 / units, tally.on_gpu);
  tally.host.inverse += r.squares / units;
}

}  // namespace

void inverse_gradients(const Network& network, const std::vector<at::Tensor>& inputs, const InverseSettings& settings,
                       const TargetSettings& targets, uint64_t seed, StepNumber step, Tally& tally) {
  const at::NoGradGuard no_grad;
  std::size_t number = 0;
  for (std::size_t i = 0; i < network.size(); ++i) {
    const Inverse& inverse = network.inverse(i);
    if (!inverse.defined()) continue;
    const double sigma = settings.noise.at(number++);
    const at::Tensor& h = inputs.at(i);
    const double batch = static_cast<double>(h.size(0));
    const double units = targets.reduction == UnitReduction::mean ? static_cast<double>(h.numel()) / batch : 1;

    const at::Tensor noisy = sigma > 0 ? add_noise(h, sigma, {seed, static_cast<uint32_t>(i), step}) : h;
    const at::Tensor above = network.activity(i, noisy, targets.activity);
    const at::Tensor& goal = settings.loss == InverseLoss::noise_preserving ? noisy : h;
    const Residual r = residual(inverse.activation, inverse(above), goal, 2 / (batch * units));
    // g is the adjoint of V, so its weights' gradient is the outer product with the sides exchanged.
    at::Tensor weight = inverse.weight, bias = inverse.bias;
    weight.mutable_grad() = inverse.map->outer(r.delta, above);
    bias.mutable_grad() = r.bias_sum;
    count(r, units, tally);
  }
}

}  // namespace cortorch
