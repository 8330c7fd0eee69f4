#include "maps/dense.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/matmul.h>
#include <c10/util/Exception.h>

#include "base/gpu.h"
#include "base/pool.h"
#include "maps/cuda/elementwise_tensors.h"
#include "maps/gemm.h"

namespace cortorch {
namespace {

// A matrix whose rows the kernels can read where they lie, next to each other or as slices of longer ones.
at::Tensor rows(const at::Tensor& t) { return t.stride(1) == 1 && t.stride(0) >= t.size(1) ? t : t.contiguous(); }
Operand operand(const at::Tensor& t, bool transposed) { return {t.const_data_ptr<float>(), t.stride(0), transposed}; }

}  // namespace

Dense::Dense(int64_t in, int64_t out) : in_(in), out_(out) {
  TORCH_CHECK(in >= 0 && out >= 0, "dense: sizes must not be negative, but in is ", in, " and out is ", out);
}

at::Tensor Dense::apply(const at::Tensor& weight, const at::Tensor& x, const at::Tensor& bias,
                        Activation activation) const {
  if (has_gpu_kernels(x)) return cuda::product(x, weight.t(), bias, activation);
  if (!has_cpu_kernels(x)) {
    const at::Tensor a = bias.defined() ? at::addmm(bias, x, weight.t()) : at::matmul(x, weight.t());
    return activate(activation, a);
  }
  const at::Tensor xr = rows(x), wr = rows(weight);
  const at::Tensor bc = bias.defined() ? bias.contiguous() : bias;
  const int64_t batch = x.size(0);
  at::Tensor y = pooled_empty({batch, out_});
  const float* b = bc.defined() ? bc.const_data_ptr<float>() : nullptr;
  gemm(batch, out_, in_, operand(xr, false), operand(wr, true), y.mutable_data_ptr<float>(), out_,
       [&](float* tile, int64_t rows, int64_t columns, int64_t ld, int64_t first) {
         bias_activation(activation, tile, rows, columns, ld, b == nullptr ? nullptr : b + first);
       });
  return y;
}

at::Tensor Dense::adjoint(const at::Tensor& v, const at::Tensor& y, const at::Tensor& c, Activation activation) const {
  if (has_gpu_kernels(y)) return cuda::product(y, v, c, activation);
  if (!has_cpu_kernels(y)) return activate(activation, c.defined() ? at::addmm(c, y, v) : at::matmul(y, v));
  const at::Tensor yr = rows(y), vr = rows(v);
  const at::Tensor cc = c.defined() ? c.contiguous() : c;
  const int64_t batch = y.size(0);
  at::Tensor x = pooled_empty({batch, in_});
  const float* b = cc.defined() ? cc.const_data_ptr<float>() : nullptr;
  gemm(batch, in_, out_, operand(yr, false), operand(vr, false), x.mutable_data_ptr<float>(), in_,
       [&](float* tile, int64_t rows, int64_t columns, int64_t ld, int64_t first) {
         bias_activation(activation, tile, rows, columns, ld, b == nullptr ? nullptr : b + first);
       });
  return x;
}

at::Tensor Dense::outer(const at::Tensor& x, const at::Tensor& delta) const {
  if (on_gpu(x) || !has_cpu_kernels(x)) return at::matmul(delta.t(), x);
  const at::Tensor xr = rows(x), dr = rows(delta);
  at::Tensor w = pooled_empty({out_, in_});
  gemm(out_, in_, x.size(0), operand(dr, true), operand(xr, false), w.mutable_data_ptr<float>(), in_);
  return w;
}

}  // namespace cortorch
