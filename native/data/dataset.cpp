#include "data/dataset.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/parallel.h"
#include "base/pool.h"
#include "data/placement.h"
#include "maps/linear_map.h"

namespace cortorch {
namespace {

// Copies example `source(i)` into row i of `x`, normalised.
template <typename Source>
void copy_normalised(const at::Tensor& images, const Scaling& channels, Source source, at::Tensor& x) {
  const int64_t values = channels.channels * channels.size;
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, values));
  float* out = x.mutable_data_ptr<float>();
  if (images.scalar_type() == at::kByte) {
    const std::vector<float> table = channels.table();
    const uint8_t* in = images.const_data_ptr<uint8_t>();
    at::parallel_for(0, x.size(0), grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const uint8_t* from = in + source(i) * values;
        float* to = out + i * values;
        for (int64_t c = 0; c < channels.channels; ++c) {
          const float* of_channel = table.data() + 256 * c;
          for (int64_t v = 0; v < channels.size; ++v) *to++ = of_channel[*from++];
        }
      }
    });
    return;
  }
  const float* in = images.const_data_ptr<float>();
  at::parallel_for(0, x.size(0), grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t c = 0; c < channels.channels; ++c) {
        const float mean = channels.mean[static_cast<std::size_t>(c)],
                    deviation = channels.deviation[static_cast<std::size_t>(c)];
        const float* from = in + source(i) * values + c * channels.size;
        float* to = out + i * values + c * channels.size;
        for (int64_t v = 0; v < channels.size; ++v) to[v] = (from[v] - mean) / deviation;
      }
    }
  });
}

// Copies example indices[i] into row i of `x`, augmented, then through `value(channel, element)`.
template <typename T, typename Value>
void copy_augmented(const at::Tensor& images, const int64_t* indices, const AugmentationSource& source, Value value,
                    at::Tensor& x) {
  const Augmentation& how = source.augmentation;
  const bool black = how.border == Border::black;
  const int64_t channels = images.size(1), height = images.size(2), width = images.size(3);
  const T* in = images.const_data_ptr<T>();
  float* out = x.mutable_data_ptr<float>();
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, channels * height * width));
  at::parallel_for(0, x.size(0), grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Placement place =
          placement_of(source.seed, source.epoch, indices[i], static_cast<int32_t>(how.crop_padding),
                       how.flip_horizontal, how.flip_vertical);
      for (int64_t c = 0; c < channels; ++c) {
        const T* plane = in + (indices[i] * channels + c) * height * width;
        float* to = out + (i * channels + c) * height * width;
        const float blackness = value(c, T{0});
        for (int64_t row = 0; row < height; ++row, to += width) {
          const int64_t y = inside((place.upside_down ? height - 1 - row : row) + place.top, height, black);
          if (y < 0) {
            std::fill_n(to, width, blackness);
            continue;
          }
          for (int64_t column = 0; column < width; ++column) {
            const int64_t at = inside((place.mirrored ? width - 1 - column : column) + place.left, width, black);
            to[column] = at < 0 ? blackness : value(c, plane[y * width + at]);
          }
        }
      }
    }
  });
}

at::Tensor batch_like(const at::Tensor& images, int64_t count) {
  Shape shape(images.sizes().begin(), images.sizes().end());
  shape[0] = count;
  return pooled_empty(shape);
}

}  // namespace

Scaling scaling_of(const at::Tensor& images, const Normalization& normalization) {
  Scaling c;
  const int64_t values = images.size(0) == 0 ? 0 : images.numel() / images.size(0);
  c.channels = images.dim() == 4 ? images.size(1) : 1;
  c.size = c.channels == 0 ? 0 : values / c.channels;
  TORCH_CHECK(normalization.mean.size() == normalization.deviation.size(), "normalisation: there are ",
              normalization.mean.size(), " means but ", normalization.deviation.size(), " deviations");
  TORCH_CHECK(normalization.mean.empty() || normalization.mean.size() == static_cast<std::size_t>(c.channels),
              "normalisation: the images have ", c.channels, " channel(s) but there are ", normalization.mean.size(),
              " means");
  c.mean.assign(static_cast<std::size_t>(c.channels), 0.0f);
  c.deviation.assign(static_cast<std::size_t>(c.channels), 1.0f);
  for (std::size_t i = 0; i < normalization.mean.size(); ++i) {
    c.mean[i] = static_cast<float>(normalization.mean[i]);
    c.deviation[i] = static_cast<float>(normalization.deviation[i]);
    TORCH_CHECK(c.deviation[i] > 0, "normalisation: deviation ", i, " is ", c.deviation[i], "; it must be positive");
  }
  return c;
}

std::vector<float> Scaling::table() const {
  std::vector<float> table;
  table.reserve(256 * mean.size());
  for (std::size_t c = 0; c < mean.size(); ++c) {
    for (int byte = 0; byte < 256; ++byte)
      table.push_back((static_cast<float>(byte) / 255.0f - mean[c]) / deviation[c]);
  }
  return table;
}

Dataset::Dataset(at::Tensor images, at::Tensor targets, int64_t classes)
    : images_(images.contiguous()), targets_(targets.contiguous()), classes_(classes) {
  check_images(images_);
  TORCH_CHECK(targets_.scalar_type() == at::kLong || targets_.scalar_type() == at::kFloat,
              "data set: expected targets as int64 labels or float32 values, but received ", targets_.scalar_type());
  TORCH_CHECK(targets_.dim() == (labelled() ? 1 : 2),
              "data set: expected labels [n] or values [n, outputs], but their shape is ", targets_.sizes());
  TORCH_CHECK(targets_.size(0) == images_.size(0), "data set: there are ", images_.size(0), " images but ",
              targets_.size(0), " targets");
  if (labelled() && classes > 0) {
    const int64_t* labels = targets_.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < size(); ++i) {
      TORCH_CHECK(labels[i] >= 0 && labels[i] < classes, "data set: label ", labels[i], " of example ", i,
                  " is not one of the ", classes, " classes 0 to ", classes - 1);
    }
  }
}

void check_images(const at::Tensor& images) {
  TORCH_CHECK(images.scalar_type() == at::kByte || images.scalar_type() == at::kFloat,
              "data set: expected images as uint8 or float32, but received ", images.scalar_type());
  TORCH_CHECK(images.dim() >= 2, "data set: expected images [n, …], but their shape is ", images.sizes());
}

void check_augmentation(const at::Tensor& images, const Augmentation& augmentation) {
  TORCH_CHECK(images.dim() == 4,
              "augmentation: expected images [n, channels, height, width], but the examples have shape ",
              images.sizes().slice(1));
  TORCH_CHECK(augmentation.crop_padding >= 0, "augmentation: a border of ", augmentation.crop_padding, " pixels");
  TORCH_CHECK(augmentation.crop_padding < std::min(images.size(2), images.size(3)), "augmentation: a border of ",
              augmentation.crop_padding, " pixels is too wide for images of ", images.size(2), " × ", images.size(3));
}

std::shared_ptr<const Dataset> Dataset::on(at::Device device) const {
  const std::lock_guard lock(mutex_);
  for (const auto& copy : copies_) {
    if (copy->images_.device() == device) return copy;
  }
  const std::shared_ptr<Dataset> copy(new Dataset);
  copy->images_ = images_.to(device);
  copy->targets_ = targets_.to(device);
  copy->classes_ = classes_;
  copies_.push_back(copy);
  return copy;
}

Dataset::Batch Dataset::gather(const int64_t* indices, int64_t count, const Normalization& normalization,
                               const AugmentationSource& source) const {
  for (int64_t i = 0; i < count; ++i) {
    TORCH_CHECK(indices[i] >= 0 && indices[i] < size(), "data set: there is no example ", indices[i], " of ", size());
  }
  Batch batch{batch_like(images_, count), {}};
  const Scaling channels = scaling_of(images_, normalization);
  if (!source.augmentation.any()) {
    copy_normalised(images_, channels, [&](int64_t i) { return indices[i]; }, batch.x);
  } else {
    check_augmentation(images_, source.augmentation);
    if (images_.scalar_type() == at::kByte) {
      const std::vector<float> table = channels.table();
      copy_augmented<uint8_t>(
          images_, indices, source,
          [&](int64_t c, uint8_t byte) { return table[static_cast<std::size_t>(256 * c + byte)]; }, batch.x);
    } else {
      copy_augmented<float>(
          images_, indices, source,
          [&](int64_t c, float v) {
            return (v - channels.mean[static_cast<std::size_t>(c)]) / channels.deviation[static_cast<std::size_t>(c)];
          },
          batch.x);
    }
  }
  if (labelled()) {
    batch.targets = at::empty({count}, at::kLong);
    const int64_t* labels = targets_.const_data_ptr<int64_t>();
    int64_t* out = batch.targets.mutable_data_ptr<int64_t>();
    for (int64_t i = 0; i < count; ++i) out[i] = labels[indices[i]];
  } else {
    const int64_t width = targets_.size(1);
    batch.targets = at::empty({count, width}, at::kFloat);
    const float* values = targets_.const_data_ptr<float>();
    float* out = batch.targets.mutable_data_ptr<float>();
    for (int64_t i = 0; i < count; ++i) std::copy_n(values + indices[i] * width, width, out + i * width);
  }
  return batch;
}

at::Tensor prepare(const at::Tensor& images, const Normalization& normalization) {
  check_images(images);
  const at::Tensor source = images.contiguous();
  at::Tensor x = batch_like(source, source.size(0));
  copy_normalised(source, scaling_of(source, normalization), [](int64_t i) { return i; }, x);
  return x;
}

}  // namespace cortorch
