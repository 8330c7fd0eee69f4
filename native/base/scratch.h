// Aligned scratch memory that a thread keeps: packing buffers are wanted at every step, and malloc for
// blocks of this size would go to the kernel each time.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

#include "base/ranges.h"

namespace cortorch {

class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(data_); }

  // At least `count` elements, aligned to a cache line; the contents are undefined.
  template <typename T>
  T* get(std::size_t count) {
    const std::size_t bytes = round_up<std::size_t>(count * sizeof(T), 4096);
    if (bytes > capacity_) {
      std::free(data_);
      capacity_ = 0;
      data_ = std::aligned_alloc(64, bytes);
      if (data_ == nullptr) throw std::bad_alloc();
      capacity_ = bytes;
    }
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  std::size_t capacity_ = 0;  // bytes
};

}  // namespace cortorch
