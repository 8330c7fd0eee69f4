// One thread block's part of C += A·B from panels in shared memory: in float on the ordinary cores, or on the
// tensor cores in tf32 and bf16. Each keeps its sums in registers, adds a pair of panels, and hands the sums out.
#pragma once

#include "maps/cuda/panel.cuh"

namespace cortorch::cuda {

// The shape of a block's tile of C, and how it is cut among threads: warps of warp_m × warp_n for the tensor
// cores. Every depth is 64 bytes of an element.
template <int m_, int n_, int warp_m_, int warp_n_>
struct Tile {
  static constexpr int m = m_, n = n_, warp_m = warp_m_, warp_n = warp_n_;
  static constexpr int threads = (m / warp_m) * (n / warp_n) * 32;
  // That should fit on a multiprocessor at once: the compiler then keeps to 168 registers a thread, or to 128 or 255
  // where the tile is large.
  static constexpr int blocks = m * n > 128 * 96 ? 2 : 3;
};

// Eight (or fewer) rows by eight columns for each thread. Four steps of k at a time, in 16-byte loads.
template <class TileShape, bool a_k_contiguous, bool b_k_contiguous>
struct MultiplyFp32 {
  using Element = float;
  static constexpr int depth = 16;
  // Lines 80 bytes apart along k: 16 bytes at one place of eight neighbouring ones are in different banks. Across it,
  // every read is along one line.
  using A = Panel<float, TileShape::m, depth, a_k_contiguous, 4>;
  using B = Panel<float, TileShape::n, depth, b_k_contiguous, 4>;

  __device__ __forceinline__ void add(const float* a, const float* b) {
#pragma unroll
    for (int k = 0; k < depth; k += 4) {
      float av[4][rows], bv[4][columns];
      fetch<A, a_k_contiguous, rows, across_m>(av, a, k, thread_m());
      fetch<B, b_k_contiguous, columns, across_n>(bv, b, k, thread_n());
#pragma unroll
      for (int step = 0; step < 4; ++step) {
#pragma unroll
        for (int i = 0; i < rows; ++i) {
#pragma unroll
          for (int j = 0; j < columns; ++j) sums_[i][j] += av[step][i] * bv[step][j];
        }
      }
    }
  }

  // Column by column, since a store keeps something for each of them.
  template <class Visitor>
  __device__ __forceinline__ void visit(const Visitor& visitor) const {
#pragma unroll
    for (int j = 0; j < columns; j += b_k_contiguous ? 1 : 2) {
      const int column = place<b_k_contiguous, across_n>(thread_n(), j);
      if constexpr (b_k_contiguous) {
        const auto store = visitor.single(column);
#pragma unroll
        for (int i = 0; i < rows; ++i) store(place<a_k_contiguous, across_m>(thread_m(), i), sums_[i][j]);
      } else {
        const auto store = visitor.pair(column);
#pragma unroll
        for (int i = 0; i < rows; ++i)
          store(place<a_k_contiguous, across_m>(thread_m(), i), sums_[i][j], sums_[i][j + 1]);
      }
    }
  }

 private:
  static constexpr int columns = 8, across_n = TileShape::n / columns;
  static constexpr int across_m = TileShape::threads / across_n, rows = TileShape::m / across_m;
  static_assert(rows % 4 == 0 && across_m * rows == TileShape::m);

  static __device__ __forceinline__ int thread_n() { return static_cast<int>(threadIdx.x) % across_n; }
  static __device__ __forceinline__ int thread_m() { return static_cast<int>(threadIdx.x) / across_n; }

  // The i-th row (or column) of a thread: one in `across`, or, where four neighbours lie together, four.
  template <bool k_contiguous, int across>
  static __device__ __forceinline__ int place(int thread, int i) {
    return k_contiguous ? thread + i * across : thread * 4 + i % 4 + i / 4 * (4 * across);
  }

  template <class P, bool k_contiguous, int count, int across>
  static __device__ __forceinline__ void fetch(float (&to)[4][count], const float* panel, int k, int thread) {
    if constexpr (k_contiguous) {
#pragma unroll
      for (int i = 0; i < count; ++i) {
        const float4 four = load_shared<float4>(panel + P::at(place<k_contiguous, across>(thread, i), k));
        to[0][i] = four.x, to[1][i] = four.y, to[2][i] = four.z, to[3][i] = four.w;
      }
    } else {
#pragma unroll
      for (int step = 0; step < 4; ++step) {
#pragma unroll
        for (int i = 0; i < count; i += 4) {
          const float4 four = load_shared<float4>(panel + P::at(place<k_contiguous, across>(thread, i), k + step));
          to[step][i] = four.x, to[step][i + 1] = four.y, to[step][i + 2] = four.z, to[step][i + 3] = four.w;
        }
      }
    }
  }

  float sums_[rows][columns] = {};
};

// What the two kinds of tensor-core products share: a warp's sums as 16×8 fragments.
template <class TileShape>
struct WarpSums {
  static constexpr int fragments_m = TileShape::warp_m / 16, fragments_n = TileShape::warp_n / 8;

  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
  static __device__ __forceinline__ int first_row() {
    return static_cast<int>(threadIdx.x) / 32 % (TileShape::m / TileShape::warp_m) * TileShape::warp_m;
  }
  static __device__ __forceinline__ int first_column() {
    return static_cast<int>(threadIdx.x) / 32 / (TileShape::m / TileShape::warp_m) * TileShape::warp_n;
  }

  template <class Visitor>
  __device__ __forceinline__ void visit(const Visitor& visitor) const {
#pragma unroll
    for (int j = 0; j < fragments_n; ++j) {
      const auto store = visitor.pair(first_column() + j * 8 + lane() % 4 * 2);
#pragma unroll
      for (int i = 0; i < fragments_m; ++i) {
        const int row = first_row() + i * 16 + lane() / 4;
        store(row, sums[i][j][0], sums[i][j][1]);
        store(row + 8, sums[i][j][2], sums[i][j][3]);
      }
    }
  }

  float sums[fragments_m][fragments_n][4] = {};
};

template <class TileShape, bool a_k_contiguous, bool b_k_contiguous>
struct MultiplyTf32 : WarpSums<TileShape> {
  using Element = float;
  static constexpr int depth = 16;
  // Lines 80 bytes apart for whole matrices, 32 more than a multiple of 128 for single elements: no two in one bank.
  using A = Panel<float, TileShape::m, depth, a_k_contiguous, a_k_contiguous ? 4 : 8>;
  using B = Panel<float, TileShape::n, depth, b_k_contiguous, b_k_contiguous ? 4 : 8>;
  using Base = WarpSums<TileShape>;
  static_assert(Base::fragments_n % 2 == 0);

  __device__ __forceinline__ void add(const float* a, const float* b) {
#pragma unroll
    for (int k = 0; k < depth; k += 8) {
      uint32_t af[Base::fragments_m][4], bf[Base::fragments_n / 2][4];
#pragma unroll
      for (int i = 0; i < Base::fragments_m; ++i) fetch<A, true>(af[i], a, Base::first_row() + i * 16, k);
#pragma unroll
      for (int j = 0; j < Base::fragments_n / 2; ++j) fetch<B, false>(bf[j], b, Base::first_column() + j * 16, k);
#pragma unroll
      for (int i = 0; i < Base::fragments_m; ++i) {
#pragma unroll
        for (int j = 0; j < Base::fragments_n; ++j) {
          const uint32_t two[2] = {bf[j / 2][j % 2 * 2], bf[j / 2][j % 2 * 2 + 1]};
          multiply_tf32(this->sums[i][j], af[i], two);
        }
      }
    }
  }

 private:
  // A 2×2 square of matrices of 8 rows by 4 steps of k, of which a lane gets row lane / 4 and step lane % 4: those of A
  // one fragment, with the second matrix further along the rows; those of B two, with the second further along k.
  // ldmatrix takes the four floats of a row for eight numbers of 16 bits, and hands them out just so.
  template <class P, bool rows_first>
  static __device__ __forceinline__ void fetch(uint32_t (&to)[4], const float* panel, int row, int k) {
    if constexpr (P::k_contiguous) {
      const int second = Base::lane() / 8 % 2, third = Base::lane() / 16;
      row += Base::lane() % 8 + (rows_first ? second : third) * 8, k += (rows_first ? third : second) * 4;
      load_matrices(to, panel + P::at(row, k));
    } else {
      row += Base::lane() / 4, k += Base::lane() % 4;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int second = e % 2, third = e / 2;
        to[e] = load_shared<uint32_t>(
            panel + P::at(row + (rows_first ? second : third) * 8, k + (rows_first ? third : second) * 4));
      }
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) to[e] = round_to_tf32(to[e]);
  }
};

template <class TileShape, bool a_k_contiguous, bool b_k_contiguous>
struct MultiplyBf16 : WarpSums<TileShape> {
  using Element = bf16;
  static constexpr int depth = 32;
  // Lines 80 bytes apart, or 16 or 80 more than a multiple of 128: the eight of a matrix are in different banks.
  using A = Panel<bf16, TileShape::m, depth, a_k_contiguous, 8>;
  using B = Panel<bf16, TileShape::n, depth, b_k_contiguous, 8>;
  using Base = WarpSums<TileShape>;
  static_assert(Base::fragments_n % 2 == 0);

  __device__ __forceinline__ void add(const bf16* a, const bf16* b) {
    // ldmatrix fetches a 2×2 square of 8×8 matrices: in A its second one lies further along the rows and its
    // third along k, in B the other way round.
    const int within = Base::lane() % 8, second = Base::lane() / 8 % 2 * 8, third = Base::lane() / 16 * 8;
    // Lane `within` of a matrix names its line: a row of the operand if k is contiguous, else a step of k.
    const int a_row = Base::first_row() + second + (a_k_contiguous ? within : 0);
    const int a_k = third + (a_k_contiguous ? 0 : within);
    const int b_column = Base::first_column() + third + (b_k_contiguous ? within : 0);
    const int b_k = second + (b_k_contiguous ? 0 : within);
#pragma unroll
    for (int k = 0; k < depth; k += 16) {
      uint32_t af[Base::fragments_m][4], bf[Base::fragments_n][2];
#pragma unroll
      for (int i = 0; i < Base::fragments_m; ++i) {
        fetch<a_k_contiguous>(af[i], a + A::at(a_row + i * 16, k + a_k));
      }
#pragma unroll
      for (int j = 0; j < Base::fragments_n; j += 2) {
        uint32_t four[4];
        fetch<b_k_contiguous>(four, b + B::at(b_column + j * 8, k + b_k));
        bf[j][0] = four[0], bf[j][1] = four[1], bf[j + 1][0] = four[2], bf[j + 1][1] = four[3];
      }
#pragma unroll
      for (int i = 0; i < Base::fragments_m; ++i) {
#pragma unroll
        for (int j = 0; j < Base::fragments_n; ++j) multiply_bf16(this->sums[i][j], af[i], bf[j]);
      }
    }
  }

 private:
  template <bool k_contiguous>
  static __device__ __forceinline__ void fetch(uint32_t (&to)[4], const bf16* row) {
    if constexpr (k_contiguous) {
      load_matrices(to, row);
    } else {
      load_matrices_transposed(to, row);
    }
  }
};

}  // namespace cortorch::cuda
