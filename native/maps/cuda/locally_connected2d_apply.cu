#include "maps/cuda/patch_product.cuh"

namespace cortorch::cuda {
namespace {

// Columns are output channels; W's blocks are row-major as they lie.
template <class T>
class Apply : public PatchProduct<T> {
 public:
  using typename PatchProduct<T>::Arguments;
  static constexpr bool a_k_contiguous = true, b_k_contiguous = false;

  __device__ Apply(const Arguments& arguments, int line, int column, int location)
      : PatchProduct<T>(arguments, arguments.geometry.h.of_output(line), arguments.geometry.w.of_output(column),
                        location) {}

  __device__ PatchOperand<T> b() const {
    const Arguments& p = this->arguments_;
    const int block = this->block();
    const int64_t first = static_cast<int64_t>(this->location_) * p.geometry.taps() + this->first_tap();
    return {p.weights + first * block,
            1,
            this->h_.count,
            this->w_.count,
            p.channels,
            {p.results, this->tap_step() * block, this->row_step() * block}};
  }
};

}  // namespace

cudaError_t locally_connected2d_apply(const Conv2dGeometry& geometry, int64_t batch, Precision precision,
                                      const void* weight, const void* x, const void* bias, Activation activation,
                                      void* y, cudaStream_t stream) {
  Geometry g;
  if (!to_device(geometry, batch, g)) return cudaErrorInvalidValue;
  return launch_patches<Apply>(g, precision, g.w.in, g.in_channels, g.out_channels, {g.h.out, g.w.out}, x, weight, bias,
                               activation, y, stream);
}

}  // namespace cortorch::cuda
