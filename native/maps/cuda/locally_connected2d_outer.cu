#include "maps/cuda/product.cuh"

namespace cortorch::cuda {
namespace {

// Rows are (tap, input channel) of all taps, columns output channels, the sum runs over the batch, so the result
// is G's block of the location as it lies. Rows of taps outside of the image are sums of zeros, and written.
template <class T>
struct Outer {
  using Element = T;
  static constexpr bool a_k_contiguous = false, b_k_contiguous = false;

  struct Arguments {
    Geometry geometry;
    Divisor in_channels, kernel_w;
    const T *x, *delta;
    T* gradient;
    bool a_vector, b_vector;
  };

  __device__ Outer(const Arguments& arguments, int location)
      : arguments_(arguments),
        location_(location),
        top_(location / arguments.geometry.w.out * arguments.geometry.h.stride - arguments.geometry.h.padding),
        left_(location % arguments.geometry.w.out * arguments.geometry.w.stride - arguments.geometry.w.padding),
        depth(arguments.geometry.batch) {}

  __device__ const T* a_base() const { return arguments_.x; }
  __device__ const T* b_base() const { return arguments_.delta; }
  __device__ const T* a(int row, int k) const {
    const Geometry& g = arguments_.geometry;
    const int tap = arguments_.in_channels.quotient(row), channel = row - tap * g.in_channels;
    const int kh = arguments_.kernel_w.quotient(tap), kw = tap - kh * g.w.kernel;
    const int ih = top_ + kh * g.h.dilation, iw = left_ + kw * g.w.dilation;
    if (ih < 0 || ih >= g.h.in || iw < 0 || iw >= g.w.in) return nullptr;
    return arguments_.x + (static_cast<int64_t>(ih * g.w.in + iw) * g.batch + k) * g.in_channels + channel;
  }
  __device__ const T* b(int column, int k) const {
    const Geometry& g = arguments_.geometry;
    return arguments_.delta + (static_cast<int64_t>(location_) * g.batch + k) * g.out_channels + column;
  }
  __device__ T* c() const {
    const Geometry& g = arguments_.geometry;
    return arguments_.gradient + static_cast<int64_t>(location_) * g.taps() * g.in_channels * g.out_channels;
  }
  __device__ float finish(float sum, int) const { return sum; }

 private:
  const Arguments& arguments_;
  int location_, top_, left_;

 public:
  int depth;
};

}  // namespace

cudaError_t locally_connected2d_outer(const Conv2dGeometry& geometry, int64_t batch, Precision precision,
                                      const void* x, const void* delta, void* gradient, cudaStream_t stream) {
  Geometry g;
  if (!to_device(geometry, batch, g)) return cudaErrorInvalidValue;
  const int64_t locations = int64_t{g.h.out} * g.w.out;
  const int rows = g.taps() * g.in_channels;
  return launch_product<Outer>(precision, locations, rows, g.out_channels, stream, [&](auto element) {
    using T = decltype(element);
    const T *in = static_cast<const T*>(x), *d = static_cast<const T*>(delta);
    return typename Outer<T>::Arguments{g, Divisor(g.in_channels), Divisor(g.w.kernel), in, d, static_cast<T*>(gradient),
                                        in_vectors(in, g.in_channels), in_vectors(d, g.out_channels)};
  });
}

}  // namespace cortorch::cuda
