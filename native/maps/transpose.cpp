#include "maps/transpose.h"

#include <algorithm>

#include "base/simd.h"

namespace cortorch {
namespace {

typedef float Vector8 __attribute__((vector_size(32), aligned(4)));

// An 8×8 block in registers: three rounds of interleaving, 24 shuffles. row(i) is where its i-th row begins.
template <typename Row>
CORTORCH_INLINE void transpose8(Row row, float* out, int64_t ld_out) {
  Vector8 r[8], s[8];
  for (int i = 0; i < 8; ++i) r[i] = *reinterpret_cast<const Vector8*>(row(i));
  for (int i = 0; i < 4; ++i) {
    s[2 * i] =
        __builtin_shuffle(r[2 * i], r[2 * i + 1], (__attribute__((vector_size(32))) int){0, 8, 1, 9, 4, 12, 5, 13});
    s[2 * i + 1] =
        __builtin_shuffle(r[2 * i], r[2 * i + 1], (__attribute__((vector_size(32))) int){2, 10, 3, 11, 6, 14, 7, 15});
  }
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2; ++j) {
      r[4 * i + 2 * j] = __builtin_shuffle(s[4 * i + j], s[4 * i + 2 + j],
                                           (__attribute__((vector_size(32))) int){0, 1, 8, 9, 4, 5, 12, 13});
      r[4 * i + 2 * j + 1] = __builtin_shuffle(s[4 * i + j], s[4 * i + 2 + j],
                                               (__attribute__((vector_size(32))) int){2, 3, 10, 11, 6, 7, 14, 15});
    }
  }
  for (int i = 0; i < 4; ++i) {
    s[i] = __builtin_shuffle(r[i], r[i + 4], (__attribute__((vector_size(32))) int){0, 1, 2, 3, 8, 9, 10, 11});
    s[i + 4] = __builtin_shuffle(r[i], r[i + 4], (__attribute__((vector_size(32))) int){4, 5, 6, 7, 12, 13, 14, 15});
  }
  for (int i = 0; i < 8; ++i) *reinterpret_cast<Vector8*>(out + i * ld_out) = s[i];
}

constexpr int64_t kBlock = 8;

// Blocks of 8×8, output rows outermost: writes that miss cost more than reads that miss. The last blocks overlap those
// before them, which is cheaper than moving the rest one by one. row(i) is where the i-th row begins.
template <typename Row>
CORTORCH_INLINE void transpose_blocks(Row row, int64_t rows, int64_t columns, float* out, int64_t ld_out) {
  for (int64_t j = 0; j < columns; j += kBlock) {
    const int64_t jj = std::min(j, columns - kBlock);
    for (int64_t i = 0; i < rows; i += kBlock) {
      const int64_t ii = std::min(i, rows - kBlock);
      transpose8([&](int k) { return row(ii + k) + jj; }, out + jj * ld_out + ii, ld_out);
    }
  }
}

template <typename T, typename Row>
CORTORCH_INLINE void transpose_plain(Row row, int64_t rows, int64_t columns, T* out, int64_t ld_out) {
  for (int64_t i = 0; i < rows; ++i) {
    const T* in = row(i);
    for (int64_t j = 0; j < columns; ++j) out[j * ld_out + i] = in[j];
  }
}

}  // namespace

CORTORCH_CLONES
void transpose(const float* in, int64_t rows, int64_t columns, int64_t ld_in, float* out, int64_t ld_out) {
  const auto row = [=](int64_t i) { return in + i * ld_in; };
  if (rows < kBlock || columns < kBlock) return transpose_plain(row, rows, columns, out, ld_out);
  transpose_blocks(row, rows, columns, out, ld_out);
}

CORTORCH_CLONES
void transpose(const float* const* rows, int64_t count, int64_t columns, float* out, int64_t ld_out) {
  const auto row = [=](int64_t i) { return rows[i]; };
  if (count < kBlock || columns < kBlock) return transpose_plain(row, count, columns, out, ld_out);
  transpose_blocks(row, count, columns, out, ld_out);
}

void transpose(const double* in, int64_t rows, int64_t columns, int64_t ld_in, double* out, int64_t ld_out) {
  transpose_plain([=](int64_t i) { return in + i * ld_in; }, rows, columns, out, ld_out);
}

void transpose(const double* const* rows, int64_t count, int64_t columns, double* out, int64_t ld_out) {
  transpose_plain([=](int64_t i) { return rows[i]; }, count, columns, out, ld_out);
}

}  // namespace cortorch
