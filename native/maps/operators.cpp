#include "maps/operators.h"

#include <ATen/ops/add.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include "maps/autograd.h"
#include "maps/dense.h"

namespace cortorch {
namespace {

void check_floating(const char* op, const char* name, const at::Tensor& t) {
  TORCH_CHECK(t.defined(), op, ": ", name, " is undefined");
  TORCH_CHECK(t.scalar_type() == at::kFloat || t.scalar_type() == at::kDouble, op, ": expected ", name,
              " to be float32 or float64, but it is ", t.scalar_type());
}

void check_same(const char* op, const char* a_name, const at::Tensor& a, const char* b_name, const at::Tensor& b) {
  TORCH_CHECK(a.scalar_type() == b.scalar_type(), op, ": ", a_name, " is ", a.scalar_type(), " but ", b_name, " is ",
              b.scalar_type());
  TORCH_CHECK(a.device() == b.device(), op, ": ", a_name, " is on ", a.device(), " but ", b_name, " is on ", b.device());
}

void check_matrix(const char* op, const char* name, const at::Tensor& t) {
  TORCH_CHECK(t.dim() == 2, op, ": expected ", name, " to be [out, in], but its shape is ", t.sizes());
}

// [..., n] as [batch, n].
at::Tensor as_batch(const char* op, const char* name, const at::Tensor& t, int64_t n) {
  TORCH_CHECK(t.dim() >= 1 && t.size(-1) == n, op, ": expected the last size of ", name, " to be ", n,
              ", but its shape is ", t.sizes());
  if (t.dim() == 2) return t;
  // reshape(-1) is ambiguous for empty tensors
  int64_t batch = 1;
  for (int64_t i = 0; i + 1 < t.dim(); ++i) batch *= t.size(i);
  return t.reshape({batch, n});
}

at::Tensor like_input(const at::Tensor& result, const at::Tensor& input, int64_t last) {
  if (input.dim() == 2) return result;
  Shape shape(input.sizes().begin(), input.sizes().end());
  shape.back() = last;
  return result.reshape(shape);
}

LinearMapPtr dense_map(int64_t in, int64_t out) { return c10::make_intrusive<Dense>(in, out); }

}  // namespace

at::Tensor dense(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  check_floating("dense", "x", x);
  check_floating("dense", "weight", weight);
  check_same("dense", "x", x, "weight", weight);
  check_matrix("dense", "weight", weight);
  const int64_t out = weight.size(0), in = weight.size(1);
  at::Tensor y = differentiable_apply(dense_map(in, out), weight, as_batch("dense", "x", x, in));
  if (bias.has_value() && bias->defined()) {
    check_same("dense", "x", x, "bias", *bias);
    TORCH_CHECK(bias->dim() == 1 && bias->size(0) == out, "dense: expected bias to be [", out, "], but its shape is ",
                bias->sizes());
    y = at::add(y, *bias);
  }
  return like_input(y, x, out);
}

at::Tensor dense_adjoint(const at::Tensor& v, const at::Tensor& y) {
  check_floating("dense_adjoint", "v", v);
  check_floating("dense_adjoint", "y", y);
  check_same("dense_adjoint", "v", v, "y", y);
  check_matrix("dense_adjoint", "v", v);
  const int64_t out = v.size(0), in = v.size(1);
  return like_input(differentiable_adjoint(dense_map(in, out), v, as_batch("dense_adjoint", "y", y, out)), y, in);
}

at::Tensor dense_outer(const at::Tensor& x, const at::Tensor& delta) {
  check_floating("dense_outer", "x", x);
  check_floating("dense_outer", "delta", delta);
  check_same("dense_outer", "x", x, "delta", delta);
  TORCH_CHECK(x.dim() >= 1 && delta.dim() == x.dim() && x.sizes().slice(0, x.dim() - 1) == delta.sizes().slice(0, x.dim() - 1),
              "dense_outer: expected x [..., in] and delta [..., out] to have equal leading sizes, but their shapes are ",
              x.sizes(), " and ", delta.sizes());
  const int64_t in = x.size(-1), out = delta.size(-1);
  return differentiable_outer(dense_map(in, out), as_batch("dense_outer", "x", x, in),
                              as_batch("dense_outer", "delta", delta, out));
}

}  // namespace cortorch

// CompositeImplicit: the functions above make their own autograd graph.
TORCH_LIBRARY(cortorch, m) {
  m.def("dense(Tensor x, Tensor weight, Tensor? bias=None) -> Tensor", &cortorch::dense);
  m.def("dense_adjoint(Tensor v, Tensor y) -> Tensor", &cortorch::dense_adjoint);
  m.def("dense_outer(Tensor x, Tensor delta) -> Tensor", &cortorch::dense_outer);
}
