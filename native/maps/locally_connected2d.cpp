#include "maps/locally_connected2d.h"

#include <c10/util/Exception.h>

#include "base/gpu.h"
#include "maps/cuda/locally_connected2d_tensors.h"
#include "maps/locally_connected2d_cpu.h"

namespace cortorch {

namespace {

void check_device(const at::Tensor& t) {
  TORCH_CHECK(!t.is_cuda(), "locally_connected2d: on a GPU expected float32 or bfloat16, but received ",
              t.scalar_type(), "; float64 runs on the CPU");
}

}  // namespace

LocallyConnected2d::LocallyConnected2d(const Conv2dGeometry& geometry) : g_(geometry) {
  check(g_, "locally_connected2d");
}

at::Tensor LocallyConnected2d::apply(const at::Tensor& weight, const at::Tensor& x, const at::Tensor& bias,
                                     Activation activation) const {
  const at::Tensor w = weight.contiguous(), b = bias.defined() ? bias.contiguous() : bias;
  if (has_gpu_kernels(x)) return cuda::locally_connected2d_apply(g_, w, x, b, activation);
  check_device(x);
  return cpu::locally_connected2d_apply(g_, w, x, b, activation);
}

at::Tensor LocallyConnected2d::adjoint(const at::Tensor& v, const at::Tensor& y, const at::Tensor& c,
                                       Activation activation) const {
  // Uses of the bias are location by location.
  const at::Tensor by_location = c.defined() ? c.permute({1, 2, 0}).contiguous() : c;
  if (has_gpu_kernels(y)) return cuda::locally_connected2d_adjoint(g_, v.contiguous(), y, by_location, activation);
  check_device(y);
  return cpu::locally_connected2d_adjoint(g_, v.contiguous(), y, by_location, activation);
}

at::Tensor LocallyConnected2d::outer(const at::Tensor& x, const at::Tensor& delta) const {
  if (has_gpu_kernels(x)) return cuda::locally_connected2d_outer(g_, x, delta);
  check_device(x);
  return cpu::locally_connected2d_outer(g_, x, delta);
}

}  // namespace cortorch
