// The operands of the products, and how one thread goes along their sum: an address, moved on by the same number of
// steps of the sum each time. This is what the kernels do between two products, and it has to be little: making four
// addresses from an index took 220 of the 290 instructions between two barriers (bf16, 128×128), more than the tensor
// cores take for the rest.
#pragma once

#include "maps/cuda/geometry.cuh"

namespace cortorch::cuda {

// Along steps that lie evenly.
template <class T>
class LineWalk {
 public:
  __device__ LineWalk(const T* at, int stride) : at_(at), stride_(stride) {}
  __device__ __forceinline__ const T* at() const { return at_; }
  __device__ __forceinline__ void advance() { at_ += stride_; }

 private:
  const T* at_;
  int stride_;
};

// An operand whose step k is the k-th row of a matrix, and whose rows (of the product) are its columns.
template <class T>
struct LineOperand {
  using Walk = LineWalk<T>;
  const T* first;
  int step;                      // elements from one step to the next
  static constexpr int row = 1;  // … and from one row to the next
  // Every row is `row` elements after the one before; where that is not so, `walk` is asked for each row of a thread.
  static constexpr bool rows_are_even = true;

  __device__ bool has(int) const { return true; }
  __device__ Walk walk(int at_row, int k, int by) const {
    return {first + static_cast<int64_t>(k) * step + at_row, by * step};
  }
};

// Along all that one location meets: (row of taps, tap in the row, channel), the last of them fastest, as one dense
// index. So a patch with few channels wastes no lanes, and taps that meet nothing cost nothing. The index is kept as
// these digits; what it advances by is added digit by digit, with carries, and every carry changes the address by an
// amount of its own.
template <class T>
class PatchWalk {
 public:
  struct Strides {
    int channel, tap, row;  // elements from one to the next
  };

  __device__ PatchWalk(const T* first, int rows, int columns, Divisor channels, Strides strides, int k, int by)
      : channels_(static_cast<int>(channels.d)), columns_(max(columns, 1)) {
    const int tap = channels.quotient(k), row = tap / columns_;
    channel_ = k - tap * channels_, column_ = tap - row * columns_;
    at_ = first + static_cast<int64_t>(row) * strides.row + static_cast<int64_t>(column_) * strides.tap +
          static_cast<int64_t>(channel_) * strides.channel;
    const int by_taps = channels.quotient(by), by_rows = by_taps / columns_;
    by_channel_ = by - by_taps * channels_, by_column_ = by_taps - by_rows * columns_;
    // Past the last row it does not matter where, only that it can be added.
    by_elements_ =
        by_rows < rows ? by_rows * strides.row + by_column_ * strides.tap + by_channel_ * strides.channel : 0;
    next_tap_ = strides.tap - channels_ * strides.channel;
    next_row_ = rows > 1 ? strides.row - columns_ * strides.tap : 0;
  }
  __device__ __forceinline__ const T* at() const { return at_; }
  __device__ __forceinline__ void advance() {
    at_ += by_elements_;
    channel_ += by_channel_, column_ += by_column_;
    if (channel_ >= channels_) channel_ -= channels_, ++column_, at_ += next_tap_;
    if (column_ >= columns_) column_ -= columns_, at_ += next_row_;
  }

 private:
  const T* at_;
  int channel_, column_;
  int channels_, columns_, by_channel_, by_column_, by_elements_, next_tap_, next_row_;
};

template <class T>
struct PatchOperand {
  using Walk = PatchWalk<T>;
  const T* first;     // row 0, step 0
  int row;            // elements from one row (of the product) to the next
  int rows, columns;  // of taps
  Divisor channels;
  typename Walk::Strides strides;
  static constexpr bool rows_are_even = true;

  __device__ bool has(int) const { return true; }
  __device__ Walk walk(int at_row, int k, int by) const {
    return {first + static_cast<int64_t>(at_row) * row, rows, columns, channels, strides, k, by};
  }
};

}  // namespace cortorch::cuda
