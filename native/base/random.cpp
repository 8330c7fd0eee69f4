#include "base/random.h"

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

#include "base/normal_numbers.h"

namespace cortorch {

std::array<uint32_t, 4> RandomStream::block(uint64_t counter) const {
  const Words w = random_block(seed_, purpose_, index_, counter);
  return {w.a, w.b, w.c, w.d};
}

float RandomStream::uniform(uint64_t i) const { return uniform_float(block(i / 4)[i % 4]); }

float RandomStream::normal(uint64_t i) const {
  const auto words = block(i / 2);
  const std::size_t half = (i % 2) * 2;
  // 1 − u is in (0, 1], where the logarithm is finite.
  const float radius = std::sqrt(-2.0f * std::log(1.0f - uniform_float(words[half])));
  return radius * std::cos(2.0f * std::numbers::pi_v<float> * uniform_float(words[half + 1]));
}

std::vector<int64_t> permutation(uint64_t seed, uint32_t epoch, int64_t n) {
  const RandomStream random(seed, Purpose::shuffle, epoch);
  std::vector<int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = n - 1; i > 0; --i) {
    const auto words = random.block(static_cast<uint64_t>(i));
    const uint64_t word = (static_cast<uint64_t>(words[0]) << 32) | words[1];
    // Multiply-high: uniform up to 2⁻⁶⁴·i.
    const auto j =
        static_cast<std::size_t>((static_cast<unsigned __int128>(word) * static_cast<uint64_t>(i + 1)) >> 64);
    std::swap(order[static_cast<std::size_t>(i)], order[j]);
  }
  return order;
}

}  // namespace cortorch
