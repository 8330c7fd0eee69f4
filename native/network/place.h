// Where a network computes, and in what.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>
#include <c10/core/Stream.h>

#include <optional>
#include <string>

#include "base/cuda/precision.h"
#include "base/gpu.h"
#include "base/names.h"

namespace cortorch {

// Not beside the enum, which kernels include.
template <>
struct Names<cuda::Precision> {
  static constexpr const char* kind = "precision";
  static constexpr NamedValue<cuda::Precision> table[] = {
      {"fp32", cuda::Precision::fp32},
      {"tf32", cuda::Precision::tf32},
      {"bf16", cuda::Precision::bf16},
  };
};

class Network;

struct Place {
  c10::Device device = c10::kCPU;
  c10::ScalarType compute = c10::kFloat;
  bool tf32 = false;           // float32 in memory, products of factors rounded to tf32
  bool deterministic = false;  // on the CPU always

  bool on_gpu() const { return cortorch::on_gpu(device); }
};

// device: cpu, or cuda:i. Throws c10::Error for others, for a GPU where this build has no kernels for one, and on the
// CPU for another precision than fp32.
Place place_of(const std::string& device, cuda::Precision precision, bool deterministic);

// Process-wide settings of libtorch, as the place wants them.
void use_arithmetic(const Place& place);
// The calling thread works there from now on, on a stream of its own: the default one cannot be recorded as a graph.
void enter(const Place& place);
// A stream of the place's device, if that is a GPU, for work now and then.
std::optional<c10::Stream> new_stream(const Place& place);
// Waits for what it has given to the place.
void settle(const Place& place);
// Gives what libtorch keeps of a GPU's memory and nobody uses back to it.
void trim_memory(const Place& place);
// A new network goes there.
void move_to(Network& network, const Place& place);

}  // namespace cortorch
