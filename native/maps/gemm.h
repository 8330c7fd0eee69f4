// A blocked, parallel matrix product over libtorch's float micro-kernel, with an epilogue per tile.
//
// Everything a dense map does is one call of this: apply is x·Wᵀ, adjoint is y·V, outer is δᵀ·x. The
// micro-kernel (brgemm, oneDNN's JIT) wants both operands row-major, so a transposed operand is packed,
// panel by panel, into scratch that stays in the second-level cache.
#pragma once

#include <c10/util/FunctionRef.h>

#include <cstdint>

namespace cortorch {

// A row-major float matrix read as it stands or transposed. `ld` is the distance between stored rows.
struct Operand {
  const float* data;
  int64_t ld;
  bool transposed;
};

// Called once for each finished tile of C, on the thread that made it, while it is still in the cache:
// `tile` is its first element, `first_column` its place in C.
using Epilogue = c10::function_ref<void(float* tile, int64_t rows, int64_t columns, int64_t ld, int64_t first_column)>;

// C[m, n] = op(A)[m, k] · op(B)[k, n]; C is overwritten. The order of summation over k does not depend on
// the number of threads.
void gemm(int64_t m, int64_t n, int64_t k, Operand a, Operand b, float* c, int64_t ldc, Epilogue epilogue);
void gemm(int64_t m, int64_t n, int64_t k, Operand a, Operand b, float* c, int64_t ldc);

}  // namespace cortorch
