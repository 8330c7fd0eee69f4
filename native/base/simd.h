// Function multi-versioning: the element-wise kernels are plain loops that the compiler vectorises, once
// for each of these instruction sets; the loader picks the best the processor has. So one build serves
// every machine that shares a file system, and nothing is compiled for the build machine alone.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(CORTORCH_NO_CLONES)
#define CORTORCH_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CORTORCH_CLONES
#endif

// What a cloned loop calls must be inlined into each clone, or it stays at the baseline instruction set. Some of it is
// for CUDA's kernels too.
#ifdef __CUDACC__
#define CORTORCH_INLINE __host__ __device__ __forceinline__
#else
#define CORTORCH_INLINE inline __attribute__((always_inline))
#endif
