#include "maps/cuda/elementwise.h"

#include "base/cuda/launch.cuh"
#include "maps/cuda/activation.cuh"

namespace cortorch::cuda {
namespace {

template <class T>
__global__ void bias_activation_kernel(int64_t count, int64_t columns, Activation activation, T* y, const T* bias) {
  const int64_t i = global_thread();
  if (i >= count) return;
  const float b = bias == nullptr ? 0.0f : to_float(bias[i % columns]);
  y[i] = from_float<T>(activate_for<T>(activation, to_float(y[i]) + b));
}

template <class T>
__global__ void subtract_kernel(int64_t count, const T* a, const T* b, T* out) {
  const int64_t i = global_thread();
  if (i < count) out[i] = from_float<T>(to_float(a[i]) - to_float(b[i]));
}

template <class T>
__global__ void activation_difference_kernel(int64_t count, Activation activation, const T* a, const T* u, T* out) {
  const int64_t i = global_thread();
  if (i < count) out[i] = from_float<T>(activation_difference_of(activation, to_float(a[i]), to_float(u[i])));
}

template <class T>
__global__ void with_signs_kernel(int64_t count, const T* w, const T* magnitude, float scale, T* out) {
  const int64_t i = global_thread();
  if (i >= count) return;
  const float weight = to_float(w[i]), m = magnitude == nullptr ? scale : fabsf(to_float(magnitude[i]));
  out[i] = from_float<T>(weight > 0.0f ? m : weight < 0.0f ? -m : weight);  // a NaN stays one
}

}  // namespace

cudaError_t bias_activation(int64_t rows, int64_t columns, Precision precision, Activation activation, void* y,
                            const void* bias, cudaStream_t stream) {
  return with_type(precision, [&](auto element) {
    using T = decltype(element);
    return launch_over(rows * columns, bias_activation_kernel<T>, stream, rows * columns, columns, activation,
                       static_cast<T*>(y), static_cast<const T*>(bias));
  });
}

cudaError_t subtract(int64_t count, Precision precision, const void* a, const void* b, void* out, cudaStream_t stream) {
  return with_type(precision, [&](auto element) {
    using T = decltype(element);
    return launch_over(count, subtract_kernel<T>, stream, count, static_cast<const T*>(a), static_cast<const T*>(b),
                       static_cast<T*>(out));
  });
}

cudaError_t activation_difference(int64_t count, Precision precision, Activation activation, const void* a,
                                  const void* u, void* out, cudaStream_t stream) {
  return with_type(precision, [&](auto element) {
    using T = decltype(element);
    return launch_over(count, activation_difference_kernel<T>, stream, count, activation, static_cast<const T*>(a),
                       static_cast<const T*>(u), static_cast<T*>(out));
  });
}

cudaError_t with_signs(int64_t count, Precision precision, const void* w, const void* magnitude, float scale, void* out,
                       cudaStream_t stream) {
  return with_type(precision, [&](auto element) {
    using T = decltype(element);
    return launch_over(count, with_signs_kernel<T>, stream, count, static_cast<const T*>(w),
                       static_cast<const T*>(magnitude), scale, static_cast<T*>(out));
  });
}

}  // namespace cortorch::cuda
