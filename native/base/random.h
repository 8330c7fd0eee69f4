// Counter-based random numbers (Philox4x32-10; Salmon et al., SC 2011): number i of stream s of seed k is a
// pure function of (k, s, i). So nothing depends on threads or on what was drawn before, and resuming
// needs no state but the counters.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/purpose.h"

namespace cortorch {

class RandomStream {
 public:
  RandomStream(uint64_t seed, Purpose purpose, uint32_t index) : seed_(seed), purpose_(purpose), index_(index) {}

  // Four random words for each counter.
  std::array<uint32_t, 4> block(uint64_t counter) const;
  // Uniform in [0, 1), 24 bits.
  float uniform(uint64_t i) const;
  // Standard normal (Box–Muller), by the C library's functions, which are exact to the last bits: weights are drawn so.
  // normals_of() is for numbers that are drawn at every step.
  float normal(uint64_t i) const;

 private:
  uint64_t seed_;
  Purpose purpose_;
  uint32_t index_;
};

// A permutation of 0..n−1 (Fisher–Yates). The same for a seed and an epoch, always.
std::vector<int64_t> permutation(uint64_t seed, uint32_t epoch, int64_t n);

}  // namespace cortorch
