#include "maps/pool.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <sys/mman.h>

#include <cstdlib>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

namespace cortorch {
namespace {

// Below this malloc keeps blocks to itself.
constexpr std::size_t kSmall = std::size_t{64} * 1024;

// Large blocks get pages of 2 MiB where the system has them on request: with 4 KiB pages a pass over weights and
// moments misses the TLB at every page of every stream.
constexpr std::size_t kHugePage = std::size_t{2} * 1024 * 1024;

void* allocate(std::size_t bytes) {
  const bool large = bytes >= 2 * kHugePage;
  const std::size_t alignment = large ? kHugePage : 64;
  void* block = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (block == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (large) madvise(block, bytes, MADV_HUGEPAGE);  // a wish: where it is not granted nothing changes
#endif
  return block;
}

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
    return allocate(bytes);
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
