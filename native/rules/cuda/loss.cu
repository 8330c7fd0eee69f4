#include "rules/cuda/loss.h"

#include "base/cuda/launch.cuh"
#include "rules/rank.h"

namespace cortorch::cuda {
namespace {

// Threads for a row: a warp is enough for few classes, and its barriers cost nothing.
int threads_for(int64_t columns) { return columns <= 128 ? 32 : block_threads; }

// The largest over a block, for all its threads; as block_sum.
__device__ __forceinline__ float block_max(float value, float* shared) {
  const int thread = static_cast<int>(threadIdx.x);
  store_shared(shared + thread, value);
  __syncthreads();
  for (int half = static_cast<int>(blockDim.x) / 2; half > 0; half /= 2) {
    if (thread < half) {
      const float a = load_shared<float>(shared + thread), b = load_shared<float>(shared + thread + half);
      store_shared(shared + thread, a < b ? b : a);
    }
    __syncthreads();
  }
  const float largest = load_shared<float>(shared);
  __syncthreads();
  return largest;
}

// Answers that rank before the right one.
template <class T>
__device__ __forceinline__ int rank_of(const T* row, int64_t classes, int64_t label, int* shared) {
  const float right = to_float(row[label]);
  int before = 0;
  for (int64_t c = threadIdx.x; c < classes; c += blockDim.x) before += ranks_before(c, to_float(row[c]), label, right);
  return block_sum(before, shared);
}

__device__ __forceinline__ void write_row(double* row, double loss, double error, double error5) {
  row[0] = loss;
  row[1] = error;
  row[2] = error5;
}

template <class T>
__global__ void cross_entropy_kernel(int64_t classes, const T* z, const int64_t* labels, T* gradient, double divisor,
                                     double* rows) {
  const int64_t b = blockIdx.x, label = labels[b];
  const T* const row = z + b * classes;
  double* const memory = reinterpret_cast<double*>(dynamic_shared());
  const bool known = label >= 0 && label < classes;

  float largest = to_float(row[0]);
  for (int64_t c = threadIdx.x; c < classes; c += blockDim.x) {
    const float value = to_float(row[c]);
    largest = largest < value ? value : largest;
  }
  const float top = block_max(largest, reinterpret_cast<float*>(memory));
  double part = 0;
  for (int64_t c = threadIdx.x; c < classes; c += blockDim.x) part += exp(static_cast<double>(to_float(row[c]) - top));
  const double sum = block_sum(part, memory);
  const int rank = rank_of(row, classes, known ? label : 0, reinterpret_cast<int*>(memory));
  if (threadIdx.x == 0) {
    const double loss = log(sum) + static_cast<double>(top) - static_cast<double>(to_float(row[known ? label : 0]));
    write_row(rows + kRow * b, known ? loss : static_cast<double>(NAN), rank >= 1, rank >= 5);
  }
  if (gradient == nullptr) return;
  for (int64_t c = threadIdx.x; c < classes; c += blockDim.x) {
    const double o = exp(static_cast<double>(to_float(row[c]) - top)) / sum;
    gradient[b * classes + c] = from_float<T>(static_cast<float>((o - (c == label ? 1.0 : 0.0)) / divisor));
  }
}

template <class T>
__global__ void squared_error_kernel(int64_t n, const T* o, const T* t, const int64_t* labels, T* gradient,
                                     double factor, double* rows) {
  const int64_t b = blockIdx.x, label = t == nullptr ? labels[b] : 0;
  double* const memory = reinterpret_cast<double*>(dynamic_shared());
  const bool known = label >= 0 && label < n;
  double part = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const float target = t == nullptr ? (i == label ? 1.0f : 0.0f) : to_float(t[b * n + i]);
    const float d = to_float(o[b * n + i]) - target;
    part += static_cast<double>(d) * static_cast<double>(d);
    if (gradient != nullptr) gradient[b * n + i] = from_float<T>(static_cast<float>(factor) * d);
  }
  const double sum = block_sum(part, memory);
  if (t != nullptr) {
    if (threadIdx.x == 0) write_row(rows + kRow * b, sum, sum / static_cast<double>(n < 1 ? 1 : n), 0);
    return;
  }
  const int rank = rank_of(o + b * n, n, known ? label : 0, reinterpret_cast<int*>(memory));
  if (threadIdx.x == 0) write_row(rows + kRow * b, known ? sum : static_cast<double>(NAN), rank >= 1, rank >= 5);
}

__global__ void add_rows_kernel(int64_t batch, const double* rows, double* sums, float* mean) {
  double* const memory = reinterpret_cast<double*>(dynamic_shared());
  double parts[kRow] = {};
  for (int64_t b = threadIdx.x; b < batch; b += blockDim.x) {
    for (int i = 0; i < kRow; ++i) parts[i] += rows[kRow * b + i];
  }
  for (int i = 0; i < kRow; ++i) {
    const double sum = block_sum(parts[i], memory);
    if (threadIdx.x != 0) continue;
    sums[kLoss + i] += sum;
    if (i == kLoss && mean != nullptr) *mean = static_cast<float>(sum / static_cast<double>(batch < 1 ? 1 : batch));
  }
  if (threadIdx.x == 0) sums[kExamples] += static_cast<double>(batch);
}

__global__ void add_squares_kernel(int64_t count, const float* squares, double factor, double* sums) {
  double part = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) part += static_cast<double>(squares[i]);
  const double sum = block_sum(part, reinterpret_cast<double*>(dynamic_shared()));
  if (threadIdx.x == 0) sums[kInverse] += factor * sum;
}

}  // namespace

cudaError_t cross_entropy(int64_t batch, int64_t classes, Precision precision, const void* z, const int64_t* labels,
                          void* gradient, double divisor, double* rows, cudaStream_t stream) {
  return with_type(precision, [&](auto element) {
    using T = decltype(element);
    const int threads = threads_for(classes);
    return launch_blocks(cross_entropy_kernel<T>, batch, threads, threads * sizeof(double), stream, classes,
                         static_cast<const T*>(z), labels, static_cast<T*>(gradient), divisor, rows);
  });
}

cudaError_t squared_error(int64_t batch, int64_t n, Precision precision, const void* o, const void* t,
                          const int64_t* labels, void* gradient, double factor, double* rows, cudaStream_t stream) {
  return with_type(precision, [&](auto element) {
    using T = decltype(element);
    const int threads = threads_for(n);
    return launch_blocks(squared_error_kernel<T>, batch, threads, threads * sizeof(double), stream, n,
                         static_cast<const T*>(o), static_cast<const T*>(t), labels, static_cast<T*>(gradient), factor,
                         rows);
  });
}

cudaError_t add_rows(int64_t batch, const double* rows, double* sums, float* mean, cudaStream_t stream) {
  return launch_blocks(add_rows_kernel, 1, block_threads, block_threads * sizeof(double), stream, batch, rows, sums,
                       mean);
}

cudaError_t add_squares(int64_t count, const float* squares, double factor, double* sums, cudaStream_t stream) {
  return launch_blocks(add_squares_kernel, 1, block_threads, block_threads * sizeof(double), stream, count, squares,
                       factor, sums);
}

}  // namespace cortorch::cuda
