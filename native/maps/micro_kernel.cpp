#include "maps/micro_kernel.h"

#include <ATen/native/CPUBlas.h>

#include <algorithm>

#include "base/simd.h"

namespace cortorch {
namespace {

template <typename T>
CORTORCH_INLINE void plain(int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb, T* c,
                           int64_t ldc, bool accumulate) {
  for (int64_t i = 0; i < m; ++i) {
    T* row = c + i * ldc;
    if (!accumulate) std::fill_n(row, n, T{0});
    for (int64_t p = 0; p < k; ++p) {
      const T factor = a[i * lda + p];
      for (int64_t j = 0; j < n; ++j) row[j] += factor * b[p * ldb + j];
    }
  }
}

}  // namespace

#ifdef CPUBLAS_BRGEMM_F32F32F32
void micro_kernel(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                  int64_t ldc, bool accumulate) {
  at::native::cpublas::brgemm(m, n, k, lda, ldb, ldc, accumulate, a, b, c, /*is_vnni=*/false);
}
#else
CORTORCH_CLONES
void micro_kernel(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                  int64_t ldc, bool accumulate) {
  plain(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
}
#endif

CORTORCH_CLONES
void micro_kernel(int64_t m, int64_t n, int64_t k, const double* a, int64_t lda, const double* b, int64_t ldb,
                  double* c, int64_t ldc, bool accumulate) {
  plain(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
}

}  // namespace cortorch
