#include "maps/transpose.h"

#include <algorithm>

#include "maps/simd.h"

namespace cortorch {
namespace {

typedef float Vector8 __attribute__((vector_size(32), aligned(4)));

// An 8×8 block in registers: three rounds of interleaving, 24 shuffles.
CORTORCH_INLINE void transpose8(const float* in, int64_t ld_in, float* out, int64_t ld_out) {
  Vector8 r[8], s[8];
  for (int i = 0; i < 8; ++i) r[i] = *reinterpret_cast<const Vector8*>(in + i * ld_in);
  for (int i = 0; i < 4; ++i) {
    s[2 * i] = __builtin_shuffle(r[2 * i], r[2 * i + 1], (__attribute__((vector_size(32))) int){0, 8, 1, 9, 4, 12, 5, 13});
    s[2 * i + 1] = __builtin_shuffle(r[2 * i], r[2 * i + 1], (__attribute__((vector_size(32))) int){2, 10, 3, 11, 6, 14, 7, 15});
  }
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2; ++j) {
      r[4 * i + 2 * j] = __builtin_shuffle(s[4 * i + j], s[4 * i + 2 + j], (__attribute__((vector_size(32))) int){0, 1, 8, 9, 4, 5, 12, 13});
      r[4 * i + 2 * j + 1] = __builtin_shuffle(s[4 * i + j], s[4 * i + 2 + j], (__attribute__((vector_size(32))) int){2, 3, 10, 11, 6, 7, 14, 15});
    }
  }
  for (int i = 0; i < 4; ++i) {
    s[i] = __builtin_shuffle(r[i], r[i + 4], (__attribute__((vector_size(32))) int){0, 1, 2, 3, 8, 9, 10, 11});
    s[i + 4] = __builtin_shuffle(r[i], r[i + 4], (__attribute__((vector_size(32))) int){4, 5, 6, 7, 12, 13, 14, 15});
  }
  for (int i = 0; i < 8; ++i) *reinterpret_cast<Vector8*>(out + i * ld_out) = s[i];
}

}  // namespace

CORTORCH_CLONES
void transpose(const float* in, int64_t rows, int64_t columns, int64_t ld_in, float* out, int64_t ld_out) {
  constexpr int64_t kBlock = 8;
  const int64_t whole_rows = rows / kBlock * kBlock;
  const int64_t whole_columns = columns / kBlock * kBlock;
  // Output rows outermost: writes that miss cost more than reads that miss.
  for (int64_t j = 0; j < whole_columns; j += kBlock) {
    for (int64_t i = 0; i < whole_rows; i += kBlock) transpose8(in + i * ld_in + j, ld_in, out + j * ld_out + i, ld_out);
    for (int64_t i = whole_rows; i < rows; ++i) {
      for (int64_t jj = j; jj < j + kBlock; ++jj) out[jj * ld_out + i] = in[i * ld_in + jj];
    }
  }
  for (int64_t j = whole_columns; j < columns; ++j) {
    for (int64_t i = 0; i < rows; ++i) out[j * ld_out + i] = in[i * ld_in + j];
  }
}

}  // namespace cortorch
