#include "maps/conv2d.h"

#include <ATen/ops/add.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>

#include <array>
#include <optional>

#include "base/optional_tensor.h"
#include "maps/image_layout.h"

namespace cortorch {
namespace {

using Pair = std::array<int64_t, 2>;

Pair stride(const Conv2dGeometry& g) { return {g.stride_h, g.stride_w}; }
Pair padding(const Conv2dGeometry& g) { return {g.padding_h, g.padding_w}; }
Pair dilation(const Conv2dGeometry& g) { return {g.dilation_h, g.dilation_w}; }
constexpr Pair kNone{0, 0};

// libtorch convolves it as it is. bfloat16 on the CPU goes by way of float32: on processors with AMX libtorch 2.13
// and 2.14 give wrong numbers for strides of 3.
at::Tensor operand(const at::Tensor& t) {
  return channels_last(t.scalar_type() == at::kBFloat16 && t.is_cpu() ? t.to(at::kFloat) : t);
}

}  // namespace

Conv2d::Conv2d(const Conv2dGeometry& geometry) : g_(geometry) { check(g_, "conv2d"); }

at::Tensor Conv2d::apply(const at::Tensor& weight, const at::Tensor& x, const at::Tensor& bias,
                         Activation activation) const {
  const at::Tensor from = operand(x);
  const std::optional<at::Tensor> b = if_defined(bias.defined() ? bias.to(from.scalar_type()) : bias);
  const at::Tensor y = at::convolution(from, operand(weight), b, stride(g_), padding(g_), dilation(g_),
                                       /*transposed=*/false, kNone, /*groups=*/1);
  // Some of libtorch's kernels give another order than they were given.
  return activate(activation, channels_last(y)).to(x.scalar_type());
}

at::Tensor Conv2d::adjoint(const at::Tensor& v, const at::Tensor& y, const at::Tensor& c, Activation activation) const {
  // Rows and columns at the far edge that no kernel reached: they get zeros.
  const int64_t reach_h = g_.dilation_h * (g_.kernel_h - 1) + 1, reach_w = g_.dilation_w * (g_.kernel_w - 1) + 1;
  const Pair rest{(g_.in_height + 2 * g_.padding_h - reach_h) % g_.stride_h,
                  (g_.in_width + 2 * g_.padding_w - reach_w) % g_.stride_w};
  const at::Tensor x = at::convolution(operand(y), operand(v), std::nullopt, stride(g_), padding(g_), dilation(g_),
                                       /*transposed=*/true, rest, /*groups=*/1);
  return activate(activation, channels_last(c.defined() ? at::add(x, c.to(x.scalar_type())) : x)).to(y.scalar_type());
}

at::Tensor Conv2d::outer(const at::Tensor& x, const at::Tensor& delta) const {
  const at::Tensor from = operand(x), shape_only = at::empty(weight_shape(), from.options());
  const auto gradients =
      at::convolution_backward(operand(delta), from, shape_only, std::nullopt, stride(g_), padding(g_), dilation(g_),
                               /*transposed=*/false, kNone, /*groups=*/1, {false, true, false});
  return std::get<1>(gradients).to(x.scalar_type()).contiguous();  // as the weights lie
}

}  // namespace cortorch
