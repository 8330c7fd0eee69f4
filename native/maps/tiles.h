#pragma once

#include <cstdint>

namespace cortorch {

// Activations as `count` row-major matrices, one behind the other: [batch, units] once, or one [batch, channels] a
// location.
struct Tiles {
  int64_t count, batch, columns;
};

}  // namespace cortorch
