// Random numbers as arithmetic on one counter, for loops that vectorise and for CUDA's threads alike: Philox4x32-10
// (Salmon et al., SC 2011), and Box and Muller's normal numbers of its words.
#pragma once

#include <cstdint>

#include "base/purpose.h"
#include "base/simd.h"

namespace cortorch {

struct Words {
  uint32_t a, b, c, d;
};

CORTORCH_INLINE Words philox_round(Words w, uint32_t key0, uint32_t key1) {
  const uint64_t p = uint64_t{0xD2511F53} * w.a, q = uint64_t{0xCD9E8D57} * w.c;
  return {static_cast<uint32_t>(q >> 32) ^ w.b ^ key0, static_cast<uint32_t>(q),
          static_cast<uint32_t>(p >> 32) ^ w.d ^ key1, static_cast<uint32_t>(p)};
}

CORTORCH_INLINE Words philox(Words w, uint32_t key0, uint32_t key1) {
  constexpr uint32_t k0 = 0x9E3779B9, k1 = 0xBB67AE85;
  w = philox_round(w, key0, key1);
  w = philox_round(w, key0 + k0, key1 + k1);
  w = philox_round(w, key0 + 2 * k0, key1 + 2 * k1);
  w = philox_round(w, key0 + 3 * k0, key1 + 3 * k1);
  w = philox_round(w, key0 + 4 * k0, key1 + 4 * k1);
  w = philox_round(w, key0 + 5 * k0, key1 + 5 * k1);
  w = philox_round(w, key0 + 6 * k0, key1 + 6 * k1);
  w = philox_round(w, key0 + 7 * k0, key1 + 7 * k1);
  w = philox_round(w, key0 + 8 * k0, key1 + 8 * k1);
  return philox_round(w, key0 + 9 * k0, key1 + 9 * k1);
}

// Block `counter` of the stream that a purpose and an index (layer, epoch) name.
CORTORCH_INLINE Words random_block(uint64_t seed, Purpose purpose, uint32_t index, uint64_t counter) {
  return philox(
      {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), static_cast<uint32_t>(purpose), index},
      static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
}

// ln u for u in (0, 1]; the polynomial is Cephes' (S. Moshier, logf.c).
CORTORCH_INLINE float log_float(float u) {
  // The mantissa in [√½, √2): its exponent bits are those of u less those of √½.
  const int32_t bits = __builtin_bit_cast(int32_t, u);
  const int32_t exponent = (bits - 0x3F3504F3) >> 23;
  const float m = __builtin_bit_cast(float, bits - exponent * (1 << 23)) - 1.0f;
  const float e = static_cast<float>(exponent), s = m * m;
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  p = p * m * s + e * -2.12194440e-4f - 0.5f * s;
  return m + p + e * 0.693359375f;
}

struct SinCos {
  float sin, cos;
};

// Of 2π t for t in [0, 1): quarter turns are exact, and the rest is in ±π/4 (Cephes, sinf.c and cosf.c).
CORTORCH_INLINE SinCos of_turn(float t) {
  const float shifted = 4.0f * t + 12582912.0f;  // 1.5·2²³: rounds to the nearest whole quarter
  const int32_t quarter = __builtin_bit_cast(int32_t, shifted);
  const float x = (4.0f * t - (shifted - 12582912.0f)) * 1.57079632679489662f, z = x * x;
  const float s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * x + x;
  const float c =
      ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
  const bool odd = (quarter & 1) != 0;
  const float sine = odd ? c : s, cosine = odd ? s : c;
  return {(quarter & 2) != 0 ? -sine : sine, ((quarter + 1) & 2) != 0 ? -cosine : cosine};
}

// In [0, 1), 24 bits.
CORTORCH_INLINE float uniform_float(uint32_t word) {
  return static_cast<float>(static_cast<int32_t>(word >> 8)) * 0x1p-24f;
}

// Four normal numbers of a block's words.
struct Normals {
  float values[4];
};

CORTORCH_INLINE Normals normals_of(Words w) {
  // 1 − u is in (0, 1], where the logarithm is finite.
  const float r = __builtin_sqrtf(-2.0f * log_float(1.0f - uniform_float(w.a)));
  const float q = __builtin_sqrtf(-2.0f * log_float(1.0f - uniform_float(w.c)));
  const SinCos first = of_turn(uniform_float(w.b)), second = of_turn(uniform_float(w.d));
  return {{r * first.cos, r * first.sin, q * second.cos, q * second.sin}};
}

// Normal number n of a stream is number n % 64 / 16 of those of the block with the counter 16 · (n / 64) + n % 16: so
// sixteen blocks side by side make four vectors.
constexpr int kNormalLanes = 16;
constexpr int kNormalGroup = 4 * kNormalLanes;

}  // namespace cortorch
