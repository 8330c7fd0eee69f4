#include "maps/cuda/patch_product.cuh"

namespace cortorch::cuda {
namespace {

// Columns are input channels; an input location collects from all that see it, so there are no atomics. The sum runs
// over (tap, output channel), along which the blocks of V lie contiguous: B is Vᵀ as it lies.
template <class T>
class Adjoint : public PatchProduct<T> {
 public:
  using typename PatchProduct<T>::Arguments;
  static constexpr bool a_k_contiguous = true, b_k_contiguous = true;

  __device__ Adjoint(const Arguments& arguments, int line, int column, int location)
      : PatchProduct<T>(arguments, arguments.geometry.h.of_input(line), arguments.geometry.w.of_input(column),
                        location) {}

  __device__ PatchOperand<T> b() const {
    const Arguments& p = this->arguments_;
    const int block = this->block(), taps = p.geometry.taps();
    // The other place is another one for each tap.
    const int tap = this->w_.place_step * taps + this->tap_step();
    const int row = this->h_.place_step * p.width * taps + this->row_step();
    const int64_t first = this->first_place() * taps + this->first_tap();
    return {p.weights + first * block,    static_cast<int>(p.channels.d), this->h_.count, this->w_.count, p.channels,
            {1, tap * block, row * block}};
  }
};

}  // namespace

cudaError_t locally_connected2d_adjoint(const Conv2dGeometry& geometry, int64_t batch, Precision precision,
                                        const void* v, const void* y, const void* c, Activation activation, void* x,
                                        cudaStream_t stream) {
  Geometry g;
  if (!to_device(geometry, batch, g)) return cudaErrorInvalidValue;
  return launch_patches<Adjoint>(g, precision, g.w.out, g.out_channels, g.in_channels, {g.h.in, g.w.in}, y, v, c,
                                 activation, x, stream);
}

}  // namespace cortorch::cuda
