#include "maps/cuda/devices.h"

#include <ATen/Context.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>

namespace cortorch::cuda {
namespace {

std::string version(int number) {
  return number == 0 ? "" : std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

}  // namespace

Gpus find_gpus() {
  Gpus result;
  int number = 0;
  if (cudaDriverGetVersion(&number) == cudaSuccess) result.driver = version(number);
  if (cudaRuntimeGetVersion(&number) == cudaSuccess) result.runtime = version(number);
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    result.problem = error != cudaSuccess ? cudaGetErrorString(error) : "no CUDA-capable device is detected";
    (void)cudaGetLastError();
    return result;
  }
  int before = 0;
  (void)cudaGetDevice(&before);
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    std::size_t free = 0, total = 0;
    if (cudaSetDevice(i) != cudaSuccess || cudaMemGetInfo(&free, &total) != cudaSuccess) {
      (void)cudaGetLastError();
      total = properties.totalGlobalMem;
    }
    // Code for 8.0 and 9.0, and PTX of 9.0 for what comes later.
    result.devices.push_back({i, properties.name, properties.major, properties.minor, static_cast<int64_t>(total),
                              static_cast<int64_t>(free), properties.major >= 8});
  }
  (void)cudaSetDevice(before);
  return result;
}

void use_arithmetic(const Arithmetic& arithmetic) {
  at::Context& context = at::globalContext();
  context.setAllowTF32CuBLAS(arithmetic.tf32);
  context.setAllowTF32CuDNN(arithmetic.tf32);
  context.setAllowBF16ReductionCuBLAS(false);  // sums are float32 to the end
  context.setDeterministicCuDNN(arithmetic.deterministic);
  context.setBenchmarkCuDNN(!arithmetic.deterministic);
  context.setDeterministicAlgorithms(arithmetic.deterministic, /*warn_only=*/false);
  // Every value that is used is written: filling memory first would only cost time.
  context.setDeterministicFillUninitializedMemory(false);
}

void enter(c10::Device device) {
  c10::cuda::set_device(device.index());
  c10::cuda::setCurrentCUDAStream(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index()));
}

c10::Stream new_stream(c10::Device device) {
  return c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index()).unwrap();
}

void settle(c10::Device device) { c10::cuda::getCurrentCUDAStream(device.index()).synchronize(); }

}  // namespace cortorch::cuda
