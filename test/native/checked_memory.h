#pragma once

#include <atomic>
#include <cstdint>

namespace check {

// Calls of the micro-kernel that were checked: 0 says that nothing was replaced.
extern std::atomic<int64_t> checked_products;
// Results of kernels in memory of their own, of their size to the byte, in place of the pool's.
extern std::atomic<bool> exact_results;

}  // namespace check
