// Compiled where there are no CUDA kernels: what the floors call for tensors on a GPU, to refuse it. libtorch's CUDA
// build may lie under such a library all the same. One file for all floors, so none of them includes another here.
#include <c10/util/Exception.h>

#include "base/cuda/devices.h"
#include "base/cuda/noise_tensors.h"
#include "data/cuda/gpu_batches.h"
#include "maps/cuda/elementwise_tensors.h"
#include "maps/cuda/locally_connected2d_tensors.h"
#include "rules/cuda/loss_tensors.h"
#include "training/cuda/gpu_stepper.h"

namespace cortorch::cuda {
namespace {

[[noreturn]] void refuse() {
  TORCH_CHECK(false, "the tensors are on a GPU, but this build of cortorch has no CUDA kernels");
}

}  // namespace

// base/
bool kernels_are_built() { return false; }
Gpus find_gpus(int) { return {}; }
void trim_memory() { refuse(); }
void use_arithmetic(const Arithmetic&) { refuse(); }
void enter(c10::Device) { refuse(); }
c10::Stream new_stream(c10::Device) { refuse(); }
void settle(c10::Device) { refuse(); }
at::Tensor add_noise(const at::Tensor&, double, const NoiseSource&) { refuse(); }
at::Tensor draw_magnitudes(const at::Tensor&, bool, double, const NoiseSource&) { refuse(); }

// maps/
at::Tensor product(const at::Tensor&, const at::Tensor&, const at::Tensor&, Activation) { refuse(); }
at::Tensor delta(const Tiles&, Activation, const at::Tensor&, const at::Tensor&, const at::Tensor&, double) {
  refuse();
}
Residual residual(const Tiles&, Activation, const at::Tensor&, const at::Tensor&, double) { refuse(); }
at::Tensor difference(const at::Tensor&, const at::Tensor&) { refuse(); }
at::Tensor activation_difference(Activation, const at::Tensor&, const at::Tensor&) { refuse(); }
at::Tensor with_signs(const at::Tensor&, const at::Tensor&, double) { refuse(); }
at::Tensor locally_connected2d_apply(const Conv2dGeometry&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                     Activation) {
  refuse();
}
at::Tensor locally_connected2d_adjoint(const Conv2dGeometry&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                       Activation) {
  refuse();
}
at::Tensor locally_connected2d_outer(const Conv2dGeometry&, const at::Tensor&, const at::Tensor&) { refuse(); }

// rules/
at::Tensor zero_counts(const at::Tensor&) { refuse(); }
LossAndGradient cross_entropy(const at::Tensor&, const at::Tensor&, bool, double, const at::Tensor&) { refuse(); }
LossAndGradient squared_error(const at::Tensor&, const at::Tensor&, bool, double, const at::Tensor&) { refuse(); }
void add_squares(const at::Tensor&, double, const at::Tensor&) { refuse(); }

// data/ and training/
at::Tensor prepare(const at::Tensor&, const Normalization&, at::ScalarType) { refuse(); }
std::unique_ptr<Stepper> gpu_stepper(Task&) { refuse(); }
LossCounts evaluate(const Network&, Loss, const Dataset&, const Normalization&, int64_t, const std::atomic<bool>&) {
  refuse();
}

}  // namespace cortorch::cuda
