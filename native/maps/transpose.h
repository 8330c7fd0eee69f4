#pragma once

#include <cstdint>

namespace cortorch {

// out[j, i] = in[i, j] for a [rows, columns] matrix; the leading dimensions are in elements.
void transpose(const float* in, int64_t rows, int64_t columns, int64_t ld_in, float* out, int64_t ld_out);
void transpose(const double* in, int64_t rows, int64_t columns, int64_t ld_in, double* out, int64_t ld_out);

// The same for a matrix whose rows lie apart: out[j, i] = rows[i][j].
void transpose(const float* const* rows, int64_t count, int64_t columns, float* out, int64_t ld_out);
void transpose(const double* const* rows, int64_t count, int64_t columns, double* out, int64_t ld_out);

}  // namespace cortorch
