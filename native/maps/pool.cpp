#include "maps/pool.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cstdlib>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

namespace cortorch {
namespace {

// Below this malloc keeps blocks to itself.
constexpr std::size_t kSmall = std::size_t{64} * 1024;

class Pool {
 public:
  void* take(std::size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      std::vector<void*>& blocks = free_[bytes];
      if (!blocks.empty()) {
        void* block = blocks.back();
        blocks.pop_back();
        return block;
      }
    }
    void* block = std::aligned_alloc(64, bytes);
    if (block == nullptr) throw std::bad_alloc();
    return block;
  }

  void give(void* block, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    free_[bytes].push_back(block);
  }

  void trim() {
    const std::lock_guard lock(mutex_);
    for (const auto& [bytes, blocks] : free_) {
      for (void* block : blocks) std::free(block);
    }
    free_.clear();
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::size_t, std::vector<void*>> free_;
};

// Never destroyed: tensors may outlive static objects.
Pool& pool() {
  static Pool* const pool = new Pool;
  return *pool;
}

}  // namespace

at::Tensor pooled_empty(at::IntArrayRef sizes, at::ScalarType dtype) {
  int64_t count = 1;
  for (const int64_t size : sizes) count *= size;
  const std::size_t bytes = (static_cast<std::size_t>(count) * c10::elementSize(dtype) + 63) / 64 * 64;
  if (bytes < kSmall) return at::empty(sizes, dtype);
  void* block = pool().take(bytes);
  return at::from_blob(block, sizes, [bytes](void* memory) { pool().give(memory, bytes); }, dtype);
}

void trim_pool() { pool().trim(); }

}  // namespace cortorch
