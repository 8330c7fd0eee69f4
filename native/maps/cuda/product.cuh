// The kernel of apply, adjoint and outer: for each location one matrix product C = A·B, whose operands are read
// where they lie, a patch tap by tap. The three differ in what an operand's (row, k) means; a `Problem` says that.
//
// What bounds it. A weight is used once for each example, so count bytes: 3.35 TB/s of an H100's HBM3 are 0.84·10¹²
// floats a second, and at batch 128 (256 operations a weight) 214 TFLOP/s. The ordinary cores make 67: fp32 is bound
// by arithmetic from batch 40 on. The tensor cores make 495 in tf32 by Hopper's own instructions, about 60 % of it by
// mma.sync, which every processor from sm_80 on has; bf16 doubles both sides (429 of 989). ImageNet-LC's 240.7 M local
// weights are 963 MB in float: 0.29 ms for each of the three operations if HBM were all.
// So: a tile covers the batch up to 128, that weights come from HBM once (further tiles of a location are neighbouring
// blocks, and find them in the second-level cache), and everything streams through four stages of cp.async in 16-byte
// pieces, 48 KB in flight for each block of 128×128. Patches come from the second-level cache, batch / tile.n bytes for
// each byte of W; with about 5.5 TB/s of it, it and not HBM is the bound to expect at batch 128: 82 % of HBM's rate at
// 128 columns, 45 % at 48. Blocks of several neighbouring locations, whose patches overlap, would lift that.
// All of this is arithmetic on paper: bench/gpu.py measures.
#pragma once

#include "maps/cuda/geometry.cuh"
#include "maps/cuda/locally_connected2d.h"
#include "maps/cuda/multiply.cuh"

namespace cortorch::cuda {

constexpr int stages = 4;

// Stores tiles of C, row-major, `columns` wide; the last word on each value is the problem's.
template <class Problem>
struct Store {
  const Problem& problem;
  typename Problem::Element* to;
  int first_row, first_column, rows, columns;

  __device__ __forceinline__ void one(int row, int column, float value) const {
    row += first_row, column += first_column;
    if (row < rows && column < columns) {
      to[static_cast<int64_t>(row) * columns + column] =
          from_float<typename Problem::Element>(problem.finish(value, column));
    }
  }
  // `column` is even, so that where `columns` is, both lie inside or both outside.
  __device__ __forceinline__ void two(int row, int column, float a, float b) const {
    if (columns % 2 != 0) {
      one(row, column, a), one(row, column + 1, b);
      return;
    }
    row += first_row, column += first_column;
    if (row < rows && column < columns) {
      store_pair(to + static_cast<int64_t>(row) * columns + column, problem.finish(a, column),
                 problem.finish(b, column + 1));
    }
  }
};

template <class Problem, class TileShape, class Multiply>
__global__ void __launch_bounds__(TileShape::threads, TileShape::blocks)
    product(const typename Problem::Arguments arguments, int rows, int columns) {
  using T = typename Problem::Element;
  using A = typename Multiply::A;
  using B = typename Multiply::B;
  const int tiles_m = (rows + TileShape::m - 1) / TileShape::m, tiles_n = (columns + TileShape::n - 1) / TileShape::n;
  const int block = static_cast<int>(blockIdx.x), location = block / (tiles_m * tiles_n);
  const int first_row = block % tiles_m * TileShape::m, first_column = block / tiles_m % tiles_n * TileShape::n;
  const Problem problem(arguments, location);

  T* const memory = reinterpret_cast<T*>(dynamic_shared());
  const auto a_panel = [memory](int stage) { return memory + stage * (A::size + B::size); };
  const auto b_panel = [memory](int stage) { return memory + stage * (A::size + B::size) + A::size; };
  const int steps = (problem.depth + Multiply::depth - 1) / Multiply::depth;
  const auto load = [&](int step) {
    if (step < steps) {
      const int stage = step % stages, k = step * Multiply::depth;
      A::template load<TileShape::threads>(a_panel(stage), problem.a_base(), first_row, rows, k, problem.depth,
                                           arguments.a_vector, [&](int row, int at) { return problem.a(row, at); });
      B::template load<TileShape::threads>(b_panel(stage), problem.b_base(), first_column, columns, k, problem.depth,
                                           arguments.b_vector,
                                           [&](int column, int at) { return problem.b(column, at); });
    }
    commit_copies();  // also with nothing in it, so that the count of groups is the count of steps
  };

  for (int step = 0; step < stages - 1; ++step) load(step);
  Multiply multiply;
  for (int step = 0; step < steps; ++step) {
    wait_copies<stages - 2>();  // this thread's part of the panels of this step is there
    __syncthreads();            // everybody's is, and everybody has done with the panels of the step before
    load(step + stages - 1);    // over the panels of the step before
    multiply.add(a_panel(step % stages), b_panel(step % stages));
  }
  wait_copies<0>();

  multiply.visit(Store<Problem>{problem, problem.c(), first_row, first_column, rows, columns});
}

template <class Problem, class TileShape, class Multiply>
cudaError_t launch_tile(const typename Problem::Arguments& arguments, int64_t locations, int rows, int columns,
                        cudaStream_t stream) {
  const int64_t blocks = locations * ((rows + TileShape::m - 1) / TileShape::m) *
                         ((columns + TileShape::n - 1) / TileShape::n);
  if (blocks > INT32_MAX) return cudaErrorInvalidValue;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(TileShape::threads);
  config.dynamicSmemBytes = stages * (Multiply::A::size + Multiply::B::size) * sizeof(typename Problem::Element);
  config.stream = stream;
  static_assert(stages * (Multiply::A::size + Multiply::B::size) * sizeof(typename Problem::Element) <= 99 * 1024,
                "more shared memory than a block may have on sm_86 and sm_89");
  const auto kernel = product<Problem, TileShape, Multiply>;
  const cudaError_t error =
      cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(config.dynamicSmemBytes));
  if (error != cudaSuccess) return error;
  return cudaLaunchKernelEx(&config, kernel, arguments, rows, columns);
}

// Chooses the tile: as many columns as leave least of the last tile empty, the wider if that is a tie.
template <class Problem, template <class, bool, bool> class Multiply, bool with_96>
cudaError_t launch_product(const typename Problem::Arguments& arguments, int64_t locations, int rows, int columns,
                           cudaStream_t stream) {
  const auto launch = [&](auto tile) {
    using TileShape = decltype(tile);
    return launch_tile<Problem, TileShape, Multiply<TileShape, Problem::a_k_contiguous, Problem::b_k_contiguous>>(
        arguments, locations, rows, columns, stream);
  };
  if (rows <= 64) return launch(Tile<64, 64, 32, 32>{});
  const auto padded = [columns](int n) { return (columns + n - 1) / n * n; };
  const int least = padded(64) < padded(128) ? padded(64) : padded(128);
  if constexpr (with_96) {
    if (padded(96) < least || (padded(96) == least && padded(128) != least)) return launch(Tile<128, 96, 64, 48>{});
  }
  if (padded(128) == least) return launch(Tile<128, 128, 64, 32>{});
  return launch(Tile<128, 64, 64, 32>{});
}

// `arguments_of(T{})` makes the problem's arguments for elements of type T.
template <template <class> class Problem, class ArgumentsOf>
cudaError_t launch_product(Precision precision, int64_t locations, int rows, int columns, cudaStream_t stream,
                           const ArgumentsOf& arguments_of) {
  const auto of_float = arguments_of(float{});
  const auto of_bf16 = arguments_of(bf16{});
  switch (precision) {
    case Precision::fp32:
      return launch_product<Problem<float>, MultiplyFp32, false>(of_float, locations, rows, columns, stream);
    case Precision::tf32:
      return launch_product<Problem<float>, MultiplyTf32, true>(of_float, locations, rows, columns, stream);
    case Precision::bf16:
      return launch_product<Problem<bf16>, MultiplyBf16, true>(of_bf16, locations, rows, columns, stream);
  }
  return cudaErrorInvalidValue;
}

// Whether rows of `channels` elements from `data` on can be read in 16-byte pieces.
template <class T>
bool in_vectors(const T* data, int channels) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && channels * sizeof(T) % 16 == 0;
}

}  // namespace cortorch::cuda
