// A data set in memory: examples as bytes or floats, and what they should give.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/names.h"

namespace cortorch {

// Per channel; empty: none. Applied after bytes were divided by 255.
struct Normalization {
  std::vector<double> mean, deviation;
};

// What lies around an image: its own pixels mirrored at the outermost ones, or black (zero bytes, before
// normalisation).
enum class Border { reflect, black };

template <>
struct Names<Border> {
  static constexpr const char* kind = "border";
  static constexpr NamedValue<Border> table[] = {
      {"reflect", Border::reflect},
      {"black", Border::black},
  };
};

// What changes with every epoch in an image: a window of its size out of the image with a border around it, then a
// mirror image or not, half of the time each.
struct Augmentation {
  // Pixels of border on every side, less than the image's sides; windows are chosen uniformly.
  int64_t crop_padding = 0;
  Border border = Border::reflect;
  bool flip_horizontal = false, flip_vertical = false;

  bool any() const { return crop_padding != 0 || flip_horizontal || flip_vertical; }
};

// Of which epoch: what happens to an image is a function of these and its index alone.
struct AugmentationSource {
  Augmentation augmentation;
  uint64_t seed = 0;
  uint32_t epoch = 0;
};

class Dataset {
 public:
  // images [n, shape] uint8 or float32, contiguous; targets int64 [n] (labels) or float32 [n, outputs].
  // Throws c10::Error for other types, counts that differ, or labels outside 0..classes−1 (classes 0: not checked).
  Dataset(at::Tensor images, at::Tensor targets, int64_t classes);
  Dataset(const Dataset&) = delete;
  Dataset& operator=(const Dataset&) = delete;

  struct Batch {
    at::Tensor x;        // [indices, shape] float32
    at::Tensor targets;  // [indices] or [indices, outputs]
  };
  // The examples of these indices, scaled and normalised; augmented if there is anything to do.
  // Throws c10::Error if that is for examples that are no images, and for indices of none.
  Batch gather(const int64_t* indices, int64_t count, const Normalization& normalization,
               const AugmentationSource& source = {}) const;

  // The same examples on a GPU, copied there once and kept with this data set.
  std::shared_ptr<const Dataset> on(at::Device device) const;

  int64_t size() const { return images_.size(0); }
  int64_t classes() const { return classes_; }
  bool labelled() const { return targets_.scalar_type() == at::kLong; }
  const at::Tensor& images() const { return images_; }
  const at::Tensor& targets() const { return targets_; }

 private:
  Dataset() = default;

  at::Tensor images_, targets_;
  int64_t classes_ = 0;
  mutable std::mutex mutex_;
  mutable std::vector<std::shared_ptr<const Dataset>> copies_;
};

// What a value becomes, channel by channel: a table for bytes, mean and deviation for floats; float32, on the CPU.
struct Scaling {
  int64_t channels = 1, size = 0;  // channels in an example, values in a channel
  std::vector<float> mean, deviation;
  // A byte has 256 values: the exact quotient (what a division by 255, then by the deviation, gives in float32) is
  // looked up, which is faster than dividing and has no rounding of its own. [channels · 256]
  std::vector<float> table() const;
};
// Throws c10::Error for values that do not fit the images [n, shape].
Scaling scaling_of(const at::Tensor& images, const Normalization& normalization);

// Throws c10::Error unless images are uint8 or float32 [n, …].
void check_images(const at::Tensor& images);
// Throws c10::Error if images [n, …] cannot be augmented so.
void check_augmentation(const at::Tensor& images, const Augmentation& augmentation);

// Bytes / 255, or floats as they are, then (x − mean) / deviation per channel. images [n, shape], where the
// first size of the shape is the channel if there are three, and all is one channel otherwise.
at::Tensor prepare(const at::Tensor& images, const Normalization& normalization);

}  // namespace cortorch
