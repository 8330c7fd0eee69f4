#include "base/random.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

namespace cortorch {
namespace {

// The constants of the paper.
constexpr uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;

float to_uniform(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

}  // namespace

RandomStream::RandomStream(uint64_t seed, Purpose purpose, uint32_t index)
    : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
      stream_{static_cast<uint32_t>(purpose), index} {}

std::array<uint32_t, 4> RandomStream::block(uint64_t counter) const {
  uint32_t c[4] = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), stream_[0], stream_[1]};
  uint32_t key0 = key_[0], key1 = key_[1];
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(kMultiplier0) * c[0];
    const uint64_t product1 = static_cast<uint64_t>(kMultiplier1) * c[2];
    const uint32_t next[4] = {static_cast<uint32_t>(product1 >> 32) ^ c[1] ^ key0, static_cast<uint32_t>(product1),
                              static_cast<uint32_t>(product0 >> 32) ^ c[3] ^ key1, static_cast<uint32_t>(product0)};
    std::copy(next, next + 4, c);
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return {c[0], c[1], c[2], c[3]};
}

float RandomStream::uniform(uint64_t i) const { return to_uniform(block(i / 4)[i % 4]); }

float RandomStream::normal(uint64_t i) const {
  const auto words = block(i / 2);
  const std::size_t half = (i % 2) * 2;
  // 1 − u is in (0, 1], where the logarithm is finite.
  const float radius = std::sqrt(-2.0f * std::log(1.0f - to_uniform(words[half])));
  return radius * std::cos(2.0f * std::numbers::pi_v<float> * to_uniform(words[half + 1]));
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
