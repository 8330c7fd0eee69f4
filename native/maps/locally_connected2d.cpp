#include "maps/locally_connected2d.h"

#include <ATen/ops/sum.h>
#include <c10/util/Exception.h>

#include "maps/locally_connected2d_cpu.h"

#ifdef CORTORCH_CUDA
#include "maps/cuda/locally_connected2d_tensors.h"
#define RETURN_IF_ON_GPU(tensor, call) \
  if ((tensor).is_cuda()) return cuda::call
#else
#define RETURN_IF_ON_GPU(tensor, call) \
  TORCH_CHECK(!(tensor).is_cuda(), "locally_connected2d: the tensors are on a GPU, but this build has no CUDA kernels")
#endif

namespace cortorch {

LocallyConnected2d::LocallyConnected2d(const Conv2dGeometry& geometry) : g_(geometry) {
  check(g_, "locally_connected2d");
}

at::Tensor LocallyConnected2d::apply(const at::Tensor& weight, const at::Tensor& x, const at::Tensor& bias,
                                     Activation activation) const {
  const at::Tensor w = weight.contiguous(), b = bias.defined() ? bias.contiguous() : bias;
  RETURN_IF_ON_GPU(x, locally_connected2d_apply(g_, w, x, b, activation));
  return cpu::locally_connected2d_apply(g_, w, x, b, activation);
}

at::Tensor LocallyConnected2d::adjoint(const at::Tensor& v, const at::Tensor& y, const at::Tensor& c,
                                       Activation activation) const {
  // Uses of the bias are location by location.
  const at::Tensor by_location = c.defined() ? c.permute({1, 2, 0}).contiguous() : c;
  RETURN_IF_ON_GPU(y, locally_connected2d_adjoint(g_, v.contiguous(), y, by_location, activation));
  return cpu::locally_connected2d_adjoint(g_, v.contiguous(), y, by_location, activation);
}

at::Tensor LocallyConnected2d::outer(const at::Tensor& x, const at::Tensor& delta) const {
  RETURN_IF_ON_GPU(x, locally_connected2d_outer(g_, x, delta));
  return cpu::locally_connected2d_outer(g_, x, delta);
}

at::Tensor LocallyConnected2d::delta(Activation activation, const at::Tensor& g, const at::Tensor& y,
                                     at::Tensor& bias_gradient, double scale) const {
  RETURN_IF_ON_GPU(g, locally_connected2d_delta(g_, activation, g, y, bias_gradient, scale));
  if (g.scalar_type() == at::kFloat) return cpu::locally_connected2d_delta(activation, g, y, bias_gradient, scale);
  const at::Tensor d = through_activation(activation, g, y, scale);
  if (bias_gradient.defined()) bias_gradient.copy_(sum_to_bias(d));
  return d;
}

at::Tensor LocallyConnected2d::sum_to_bias(const at::Tensor& delta) const { return at::sum(delta, 0).permute({1, 2, 0}); }

}  // namespace cortorch
