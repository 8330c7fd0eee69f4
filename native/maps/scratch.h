// Aligned scratch memory that a thread keeps: packing buffers are wanted at every step, and malloc for
// blocks of this size would go to the kernel each time.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

namespace cortorch {

class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(data_); }

  // At least `count` floats, aligned to a cache line; the contents are undefined.
  float* floats(std::size_t count) {
    if (count > capacity_) {
      std::free(data_);
      capacity_ = 0;
      const std::size_t bytes = (count * sizeof(float) + 4095) / 4096 * 4096;
      data_ = static_cast<float*>(std::aligned_alloc(64, bytes));
      if (data_ == nullptr) throw std::bad_alloc();
      capacity_ = bytes / sizeof(float);
    }
    return data_;
  }

 private:
  float* data_ = nullptr;
  std::size_t capacity_ = 0;
};

}  // namespace cortorch
