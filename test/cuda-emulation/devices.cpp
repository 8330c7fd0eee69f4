// In place of native/base/cuda/devices.cpp: there is one device, the processor.
#include "base/cuda/devices.h"

#include "base/gpu.h"

namespace cortorch {

bool gpu_is_emulated = false;

namespace cuda {

bool kernels_are_built() { return true; }
Gpus find_gpus(int) { return {}; }
void trim_memory() {}
void use_arithmetic(const Arithmetic&) {}
void enter(c10::Device) {}
c10::Stream new_stream(c10::Device device) { return c10::Stream(c10::Stream::DEFAULT, device); }
void settle(c10::Device) {}

}  // namespace cuda
}  // namespace cortorch
