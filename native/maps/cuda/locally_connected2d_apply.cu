#include "maps/cuda/product.cuh"

namespace cortorch::cuda {
namespace {

// Rows are examples, columns output channels, the sum runs over the patch; W's blocks are row-major as they lie.
template <class T>
struct Apply {
  using Element = T;
  static constexpr bool a_k_contiguous = true, b_k_contiguous = false, finishes = true;

  struct Arguments {
    Geometry geometry;
    Divisor in_channels;
    const T *weight, *x, *bias;
    T* y;
    Activation activation;
    bool a_vector, b_vector;
  };

  __device__ Apply(const Arguments& arguments, int line, int column, int location)
      : arguments_(arguments),
        location_(location),
        h_(arguments.geometry.h.of_output(line)),
        w_(arguments.geometry.w.of_output(column)),
        depth(h_.count * w_.count * arguments.geometry.in_channels) {}

  __device__ PatchOperand<T> a() const {
    const Geometry& g = arguments_.geometry;
    const int image = g.batch * g.in_channels;  // what one place has
    const int64_t first = static_cast<int64_t>(h_.first_place) * g.w.in + w_.first_place;
    return {arguments_.x + first * image, g.in_channels, h_.count, w_.count, arguments_.in_channels,
            {1, w_.place_step * image, h_.place_step * g.w.in * image}};
  }
  __device__ PatchOperand<T> b() const {
    const Geometry& g = arguments_.geometry;
    const int block = g.in_channels * g.out_channels;  // the weights of one tap
    const int64_t first = static_cast<int64_t>(location_) * g.taps() + h_.first * g.w.kernel + w_.first;
    return {arguments_.weight + first * block, 1, h_.count, w_.count, arguments_.in_channels,
            {g.out_channels, w_.step * block, h_.step * g.w.kernel * block}};
  }
  __device__ T* c() const {
    return arguments_.y + static_cast<int64_t>(location_) * arguments_.geometry.batch * arguments_.geometry.out_channels;
  }
  __device__ const T* bias() const {
    if (arguments_.bias == nullptr) return nullptr;
    return arguments_.bias + static_cast<int64_t>(location_) * arguments_.geometry.out_channels;
  }

 private:
  const Arguments& arguments_;
  int location_;
  Taps h_, w_;

 public:
  int depth;
};

}  // namespace

cudaError_t locally_connected2d_apply(const Conv2dGeometry& geometry, int64_t batch, Precision precision,
                                      const void* weight, const void* x, const void* bias, Activation activation,
                                      void* y, cudaStream_t stream) {
  Geometry g;
  if (!to_device(geometry, batch, g)) return cudaErrorInvalidValue;
  return launch_product<Apply>(precision, {g.h.out, g.w.out}, g.batch, g.out_channels, stream, [&](auto element) {
    using T = decltype(element);
    const T *w = static_cast<const T*>(weight), *in = static_cast<const T*>(x);
    return typename Apply<T>::Arguments{g, Divisor(g.in_channels), w, in, static_cast<const T*>(bias),
                                        static_cast<T*>(y), activation, in_vectors(in, g.in_channels),
                                        in_vectors(w, g.out_channels)};
  });
}

}  // namespace cortorch::cuda
