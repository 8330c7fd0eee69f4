// The micro-kernel is machine code that libtorch makes at run time: AddressSanitizer sees nothing of what it reads
// and writes. So it is replaced here by one that asks the sanitizer about every row first and then calls the real
// one. (The loader prefers the definitions of the program to those of its libraries.)
//
// The pool of results is replaced as well: its blocks are rounded up and used again, so a write past the end of a
// result, or into one that is gone, would hit memory that is the pool's.
#include "native/checked_memory.h"

#include <ATen/ops/empty.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

#include "base/pool.h"
#include "maps/micro_kernel.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace check {

std::atomic<int64_t> checked_products{0};
std::atomic<bool> exact_results{true};

namespace {

// The next definition of a symbol in the loader's order: the library's own.
template <typename F>
F* real(const char* mangled) {
  void* const found = dlsym(RTLD_NEXT, mangled);
  if (found == nullptr) {
    std::fprintf(stderr, "maps_check: no library has %s\n", mangled);
    std::abort();
  }
  return reinterpret_cast<F*>(found);
}

#if defined(__SANITIZE_ADDRESS__)
template <typename T>
void check_matrix(const char* name, const T* data, int64_t rows, int64_t columns, int64_t ld) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = data + r * ld;
    void* bad = __asan_region_is_poisoned(const_cast<T*>(row), static_cast<std::size_t>(columns) * sizeof(T));
    if (bad == nullptr) continue;
    std::fprintf(stderr, "ERROR: AddressSanitizer: the micro-kernel leaves %s [%ld, %ld], ld %ld, in row %ld\n", name,
                 static_cast<long>(rows), static_cast<long>(columns), static_cast<long>(ld), static_cast<long>(r));
    __asan_describe_address(bad);
    __sanitizer_print_stack_trace();
    std::abort();
  }
}
#endif

}  // namespace
}  // namespace check

namespace cortorch {

#if defined(__SANITIZE_ADDRESS__)
void micro_kernel(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                  int64_t ldc, bool accumulate) {
  using MicroKernel =
      void(int64_t, int64_t, int64_t, const float*, int64_t, const float*, int64_t, float*, int64_t, bool);
  static MicroKernel* const library = check::real<MicroKernel>("_ZN8cortorch12micro_kernelElllPKflS1_lPflb");
  check::check_matrix("A", a, m, k, lda);
  check::check_matrix("B", b, k, n, ldb);
  check::check_matrix("C", c, m, n, ldc);
  ++check::checked_products;
  library(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
}
#endif

at::Tensor pooled_empty(at::IntArrayRef sizes, at::ScalarType dtype) {
  if (check::exact_results) return at::empty(sizes, dtype);
  using PooledEmpty = at::Tensor(at::IntArrayRef, at::ScalarType);
  static PooledEmpty* const library =
      check::real<PooledEmpty>("_ZN8cortorch12pooled_emptyEN3c108ArrayRefIlEENS0_10ScalarTypeE");
  return library(sizes, dtype);
}

}  // namespace cortorch
