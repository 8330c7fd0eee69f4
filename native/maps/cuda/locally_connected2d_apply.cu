#include "maps/cuda/activation.cuh"
#include "maps/cuda/product.cuh"

namespace cortorch::cuda {
namespace {

// Rows are examples, columns output channels, the sum runs over the patch; W's blocks are row-major as they lie.
template <class T>
struct Apply {
  using Element = T;
  static constexpr bool a_k_contiguous = true, b_k_contiguous = false;

  struct Arguments {
    Geometry geometry;
    Divisor in_channels;
    const T *weight, *x, *bias;
    T* y;
    Activation activation;
    bool a_vector, b_vector;
  };

  __device__ Apply(const Arguments& arguments, int location)
      : arguments_(arguments),
        window_(arguments.geometry.h.of_output(location / arguments.geometry.w.out),
                arguments.geometry.w.of_output(location % arguments.geometry.w.out), arguments.geometry.w.in,
                arguments.geometry.w.kernel),
        location_(location),
        depth(window_.taps() * arguments.geometry.in_channels) {}

  __device__ const T* a_base() const { return arguments_.x; }
  __device__ const T* b_base() const { return arguments_.weight; }
  __device__ const T* a(int row, int k) const {
    const Geometry& g = arguments_.geometry;
    const Meeting at = window_.at(k, arguments_.in_channels);
    return arguments_.x + (static_cast<int64_t>(at.place) * g.batch + row) * g.in_channels + at.channel;
  }
  __device__ const T* b(int column, int k) const {
    const Geometry& g = arguments_.geometry;
    const Meeting at = window_.at(k, arguments_.in_channels);
    const int64_t block = static_cast<int64_t>(location_) * g.taps() + at.tap;
    return arguments_.weight + (block * g.in_channels + at.channel) * g.out_channels + column;
  }
  __device__ T* c() const {
    return arguments_.y + static_cast<int64_t>(location_) * arguments_.geometry.batch * arguments_.geometry.out_channels;
  }
  __device__ float finish(float sum, int column) const {
    if (arguments_.bias != nullptr) {
      sum += to_float(arguments_.bias[static_cast<int64_t>(location_) * arguments_.geometry.out_channels + column]);
    }
    return activate(arguments_.activation, sum);
  }

 private:
  const Arguments& arguments_;
  Window window_;
  int location_;

 public:
  int depth;
};

}  // namespace

cudaError_t locally_connected2d_apply(const Conv2dGeometry& geometry, int64_t batch, Precision precision,
                                      const void* weight, const void* x, const void* bias, Activation activation,
                                      void* y, cudaStream_t stream) {
  Geometry g;
  if (!to_device(geometry, batch, g)) return cudaErrorInvalidValue;
  const int64_t locations = int64_t{g.h.out} * g.w.out;
  return launch_product<Apply>(precision, locations, g.batch, g.out_channels, stream, [&](auto element) {
    using T = decltype(element);
    const T *w = static_cast<const T*>(weight), *in = static_cast<const T*>(x);
    return typename Apply<T>::Arguments{g, Divisor(g.in_channels), w, in, static_cast<const T*>(bias),
                                        static_cast<T*>(y), activation, in_vectors(in, g.in_channels),
                                        in_vectors(w, g.out_channels)};
  });
}

}  // namespace cortorch::cuda
