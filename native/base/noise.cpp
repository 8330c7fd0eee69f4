#include "base/noise.h"

#include <ATen/Parallel.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdint>

#include "base/cuda/noise_tensors.h"
#include "base/gpu.h"
#include "base/normal_numbers.h"
#include "base/pool.h"
#include "base/random.h"
#include "base/ranges.h"
#include "base/simd.h"

namespace cortorch {
namespace {

struct Stream {
  uint32_t key0, key1, step, purpose, layer;
};

// The 64 numbers of a group.
CORTORCH_CLONES void normal_group(float* __restrict__ out, uint32_t group, const Stream& stream) {
  constexpr int kLanes = kNormalLanes;
  const Stream s = stream;
  for (int lane = 0; lane < kLanes; ++lane) {
    const Words w =
        philox({group * static_cast<uint32_t>(kLanes) + static_cast<uint32_t>(lane), s.step, s.purpose, s.layer},
               s.key0, s.key1);
    const Normals n = normals_of(w);
    for (int k = 0; k < 4; ++k) out[lane + k * kLanes] = n.values[k];
  }
}

CORTORCH_CLONES void add_scaled(const float* __restrict__ h, const float* __restrict__ noise, float* __restrict__ out,
                                int64_t n, float sigma) {
  for (int64_t i = 0; i < n; ++i) out[i] = h[i] + sigma * noise[i];
}

}  // namespace

at::Tensor add_noise(const at::Tensor& h, double sigma, const NoiseSource& source) {
  if (has_gpu_kernels(h)) return cuda::add_noise(h, sigma, source);
  TORCH_CHECK(h.scalar_type() == at::kFloat && h.device().is_cpu() && h.is_non_overlapping_and_dense(),
              "noise: expected a float32 tensor on the CPU without gaps, but received ", h.scalar_type(), " on ",
              h.device());
  const int64_t count = h.numel(), groups = divide_up<int64_t>(count, kNormalGroup);
  TORCH_CHECK(groups * kNormalLanes <= (int64_t{1} << 32), "noise: a layer has more than 2^34 activations in a batch");
  at::Tensor result = pooled_empty({count}).as_strided(h.sizes(), h.strides());
  const float* in = h.const_data_ptr<float>();
  float* out = result.mutable_data_ptr<float>();
  const Stream stream{static_cast<uint32_t>(source.seed), static_cast<uint32_t>(source.seed >> 32),
                      source.step.number(), static_cast<uint32_t>(Purpose::noise), source.layer};
  at::parallel_for(0, groups, 64, [&](int64_t begin, int64_t end) {
    alignas(64) float noise[kNormalGroup];
    for (int64_t group = begin; group < end; ++group) {
      normal_group(noise, static_cast<uint32_t>(group), stream);
      const int64_t first = group * kNormalGroup;
      add_scaled(in + first, noise, out + first, std::min<int64_t>(kNormalGroup, count - first),
                 static_cast<float>(sigma));
    }
  });
  return result;
}

at::Tensor StepNumber::tensor(at::Device device) const {
  const auto options = at::TensorOptions(device).dtype(at::kInt);
  if (address_ == nullptr) return at::full({}, static_cast<int64_t>(number_), options);
  return at::from_blob(const_cast<uint32_t*>(address_), {}, options).clone();
}

at::Tensor normals(int64_t count, const NoiseSource& source) {
  return add_noise(at::zeros({count}, at::kFloat), 1, source);
}

at::Tensor draw_magnitudes(const at::Tensor& like, bool normal, double size, const NoiseSource& source) {
  if (has_gpu_kernels(like)) return cuda::draw_magnitudes(like, normal, size, source);
  const int64_t count = like.numel();
  if (normal) return normals(count, source).abs_().mul_(size).view(like.sizes());
  at::Tensor result = pooled_empty(like.sizes());
  const RandomStream random(source.seed, Purpose::magnitude, source.layer);
  const int64_t blocks = divide_up<int64_t>(count, 4);
  const auto width = static_cast<float>(size);
  float* out = result.mutable_data_ptr<float>();
  at::parallel_for(0, blocks, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto words = random.block(static_cast<uint64_t>(source.step.number()) * static_cast<uint64_t>(blocks) +
                                      static_cast<uint64_t>(i));
      for (int64_t k = 4 * i; k < std::min(4 * i + 4, count); ++k) {
        out[k] = width * uniform_float(words[static_cast<std::size_t>(k - 4 * i)]);
      }
    }
  });
  return result;
}

}  // namespace cortorch
