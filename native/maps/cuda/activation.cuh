// Activations and their derivatives on one value; uniform branches, since a kernel has one activation.
#pragma once

#include <cuda_runtime.h>

#include "base/cuda/primitives.cuh"
#include "maps/activation_kind.h"

namespace cortorch::cuda {

__device__ __forceinline__ float activate(Activation activation, float a) {
  switch (activation) {
    case Activation::identity: break;
    case Activation::tanh: return tanhf(a);
    case Activation::relu: return a <= 0.0f ? 0.0f : a;  // a NaN stays one
    case Activation::sigmoid: return 1.0f / (1.0f + expf(-a));
  }
  return a;
}

// The same for a result that is rounded to T: tanh of bfloat16 by the one instruction there is for it.
template <class T>
__device__ __forceinline__ float activate_for(Activation activation, float a) {
  if (sizeof(T) == 2 && activation == Activation::tanh) return tanh_for_bf16(a);
  return activate(activation, a);
}

// g·σ'(a) as a function of y = σ(a).
__device__ __forceinline__ float through_activation(Activation activation, float g, float y) {
  switch (activation) {
    case Activation::identity: break;
    case Activation::tanh: return g * (1.0f - y * y);
    case Activation::relu: return y > 0.0f ? g : 0.0f;
    case Activation::sigmoid: return g * y * (1.0f - y);
  }
  return g;
}

// σ(a) − σ(a − u) by tanh x − tanh y = tanh(x − y) (1 − tanh x tanh y), which keeps the digits of a small u.
__device__ __forceinline__ float activation_difference_of(Activation activation, float a, float u) {
  switch (activation) {
    case Activation::identity: break;
    case Activation::tanh: return tanhf(u) * (1.0f - tanhf(a) * tanhf(a - u));
    case Activation::sigmoid: return 0.5f * tanhf(0.5f * u) * (1.0f - tanhf(0.5f * a) * tanhf(0.5f * (a - u)));
    case Activation::relu:
      return a > 0.0f && a - u > 0.0f ? u : activate(Activation::relu, a) - activate(Activation::relu, a - u);
  }
  return u;
}

}  // namespace cortorch::cuda
