#include "maps/elementwise.h"

#include <ATen/ops/abs.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/rsub.h>
#include <ATen/ops/sign.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/tanh.h>

#include <algorithm>

#include "base/gpu.h"
#include "base/parallel.h"
#include "base/pool.h"
#include "base/simd.h"
#include "base/vector_math.h"
#include "maps/activation.h"
#include "maps/cuda/elementwise_tensors.h"
#include "maps/image_layout.h"

namespace cortorch {
namespace {

CORTORCH_CLONES void subtract_row(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ out,
                                  int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] - b[i];
}

// σ(a) − σ(a − u): one function per activation, since a clone cannot be a template. relu is written so that a NaN
// passes through.
CORTORCH_CLONES void tanh_difference_row(const float* __restrict__ a, const float* __restrict__ u,
                                         float* __restrict__ out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = tanh_float(u[i]) * (1.0f - tanh_float(a[i]) * tanh_float(a[i] - u[i]));
}
CORTORCH_CLONES void sigmoid_difference_row(const float* __restrict__ a, const float* __restrict__ u,
                                            float* __restrict__ out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float x = 0.5f * a[i], y = 0.5f * u[i];
    out[i] = 0.5f * tanh_float(y) * (1.0f - tanh_float(x) * tanh_float(x - y));
  }
}
CORTORCH_CLONES void relu_difference_row(const float* __restrict__ a, const float* __restrict__ u,
                                         float* __restrict__ out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float x = a[i], y = a[i] - u[i];
    const float difference = (x < 0.0f ? 0.0f : x) - (y < 0.0f ? 0.0f : y);
    out[i] = x > 0.0f && y > 0.0f ? u[i] : difference;
  }
}

CORTORCH_CLONES void magnitude_row(const float* __restrict__ w, const float* __restrict__ m, float* __restrict__ out,
                                   int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float size = m[i] < 0.0f ? -m[i] : m[i];
    out[i] = w[i] > 0.0f ? size : w[i] < 0.0f ? -size : w[i];
  }
}
CORTORCH_CLONES void sign_row(const float* __restrict__ w, float* __restrict__ out, int64_t n, float scale) {
  for (int64_t i = 0; i < n; ++i) out[i] = w[i] > 0.0f ? scale : w[i] < 0.0f ? -scale : w[i];
}

}  // namespace

at::Tensor difference(const at::Tensor& a, const at::Tensor& b) {
  if (has_gpu_kernels(a)) return cuda::difference(a, b);
  if (!has_cpu_kernels(a) || !has_cpu_kernels(b)) return at::sub(a, b);
  const at::Tensor x = ordered(a), y = in_order_of(b, x);
  if (!same_order(y, x)) return at::sub(a, b);
  at::Tensor result = pooled_like(x);
  const float *x_data = x.const_data_ptr<float>(), *y_data = y.const_data_ptr<float>();
  float* out = result.mutable_data_ptr<float>();
  at::parallel_for(0, x.numel(), kGrain, [&](int64_t begin, int64_t end) {
    subtract_row(x_data + begin, y_data + begin, out + begin, end - begin);
  });
  return result;
}

at::Tensor activation_difference(Activation activation, const at::Tensor& a, const at::Tensor& u) {
  if (activation == Activation::identity) return u;
  if (has_gpu_kernels(a)) return cuda::activation_difference(activation, a, u);
  const at::Tensor x = ordered(a), y = in_order_of(u, x);
  if (!has_cpu_kernels(x) || !same_order(y, x)) {
    if (activation == Activation::relu) return at::sub(activate(activation, a), activate(activation, at::sub(a, u)));
    const bool half = activation == Activation::sigmoid;  // σ(x) = (1 + tanh(x / 2)) / 2
    const at::Tensor p = half ? at::mul(a, 0.5) : a, q = half ? at::mul(u, 0.5) : u;
    const at::Tensor result = at::mul(at::tanh(q), at::rsub(at::mul(at::tanh(p), at::tanh(at::sub(p, q))), 1));
    return half ? at::mul(result, 0.5) : result;
  }
  const auto row = activation == Activation::tanh      ? tanh_difference_row
                   : activation == Activation::sigmoid ? sigmoid_difference_row
                                                       : relu_difference_row;
  at::Tensor result = pooled_like(x);
  const float *x_data = x.const_data_ptr<float>(), *y_data = y.const_data_ptr<float>();
  float* out = result.mutable_data_ptr<float>();
  at::parallel_for(0, x.numel(), kGrain / 8,
                   [&](int64_t begin, int64_t end) { row(x_data + begin, y_data + begin, out + begin, end - begin); });
  return result;
}

at::Tensor with_signs(const at::Tensor& w, const at::Tensor& magnitude, double scale) {
  if (has_gpu_kernels(w)) return cuda::with_signs(w, magnitude, scale);
  if (!has_cpu_kernels(w) || (magnitude.defined() && !has_cpu_kernels(magnitude))) {
    return magnitude.defined() ? at::mul(at::sign(w), at::abs(magnitude)) : at::mul(at::sign(w), scale);
  }
  const at::Tensor weight = w.contiguous(), m = magnitude.defined() ? magnitude.contiguous() : magnitude;
  at::Tensor result = pooled_empty(weight.sizes());
  const float *w_data = weight.const_data_ptr<float>(), *m_data = m.defined() ? m.const_data_ptr<float>() : nullptr;
  float* out = result.mutable_data_ptr<float>();
  at::parallel_for(0, weight.numel(), kGrain, [&](int64_t begin, int64_t end) {
    if (m_data != nullptr) {
      magnitude_row(w_data + begin, m_data + begin, out + begin, end - begin);
    } else {
      sign_row(w_data + begin, out + begin, end - begin, static_cast<float>(scale));
    }
  });
  return result;
}

}  // namespace cortorch
