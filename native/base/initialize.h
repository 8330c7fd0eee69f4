#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

#include "base/names.h"
#include "base/random.h"

namespace cortorch {

enum class Initializer {
  glorot_uniform,
  glorot_uniform_location,
  glorot_normal,
  he_uniform,
  he_normal,
  orthogonal,
  zeros
};

template <>
struct Names<Initializer> {
  static constexpr const char* kind = "initializer";
  static constexpr NamedValue<Initializer> table[] = {
      {"glorot-uniform", Initializer::glorot_uniform},
      {"glorot-uniform-location", Initializer::glorot_uniform_location},
      {"glorot-normal", Initializer::glorot_normal},
      {"he-uniform", Initializer::he_uniform},
      {"he-normal", Initializer::he_normal},
      {"orthogonal", Initializer::orthogonal},
      {"zeros", Initializer::zeros},
  };
};

// Fills a contiguous float32 CPU tensor. Glorot: variance 2 / (fan_in + fan_out), where the fan_out of `location`
// counts the units of one location, so that each is initialised as the dense map it is (the caller's to know); He: 2 /
// fan_in; orthogonal: the tensor as a matrix [first size, rest] has orthonormal rows or columns, whichever are fewer
// (Saxe et al. 2014).
void initialize(at::Tensor& tensor, Initializer initializer, int64_t fan_in, int64_t fan_out,
                const RandomStream& random);

// ±limit uniformly, and normal numbers of a deviation, into a contiguous float32 CPU tensor.
void fill_uniform(at::Tensor& tensor, double limit, const RandomStream& random);
void fill_normal(at::Tensor& tensor, double deviation, const RandomStream& random);

}  // namespace cortorch
