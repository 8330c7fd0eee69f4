#pragma once

#include "maps/linear_map.h"

namespace cortorch {

// The fully connected map: weight [out, in], bias [out], as PyTorch's Linear.
class Dense final : public LinearMap {
 public:
  Dense(int64_t in, int64_t out);

  at::Tensor apply(const at::Tensor& weight, const at::Tensor& x, const at::Tensor& bias,
                   Activation activation) const override;
  at::Tensor adjoint(const at::Tensor& v, const at::Tensor& y, const at::Tensor& c,
                     Activation activation) const override;
  at::Tensor outer(const at::Tensor& x, const at::Tensor& delta) const override;

  Shape input_shape() const override { return {in_}; }
  Shape output_shape() const override { return {out_}; }
  Shape weight_shape() const override { return {out_, in_}; }
  Shape bias_shape() const override { return {out_}; }
  BiasTiles bias_tiles() const override { return BiasTiles::whole; }
  int64_t fan_in() const override { return in_; }
  int64_t fan_out() const override { return out_; }

 private:
  int64_t in_;
  int64_t out_;
};

}  // namespace cortorch
