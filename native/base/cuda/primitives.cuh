// What the kernels ask of the processor and C++ has no word for. This is the one file that the emulation in
// test/cuda-emulation replaces, so every access to shared memory goes through it.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace cortorch::cuda {

using bf16 = __nv_bfloat16;

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(bf16 value) { return __bfloat162float(value); }

template <class T>
__device__ __forceinline__ T from_float(float value) {
  if constexpr (sizeof(T) == 2) {
    return __float2bfloat16(value);
  } else {
    return value;
  }
}

__device__ __forceinline__ void store_pair(float* to, float a, float b) {
  *reinterpret_cast<float2*>(to) = make_float2(a, b);
}
__device__ __forceinline__ void store_pair(bf16* to, float a, float b) {
  *reinterpret_cast<__nv_bfloat162*>(to) = __floats2bfloat162_rn(a, b);
}

// Four neighbours as one access, from and to an address that is a multiple of their size.
template <class T>
__device__ __forceinline__ void load_global(T (&to)[4], const T* from) {
  if constexpr (sizeof(T) == 2) {
    const uint2 four = *reinterpret_cast<const uint2*>(from);
    const uint32_t words[2] = {four.x, four.y};
#pragma unroll
    for (int i = 0; i < 4; ++i) to[i] = __ushort_as_bfloat16(static_cast<unsigned short>(words[i / 2] >> (i % 2 * 16)));
  } else {
    const float4 four = *reinterpret_cast<const float4*>(from);
    to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
  }
}
template <class T>
__device__ __forceinline__ void store_global(T* to, const T (&from)[4]) {
  if constexpr (sizeof(T) == 2) {
    const auto pair = [&](int i) {
      return static_cast<uint32_t>(__bfloat16_as_ushort(from[i])) |
             static_cast<uint32_t>(__bfloat16_as_ushort(from[i + 1])) << 16;
    };
    *reinterpret_cast<uint2*>(to) = make_uint2(pair(0), pair(2));
  } else {
    *reinterpret_cast<float4*>(to) = make_float4(from[0], from[1], from[2], from[3]);
  }
}

// To within 2⁻¹¹ of itself, a quarter of what rounding to bfloat16 may be off by.
__device__ __forceinline__ float tanh_for_bf16(float value) {
  float result;
  asm("tanh.approx.f32 %0, %1;" : "=f"(result) : "f"(value));
  return result;
}

// To one of the two bfloat16 around the value: up if what is cut off is more than 16 random bits leave room for.
__device__ __forceinline__ bf16 round_at_random(float value, uint32_t bits) {
  if (!isfinite(value)) return __float2bfloat16(value);
  return __ushort_as_bfloat16(static_cast<unsigned short>((__float_as_uint(value) + bits) >> 16));
}

// The block's dynamic shared memory.
__device__ __forceinline__ unsigned char* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char memory[];
  return memory;
}

template <class T>
__device__ __forceinline__ T load_shared(const void* from) {
  return *static_cast<const T*>(from);
}

template <class T>
__device__ __forceinline__ void store_shared(T* to, T value) {
  *to = value;
}

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Copies 4 or 16 aligned bytes to shared memory in the background, or zeros if not `inside`: `from` is
// not read then, and may be anywhere.
template <int bytes>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool inside) {
  static_assert(bytes == 4 || bytes == 16);
  const int size = inside ? bytes : 0;
  if constexpr (bytes == 16) {
    // Past the first-level cache. Weights are read once, in order: fetching the rest of the line early is free.
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(size)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(size)
                 : "memory");
  }
}

// Ends a group of copies; wait_copies<n> waits for all of this thread's groups but the last n.
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int n>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}

// Four 8×8 matrices of 16-bit elements. Lane l names row l % 8 of matrix l / 8 and gets, of each matrix,
// elements 2 (l % 4) and the next of row l / 4; transposed: of column l / 4.
__device__ __forceinline__ void load_matrices(uint32_t (&out)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&out)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(row))
               : "memory");
}

// The bits of a float to the nearest tf32, ties away from zero; without it the tensor cores cut the low ones off, which
// is biased.
__device__ __forceinline__ uint32_t round_to_tf32(uint32_t value) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(__uint_as_float(value)));
  return bits;
}

// c += a·b on the tensor cores, a 16×8 (tf32) or 16×16 (bf16), b with 8 columns. Where a lane's elements lie is
// written in the PTX manual, "Matrix Fragments for mma.m16n8k8" and "… m16n8k16".
__device__ __forceinline__ void multiply_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace cortorch::cuda
