// Batches on a GPU: out of a data set that lies there, or of bytes and floats that were just copied there.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "data/dataset.h"

namespace cortorch::cuda {

// Where the number of the next batch and the epoch stand on the GPU; both may be null: batch `fixed`, no augmentation.
struct BatchPlace {
  int64_t fixed = 0;
  const int64_t* number = nullptr;
  const uint32_t* epoch = nullptr;
};

// How examples of one kind become a batch: scaled and normalised, of the type that the network computes in.
class GpuScaling {
 public:
  GpuScaling(const at::Tensor& images, const Normalization& normalization, at::ScalarType type);

  // Places place · size … of `order` (int64, on the GPU) in images [n, shape] → [count, shape].
  at::Tensor gather(const at::Tensor& images, const at::Tensor& order, int64_t size, int64_t count,
                    const BatchPlace& place, const Augmentation& augmentation, uint64_t seed) const;

 private:
  at::ScalarType type_;
  at::Tensor table_, mean_, deviation_;
};

// Of a data set, by an order of its own: Dataset::gather where nobody waits.
class GpuBatches {
 public:
  // `data` on a GPU.
  GpuBatches(std::shared_ptr<const Dataset> data, const Normalization& normalization, const Augmentation& augmentation,
             at::ScalarType type, uint64_t seed);

  // Of all examples; int64 on the CPU.
  void set_order(const at::Tensor& order);
  Dataset::Batch gather(int64_t size, int64_t count, const BatchPlace& place) const;
  const std::shared_ptr<const Dataset>& data() const { return data_; }

 private:
  std::shared_ptr<const Dataset> data_;
  GpuScaling scaling_;
  Augmentation augmentation_;
  uint64_t seed_;
  at::Tensor order_;
};

// A caller's own batch, on a GPU already, as prepare().
at::Tensor prepare(const at::Tensor& images, const Normalization& normalization, at::ScalarType type);

}  // namespace cortorch::cuda
