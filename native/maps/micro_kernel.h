// The innermost product, on row-major matrices that are in the cache: C[m, n] = A[m, k] · B[k, n], or += with
// `accumulate`. The leading dimensions are in elements.
#pragma once

#include <cstdint>

namespace cortorch {

// libtorch's brgemm (oneDNN's JIT), which reaches nearly the processor's peak even at 32×32×32, and reads and
// writes strided slices.
void micro_kernel(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                  int64_t ldc, bool accumulate);
// A plain loop: float64 is what checks are made in.
void micro_kernel(int64_t m, int64_t n, int64_t k, const double* a, int64_t lda, const double* b, int64_t ldb,
                  double* c, int64_t ldc, bool accumulate);

}  // namespace cortorch
