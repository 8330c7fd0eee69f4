#include "maps/cuda/activation.cuh"
#include "maps/cuda/product.cuh"

namespace cortorch::cuda {
namespace {

// Rows are examples, columns input channels; an input location collects from all that see it, so there are no
// atomics. The sum runs over (tap, output channel), along which the blocks of V lie contiguous: B is Vᵀ as it lies.
template <class T>
struct Adjoint {
  using Element = T;
  static constexpr bool a_k_contiguous = true, b_k_contiguous = true;

  struct Arguments {
    Geometry geometry;
    Divisor out_channels;
    const T *v, *y, *c;
    T* x;
    Activation activation;
    bool a_vector, b_vector;
  };

  __device__ Adjoint(const Arguments& arguments, int location)
      : arguments_(arguments),
        window_(arguments.geometry.h.of_input(location / arguments.geometry.w.in),
                arguments.geometry.w.of_input(location % arguments.geometry.w.in), arguments.geometry.w.out,
                arguments.geometry.w.kernel),
        location_(location),
        depth(window_.taps() * arguments.geometry.out_channels) {}

  __device__ const T* a_base() const { return arguments_.y; }
  __device__ const T* b_base() const { return arguments_.v; }
  __device__ const T* a(int row, int k) const {
    const Geometry& g = arguments_.geometry;
    const Meeting at = window_.at(k, arguments_.out_channels);
    return arguments_.y + (static_cast<int64_t>(at.place) * g.batch + row) * g.out_channels + at.channel;
  }
  __device__ const T* b(int column, int k) const {
    const Geometry& g = arguments_.geometry;
    const Meeting at = window_.at(k, arguments_.out_channels);
    const int64_t block = static_cast<int64_t>(at.place) * g.taps() + at.tap;
    return arguments_.v + (block * g.in_channels + column) * g.out_channels + at.channel;
  }
  __device__ T* c() const {
    return arguments_.x + static_cast<int64_t>(location_) * arguments_.geometry.batch * arguments_.geometry.in_channels;
  }
  __device__ float finish(float sum, int column) const {
    if (arguments_.c != nullptr) {
      sum += to_float(arguments_.c[static_cast<int64_t>(location_) * arguments_.geometry.in_channels + column]);
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

cudaError_t locally_connected2d_adjoint(const Conv2dGeometry& geometry, int64_t batch, Precision precision,
                                        const void* v, const void* y, const void* c, Activation activation, void* x,
                                        cudaStream_t stream) {
  Geometry g;
  if (!to_device(geometry, batch, g)) return cudaErrorInvalidValue;
  const int64_t locations = int64_t{g.h.in} * g.w.in;
  return launch_product<Adjoint>(precision, locations, g.batch, g.in_channels, stream, [&](auto element) {
    using T = decltype(element);
    const T *weight = static_cast<const T*>(v), *in = static_cast<const T*>(y);
    return typename Adjoint<T>::Arguments{g, Divisor(g.out_channels), weight, in, static_cast<const T*>(c),
                                          static_cast<T*>(x), activation, in_vectors(in, g.out_channels), in_vectors(weight, g.out_channels)};
  });
}

}  // namespace cortorch::cuda
