// How answers rank, for the processor and for CUDA's kernels.
#pragma once

#include <cstdint>

#include "base/simd.h"

namespace cortorch {

// Does answer c rank before the right one? Ties go to the lower class, as in argmax; a NaN ranks the right answer last.
CORTORCH_INLINE bool ranks_before(int64_t c, float answer, int64_t label, float right) {
  return c < label ? !(answer < right) : c > label && !(answer <= right);
}

}  // namespace cortorch
