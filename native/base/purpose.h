#pragma once

#include <cstdint>

namespace cortorch {

// What a stream of random numbers is for; together with an index (layer, epoch) it names the stream.
enum class Purpose : uint32_t {
  weight = 1,
  feedback = 2,
  shuffle = 3,
  inverse = 4,
  auxiliary = 5,
  noise = 6,
  augmentation = 7,
  magnitude = 8
};

}  // namespace cortorch
