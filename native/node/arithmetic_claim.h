// How GPUs compute is a setting of the process (libtorch's), as the number of threads is.
#pragma once

#include "network/place.h"

namespace cortorch::node {

// The first network on a GPU decides between fp32 and tf32, and whether kernels are deterministic; another one may ask
// for the same, and gets a CodedError ERR_PRECISION_CONFLICT otherwise. bf16 goes with fp32, networks on the CPU with
// all.
class ArithmeticClaim {
 public:
  explicit ArithmeticClaim(const Place& place);
  ArithmeticClaim(const ArithmeticClaim&) = delete;
  ArithmeticClaim& operator=(const ArithmeticClaim&) = delete;
  ~ArithmeticClaim() { release(); }

  // Once; the destructor does it too.
  void release();

 private:
  bool held_;
};

}  // namespace cortorch::node
