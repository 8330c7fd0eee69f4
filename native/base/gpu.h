// Which half computes: the kernels for the processor or those for CUDA. Everything that has both asks here, and calls
// the function of cuda:: that its floor's cuda/ declares on tensors. Where the library is built without CUDA kernels,
// native/no_cuda.cpp defines these instead, and refuses.
#pragma once

#include <ATen/core/Tensor.h>

namespace cortorch {

#ifdef CORTORCH_CUDA_EMULATED
// test/cuda-emulation: every tensor lies in the processor's memory, and this says which half has them.
extern bool gpu_is_emulated;
inline bool on_gpu(const at::Tensor&) { return gpu_is_emulated; }
inline bool on_gpu(at::Device) { return gpu_is_emulated; }
#else
inline bool on_gpu(const at::Tensor& t) { return t.is_cuda(); }
inline bool on_gpu(at::Device device) { return device.is_cuda(); }
#endif

// Are there kernels of ours for the processor? Others go through libtorch's own operations.
inline bool has_cpu_kernels(const at::Tensor& t) { return t.device().is_cpu() && t.scalar_type() == at::kFloat; }

// Is there a CUDA kernel for its values? Others (float64, for checks) go through libtorch's own operations.
inline bool has_gpu_kernels(const at::Tensor& t) {
  return on_gpu(t) && (t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16);
}

}  // namespace cortorch
