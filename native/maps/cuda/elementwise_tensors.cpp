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

// Of a and of b, which may be undefined, in the order of a's memory.
at::Tensor elementwise(Elementwise operation, const at::Tensor& a, const at::Tensor& b,
                       Activation activation = Activation::identity, double scale = 1) {
  const at::Tensor x = without_gaps(a), y = b.defined() ? in_order_of(b, x) : b;
  if (y.defined()) check_same(x, y);
  const Here here(x);
  at::Tensor result = at::empty_like(x);
  check_launch(elementwise(operation, x.numel(), precision_of(x), activation, static_cast<float>(scale),
                           x.const_data_ptr(), data_or_null(y), result.mutable_data_ptr(), here.stream));
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

at::Tensor delta(const Tiles& tiles, Activation activation, const at::Tensor& g, const at::Tensor& y,
                 const at::Tensor& bias_sum, double scale) {
  check_same(g, y);
  const bool same = passes_through(activation, scale);
  const Here here(g);
  at::Tensor result = same ? g : at::empty_like(g);
  check_launch(delta(tiles, precision_of(g), activation, static_cast<float>(scale), g.const_data_ptr(),
                     y.const_data_ptr(), same ? nullptr : result.mutable_data_ptr(), mutable_or_null(bias_sum),
                     here.stream));
  return result;
}

Residual residual(const Tiles& tiles, Activation activation, const at::Tensor& r, const at::Tensor& t, double scale) {
  check_same(r, t);
  const Here here(r);
  const auto options = r.options().memory_format(at::MemoryFormat::Contiguous);
  Residual result{at::empty_like(r), at::empty({tiles.count * tiles.columns}, options), 0,
                  at::empty({residual_blocks(tiles)}, options.dtype(at::kFloat))};
  check_launch(residual(tiles, precision_of(r), activation, static_cast<float>(scale), r.const_data_ptr(),
                        t.const_data_ptr(), result.delta.mutable_data_ptr(), result.bias_sum.mutable_data_ptr(),
                        result.partial_squares.mutable_data_ptr<float>(), here.stream));
  return result;
}

at::Tensor difference(const at::Tensor& a, const at::Tensor& b) { return elementwise(Elementwise::difference, a, b); }

at::Tensor activation_difference(Activation activation, const at::Tensor& a, const at::Tensor& u) {
  return elementwise(Elementwise::activation_difference, a, u, activation);
}

at::Tensor with_signs(const at::Tensor& w, const at::Tensor& magnitude, double scale) {
  const Elementwise operation = magnitude.defined() ? Elementwise::magnitudes_with_signs : Elementwise::signs;
  return elementwise(operation, w.contiguous(), magnitude, Activation::identity, scale);
}

}  // namespace cortorch::cuda
