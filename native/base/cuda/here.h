// What every launch on tensors needs: their device, its current stream, and what an error means.
#pragma once

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>

#include "base/cuda/precision.h"

namespace cortorch::cuda {

// Makes the tensor's device the current one, and its current stream the one to launch on.
struct Here {
  explicit Here(const at::Tensor& t) : guard(t.device()), stream(c10::cuda::getCurrentCUDAStream().stream()) {}
  c10::cuda::CUDAGuard guard;
  cudaStream_t stream;
};

inline Precision precision_of(const at::Tensor& t) {
  const at::ScalarType type = t.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16, "on a GPU expected float32 or bfloat16, but received ", type,
              "; float64 runs on the CPU");
  if (type == at::kBFloat16) return Precision::bf16;
  return at::globalContext().allowTF32CuBLAS() ? Precision::tf32 : Precision::fp32;
}

inline void check_launch(cudaError_t error) {
  TORCH_CHECK(
      error != cudaErrorInvalidValue,
      "a CUDA kernel was refused (invalid value), as a rule for more values than it can index: take a smaller batch");
  C10_CUDA_CHECK(error);
}

inline void check_same(const at::Tensor& a, const at::Tensor& b) {
  TORCH_CHECK(a.device() == b.device() && a.scalar_type() == b.scalar_type(),
              "expected tensors of one type on one GPU, but received ", a.scalar_type(), " on ", a.device(), " and ",
              b.scalar_type(), " on ", b.device());
}

inline const void* data_or_null(const at::Tensor& t) { return t.defined() ? t.const_data_ptr() : nullptr; }
inline void* mutable_or_null(const at::Tensor& t) { return t.defined() ? t.mutable_data_ptr() : nullptr; }

}  // namespace cortorch::cuda
