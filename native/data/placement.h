// Where the pixels of an augmented image come from, for the processor and for CUDA's kernels.
#pragma once

#include <cstdint>

#include "base/normal_numbers.h"

namespace cortorch {

struct Placement {
  int32_t top, left;  // of the window, relative to the image
  bool mirrored, upside_down;
};

// −padding … padding, each with the same probability.
CORTORCH_INLINE int32_t offset_of(uint32_t word, int32_t padding) {
  const auto choices = static_cast<uint64_t>(2 * padding + 1);
  return static_cast<int32_t>((word * choices) >> 32) - padding;
}

// Of an example in an epoch: a function of these and of the seed alone.
CORTORCH_INLINE Placement placement_of(uint64_t seed, uint32_t epoch, int64_t example, int32_t crop_padding,
                                       bool flip_horizontal, bool flip_vertical) {
  const Words w = random_block(seed, Purpose::augmentation, epoch, static_cast<uint64_t>(example));
  return {offset_of(w.a, crop_padding), offset_of(w.b, crop_padding), flip_horizontal && (w.c & 1u) != 0,
          flip_vertical && (w.d & 1u) != 0};
}

// The row or column that is seen at i; −1: none, black.
CORTORCH_INLINE int64_t inside(int64_t i, int64_t size, bool black) {
  if (i >= 0 && i < size) return i;
  if (black) return -1;
  return i < 0 ? -i : 2 * (size - 1) - i;
}

}  // namespace cortorch
