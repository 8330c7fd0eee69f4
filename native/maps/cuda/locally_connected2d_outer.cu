#include "maps/cuda/product.cuh"

namespace cortorch::cuda {
namespace {

// The images as an operand whose rows are (tap, input channel) and whose steps are examples.
template <class T>
struct TapsOperand {
  using Walk = LineWalk<T>;
  const T* x;
  const Geometry& geometry;
  Divisor in_channels, kernel_w;
  int top, left;                                // where the patch begins, maybe outside of the image
  static constexpr int row = 1;                 // within the channels of one tap
  static constexpr bool rows_are_even = false;  // the next tap's channels are elsewhere

  struct Place {
    int h, w, channel;
  };
  __device__ Place place(int at_row) const {
    const int tap = in_channels.quotient(at_row), kh = kernel_w.quotient(tap), kw = tap - kh * geometry.w.kernel;
    return {top + kh * geometry.h.dilation, left + kw * geometry.w.dilation, at_row - tap * geometry.in_channels};
  }
  __device__ bool has(int at_row) const {
    const Place at = place(at_row);
    return at.h >= 0 && at.h < geometry.h.in && at.w >= 0 && at.w < geometry.w.in;
  }
  __device__ Walk walk(int at_row, int k, int by) const {
    const Place at = place(at_row);
    const int64_t example = (static_cast<int64_t>(at.h) * geometry.w.in + at.w) * geometry.batch + k;
    return {x + example * geometry.in_channels + at.channel, by * geometry.in_channels};
  }
};

// Rows are (tap, input channel) of all taps, columns output channels, the sum runs over the batch, so the result
// is G's block of the location as it lies. Rows of taps outside of the image are sums of zeros, and written.
template <class T>
struct Outer {
  using Element = T;
  static constexpr bool a_k_contiguous = false, b_k_contiguous = false, finishes = false;

  struct Arguments {
    Geometry geometry;
    Divisor in_channels, kernel_w;
    const T *x, *delta;
    T* gradient;
    bool a_vector, b_vector;
  };

  __device__ Outer(const Arguments& arguments, int line, int column, int location)
      : arguments_(arguments),
        location_(location),
        top_(line * arguments.geometry.h.stride - arguments.geometry.h.padding),
        left_(column * arguments.geometry.w.stride - arguments.geometry.w.padding),
        depth(arguments.geometry.batch) {}

  __device__ TapsOperand<T> a() const {
    return {arguments_.x, arguments_.geometry, arguments_.in_channels, arguments_.kernel_w, top_, left_};
  }
  __device__ LineOperand<T> b() const {
    const Geometry& g = arguments_.geometry;
    return {arguments_.delta + static_cast<int64_t>(location_) * g.batch * g.out_channels, g.out_channels};
  }
  __device__ T* c() const {
    const Geometry& g = arguments_.geometry;
    return arguments_.gradient + static_cast<int64_t>(location_) * g.taps() * g.in_channels * g.out_channels;
  }
  __device__ const T* bias() const { return nullptr; }

 private:
  const Arguments& arguments_;
  int location_, top_, left_;

 public:
  int depth;
};

}  // namespace

cudaError_t locally_connected2d_outer(const Conv2dGeometry& geometry, int64_t batch, Precision precision, const void* x,
                                      const void* delta, void* gradient, cudaStream_t stream) {
  Geometry g;
  if (!to_device(geometry, batch, g)) return cudaErrorInvalidValue;
  const int rows = g.taps() * g.in_channels;
  return launch_product<Outer>(precision, {g.h.out, g.w.out}, rows, g.out_channels, stream, [&](auto element) {
    using T = decltype(element);
    const T *in = static_cast<const T*>(x), *d = static_cast<const T*>(delta);
    return typename Outer<T>::Arguments{
        g, Divisor(g.in_channels),    Divisor(g.w.kernel),           in,
        d, static_cast<T*>(gradient), in_vectors(in, g.in_channels), in_vectors(d, g.out_channels)};
  });
}

}  // namespace cortorch::cuda
