#include "maps/activation.h"

#include <ATen/ops/gt.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/rsub.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tanh.h>

#include <algorithm>

#include "base/simd.h"
#include "base/vector_math.h"

namespace cortorch {
namespace {

// The cloned loops. One function per activation: a clone cannot be a template.
CORTORCH_CLONES void tanh_row(float* y, int64_t n, const float* bias) {
  for (int64_t i = 0; i < n; ++i) y[i] = tanh_float(y[i] + bias[i]);
}
CORTORCH_CLONES void sigmoid_row(float* y, int64_t n, const float* bias) {
  for (int64_t i = 0; i < n; ++i) y[i] = sigmoid_float(y[i] + bias[i]);
}
CORTORCH_CLONES void relu_row(float* y, int64_t n, const float* bias) {
  for (int64_t i = 0; i < n; ++i) {
    const float a = y[i] + bias[i];
    y[i] = a < 0.0f ? 0.0f : a;  // written so that a NaN passes through
  }
}
CORTORCH_CLONES void identity_row(float* y, int64_t n, const float* bias) {
  for (int64_t i = 0; i < n; ++i) y[i] += bias[i];
}

// δ and its running sum over the batch, one row.
CORTORCH_CLONES void tanh_backward_row(const float* g, const float* y, float* d, float* sum, int64_t n, float scale) {
  for (int64_t i = 0; i < n; ++i) {
    d[i] = scale * g[i] * (1.0f - y[i] * y[i]);
    sum[i] += d[i];
  }
}
CORTORCH_CLONES void sigmoid_backward_row(const float* g, const float* y, float* d, float* sum, int64_t n,
                                          float scale) {
  for (int64_t i = 0; i < n; ++i) {
    d[i] = scale * g[i] * (y[i] * (1.0f - y[i]));
    sum[i] += d[i];
  }
}
CORTORCH_CLONES void relu_backward_row(const float* g, const float* y, float* d, float* sum, int64_t n, float scale) {
  for (int64_t i = 0; i < n; ++i) {
    d[i] = y[i] > 0.0f ? scale * g[i] : 0.0f;
    sum[i] += d[i];
  }
}
CORTORCH_CLONES void scale_row(const float* g, float* d, float* sum, int64_t n, float scale) {
  for (int64_t i = 0; i < n; ++i) {
    d[i] = scale * g[i];
    sum[i] += d[i];
  }
}
CORTORCH_CLONES void add_row(const float* g, float* sum, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sum[i] += g[i];
}

}  // namespace

void bias_activation(Activation activation, float* tile, int64_t rows, int64_t columns, int64_t ld, const float* bias) {
  if (bias == nullptr && activation == Activation::identity) return;
  // A tile is at most a panel wide; one row of zeros stands in for a missing bias.
  constexpr int64_t kZeros = 256;
  alignas(64) static constexpr float zeros[kZeros] = {};
  const auto row = activation == Activation::tanh      ? tanh_row
                   : activation == Activation::sigmoid ? sigmoid_row
                   : activation == Activation::relu    ? relu_row
                                                       : identity_row;
  for (int64_t r = 0; r < rows; ++r) {
    if (bias != nullptr) {
      row(tile + r * ld, columns, bias);
    } else {
      for (int64_t c = 0; c < columns; c += kZeros) row(tile + r * ld + c, std::min(kZeros, columns - c), zeros);
    }
  }
}

at::Tensor activate(Activation activation, const at::Tensor& a) {
  switch (activation) {
    case Activation::tanh: return at::tanh(a);
    case Activation::relu: return at::relu(a);
    case Activation::sigmoid: return at::sigmoid(a);
    case Activation::identity: break;
  }
  return a;
}

at::Tensor activate_in_place(Activation activation, at::Tensor a) {
  switch (activation) {
    case Activation::tanh: return at::tanh_(a);
    case Activation::relu: return at::relu_(a);
    case Activation::sigmoid: return at::sigmoid_(a);
    case Activation::identity: break;
  }
  return a;
}

at::Tensor through_activation(Activation activation, const at::Tensor& gradient, const at::Tensor& y, double scale) {
  const at::Tensor g = scale == 1 ? gradient : at::mul(gradient, scale);
  switch (activation) {
    case Activation::tanh: return at::mul(g, at::rsub(at::mul(y, y), 1));
    case Activation::relu: return at::mul(g, at::gt(y, 0));
    case Activation::sigmoid: return at::mul(g, at::mul(y, at::rsub(y, 1)));
    case Activation::identity: break;
  }
  return g;
}

void through_activation_tile(Activation activation, const float* g, const float* y, float* delta, float* sum,
                             int64_t rows, int64_t columns, int64_t ld, double scale) {
  const float s = static_cast<float>(scale);
  std::fill_n(sum, columns, 0.0f);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = r * ld;
    switch (activation) {
      case Activation::tanh: tanh_backward_row(g + at, y + at, delta + at, sum, columns, s); break;
      case Activation::sigmoid: sigmoid_backward_row(g + at, y + at, delta + at, sum, columns, s); break;
      case Activation::relu: relu_backward_row(g + at, y + at, delta + at, sum, columns, s); break;
      case Activation::identity:
        if (scale == 1) {
          add_row(g + at, sum, columns);
        } else {
          scale_row(g + at, delta + at, sum, columns, s);
        }
        break;
    }
  }
}

}  // namespace cortorch
