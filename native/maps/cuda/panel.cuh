// A panel of an operand in shared memory: `rows` (of the result: rows of A, columns of B) by `depth` along the sum; and
// how a thread block copies an operand there, panel by panel.
#pragma once

#include "base/cuda/primitives.cuh"

namespace cortorch::cuda {

// `padding` after each line of the panel, in elements, is what a product's way of reading it needs (multiply.cuh).
template <class T, int rows_, int depth_, bool k_contiguous_, int padding>
struct Panel {
  using Element = T;
  static constexpr int rows = rows_, depth = depth_;
  static constexpr bool k_contiguous = k_contiguous_;
  static constexpr int lines = k_contiguous ? rows : depth;
  static constexpr int line = k_contiguous ? depth : rows;
  static constexpr int pitch = line + padding;
  static constexpr int size = lines * pitch;
  static_assert(padding * sizeof(T) % 16 == 0);

  static __device__ __forceinline__ int at(int row, int k) { return k_contiguous ? row * pitch + k : k * pitch + row; }
};

// How a block's threads share a panel among them, in pieces of some elements. A thread has either one step of the sum
// and some rows, or one row and some steps, always equally far apart: `rows` or `steps` of the operand, `elements` of
// the panel.
template <class P, int threads, int piece, bool one_step>
struct Share {
  static constexpr int per_line = P::line / piece;
  static constexpr bool along_line = one_step && !P::k_contiguous;  // where its pieces lie
  static constexpr int per_line_at_once = along_line ? threads / P::lines : per_line;
  static constexpr int lines_at_once = threads / per_line_at_once;
  static constexpr int passes = per_line * P::lines / threads;
  static constexpr int elements = along_line ? per_line_at_once * piece : lines_at_once * P::pitch;
  static constexpr int rows = !one_step ? 0 : along_line ? elements : lines_at_once;
  static constexpr int steps = one_step ? 0 : lines_at_once;
  static_assert(per_line_at_once * lines_at_once == threads && passes * threads == per_line * P::lines);
  static_assert(one_step || !P::k_contiguous);

  // Of 16-byte pieces eight threads write at a time, to two lines where a line takes four. The lines beside each other
  // there are four apart, and so in different banks.
  static constexpr bool far_lines = piece > 1 && per_line_at_once == 4 && lines_at_once % 8 == 0;
  static __device__ __forceinline__ int line() {
    const int line = static_cast<int>(threadIdx.x) / per_line_at_once;
    return far_lines ? (line & ~5) | (line & 1) << 2 | (line >> 2 & 1) : line;
  }
  static __device__ __forceinline__ int place() { return static_cast<int>(threadIdx.x) % per_line_at_once * piece; }
};

// One thread's part in copying an operand's panels, one after the other along the sum. The operand says where its
// elements are: walk.cuh. `vector`: 16-byte pieces along the contiguous direction neither straddle an edge nor are
// misaligned.
template <class P, int threads, class Operand>
class Copies {
  using T = typename P::Element;
  static constexpr int vector_piece = 16 / static_cast<int>(sizeof(T));
  using Pieces = Share<P, threads, vector_piece, Operand::rows_are_even>;
  using Elements = Share<P, threads, 1, Operand::rows_are_even>;

 public:
  __device__ Copies(const Operand& operand, int first_row, int row_count, bool vector)
      : row_(operand.row),
        vector_(vector),
        line_(vector ? Pieces::line() : Elements::line()),
        place_(vector ? Pieces::place() : Elements::place()),
        rows_left_(row_count - first_row - row()),
        walk_(operand.walk(first_row + row(), k(),
                           Operand::rows_are_even ? P::depth
                           : vector               ? Pieces::steps
                                                  : Elements::steps)) {
    if (!operand.has(first_row + row())) rows_left_ = 0;
  }

  // Starts copying the next panel. `k_left`: of the sum, from its first step on; what lies beyond, or beyond the rows,
  // is zero.
  __device__ __forceinline__ void next(T* panel, int k_left) {
    if (vector_) {
      copy<Pieces, vector_piece>(panel, k_left);
    } else {
      copy<Elements, 1>(panel, k_left);
    }
  }

 private:
  __device__ __forceinline__ int row() const { return P::k_contiguous ? line_ : place_; }
  __device__ __forceinline__ int k() const { return P::k_contiguous ? place_ : line_; }

  template <class S, int piece>
  __device__ __forceinline__ void copy(T* panel, int k_left) {
    T* const to = panel + line_ * P::pitch + place_;
    // Single elements a few at a time: their addresses would take the registers that the sums need.
    [[maybe_unused]] constexpr int unrolled = piece == 1 && S::passes > 8 ? 8 : S::passes;
#pragma unroll unrolled
    for (int pass = 0; pass < S::passes; ++pass) {
      const T* const from = walk_.at() + pass * S::rows * row_;
      const bool inside = k() + pass * S::steps < k_left && pass * S::rows < rows_left_;
      if constexpr (piece * sizeof(T) >= 4) {
        copy_async<piece* static_cast<int>(sizeof(T))>(to + pass * S::elements, from, inside);
      } else {  // two bytes are too few for cp.async
        store_shared(to + pass * S::elements, inside ? *from : from_float<T>(0.0f));
      }
      if constexpr (!Operand::rows_are_even) walk_.advance();
    }
    if constexpr (Operand::rows_are_even) walk_.advance();
  }

  int row_;  // elements from one row of the operand to the next
  bool vector_;
  int line_, place_;
  int rows_left_;  // from this thread's first one on
  typename Operand::Walk walk_;
};

}  // namespace cortorch::cuda
