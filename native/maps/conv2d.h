#pragma once

#include "maps/conv2d_geometry.h"
#include "maps/linear_map.h"

namespace cortorch {

// The ordinary convolution, with the weights of all locations shared, through libtorch's own kernels: weight
// [out, in, k_h, k_w], bias [out], as PyTorch's Conv2d.
class Conv2d final : public LinearMap {
 public:
  // Throws c10::Error if nothing comes out of this geometry.
  explicit Conv2d(const Conv2dGeometry& geometry);

  at::Tensor apply(const at::Tensor& weight, const at::Tensor& x, const at::Tensor& bias,
                   Activation activation) const override;
  at::Tensor adjoint(const at::Tensor& v, const at::Tensor& y, const at::Tensor& c,
                     Activation activation) const override;
  at::Tensor outer(const at::Tensor& x, const at::Tensor& delta) const override;

  Shape input_shape() const override { return {g_.in_channels, g_.in_height, g_.in_width}; }
  Shape output_shape() const override { return {g_.out_channels, g_.out_height(), g_.out_width()}; }
  Shape weight_shape() const override { return {g_.out_channels, g_.in_channels, g_.kernel_h, g_.kernel_w}; }
  Shape bias_shape() const override { return {g_.out_channels}; }
  BiasTiles bias_tiles() const override { return BiasTiles::shared; }
  int64_t fan_in() const override { return g_.kernel_h * g_.kernel_w * g_.in_channels; }
  int64_t fan_out() const override { return g_.kernel_h * g_.kernel_w * g_.out_channels; }

 private:
  Conv2dGeometry g_;
};

}  // namespace cortorch
