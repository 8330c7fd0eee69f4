// Included before every source: glibc and the C++ runtime in the versions that libtorch itself needs (glibc 2.28),
// however new those are that are compiled with. scripts/prepack.mjs reads what the libraries ask for, and packs nothing
// newer. (libtorch exports some functions of a newer C++ runtime, which then are libtorch's; before glibc 2.34 dlopen
// is in libdl.so.2, which Node needs itself.) CORTORCH_NEW_RUNTIME leaves all this out, to measure what it costs.
#pragma once

#if defined(__linux__) && defined(__x86_64__) && defined(__GNUC__) && !defined(__CUDACC__) && \
    !defined(CORTORCH_NEW_RUNTIME)

// Newer versions that differ in errno (2.29), in the library they are in (2.34) and in noexcept (GCC 12).
__asm__(".symver exp,exp@GLIBC_2.2.5");
__asm__(".symver log,log@GLIBC_2.2.5");
__asm__(".symver pow,pow@GLIBC_2.2.5");
__asm__(".symver dlopen,dlopen@GLIBC_2.2.5");
__asm__(".symver dlerror,dlerror@GLIBC_2.2.5");
__asm__(".symver dlsym,dlsym@GLIBC_2.2.5");
__asm__(
    ".symver _ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE,"
    "_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE@GLIBCXX_3.4.11");

// Since glibc 2.32, shared_ptr counts without atomic instructions while it is set. With Node's threads it never is.
extern "C" {
__attribute__((weak, visibility("hidden"))) char __libc_single_threaded = 0;
}

#endif
