#include "maps/cuda/elementwise_tensors.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>

#include "base/cuda/here.h"
#include "maps/cuda/delta.h"
#include "maps/cuda/elementwise.h"
#include "maps/image_layout.h"

namespace cortorch::cuda {
namespace {

// Without gaps, in whatever order.
at::Tensor dense(const at::Tensor& x) { return x.is_non_overlapping_and_dense() ? x : x.contiguous(); }

// x in the order of `like`, which is without gaps.
at::Tensor in_order_of(const at::Tensor& x, const at::Tensor& like) {
  if (x.strides() == like.strides()) return x;
  at::Tensor result = at::empty_like(like, x.options());
  result.copy_(x);
  return result;
}

Tiles rows_of(const at::Tensor& x) { return {1, x.size(0), x.size(1)}; }
Tiles locations_of(const at::Tensor& x) { return {x.size(2) * x.size(3), x.size(0), x.size(1)}; }

// g and y in one order, in which they are `tiles`.
at::Tensor delta_of(const Tiles& tiles, Activation activation, const at::Tensor& g, const at::Tensor& y,
                    const at::Tensor& bias_gradient, double scale) {
  check_same(g, y);
  const bool same = activation == Activation::identity && scale == 1;
  if (same && !bias_gradient.defined()) return g;
  const Here here(g);
  at::Tensor result = same ? g : at::empty_like(g);
  if (bias_gradient.defined()) {
    check_same(g, bias_gradient);
    TORCH_CHECK(bias_gradient.is_contiguous(), "the bias gradient is not contiguous");
  }
  check_launch(cuda::delta(tiles, precision_of(g), activation, static_cast<float>(scale), g.const_data_ptr(),
                           y.const_data_ptr(), same ? nullptr : result.mutable_data_ptr(),
                           mutable_or_null(bias_gradient), here.stream));
  return result;
}

}  // namespace

// cuBLAS's product, which adds a bias by itself where no activation follows, and otherwise one pass of ours for both.
at::Tensor product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias, Activation activation) {
  if (activation == Activation::identity) return bias.defined() ? at::addmm(bias, a, b) : at::mm(a, b);
  at::Tensor y = at::mm(a, b);
  const Here here(y);
  const at::Tensor c = bias.defined() ? bias.contiguous() : bias;
  if (c.defined()) check_same(y, c);
  check_launch(bias_activation(y.size(0), y.size(1), precision_of(y), activation, y.mutable_data_ptr(), data_or_null(c),
                               here.stream));
  return y;
}

at::Tensor delta_of_rows(Activation activation, const at::Tensor& g, const at::Tensor& y, at::Tensor& bias_gradient,
                         double scale) {
  return delta_of(rows_of(g), activation, g.contiguous(), y.contiguous(), bias_gradient, scale);
}

at::Tensor delta_of_locations(Activation activation, const at::Tensor& g, const at::Tensor& y,
                              at::Tensor& bias_gradient, double scale) {
  return delta_of(locations_of(g), activation, location_major(g), location_major(y), bias_gradient, scale);
}

at::Tensor delta_of_values(Activation activation, const at::Tensor& g, const at::Tensor& y, double scale) {
  const at::Tensor from = dense(g);
  return delta_of({1, 1, from.numel()}, activation, from, in_order_of(y, from), {}, scale);
}

Residual residual(Activation activation, const at::Tensor& r, const at::Tensor& t, double scale) {
  check_same(r, t);
  const bool by_location = r.dim() == 4 && !r.is_contiguous();
  const at::Tensor from = by_location ? location_major(r) : r.contiguous(), target = in_order_of(t, from);
  const Here here(from);
  const int64_t batch = from.size(0), units = from.numel() / std::max<int64_t>(1, batch);
  const Tiles tiles = by_location ? locations_of(from) : Tiles{1, batch, units};
  Residual result{at::empty_like(from), at::empty({units}, from.options().memory_format(at::MemoryFormat::Contiguous)),
                  0,
                  at::empty({residual_blocks(tiles)},
                            from.options().dtype(at::kFloat).memory_format(at::MemoryFormat::Contiguous))};
  check_launch(cuda::residual(tiles, precision_of(from), activation, static_cast<float>(scale), from.const_data_ptr(),
                              target.const_data_ptr(), result.delta.mutable_data_ptr(),
                              result.bias_sum.mutable_data_ptr(), result.partial_squares.mutable_data_ptr<float>(),
                              here.stream));
  if (by_location) {
    result.bias_sum = result.bias_sum.view({from.size(2), from.size(3), from.size(1)}).permute({2, 0, 1}).contiguous();
  } else {
    result.bias_sum = result.bias_sum.view(from.sizes().slice(1));
  }
  return result;
}

at::Tensor difference(const at::Tensor& a, const at::Tensor& b) {
  check_same(a, b);
  const at::Tensor x = dense(a), y = in_order_of(b, x);
  const Here here(x);
  at::Tensor result = at::empty_like(x);
  check_launch(cuda::subtract(x.numel(), precision_of(x), x.const_data_ptr(), y.const_data_ptr(),
                              result.mutable_data_ptr(), here.stream));
  return result;
}

at::Tensor activation_difference(Activation activation, const at::Tensor& a, const at::Tensor& u) {
  check_same(a, u);
  const at::Tensor x = dense(a), y = in_order_of(u, x);
  const Here here(x);
  at::Tensor result = at::empty_like(x);
  check_launch(cuda::activation_difference(x.numel(), precision_of(x), activation, x.const_data_ptr(),
                                           y.const_data_ptr(), result.mutable_data_ptr(), here.stream));
  return result;
}

at::Tensor with_signs(const at::Tensor& w, const at::Tensor& magnitude, double scale) {
  const at::Tensor weight = w.contiguous(), m = magnitude.defined() ? magnitude.contiguous() : magnitude;
  if (m.defined()) check_same(weight, m);
  const Here here(weight);
  at::Tensor result = at::empty_like(weight);
  check_launch(cuda::with_signs(weight.numel(), precision_of(weight), weight.const_data_ptr(), data_or_null(m),
                                static_cast<float>(scale), result.mutable_data_ptr(), here.stream));
  return result;
}

}  // namespace cortorch::cuda
