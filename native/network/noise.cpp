#include "network/noise.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <bit>
#include <cstdint>

#include "maps/pool.h"
#include "maps/simd.h"
#include "network/random.h"

namespace cortorch {
namespace {

// Sixteen Philox blocks side by side make four vectors of uniform words, and these four vectors of normal numbers:
// number n is lane n % 16 of vector n % 64 / 16 of group n / 64, which has the blocks of counters 16·group + lane.
constexpr int64_t kLanes = 16;
constexpr int64_t kGroup = 4 * kLanes;

// As RandomStream::block (Philox4x32-10; Salmon et al., SC 2011), unrolled so that a loop over lanes vectorises.
struct Words {
  uint32_t a, b, c, d;
};

CORTORCH_INLINE Words philox_round(Words w, uint32_t key0, uint32_t key1) {
  const uint64_t p = uint64_t{0xD2511F53} * w.a, q = uint64_t{0xCD9E8D57} * w.c;
  return {static_cast<uint32_t>(q >> 32) ^ w.b ^ key0, static_cast<uint32_t>(q), static_cast<uint32_t>(p >> 32) ^ w.d ^ key1,
          static_cast<uint32_t>(p)};
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

// ln u for u in (0, 1]; the polynomial is Cephes' (S. Moshier, logf.c).
CORTORCH_INLINE float log_float(float u) {
  // The mantissa in [√½, √2): its exponent bits are those of u less those of √½.
  const int32_t bits = std::bit_cast<int32_t>(u);
  const int32_t exponent = (bits - 0x3F3504F3) >> 23;
  const float m = std::bit_cast<float>(bits - exponent * (1 << 23)) - 1.0f;
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
  const int32_t quarter = std::bit_cast<int32_t>(shifted);
  const float x = (4.0f * t - (shifted - 12582912.0f)) * 1.57079632679489662f, z = x * x;
  const float s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * x + x;
  const float c = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
  const bool odd = (quarter & 1) != 0;
  const float sine = odd ? c : s, cosine = odd ? s : c;
  return {(quarter & 2) != 0 ? -sine : sine, ((quarter + 1) & 2) != 0 ? -cosine : cosine};
}

CORTORCH_INLINE float uniform_float(uint32_t word) { return static_cast<float>(static_cast<int32_t>(word >> 8)) * 0x1p-24f; }

struct Stream {
  uint32_t key0, key1, step, purpose, layer;
};

// The 64 numbers of a group (Box and Muller's).
CORTORCH_CLONES void normal_group(float* __restrict__ out, uint32_t group, const Stream& stream) {
  const Stream s = stream;
  for (int lane = 0; lane < kLanes; ++lane) {
    const Words w = philox({group * static_cast<uint32_t>(kLanes) + static_cast<uint32_t>(lane), s.step, s.purpose, s.layer},
                           s.key0, s.key1);
    // 1 − u is in (0, 1], where the logarithm is finite.
    const float r = __builtin_sqrtf(-2.0f * log_float(1.0f - uniform_float(w.a)));
    const float q = __builtin_sqrtf(-2.0f * log_float(1.0f - uniform_float(w.c)));
    const SinCos first = of_turn(uniform_float(w.b)), second = of_turn(uniform_float(w.d));
    out[lane] = r * first.cos;
    out[lane + kLanes] = r * first.sin;
    out[lane + 2 * kLanes] = q * second.cos;
    out[lane + 3 * kLanes] = q * second.sin;
  }
}

CORTORCH_CLONES void add_scaled(const float* __restrict__ h, const float* __restrict__ noise, float* __restrict__ out,
                                int64_t n, float sigma) {
  for (int64_t i = 0; i < n; ++i) out[i] = h[i] + sigma * noise[i];
}

}  // namespace

at::Tensor add_noise(const at::Tensor& h, double sigma, const NoiseSource& source) {
  TORCH_CHECK(h.scalar_type() == at::kFloat && h.device().is_cpu() && h.is_non_overlapping_and_dense(),
              "noise: expected a float32 tensor on the CPU without gaps, but received ", h.scalar_type(), " on ", h.device());
  const int64_t count = h.numel(), groups = (count + kGroup - 1) / kGroup;
  TORCH_CHECK(groups * kLanes <= (int64_t{1} << 32), "noise: a layer has more than 2^34 activations in a batch");
  at::Tensor result = pooled_empty({count}).as_strided(h.sizes(), h.strides());
  const float* in = h.const_data_ptr<float>();
  float* out = result.mutable_data_ptr<float>();
  const Stream stream{static_cast<uint32_t>(source.seed), static_cast<uint32_t>(source.seed >> 32), source.step,
                      static_cast<uint32_t>(Purpose::noise), source.layer};
  at::parallel_for(0, groups, 64, [&](int64_t begin, int64_t end) {
    alignas(64) float noise[kGroup];
    for (int64_t group = begin; group < end; ++group) {
      normal_group(noise, static_cast<uint32_t>(group), stream);
      const int64_t first = group * kGroup;
      add_scaled(in + first, noise, out + first, std::min(kGroup, count - first), static_cast<float>(sigma));
    }
  });
  return result;
}

at::Tensor normals(int64_t count, const NoiseSource& source) { return add_noise(at::zeros({count}, at::kFloat), 1, source); }

}  // namespace cortorch
