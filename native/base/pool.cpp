#include "base/pool.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#include <c10/util/safe_numerics.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#include "base/ranges.h"

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
  void* block = std::aligned_alloc(alignment, round_up(bytes, alignment));
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
        unused_ -= bytes;
        return block;
      }
    }
    try {
      return allocate(bytes);
    } catch (const std::bad_alloc&) {
      trim();  // what lies unused may be what is missing
      return allocate(bytes);
    }
  }

  void set_limit(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    limit_ = bytes;
  }

  void give(void* block, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    // Of sizes that are not asked for any more, perhaps: those that are come back.
    if (unused_ + bytes > limit_) empty();
    if (bytes > limit_) return std::free(block);
    free_[bytes].push_back(block);
    unused_ += bytes;
  }

  void trim() {
    const std::lock_guard lock(mutex_);
    empty();
  }

 private:
  void empty() {
    for (const auto& [bytes, blocks] : free_) {
      for (void* block : blocks) std::free(block);
    }
    free_.clear();
    unused_ = 0;
  }

  static std::size_t quarter_of_memory() {
    const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGE_SIZE);
    return pages > 0 && size > 0 ? static_cast<std::size_t>(pages) * static_cast<std::size_t>(size) / 4
                                 : std::size_t{1} << 30;
  }

  std::mutex mutex_;
  std::size_t unused_ = 0;
  std::size_t limit_ = quarter_of_memory();
  std::unordered_map<std::size_t, std::vector<void*>> free_;
};

// Never destroyed: tensors may outlive static objects.
Pool& pool() {
  static Pool* const pool = new Pool;
  return *pool;
}

// The size of a block that libtorch has stands before it.
constexpr std::size_t kHeader = 64;

void give_back(void* data) {
  if (data == nullptr) return;
  void* block = static_cast<char*>(data) - kHeader;
  const std::size_t bytes = *static_cast<std::size_t*>(block);
  if (bytes < kSmall) {
    std::free(block);
  } else {
    pool().give(block, bytes);
  }
}

class PoolAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t count) override {
    if (count == 0) return {nullptr, nullptr, give_back, c10::kCPU};
    if (count > std::numeric_limits<std::size_t>::max() / 2) throw std::bad_alloc();  // what follows would overflow
    const std::size_t bytes = (count + kHeader + 63) / 64 * 64;
    void* block = bytes < kSmall ? cortorch::allocate(bytes) : pool().take(bytes);
    *static_cast<std::size_t*>(block) = bytes;
    void* data = static_cast<char*>(block) + kHeader;
    return {data, data, give_back, c10::kCPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return give_back; }
  void copy_data(void* to, const void* from, std::size_t count) const override { std::memcpy(to, from, count); }
};

// Never destroyed, as the pool.
PoolAllocator& pool_allocator() {
  static PoolAllocator* const allocator = new PoolAllocator;
  return *allocator;
}

}  // namespace

void use_pool_everywhere() {
  // Once: others allocate meanwhile.
  static const bool set = [] {
    c10::SetCPUAllocator(&pool_allocator(), /*priority=*/1);
    return true;
  }();
  (void)set;
}

at::Tensor pooled_empty(at::IntArrayRef sizes, at::ScalarType dtype) {
  uint64_t count = 0;
  for (const int64_t size : sizes) TORCH_CHECK(size >= 0, "a tensor of shape ", sizes, " has a negative size");
  TORCH_CHECK(!c10::safe_multiplies_u64(sizes, &count) &&
                  count <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) / 16,
              "a tensor of shape ", sizes, " is larger than any memory");
  const std::size_t bytes = (static_cast<std::size_t>(count) * c10::elementSize(dtype) + 63) / 64 * 64;
  if (bytes < kSmall) return at::empty(sizes, dtype);
  void* block = pool().take(bytes);
  return at::from_blob(block, sizes, [bytes](void* memory) { pool().give(memory, bytes); }, dtype);
}

void set_pool_limit(std::size_t bytes) { pool().set_limit(bytes); }

void trim_pool() { pool().trim(); }

}  // namespace cortorch
