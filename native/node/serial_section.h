// Keeps libtorch on one thread while JavaScript's thread calls it.
//
// A parallel operation on that thread would make a second OpenMP team beside the model's, which stays for good.
// With more threads managed than there are cores libgomp no longer spins at barriers but sleeps, and every one of
// the forty barriers of a small step then costs a wake-up: an mnist-fc step took twice the time.
#pragma once

#include <ATen/Parallel.h>
#include <omp.h>

namespace cortorch::node {

class SerialSection {
 public:
  SerialSection() : threads_(at::get_num_threads()) { omp_set_num_threads(1); }  // at: has it set its own first
  SerialSection(const SerialSection&) = delete;
  SerialSection& operator=(const SerialSection&) = delete;
  ~SerialSection() { omp_set_num_threads(threads_); }

 private:
  int threads_;
};

}  // namespace cortorch::node
