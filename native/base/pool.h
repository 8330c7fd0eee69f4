// Memory for the results of kernels, and for all that is large: kept for the next step instead of being given back to
// the system, and in large pages.
//
// A step makes and drops the same tensors every time. malloc returns blocks of this size to the kernel, and
// getting them back costs a page fault for every 4 KiB: 214 faults and a quarter of the time of an mnist-fc step. What
// lies unused is at most a quarter of the machine's memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>

namespace cortorch {

// An uninitialised contiguous CPU tensor; its memory goes back to the pool when the tensor dies, on whatever
// thread. Small ones come from libtorch's own allocator.
at::Tensor pooled_empty(at::IntArrayRef sizes, at::ScalarType dtype = at::kFloat);

// From now on libtorch's own operations get what is large from the pool too, in this whole process: convolutions, batch
// norm and their like make and drop as much as our kernels do. Not in a process of somebody else's (Python's), who may
// want another allocator.
void use_pool_everywhere();

// How much may lie unused, in bytes; at first a quarter of the machine's memory.
void set_pool_limit(std::size_t bytes);
// Gives what is not in use back to the system.
void trim_pool();

}  // namespace cortorch
