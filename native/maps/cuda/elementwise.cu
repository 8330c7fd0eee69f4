// An operation is a structure with its arithmetic, here, and its name in Elementwise: kernel and launch are the same.
#include "maps/cuda/elementwise.h"

#include "base/cuda/launch.cuh"
#include "maps/cuda/activation.cuh"

namespace cortorch::cuda {
namespace {

struct Difference {
  static __device__ float of(float a, float b, Activation, float) { return a - b; }
};

struct ActivationDifference {
  static __device__ float of(float a, float b, Activation activation, float) {
    return activation_difference_of(activation, a, b);
  }
};

struct Signs {
  static __device__ float of(float a, float, Activation, float scale) {
    return a > 0.0f ? scale : a < 0.0f ? -scale : a;  // a NaN stays one
  }
};

struct MagnitudesWithSigns {
  static __device__ float of(float a, float b, Activation activation, float) {
    return Signs::of(a, b, activation, fabsf(b));
  }
};

template <class T, class Operation>
__global__ void elementwise_kernel(int64_t count, Activation activation, float scale, const T* a, const T* b, T* out) {
  const int64_t i = global_thread();
  if (i >= count) return;
  out[i] = from_float<T>(Operation::of(to_float(a[i]), b == nullptr ? 0.0f : to_float(b[i]), activation, scale));
}

template <class T>
__global__ void bias_activation_kernel(int64_t count, int64_t columns, Activation activation, T* y, const T* bias) {
  const int64_t i = global_thread();
  if (i >= count) return;
  const float b = bias == nullptr ? 0.0f : to_float(bias[i % columns]);
  y[i] = from_float<T>(activate_for<T>(activation, to_float(y[i]) + b));
}

}  // namespace

cudaError_t elementwise(Elementwise operation, int64_t count, Precision precision, Activation activation, float scale,
                        const void* a, const void* b, void* out, cudaStream_t stream) {
  return with_type(precision, [&](auto element) {
    using T = decltype(element);
    const auto launch = [&](auto kernel) {
      return launch_over(count, kernel, stream, count, activation, scale, static_cast<const T*>(a),
                         static_cast<const T*>(b), static_cast<T*>(out));
    };
    switch (operation) {
      case Elementwise::difference: return launch(elementwise_kernel<T, Difference>);
      case Elementwise::activation_difference: return launch(elementwise_kernel<T, ActivationDifference>);
      case Elementwise::magnitudes_with_signs: return launch(elementwise_kernel<T, MagnitudesWithSigns>);
      case Elementwise::signs: return launch(elementwise_kernel<T, Signs>);
    }
    return cudaErrorInvalidValue;
  });
}

cudaError_t bias_activation(int64_t rows, int64_t columns, Precision precision, Activation activation, void* y,
                            const void* bias, cudaStream_t stream) {
  return with_type(precision, [&](auto element) {
    using T = decltype(element);
    return launch_over(rows * columns, bias_activation_kernel<T>, stream, rows * columns, columns, activation,
                       static_cast<T*>(y), static_cast<const T*>(bias));
  });
}

}  // namespace cortorch::cuda
