// Ranges and rounding of sizes, for the processor and for CUDA's kernels.
#pragma once

#include <cstdint>

#include "base/simd.h"

namespace cortorch {

// begin … end − 1.
struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// Of integers that are not negative.
template <typename T>
CORTORCH_INLINE constexpr T divide_up(T a, T b) {
  return (a + b - 1) / b;
}
template <typename T>
CORTORCH_INLINE constexpr T round_up(T value, T multiple) {
  return divide_up(value, multiple) * multiple;
}

}  // namespace cortorch
