// A panel of an operand in shared memory: `rows` (of the result: rows of A, columns of B) by `depth` along the sum.
#pragma once

#include "maps/cuda/primitives.cuh"

namespace cortorch::cuda {

template <class T, int rows_, int depth_, bool k_contiguous>
struct Panel {
  static constexpr int rows = rows_, depth = depth_;
  static constexpr int lines = k_contiguous ? rows : depth;
  static constexpr int line = k_contiguous ? depth : rows;
  // The padding lets the eight lines that a fragment touches begin in different banks: lines are 80 bytes apart
  // along k, and 16 (bf16) or 32 (float) more than a multiple of 64 bytes across it. Lines stay 16-byte aligned.
  static constexpr int pitch = line + (k_contiguous ? 16 / static_cast<int>(sizeof(T)) : 8);
  static constexpr int size = lines * pitch;

  static __device__ __forceinline__ int at(int row, int k) { return k_contiguous ? row * pitch + k : k * pitch + row; }

  // Starts copying the panel at (first_row, first_k) of an operand of row_count × k_count; the rest is zeros.
  // `element(row, k)` points to an element in global memory, or is null where the operand is zero by itself.
  // `vector`: 16-byte pieces along the contiguous direction neither straddle an edge nor are misaligned.
  template <int threads, class Element>
  static __device__ __forceinline__ void load(T* panel, const T* any, int first_row, int row_count, int first_k,
                                              int k_count, bool vector, const Element& element) {
    if (vector) {
      constexpr int piece = 16 / static_cast<int>(sizeof(T));
      load_pieces<threads, piece>(panel, any, first_row, row_count, first_k, k_count, element);
    } else {
      load_pieces<threads, 1>(panel, any, first_row, row_count, first_k, k_count, element);
    }
  }

 private:
  template <int threads, int piece, class Element>
  static __device__ __forceinline__ void load_pieces(T* panel, const T* any, int first_row, int row_count, int first_k,
                                                     int k_count, const Element& element) {
    constexpr int per_line = line / piece, total = lines * per_line;
    static_assert(total % threads == 0);
    // Few single elements at a time: their addresses would take the registers that the sums need.
    [[maybe_unused]] constexpr int at_once = piece == 1 ? 4 : total / threads;
#pragma unroll at_once
    for (int i = 0; i < total / threads; ++i) {
      const int at_piece = i * threads + static_cast<int>(threadIdx.x);
      const int across = at_piece / per_line, along = at_piece % per_line * piece;
      const int row = k_contiguous ? across : along, k = k_contiguous ? along : across;
      const bool inside = first_row + row < row_count && first_k + k < k_count;
      const T* from = inside ? element(first_row + row, first_k + k) : nullptr;
      T* to = panel + across * pitch + along;
      if constexpr (piece * sizeof(T) >= 4) {
        copy_async<piece * static_cast<int>(sizeof(T))>(to, from == nullptr ? any : from, from != nullptr);
      } else {
        store_shared(to, from == nullptr ? from_float<T>(0.0f) : *from); // two bytes are too few for cp.async
      }
    }
  }
};

}  // namespace cortorch::cuda
