#include "data/cuda/gpu_batches.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <utility>

#include "base/cuda/here.h"
#include "data/cuda/gather.h"
#include "maps/linear_map.h"

namespace cortorch::cuda {
namespace {

at::Tensor uploaded(const std::vector<float>& values, const at::Tensor& to) {
  return at::from_blob(const_cast<float*>(values.data()), {static_cast<int64_t>(values.size())}, at::kFloat)
      .to(to.device(), at::kFloat, /*non_blocking=*/false, /*copy=*/true);
}

GatherWhich which_of(const at::Tensor& order, int64_t size, const BatchPlace& place) {
  return {order.const_data_ptr<int64_t>(), place.number, place.fixed, size};
}

}  // namespace

GpuScaling::GpuScaling(const at::Tensor& images, const Normalization& normalization, at::ScalarType type)
    : type_(type) {
  check_images(images);
  const Scaling scaling = scaling_of(images, normalization);
  table_ = uploaded(scaling.table(), images);
  mean_ = uploaded(scaling.mean, images);
  deviation_ = uploaded(scaling.deviation, images);
}

at::Tensor GpuScaling::gather(const at::Tensor& images, const at::Tensor& order, int64_t size, int64_t count,
                              const BatchPlace& place, const Augmentation& augmentation, uint64_t seed) const {
  check_images(images);
  const Here here(images);
  Shape shape(images.sizes().begin(), images.sizes().end());
  shape[0] = count;
  at::Tensor x = at::empty(shape, images.options().dtype(type_));
  const bool image = images.dim() == 4;
  const int64_t values = images.numel() / std::max<int64_t>(1, images.size(0));
  const GatherFrom from{images.const_data_ptr(),         images.scalar_type() == at::kByte,
                        image ? images.size(1) : 1,      image ? images.size(2) : 1,
                        image ? images.size(3) : values, table_.const_data_ptr<float>(),
                        mean_.const_data_ptr<float>(),   deviation_.const_data_ptr<float>()};
  if (augmentation.any()) check_augmentation(images, augmentation);
  const GatherHow how{static_cast<int32_t>(augmentation.crop_padding),
                      augmentation.border == Border::black,
                      augmentation.flip_horizontal,
                      augmentation.flip_vertical,
                      seed,
                      augmentation.any() ? place.epoch : nullptr};
  check_launch(gather_images(from, which_of(order, size, place), how, count, precision_of(x), x.mutable_data_ptr(),
                             here.stream));
  return x;
}

GpuBatches::GpuBatches(std::shared_ptr<const Dataset> data, const Normalization& normalization,
                       const Augmentation& augmentation, at::ScalarType type, uint64_t seed)
    : data_(std::move(data)),
      scaling_(data_->images(), normalization, type),
      augmentation_(augmentation),
      seed_(seed),
      order_(at::arange(data_->size(), data_->images().options().dtype(at::kLong))) {}

// In place: what is recorded reads it there.
void GpuBatches::set_order(const at::Tensor& order) { order_.copy_(order); }

Dataset::Batch GpuBatches::gather(int64_t size, int64_t count, const BatchPlace& place) const {
  Dataset::Batch batch;
  batch.x = scaling_.gather(data_->images(), order_, size, count, place, augmentation_, seed_);
  const Here here(order_);
  const GatherWhich which = which_of(order_, size, place);
  const at::Tensor& targets = data_->targets();
  if (data_->labelled()) {
    batch.targets = at::empty({count}, targets.options());
    check_launch(gather_labels(targets.const_data_ptr<int64_t>(), which, count,
                               batch.targets.mutable_data_ptr<int64_t>(), here.stream));
  } else {
    batch.targets = at::empty({count, targets.size(1)}, targets.options());
    check_launch(gather_values(targets.const_data_ptr<float>(), targets.size(1), which, count,
                               batch.targets.mutable_data_ptr<float>(), here.stream));
  }
  return batch;
}

at::Tensor prepare(const at::Tensor& images, const Normalization& normalization, at::ScalarType type) {
  const at::Tensor source = images.contiguous();
  const at::Tensor order = at::arange(source.size(0), source.options().dtype(at::kLong));
  return GpuScaling(source, normalization, type).gather(source, order, source.size(0), source.size(0), {}, {}, 0);
}

}  // namespace cortorch::cuda
