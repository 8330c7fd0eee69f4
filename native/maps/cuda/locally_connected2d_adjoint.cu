#include "maps/cuda/product.cuh"

namespace cortorch::cuda {
namespace {

// Rows are examples, columns input channels; an input location collects from all that see it, so there are no
// atomics. The sum runs over (tap, output channel), along which the blocks of V lie contiguous: B is Vᵀ as it lies.
template <class T>
struct Adjoint {
  using Element = T;
  static constexpr bool a_k_contiguous = true, b_k_contiguous = true, finishes = true;

  struct Arguments {
    Geometry geometry;
    Divisor out_channels;
    const T *v, *y, *c;
    T* x;
    Activation activation;
    bool a_vector, b_vector;
  };

  __device__ Adjoint(const Arguments& arguments, int line, int column, int location)
      : arguments_(arguments),
        location_(location),
        h_(arguments.geometry.h.of_input(line)),
        w_(arguments.geometry.w.of_input(column)),
        depth(h_.count * w_.count * arguments.geometry.out_channels) {}

  __device__ PatchOperand<T> a() const {
    const Geometry& g = arguments_.geometry;
    const int image = g.batch * g.out_channels;  // what one place has
    const int64_t first = static_cast<int64_t>(h_.first_place) * g.w.out + w_.first_place;
    return {arguments_.y + first * image, g.out_channels, h_.count, w_.count, arguments_.out_channels,
            {1, w_.place_step * image, h_.place_step * g.w.out * image}};
  }
  __device__ PatchOperand<T> b() const {
    const Geometry& g = arguments_.geometry;
    const int block = g.in_channels * g.out_channels;  // the weights of one tap
    const int64_t place = static_cast<int64_t>(h_.first_place) * g.w.out + w_.first_place;
    const int64_t first = place * g.taps() + h_.first * g.w.kernel + w_.first;
    return {arguments_.v + first * block, g.out_channels, h_.count, w_.count, arguments_.out_channels,
            {1, (w_.place_step * g.taps() + w_.step) * block,
             (h_.place_step * g.w.out * g.taps() + h_.step * g.w.kernel) * block}};
  }
  __device__ T* c() const {
    return arguments_.x + static_cast<int64_t>(location_) * arguments_.geometry.batch * arguments_.geometry.in_channels;
  }
  __device__ const T* bias() const {
    if (arguments_.c == nullptr) return nullptr;
    return arguments_.c + static_cast<int64_t>(location_) * arguments_.geometry.in_channels;
  }

 private:
  const Arguments& arguments_;
  int location_;
  Taps h_, w_;

 public:
  int depth;
};

}  // namespace

cudaError_t locally_connected2d_adjoint(const Conv2dGeometry& geometry, int64_t batch, Precision precision,
                                        const void* v, const void* y, const void* c, Activation activation, void* x,
                                        cudaStream_t stream) {
  Geometry g;
  if (!to_device(geometry, batch, g)) return cudaErrorInvalidValue;
  return launch_product<Adjoint>(precision, {g.h.in, g.w.in}, g.batch, g.in_channels, stream, [&](auto element) {
    using T = decltype(element);
    const T *weight = static_cast<const T*>(v), *in = static_cast<const T*>(y);
    return typename Adjoint<T>::Arguments{g, Divisor(g.out_channels), weight, in, static_cast<const T*>(c),
                                          static_cast<T*>(x), activation, in_vectors(in, g.out_channels), in_vectors(weight, g.out_channels)};
  });
}

}  // namespace cortorch::cuda
