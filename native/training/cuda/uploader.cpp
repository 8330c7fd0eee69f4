#include "training/cuda/uploader.h"

#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>

#include "base/cuda/pinned.h"

namespace cortorch::cuda {
namespace {

// Is the memory of the size and type of `like`? Then it is used once more.
bool fits(const at::Tensor& memory, const at::Tensor& like) {
  return memory.defined() && memory.scalar_type() == like.scalar_type() && memory.sizes() == like.sizes();
}

}  // namespace

Uploader::Uploader(at::Device device)
    : device_(device), stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())) {
  for (Slot& slot : slots_) {
    C10_CUDA_CHECK(cudaEventCreateWithFlags(&slot.copied, cudaEventDisableTiming));
    C10_CUDA_CHECK(cudaEventCreateWithFlags(&slot.used, cudaEventDisableTiming));
  }
}

Uploader::~Uploader() {
  // Nothing of it may be on its way to memory that goes now.
  (void)cudaStreamSynchronize(stream_.stream());
  for (Slot& slot : slots_) {
    if (slot.used != nullptr && slot.in_use) (void)cudaEventSynchronize(slot.used);
    if (slot.copied != nullptr) (void)cudaEventDestroy(slot.copied);
    if (slot.used != nullptr) (void)cudaEventDestroy(slot.used);
  }
}

void Uploader::copy(const at::Tensor& from, const at::Tensor& to) const {
  C10_CUDA_CHECK(
      cudaMemcpyAsync(to.data_ptr(), from.data_ptr(), from.nbytes(), cudaMemcpyHostToDevice, stream_.stream()));
}

Uploader::Uploaded Uploader::upload(const at::Tensor& images, const at::Tensor& targets) {
  const cudaStream_t compute = c10::cuda::getCurrentCUDAStream(device_.index()).stream();
  Slot& slot = slots_[next_];
  if (slot.in_use) {
    C10_CUDA_CHECK(cudaEventSynchronize(slot.copied));
    C10_CUDA_CHECK(cudaEventSynchronize(slot.used));
  }
  if (!fits(slot.pinned_images, images)) slot.pinned_images = pinned_empty(images.sizes(), images.scalar_type());
  if (!fits(slot.pinned_targets, targets)) slot.pinned_targets = pinned_empty(targets.sizes(), targets.scalar_type());
  slot.pinned_images.copy_(images);
  slot.pinned_targets.copy_(targets);
  {
    // Memory of the copies' stream; the slot outlives every use of it.
    const c10::cuda::CUDAStreamGuard guard(stream_);
    if (!fits(slot.images, images))
      slot.images = at::empty(images.sizes(), at::TensorOptions(device_).dtype(images.scalar_type()));
    if (!fits(slot.targets, targets))
      slot.targets = at::empty(targets.sizes(), at::TensorOptions(device_).dtype(targets.scalar_type()));
    copy(slot.pinned_images, slot.images);
    copy(slot.pinned_targets, slot.targets);
    C10_CUDA_CHECK(cudaEventRecord(slot.copied, stream_.stream()));
  }
  C10_CUDA_CHECK(cudaStreamWaitEvent(compute, slot.copied, 0));
  slot.in_use = true;
  return {slot.images, slot.targets};
}

void Uploader::done() {
  Slot& slot = slots_[next_];
  C10_CUDA_CHECK(cudaEventRecord(slot.used, c10::cuda::getCurrentCUDAStream(device_.index()).stream()));
  next_ = (next_ + 1) % slots_.size();
}

}  // namespace cortorch::cuda
