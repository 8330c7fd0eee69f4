// One pass over g, y and δ, bound by these three streams and nothing else.
#include "maps/cuda/delta.h"

#include "base/cuda/launch.cuh"
#include "maps/cuda/activation.cuh"

namespace cortorch::cuda {
namespace {

// A block has up to 256 columns of one tile, and as many examples at a time as there are threads for. So neighbouring
// threads have neighbouring elements for any number of columns, and a thread keeps its column. Where there are few
// tiles the pieces are narrower, so that many blocks share the work: 264 is twice the multiprocessors of a large GPU,
// and a constant, so that sums have one order on all of them.
constexpr int64_t enough_blocks = 264;
constexpr int narrowest = 32;

int piece_of(const Tiles& tiles) {
  int piece = block_threads;
  while (piece > narrowest && tiles.count * divide_up<int64_t>(tiles.columns, piece) < enough_blocks) piece /= 2;
  return piece;
}

int64_t blocks_of(const Tiles& tiles) { return tiles.count * divide_up<int64_t>(tiles.columns, piece_of(tiles)); }

template <class T, bool is_residual>
__global__ void __launch_bounds__(block_threads)
    delta_kernel(const T* g, const T* y, T* delta, T* bias_gradient, float* squares, int64_t batch, int64_t columns,
                 int piece, float scale, Activation activation) {
  const int64_t pieces = divide_up<int64_t>(columns, piece);
  const int64_t tile = static_cast<int64_t>(blockIdx.x) / pieces,
                first = static_cast<int64_t>(blockIdx.x) % pieces * piece;
  const int width = static_cast<int>(columns - first < piece ? columns - first : piece),
            at_once = block_threads / width;
  const int thread = static_cast<int>(threadIdx.x), example = thread / width;
  const int64_t column = first + thread % width, start = tile * batch * columns + column;

  float sum = 0.0f, square = 0.0f;
  if (example < at_once) {
#pragma unroll 4
    for (int64_t b = example; b < batch; b += at_once) {
      const int64_t at = start + b * columns;
      float value = to_float(g[at]), output = to_float(y[at]);
      if constexpr (is_residual) {
        const float r = value;
        value = r - output;
        output = r;
        square += value * value;
      }
      const float d = through_activation(activation, scale * value, output);
      if (delta != nullptr) delta[at] = from_float<T>(d);
      sum += d;
    }
  }
  float* const sums = reinterpret_cast<float*>(dynamic_shared());
  if constexpr (is_residual) {
    const float total = block_sum(square, sums);
    if (thread == 0) squares[blockIdx.x] = total;
  }
  if (bias_gradient == nullptr) return;
  store_shared(sums + thread, sum);
  __syncthreads();
  if (thread < width) {
    float total = 0.0f;
    for (int i = 0; i < at_once; ++i) total += load_shared<float>(sums + i * width + thread);
    bias_gradient[tile * columns + column] = from_float<T>(total);
  }
}

template <bool is_residual>
cudaError_t launch(const Tiles& tiles, Precision precision, Activation activation, float scale, const void* g,
                   const void* y, void* delta, void* bias_gradient, float* squares, cudaStream_t stream) {
  if (tiles.count == 0 || tiles.columns == 0) return cudaSuccess;
  return with_type(precision, [&](auto element) {
    using T = decltype(element);
    return launch_blocks(delta_kernel<T, is_residual>, blocks_of(tiles), block_threads, block_threads * sizeof(float),
                         stream, static_cast<const T*>(g), static_cast<const T*>(y), static_cast<T*>(delta),
                         static_cast<T*>(bias_gradient), squares, tiles.batch, tiles.columns, piece_of(tiles), scale,
                         activation);
  });
}

}  // namespace

cudaError_t delta(const Tiles& tiles, Precision precision, Activation activation, float scale, const void* g,
                  const void* y, void* delta, void* bias_gradient, cudaStream_t stream) {
  return launch<false>(tiles, precision, activation, scale, g, y, delta, bias_gradient, nullptr, stream);
}

int64_t residual_blocks(const Tiles& tiles) { return tiles.columns == 0 ? 0 : blocks_of(tiles); }

cudaError_t residual(const Tiles& tiles, Precision precision, Activation activation, float scale, const void* r,
                     const void* t, void* delta, void* bias_gradient, float* squares, cudaStream_t stream) {
  return launch<true>(tiles, precision, activation, scale, r, t, delta, bias_gradient, squares, stream);
}

}  // namespace cortorch::cuda
