// Bound by its bytes: Adam reads a gradient, a value and two moments and writes the last three, 28 bytes a parameter in
// float (18 with bfloat16 gradients, moments and copies), each of them once.
#include "training/cuda/update.h"

#include "base/cuda/launch.cuh"

namespace cortorch::cuda {
namespace {

constexpr int per_thread = 4;
constexpr int rounds = 4;  // for each thread, so that what a block looks up first is looked up once for 4,096 values
constexpr int64_t per_block = int64_t{block_threads} * per_thread * rounds;

// 16 bytes of floats or 8 of bfloat16 as one access where the entry allows it.
template <class T>
__device__ __forceinline__ void read_four(float (&to)[per_thread], const T* from, int count, bool whole) {
  if (whole) {
    T four[per_thread];
    load_global(four, from);
#pragma unroll
    for (int i = 0; i < per_thread; ++i) to[i] = to_float(four[i]);
    return;
  }
  for (int i = 0; i < per_thread; ++i) to[i] = i < count ? to_float(from[i]) : 0.0f;
}

template <class T>
__device__ __forceinline__ void write_four(T* to, const T (&from)[per_thread], int count, bool whole) {
  if (whole) {
    store_global(to, from);
    return;
  }
  for (int i = 0; i < per_thread; ++i) {
    if (i < count) to[i] = from[i];
  }
}

// 32 bits for a place at a step (the finaliser of MurmurHash3): enough to round by.
__device__ __forceinline__ uint32_t mix(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t h = a * 0xcc9e2d51u ^ (b * 0x1b873593u + 0xe6546b64u) ^ c * 0x85ebca6bu;
  h ^= h >> 16;
  h *= 0x85ebca6bu;
  h ^= h >> 13;
  h *= 0xc2b2ae35u;
  return h ^ h >> 16;
}

// To one of the two neighbouring values, the nearer the likelier.
__device__ __forceinline__ float moment_of(float value, uint32_t, float) { return value; }
__device__ __forceinline__ bf16 moment_of(float value, uint32_t bits, bf16) {
  return round_at_random(value, bits & 0xffffu);
}

template <class G, class M>
__global__ void __launch_bounds__(block_threads) update_kernel(const UpdateList list, UpdateKind kind, bool signs,
                                                               const UpdateConstants* table, const StepState* state) {
  if (state->go == 0) return;
  int low = 0, high = list.count - 1;
  while (low < high) {  // the last entry that begins at or before this block
    const int middle = (low + high + 1) / 2;
    if (list.entries[middle].first_block <= blockIdx.x) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const UpdateList::Entry& entry = list.entries[low];
  const UpdateConstants c = table[state->made - 1];
  const int64_t start = static_cast<int64_t>(blockIdx.x - entry.first_block) * per_block;
  const G* const gradients = static_cast<const G*>(entry.gradient);
  M *const firsts = static_cast<M*>(entry.first), *const seconds = static_cast<M*>(entry.second);
  bf16* const copies = static_cast<bf16*>(entry.copy);

#pragma unroll
  for (int round = 0; round < rounds; ++round) {
    const int64_t at = start + (int64_t{round} * block_threads + static_cast<int64_t>(threadIdx.x)) * per_thread;
    if (at >= entry.values) return;
    const int count = static_cast<int>(entry.values - at < per_thread ? entry.values - at : per_thread);
    const bool whole = entry.vector && count == per_thread;
    float p[per_thread], g[per_thread], m[per_thread] = {}, v[per_thread] = {};
    read_four(p, entry.value + at, count, whole);
    read_four(g, gradients + at, count, whole);
    if (firsts != nullptr) read_four(m, firsts + at, count, whole);
    if (seconds != nullptr) read_four(v, seconds + at, count, whole);
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {
      if (signs) g[i] = static_cast<float>((g[i] > 0.0f) - (g[i] < 0.0f));
      const float gradient = g[i] + c.weight_decay * p[i];
      if (kind == UpdateKind::adam) {
        m[i] += (gradient - m[i]) * c.beta1_complement;
        v[i] = v[i] * c.beta2 + c.beta2_complement * gradient * gradient;
        p[i] -= c.step * m[i] / (sqrtf(v[i]) * c.root_correction + c.eps);
      } else if (kind == UpdateKind::sgd) {
        m[i] = firsts == nullptr ? gradient : c.momentum * m[i] + gradient;
        p[i] -= c.lr * m[i];
      } else {
        v[i] = v[i] * c.beta2 + c.beta2_complement * gradient * gradient;
        const float scaled = gradient / (sqrtf(v[i]) + c.eps);
        m[i] = firsts == nullptr ? scaled : c.momentum * m[i] + scaled;
        p[i] -= c.lr * m[i];
      }
    }
    float values[per_thread];
    bf16 copy[per_thread];
    M first[per_thread], second[per_thread];
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {
      const uint32_t bits = sizeof(M) == 2 ? mix(static_cast<uint32_t>(at + i), entry.number, state->step) : 0;
      values[i] = p[i];
      copy[i] = from_float<bf16>(p[i]);
      first[i] = moment_of(m[i], bits, M{});
      second[i] = moment_of(v[i], bits >> 16, M{});
    }
    write_four(entry.value + at, values, count, whole);
    if (copies != nullptr) write_four(copies + at, copy, count, whole);
    if (firsts != nullptr) write_four(firsts + at, first, count, whole);
    if (seconds != nullptr) write_four(seconds + at, second, count, whole);
  }
}

}  // namespace

cudaError_t update(UpdateList& list, const UpdateRule& rule, const UpdateConstants* table, const StepState* state,
                   cudaStream_t stream) {
  int64_t blocks = 0;
  for (int i = 0; i < list.count; ++i) {
    list.entries[i].first_block = static_cast<uint32_t>(blocks);
    blocks += divide_up(list.entries[i].values, per_block);
  }
  const auto launch = [&](auto kernel) {
    return launch_blocks(kernel, blocks, block_threads, 0, stream, list, rule.kind, rule.signs, table, state);
  };
  if (rule.bf16_gradients) {
    return rule.bf16_moments ? launch(update_kernel<bf16, bf16>) : launch(update_kernel<bf16, float>);
  }
  return rule.bf16_moments ? launch(update_kernel<float, bf16>) : launch(update_kernel<float, float>);
}

}  // namespace cortorch::cuda
