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
// Within a multiprocessor three things are to be in balance, the tensor cores, the issue of instructions and shared
// memory: what a warp reads there for each HMMA falls with the size of its tile, and so do its other instructions.
// bench/instructions.py counts. All of this is arithmetic on paper: bench/gpu.py measures.
#pragma once

#include <type_traits>

#include "maps/cuda/activation.cuh"
#include "maps/cuda/locally_connected2d.h"
#include "maps/cuda/multiply.cuh"
#include "maps/cuda/walk.cuh"

namespace cortorch::cuda {

constexpr int stages = 4;

// Stores a tile of C, row-major, `columns` wide; if it `finishes` them, with the bias and the activation put on.
template <class T, bool finishes, Activation activation>
struct Store {
  T* to;
  const T* bias;  // or null
  int first_row, first_column, rows, columns;

  __device__ __forceinline__ float bias_of(int column) const {
    return finishes && bias != nullptr && column < columns ? to_float(bias[column]) : 0.0f;
  }
  __device__ __forceinline__ float finish(float sum, float bias) const {
    return finishes ? activate_for<T>(activation, sum + bias) : sum;
  }
  // Within a place's result 32 bits are enough (to_device).
  __device__ __forceinline__ T* at(int row, int column) const { return to + (row * columns + column); }

  // Two neighbouring columns of the tile, of which the first is even.
  struct Pair {
    const Store& store;
    int column;
    float bias_a, bias_b;

    __device__ __forceinline__ void operator()(int row, float a, float b) const {
      row += store.first_row;
      if (row >= store.rows || column >= store.columns) return;
      T* const at = store.at(row, column);
      a = store.finish(a, bias_a), b = store.finish(b, bias_b);
      if (store.columns % 2 == 0) {
        store_pair(at, a, b);
      } else {
        at[0] = from_float<T>(a);
        if (column + 1 < store.columns) at[1] = from_float<T>(b);
      }
    }
  };
  struct Single {
    const Store& store;
    int column;
    float bias;

    __device__ __forceinline__ void operator()(int row, float value) const {
      row += store.first_row;
      if (row < store.rows && column < store.columns) *store.at(row, column) = from_float<T>(store.finish(value, bias));
    }
  };

  __device__ __forceinline__ Pair pair(int column) const {
    column += first_column;
    return {*this, column, bias_of(column), bias_of(column + 1)};
  }
  __device__ __forceinline__ Single single(int column) const {
    column += first_column;
    return {*this, column, bias_of(column)};
  }
};

// work(kind), where kind.value is a constant: the code for every sum of a tile then has one activation in it and not a
// switch.
template <class Work>
__device__ __forceinline__ void with_activation(Activation activation, const Work& work) {
  switch (activation) {
    case Activation::identity: return work(std::integral_constant<Activation, Activation::identity>{});
    case Activation::tanh: return work(std::integral_constant<Activation, Activation::tanh>{});
    case Activation::relu: return work(std::integral_constant<Activation, Activation::relu>{});
    case Activation::sigmoid: return work(std::integral_constant<Activation, Activation::sigmoid>{});
  }
}

// How many tiles a place's result has, and how many places a row of them.
struct BlockOrder {
  Divisor m, n, width;
};

template <class Problem, class TileShape, class Multiply>
__global__ void __launch_bounds__(TileShape::threads, TileShape::blocks)
    product(const typename Problem::Arguments arguments, int rows, int columns, const BlockOrder order) {
  using T = typename Problem::Element;
  using A = typename Multiply::A;
  using B = typename Multiply::B;
  // Of the places' blocks, in this order: tile along the rows, along the columns, place in the row, row.
  const int block = static_cast<int>(blockIdx.x);
  const int panel = order.m.quotient(block), location = order.n.quotient(panel), line = order.width.quotient(location);
  const int first_row = (block - panel * static_cast<int>(order.m.d)) * TileShape::m;
  const int first_column = (panel - location * static_cast<int>(order.n.d)) * TileShape::n;
  const Problem problem(arguments, line, location - line * static_cast<int>(order.width.d), location);

  T* const memory = reinterpret_cast<T*>(dynamic_shared());
  const auto a_panel = [memory](int stage) { return memory + stage * (A::size + B::size); };
  const auto b_panel = [memory](int stage) { return memory + stage * (A::size + B::size) + A::size; };
  const int steps = (problem.depth + Multiply::depth - 1) / Multiply::depth;
  Copies<A, TileShape::threads, decltype(problem.a())> a(problem.a(), first_row, rows, arguments.a_vector);
  Copies<B, TileShape::threads, decltype(problem.b())> b(problem.b(), first_column, columns, arguments.b_vector);
  const auto load = [&](int step) {
    if (step < steps) {
      const int stage = step % stages, k_left = problem.depth - step * Multiply::depth;
      a.next(a_panel(stage), k_left);
      b.next(b_panel(stage), k_left);
    }
    commit_copies();  // also with nothing in it, so that the count of groups is the count of steps
  };

#pragma unroll 1
  for (int step = 0; step < stages - 1; ++step) load(step);
  Multiply multiply;
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    wait_copies<stages - 2>();  // this thread's part of the panels of this step is there
    __syncthreads();            // everybody's is, and everybody has done with the panels of the step before
    load(step + stages - 1);    // over the panels of the step before
    multiply.add(a_panel(step % stages), b_panel(step % stages));
  }
  wait_copies<0>();

  const auto store = [&](auto kind) {
    multiply.visit(
        Store<T, Problem::finishes, kind.value>{problem.c(), problem.bias(), first_row, first_column, rows, columns});
  };
  if constexpr (Problem::finishes) {
    with_activation(arguments.activation, store);
  } else {
    store(std::integral_constant<Activation, Activation::identity>{});
  }
}

// Where results are: each has a product of its own.
struct Places {
  int height, width;
};

template <class Problem, class TileShape, class Multiply>
cudaError_t launch_tile(const typename Problem::Arguments& arguments, Places places, int rows, int columns,
                        cudaStream_t stream) {
  const int tiles_m = (rows + TileShape::m - 1) / TileShape::m, tiles_n = (columns + TileShape::n - 1) / TileShape::n;
  const int64_t blocks = int64_t{places.height} * places.width * tiles_m * tiles_n;
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
  return cudaLaunchKernelEx(&config, kernel, arguments, rows, columns,
                            BlockOrder{Divisor(tiles_m), Divisor(tiles_n), Divisor(places.width)});
}

// Chooses the tile: as many columns as leave least of the last tile empty, the wider if that is a tie. A warp of the
// tensor cores takes 64×64 where it can: at 64×32 it would keep shared memory longer than them.
template <class Problem, template <class, bool, bool> class Multiply, bool on_tensor_cores>
cudaError_t launch_product(const typename Problem::Arguments& arguments, Places places, int rows, int columns,
                           cudaStream_t stream) {
  const auto launch = [&](auto tile) {
    using TileShape = decltype(tile);
    return launch_tile<Problem, TileShape, Multiply<TileShape, Problem::a_k_contiguous, Problem::b_k_contiguous>>(
        arguments, places, rows, columns, stream);
  };
  if (rows <= 64) return launch(Tile<64, 64, 32, 32>{});
  const auto padded = [columns](int n) { return (columns + n - 1) / n * n; };
  const int least = padded(64) < padded(128) ? padded(64) : padded(128);
  if constexpr (on_tensor_cores) {
    if (padded(96) < least || (padded(96) == least && padded(128) != least)) return launch(Tile<128, 96, 64, 48>{});
  }
  if (padded(128) == least) return launch(Tile<128, 128, 64, on_tensor_cores ? 64 : 32>{});
  return launch(Tile<128, 64, 64, 32>{});
}

// `arguments_of(T{})` makes the problem's arguments for elements of type T.
template <template <class> class Problem, class ArgumentsOf>
cudaError_t launch_product(Precision precision, Places places, int rows, int columns, cudaStream_t stream,
                           const ArgumentsOf& arguments_of) {
  const auto of_float = arguments_of(float{});
  const auto of_bf16 = arguments_of(bf16{});
  switch (precision) {
    case Precision::fp32:
      return launch_product<Problem<float>, MultiplyFp32, false>(of_float, places, rows, columns, stream);
    case Precision::tf32:
      return launch_product<Problem<float>, MultiplyTf32, true>(of_float, places, rows, columns, stream);
    case Precision::bf16:
      return launch_product<Problem<bf16>, MultiplyBf16, true>(of_bf16, places, rows, columns, stream);
  }
  return cudaErrorInvalidValue;
}

// Whether rows of `channels` elements from `data` on can be read in 16-byte pieces.
template <class T>
bool in_vectors(const T* data, int channels) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && channels * sizeof(T) % 16 == 0;
}

}  // namespace cortorch::cuda
