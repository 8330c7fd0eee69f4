#include "network/place.h"

#include <c10/util/Exception.h>
#include <c10/util/env.h>

#include "base/cuda/devices.h"
#include "network/network.h"

namespace cortorch {

Place place_of(const std::string& device, cuda::Precision precision, bool deterministic) {
  Place place;
  place.device = c10::Device(device);
  TORCH_CHECK(place.device.is_cpu() || place.device.is_cuda(), "expected device cpu or cuda:i, but received ", device);
  TORCH_CHECK(place.device.is_cpu() || cuda::kernels_are_built(), "device ", device,
              ": this build of cortorch has no CUDA kernels");
  if (place.device.is_cuda() && !place.device.has_index()) place.device = c10::Device(c10::kCUDA, 0);
  TORCH_CHECK(precision == cuda::Precision::fp32 || place.on_gpu(), "precision ", name_of(precision),
              " needs a GPU; on the CPU use fp32");
  place.tf32 = precision == cuda::Precision::tf32;
  place.compute = precision == cuda::Precision::bf16 ? c10::kBFloat16 : c10::kFloat;
  place.deterministic = deterministic;
  return place;
}

void use_arithmetic(const Place& place) {
  // cuBLAS reads it when it starts, and is deterministic only with a workspace of fixed size. Set here, since what a
  // worker sets in its process.env is a copy that nobody else sees.
  if (place.on_gpu() && place.deterministic && !c10::utils::has_env("CUBLAS_WORKSPACE_CONFIG"))
    c10::utils::set_env("CUBLAS_WORKSPACE_CONFIG", ":4096:8");  // under libtorch's lock, as libtorch reads it
  if (place.on_gpu()) cuda::use_arithmetic({place.tf32, place.deterministic});
}
void enter(const Place& place) {
  if (place.on_gpu()) cuda::enter(place.device);
}
std::optional<c10::Stream> new_stream(const Place& place) {
  return place.on_gpu() ? std::optional(cuda::new_stream(place.device)) : std::nullopt;
}
void settle(const Place& place) {
  if (place.on_gpu()) cuda::settle(place.device);
}
void trim_memory(const Place& place) {
  if (place.on_gpu()) cuda::trim_memory();
}

void move_to(Network& network, const Place& place) {
  if (place.on_gpu()) network.move_to(place.device, place.compute);
}

}  // namespace cortorch
