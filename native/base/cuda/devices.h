// The GPUs of this machine, and the settings of the process under which they compute.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <cstdint>
#include <string>
#include <vector>

namespace cortorch::cuda {

struct Gpu {
  int index = 0;
  std::string name;
  int major = 0, minor = 0;      // compute capability
  int64_t memory = 0, free = 0;  // bytes; what is free only where it was asked for
  // Our kernels and libtorch's run on it; tried only where it was asked for, else by its capability.
  bool supported = false;
};

// Was this library built with kernels for GPUs?
bool kernels_are_built();

struct Gpus {
  std::string driver, runtime;  // versions of CUDA: the newest that the driver knows (empty: there is none), and ours
  std::string problem;          // CUDA's own words why there is no device; empty: there is one
  std::vector<Gpu> devices;
};
// Asks for what is free, and tries kernels, on the device `closely` (−1: on all, −2: on none): that opens a context
// there, which takes some of its memory for as long as the process lives.
Gpus find_gpus(int closely);
// Gives what libtorch keeps of the GPUs' memory and nobody uses back to them.
void trim_memory();

// How products in float32 are made and whether libtorch may choose kernels that add in no fixed order: settings of the
// whole process, as libtorch has them.
struct Arithmetic {
  bool tf32 = false, deterministic = false;
  bool operator==(const Arithmetic&) const = default;
};
void use_arithmetic(const Arithmetic& arithmetic);

// Makes the device the calling thread's, with a stream of its own.
void enter(c10::Device device);
c10::Stream new_stream(c10::Device device);
// Waits for all that this thread has given to the device.
void settle(c10::Device device);

}  // namespace cortorch::cuda
