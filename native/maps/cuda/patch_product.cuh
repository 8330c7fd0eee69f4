// What apply and adjoint share: for each place of the result the patches of images that meet it, times weights; rows
// are examples, and the sum runs over (tap, channel). They differ in which places meet, and in how weights lie (`b`).
#pragma once

#include "maps/cuda/product.cuh"

namespace cortorch::cuda {

template <class T>
class PatchProduct {
 public:
  using Element = T;
  static constexpr bool finishes = true;

  struct Arguments {
    Geometry geometry;
    Divisor channels;                  // of the images
    int width;                         // of the images
    int results;                       // channels of the result
    const T *images, *weights, *bias;  // the last may be null
    T* result;
    Activation activation;
    bool a_vector, b_vector;
  };

  __device__ PatchOperand<T> a() const {
    const int channels = static_cast<int>(arguments_.channels.d), each = arguments_.geometry.batch * channels;
    return {arguments_.images + first_place() * each,
            channels,
            h_.count,
            w_.count,
            arguments_.channels,
            {1, w_.place_step * each, h_.place_step * arguments_.width * each}};
  }
  __device__ T* c() const {
    return arguments_.result + static_cast<int64_t>(location_) * arguments_.geometry.batch * arguments_.results;
  }
  __device__ const T* bias() const {
    if (arguments_.bias == nullptr) return nullptr;
    return arguments_.bias + static_cast<int64_t>(location_) * arguments_.results;
  }

 protected:
  __device__ PatchProduct(const Arguments& arguments, Taps h, Taps w, int location)
      : arguments_(arguments),
        location_(location),
        h_(h),
        w_(w),
        depth(h.count * w.count * static_cast<int>(arguments.channels.d)) {}

  __device__ int64_t first_place() const {
    return static_cast<int64_t>(h_.first_place) * arguments_.width + w_.first_place;
  }
  __device__ int first_tap() const { return h_.first * arguments_.geometry.w.kernel + w_.first; }
  // From one tap of a row to the next, and from one row to the next, in taps.
  __device__ int tap_step() const { return w_.step; }
  __device__ int row_step() const { return h_.step * arguments_.geometry.w.kernel; }
  // The weights of one tap.
  __device__ int block() const { return arguments_.geometry.in_channels * arguments_.geometry.out_channels; }

  const Arguments& arguments_;
  int location_;
  Taps h_, w_;

 public:
  int depth;
};

// `width`, `channels`: of the images; `results`, `places`: channels and places of the result.
template <template <class> class Problem>
cudaError_t launch_patches(const Geometry& g, Precision precision, int width, int channels, int results, Places places,
                           const void* images, const void* weights, const void* bias, Activation activation,
                           void* result, cudaStream_t stream) {
  return launch_product<Problem>(precision, places, g.batch, results, stream, [&](auto element) {
    using T = decltype(element);
    const T *in = static_cast<const T*>(images), *w = static_cast<const T*>(weights);
    return typename PatchProduct<T>::Arguments{g,
                                               Divisor(channels),
                                               width,
                                               results,
                                               in,
                                               w,
                                               static_cast<const T*>(bias),
                                               static_cast<T*>(result),
                                               activation,
                                               in_vectors(in, channels),
                                               in_vectors(w, g.out_channels)};
  });
}

}  // namespace cortorch::cuda
