// How much work is worth a thread.
#pragma once

#include <ATen/Parallel.h>

#include <cstdint>

namespace cortorch {

constexpr int64_t kGrain = 16384;  // values that are worth waking a thread for

}  // namespace cortorch
