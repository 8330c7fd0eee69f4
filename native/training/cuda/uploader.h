// Batches of the caller's own on their way to the GPU: copied from pinned memory while the GPU works on the one before.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>

#include <array>
#include <cstddef>

namespace cortorch::cuda {

class Uploader {
 public:
  explicit Uploader(at::Device device);
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;
  ~Uploader();

  // Copies of tensors on the CPU, contiguous as they are, which the current stream may use at once: it waits for them.
  // They hold until the upload after the next, which waits, here, until done() was reached for this one.
  struct Uploaded {
    at::Tensor images, targets;
  };
  Uploaded upload(const at::Tensor& images, const at::Tensor& targets);
  // The work that uses the last upload has been given to the current stream.
  void done();

 private:
  struct Slot {
    at::Tensor pinned_images, pinned_targets, images, targets;
    cudaEvent_t copied = nullptr, used = nullptr;
    bool in_use = false;
  };

  // In the background, from pinned memory to memory of the GPU of the same size.
  void copy(const at::Tensor& from, const at::Tensor& to) const;

  at::Device device_;
  c10::cuda::CUDAStream stream_;  // of the copies
  std::array<Slot, 2> slots_;
  std::size_t next_ = 0;
};

}  // namespace cortorch::cuda
