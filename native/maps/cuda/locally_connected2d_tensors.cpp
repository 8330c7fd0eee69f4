#include "maps/cuda/locally_connected2d_tensors.h"

#include <ATen/Context.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mul.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>

#include "maps/cuda/locally_connected2d.h"
#include "maps/image_layout.h"

namespace cortorch::cuda {
namespace {

Precision precision_of(const at::Tensor& t) {
  const at::ScalarType type = t.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16,
              "locally_connected2d: on a GPU expected float32 or bfloat16, but received ", type,
              "; float64 runs on the CPU");
  if (type == at::kBFloat16) return Precision::bf16;
  return at::globalContext().allowTF32CuBLAS() ? Precision::tf32 : Precision::fp32;
}

void check_same(const at::Tensor& a, const at::Tensor& b) {
  TORCH_CHECK(a.device().is_cuda() && a.device() == b.device() && a.scalar_type() == b.scalar_type(),
              "locally_connected2d: expected tensors of one type on one GPU, but received ", a.scalar_type(), " on ",
              a.device(), " and ", b.scalar_type(), " on ", b.device());
}

at::Tensor empty_images(const at::Tensor& like, int64_t batch, int64_t channels, int64_t height, int64_t width) {
  return at::empty({height, width, batch, channels}, like.options()).permute({2, 3, 0, 1});
}

void check_launch(cudaError_t error, const Conv2dGeometry& g, int64_t batch) {
  TORCH_CHECK(error != cudaErrorInvalidValue, "locally_connected2d: a batch of ", batch, " images of ", g.in_channels,
              "×", g.in_height, "×", g.in_width, " with a kernel of ", g.kernel_h, "×", g.kernel_w, " to ",
              g.out_channels, " channels is more than the CUDA kernels can index: take a smaller batch");
  C10_CUDA_CHECK(error);
}

// Makes the tensors' device the current one, and its current stream the one to launch on.
struct Here {
  explicit Here(const at::Tensor& t) : guard(t.device()), stream(c10::cuda::getCurrentCUDAStream().stream()) {}
  c10::cuda::CUDAGuard guard;
  cudaStream_t stream;
};

const void* data_or_null(const at::Tensor& t) { return t.defined() ? t.const_data_ptr() : nullptr; }

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
  check_launch(locally_connected2d_apply(g, batch, precision_of(x), weight.const_data_ptr(), from.const_data_ptr(),
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
  check_launch(locally_connected2d_adjoint(g, batch, precision_of(y), v.const_data_ptr(), from.const_data_ptr(),
                                           x.mutable_data_ptr(), here.stream),
               g, batch);
  return activate(activation, c.defined() ? at::add(x, c.permute({2, 0, 1})) : x);
}

at::Tensor locally_connected2d_outer(const Conv2dGeometry& g, const at::Tensor& x, const at::Tensor& delta) {
  check_same(x, delta);
  const Here here(x);
  const at::Tensor from = location_major(x), to = location_major(delta);
  const int64_t batch = x.size(0);
  at::Tensor gradient = at::empty(
      {g.out_height(), g.out_width(), g.kernel_h, g.kernel_w, g.in_channels, g.out_channels}, x.options());
  // An empty batch too is the kernel's: its sums are zeros.
  check_launch(locally_connected2d_outer(g, batch, precision_of(x), from.const_data_ptr(), to.const_data_ptr(),
                                         gradient.mutable_data_ptr(), here.stream),
               g, batch);
  return gradient;
}

at::Tensor locally_connected2d_delta(const Conv2dGeometry& geometry, Activation activation, const at::Tensor& g,
                                     const at::Tensor& y, at::Tensor& bias_gradient, double scale) {
  check_same(g, y);
  const Here here(g);
  const at::Tensor from = location_major(scale == 1 ? g : at::mul(g, scale));
  const bool linear = activation == Activation::identity;
  if (linear && !bias_gradient.defined()) return from;
  const at::Tensor out = location_major(y);
  const int64_t batch = g.size(0);
  at::Tensor delta = linear ? from : empty_images(g, batch, g.size(1), g.size(2), g.size(3));
  void* sums = nullptr;
  if (bias_gradient.defined()) {
    check_same(g, bias_gradient);
    TORCH_CHECK(bias_gradient.is_contiguous(), "locally_connected2d: the bias gradient is not contiguous");
    sums = bias_gradient.mutable_data_ptr();
  }
  check_launch(locally_connected2d_delta(geometry, batch, precision_of(g), activation, from.const_data_ptr(),
                                         out.const_data_ptr(), linear ? nullptr : delta.mutable_data_ptr(), sums,
                                         here.stream),
               geometry, batch);
  return delta;
}

}  // namespace cortorch::cuda
