// Keeps libtorch on one thread while JavaScript's thread calls it.
//
// A parallel operation on that thread would make a second OpenMP team beside the model's, which stays for good.
// With more threads managed than there are cores libgomp no longer spins at barriers but sleeps, and every one of
// the forty barriers of a small step then costs a wake-up: an mnist-fc step took twice the time.
#pragma once

#include <ATen/Parallel.h>
#include <omp.h>

// MKL's number of threads of the calling thread, which for MKL goes before OpenMP's; 0: it has none. libtorch sets it
// on every thread when another one has set the number of threads before. Weak: null with a libtorch without MKL. By
// its name in C: the one in small letters is Fortran's, which takes an address.
extern "C" __attribute__((weak)) int MKL_Set_Num_Threads_Local(int threads);

namespace cortorch::node {

class SerialSection {
 public:
  // libtorch's first question about threads sets OpenMP's and MKL's number, so it comes before ours are set.
  SerialSection() : threads_(at::get_num_threads()) {
    omp_set_num_threads(1);
    if (MKL_Set_Num_Threads_Local != nullptr) mkl_threads_ = MKL_Set_Num_Threads_Local(1);
  }
  SerialSection(const SerialSection&) = delete;
  SerialSection& operator=(const SerialSection&) = delete;
  ~SerialSection() {
    omp_set_num_threads(threads_);
    if (MKL_Set_Num_Threads_Local != nullptr) MKL_Set_Num_Threads_Local(mkl_threads_);
  }

 private:
  int threads_, mkl_threads_ = 0;
};

}  // namespace cortorch::node
