#include "base/cuda/devices.h"

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>

#include "base/cuda/noise_tensors.h"

namespace cortorch::cuda {
namespace {

std::string version(int number) {
  return number == 0 ? "" : std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

// A chip may be too old for our code or too new for libtorch's: whether kernels run shows when they do.
bool runs_kernels(int index) {
  try {
    const at::Tensor ones =
        at::ones({64}, at::TensorOptions(c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index))));
    return add_noise(ones, 0, {}).cpu().sum().item<double>() == 64;
  } catch (const c10::Error&) {
    (void)cudaGetLastError();
    return false;
  }
}

void look_closely(Gpu& gpu) {
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(gpu.index));
  gpu.supported = gpu.supported && runs_kernels(gpu.index);
  trim_memory();  // what libtorch has and nobody uses is free
  std::size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) == cudaSuccess) {
    gpu.free = static_cast<int64_t>(free);
    gpu.memory = static_cast<int64_t>(total);
  } else {
    (void)cudaGetLastError();
  }
}

}  // namespace

bool kernels_are_built() { return true; }

Gpus find_gpus(int closely) {
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
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    Gpu gpu{
        i, properties.name,      properties.major, properties.minor, static_cast<int64_t>(properties.totalGlobalMem),
        0, properties.major >= 8};
    if (closely == i || closely == -1) look_closely(gpu);
    result.devices.push_back(std::move(gpu));
  }
  return result;
}

void trim_memory() {
  if (c10::cuda::CUDACachingAllocator::get()->initialized()) c10::cuda::CUDACachingAllocator::emptyCache();
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
