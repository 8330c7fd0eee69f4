// The losses on raw device pointers. What is counted goes to rows first, and from there to sums in a fixed order, so
// that nothing is atomic and every bit is repeatable.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "base/cuda/precision.h"

namespace cortorch::cuda {

// Where sums of LossCounts stand among them.
enum Count { kLoss, kError, kError5, kInverse, kExamples, kCounts };

// Of each example into `rows` [batch, 3]: loss, error, error5. A label that is no class makes a loss of NaN.
constexpr int kRow = 3;

// −log softmax(z)[label], and (o − y) / divisor into `gradient`, which may be null. z [batch, classes], classes ≥ 1.
cudaError_t cross_entropy(int64_t batch, int64_t classes, Precision precision, const void* z, const int64_t* labels,
                          void* gradient, double divisor, double* rows, cudaStream_t stream);

// Σ (o − t)², and factor · (o − t) into `gradient`, which may be null. o [batch, n]; t of o's type [batch, n], or null:
// labels, which stand for one-hot targets.
cudaError_t squared_error(int64_t batch, int64_t n, Precision precision, const void* o, const void* t,
                          const int64_t* labels, void* gradient, double factor, double* rows, cudaStream_t stream);

// Adds the rows to `sums` [kCounts], and writes their mean loss to `mean` if it is not null.
cudaError_t add_rows(int64_t batch, const double* rows, double* sums, float* mean, cudaStream_t stream);

// Adds factor · Σ squares to sums[kInverse].
cudaError_t add_squares(int64_t count, const float* squares, double factor, double* sums, cudaStream_t stream);

}  // namespace cortorch::cuda
