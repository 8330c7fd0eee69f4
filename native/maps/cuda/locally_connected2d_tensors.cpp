#include "maps/cuda/locally_connected2d_tensors.h"

#include <ATen/ops/empty.h>

#include "base/cuda/here.h"
#include "maps/cuda/locally_connected2d.h"
#include "maps/image_layout.h"

namespace cortorch::cuda {
namespace {

at::Tensor empty_images(const at::Tensor& like, int64_t batch, int64_t channels, int64_t height, int64_t width) {
  return at::empty({height, width, batch, channels}, like.options()).permute({2, 3, 0, 1});
}

void check_product(cudaError_t error, const Conv2dGeometry& g, int64_t batch) {
  TORCH_CHECK(error != cudaErrorInvalidValue, "locally_connected2d: a batch of ", batch, " images of ", g.in_channels,
              "×", g.in_height, "×", g.in_width, " with a kernel of ", g.kernel_h, "×", g.kernel_w, " to ",
              g.out_channels,
              " channels is more than the CUDA kernels can index: take a smaller batch or kernel, or fewer channels");
  C10_CUDA_CHECK(error);
}

}  // namespace

at::Tensor locally_connected2d_apply(const Conv2dGeometry& g, const at::Tensor& weight, const at::Tensor& x,
                                     const at::Tensor& bias, Activation activation) {
  check_same(x, weight);
  if (bias.defined()) check_same(x, bias);
  const Here here(x);
  const at::Tensor from = location_major(x);
  const int64_t batch = x.size(0);
  at::Tensor y = empty_images(x, batch, g.out_channels, g.out_height(), g.out_width());
  if (y.numel() == 0) return y;
  check_product(locally_connected2d_apply(g, batch, precision_of(x), weight.const_data_ptr(), from.const_data_ptr(),
                                          data_or_null(bias), activation, y.mutable_data_ptr(), here.stream),
                g, batch);
  return y;
}

at::Tensor locally_connected2d_adjoint(const Conv2dGeometry& g, const at::Tensor& v, const at::Tensor& y,
                                       const at::Tensor& c, Activation activation) {
  check_same(y, v);
  const Here here(y);
  const at::Tensor from = location_major(y);
  const int64_t batch = y.size(0);
  at::Tensor x = empty_images(y, batch, g.in_channels, g.in_height, g.in_width);
  if (x.numel() == 0) return x;
  if (c.defined()) check_same(y, c);
  check_product(locally_connected2d_adjoint(g, batch, precision_of(y), v.const_data_ptr(), from.const_data_ptr(),
                                            data_or_null(c), activation, x.mutable_data_ptr(), here.stream),
                g, batch);
  return x;
}

at::Tensor locally_connected2d_outer(const Conv2dGeometry& g, const at::Tensor& x, const at::Tensor& delta) {
  check_same(x, delta);
  const Here here(x);
  const at::Tensor from = location_major(x), to = location_major(delta);
  const int64_t batch = x.size(0);
  at::Tensor gradient =
      at::empty({g.out_height(), g.out_width(), g.kernel_h, g.kernel_w, g.in_channels, g.out_channels}, x.options());
  // An empty batch too is the kernel's: its sums are zeros.
  check_product(locally_connected2d_outer(g, batch, precision_of(x), from.const_data_ptr(), to.const_data_ptr(),
                                          gradient.mutable_data_ptr(), here.stream),
                g, batch);
  return gradient;
}

}  // namespace cortorch::cuda
