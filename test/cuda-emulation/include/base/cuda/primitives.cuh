// In place of native/base/cuda/primitives.cuh: the same functions, checked and slow. See emulation.cpp.
#pragma once

#include <cuda_runtime.h>

#include <bit>
#include <cstdint>
#include <cstring>

namespace emulation {

void fail(const char* what);

// The block's shared memory, exactly as large as the launch said.
unsigned char* shared_memory();
// To be called before the access itself; they fail on what would be a race, or nonsense, on a GPU.
void before_read(const void* at, std::size_t bytes);
void before_write(const void* at, std::size_t bytes);

// Accesses to shared memory by whole warps so far, and those of them in which a bank was asked for two words at once.
struct BankAccesses {
  long all = 0, conflicting = 0;
};
extern BankAccesses bank_accesses;

void copy_async(void* to, const void* from, std::size_t bytes, bool inside);
void commit_copies();
void wait_copies(int but);

void load_matrices(uint32_t* out, const void* row, bool transposed);
void multiply_tf32(float* c, const uint32_t* a, const uint32_t* b);
void multiply_bf16(float* c, const uint32_t* a, const uint32_t* b);

}  // namespace emulation

namespace cortorch::cuda {

struct bf16 {
  uint16_t bits;
};

inline float to_float(float value) { return value; }
inline float to_float(bf16 value) { return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16); }

template <class T>
T from_float(float value) {
  if constexpr (sizeof(T) == 2) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    if (value != value) return {0x7fff};
    return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
  } else {
    return value;
  }
}

inline void store_pair(float* to, float a, float b) { *reinterpret_cast<float2*>(to) = {a, b}; }
struct alignas(4) bf16_pair {
  bf16 a, b;
};
inline void store_pair(bf16* to, float a, float b) {
  *reinterpret_cast<bf16_pair*>(to) = {from_float<bf16>(a), from_float<bf16>(b)};
}

template <class T>
void load_global(T (&to)[4], const T* from) {
  if (reinterpret_cast<uintptr_t>(from) % sizeof(to) != 0) emulation::fail("a misaligned access to global memory");
  std::memcpy(to, from, sizeof(to));
}
template <class T>
void store_global(T* to, const T (&from)[4]) {
  if (reinterpret_cast<uintptr_t>(to) % sizeof(from) != 0) emulation::fail("a misaligned access to global memory");
  std::memcpy(to, from, sizeof(from));
}

inline float tanh_for_bf16(float value) { return std::tanh(value); }

inline bf16 round_at_random(float value, uint32_t bits) {
  if (!std::isfinite(value)) return from_float<bf16>(value);
  return {static_cast<uint16_t>((std::bit_cast<uint32_t>(value) + bits) >> 16)};
}

inline unsigned char* dynamic_shared() { return emulation::shared_memory(); }

template <class T>
T load_shared(const void* from) {
  emulation::before_read(from, sizeof(T));
  return *static_cast<const T*>(from);
}

template <class T>
void store_shared(T* to, T value) {
  emulation::before_write(to, sizeof(T));
  *to = value;
}

template <int bytes>
void copy_async(void* to, const void* from, bool inside) {
  static_assert(bytes == 4 || bytes == 16);
  emulation::copy_async(to, from, bytes, inside);
}
inline void commit_copies() { emulation::commit_copies(); }
template <int n>
void wait_copies() {
  emulation::wait_copies(n);
}

inline void load_matrices(uint32_t (&out)[4], const void* row) { emulation::load_matrices(out, row, false); }
inline void load_matrices_transposed(uint32_t (&out)[4], const void* row) { emulation::load_matrices(out, row, true); }

inline uint32_t round_to_tf32(uint32_t value) { return (value + 0x1000) & ~0x1fffu; }

inline void multiply_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulation::multiply_tf32(c, a, b);
}
inline void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulation::multiply_bf16(c, a, b);
}

}  // namespace cortorch::cuda
