// The CUDA runtime as far as the kernels use it, for a C++ compiler: test/cuda-emulation instead of a GPU.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>
#include <vector>

#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)

using std::isfinite;
using std::max;
using std::min;

struct float2 {
  alignas(8) float x;
  float y;
};
struct float4 {
  alignas(16) float x;
  float y, z, w;
};
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

extern dim3 threadIdx, blockIdx, blockDim;

inline uint32_t __umulhi(uint32_t a, uint32_t b) { return static_cast<uint32_t>((uint64_t{a} * b) >> 32); }

namespace emulation {
struct Stream;
}
using cudaStream_t = emulation::Stream*;
enum cudaError_t { cudaSuccess, cudaErrorInvalidValue };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

namespace emulation {
// Runs `thread` once for each thread of each block, one block after the other.
void launch(const cudaLaunchConfig_t& config, const std::function<void()>& thread);
// Where a launch holds more blocks, only so many of its last ones run.
extern unsigned blocks_at_most;

// The launches until one is refused, that one counted in; negative: none is.
extern long launches_until_failure;

// Where it is not null, every launch leaves here what it is: the kernel, its blocks, and of its arguments the numbers,
// also those of structures by which steps differ. Addresses are left out: tensors are made anew at every step.
extern std::vector<uint64_t>* launches;
template <class T>
void note(const T& argument) {
  if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
    uint64_t word = 0;
    std::memcpy(&word, &argument, sizeof(T));
    launches->push_back(word);
  } else if constexpr (requires { argument.step_on_gpu; }) {
    launches->insert(launches->end(), {argument.seed, argument.step, argument.layer, argument.step_on_gpu != nullptr});
  } else if constexpr (requires { argument.fixed; }) {
    launches->insert(launches->end(), {static_cast<uint64_t>(argument.fixed), argument.number != nullptr});
  } else if constexpr (requires { argument.crop_padding; }) {
    launches->insert(launches->end(), {argument.seed, argument.epoch != nullptr});
  }
}
}  // namespace emulation

void __syncthreads();

// Kernels and libtorch's operations run at once: the stream that they are given to is a null pointer. A copy on another
// stream is on its way until an event or the stream is waited for: until then every byte of its target is 255 (a float
// is NaN then, a target -1), and what it brings is what its source holds at the end.
namespace emulation {
struct Event;
Stream& copies();  // the one stream of the pool
cudaError_t copy(void* to, const void* from, std::size_t bytes, Stream* stream);
cudaError_t record(Event* event, Stream* stream);
cudaError_t wait(const Event* event);
cudaError_t wait(Stream* stream);
Event* make_event();
void destroy(Event* event);
}  // namespace emulation

using cudaEvent_t = emulation::Event*;
constexpr unsigned cudaEventDisableTiming = 2;
enum cudaMemcpyKind { cudaMemcpyHostToDevice };
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = emulation::make_event();
  return cudaSuccess;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  emulation::destroy(event);
  return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) { return emulation::record(event, stream); }
inline cudaError_t cudaEventSynchronize(cudaEvent_t event) { return emulation::wait(event); }
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return emulation::wait(stream); }
inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t event, unsigned) { return emulation::wait(event); }
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return emulation::copy(to, from, bytes, stream);
}

inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  if (emulation::launches_until_failure > 0 && --emulation::launches_until_failure == 0) return cudaErrorInvalidValue;
  if (emulation::launches != nullptr) {
    emulation::launches->push_back(reinterpret_cast<uint64_t>(kernel));
    emulation::launches->push_back(config->gridDim.x);
    (emulation::note(Parameters(arguments)), ...);
  }
  emulation::launch(*config, [&] { kernel(Parameters(arguments)...); });
  return cudaSuccess;
}
