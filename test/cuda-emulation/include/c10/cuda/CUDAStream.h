// Streams of the emulation: that of the computations, and one of copies (cuda_runtime.h).
#pragma once

#include <c10/core/Device.h>
#include <cuda_runtime.h>

namespace c10::cuda {

struct CUDAStream {
  cudaStream_t of = nullptr;
  cudaStream_t stream() const { return of; }
  void synchronize() const { cudaStreamSynchronize(of); }
};

inline CUDAStream getCurrentCUDAStream(DeviceIndex = -1) { return {}; }
inline CUDAStream getStreamFromPool(bool = false, DeviceIndex = -1) { return {&emulation::copies()}; }

}  // namespace c10::cuda
