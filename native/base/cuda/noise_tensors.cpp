#include "base/cuda/noise_tensors.h"

#include <ATen/ops/empty_like.h>

#include "base/cuda/here.h"
#include "base/cuda/noise.h"

namespace cortorch::cuda {
namespace {

NoiseStream stream_of(const NoiseSource& source, Purpose purpose) {
  const uint32_t* address = source.step.address();
  return {source.seed, purpose, source.layer, address == nullptr ? source.step.number() : 0, address};
}

}  // namespace

at::Tensor add_noise(const at::Tensor& h, double sigma, const NoiseSource& source) {
  TORCH_CHECK(h.is_non_overlapping_and_dense(), "noise: expected a tensor without gaps");
  const Here here(h);
  at::Tensor result = at::empty_like(h);
  check_launch(cuda::add_noise(h.numel(), precision_of(h), stream_of(source, Purpose::noise), static_cast<float>(sigma),
                               h.const_data_ptr(), result.mutable_data_ptr(), here.stream));
  return result;
}

at::Tensor draw_magnitudes(const at::Tensor& like, bool normal, double size, const NoiseSource& source) {
  const Here here(like);
  at::Tensor result = at::empty_like(like, like.options().requires_grad(false), at::MemoryFormat::Contiguous);
  const auto width = static_cast<float>(size);
  check_launch(normal ? normal_magnitudes(result.numel(), precision_of(result), stream_of(source, Purpose::noise),
                                          width, result.mutable_data_ptr(), here.stream)
                      : uniform_magnitudes(result.numel(), precision_of(result), stream_of(source, Purpose::magnitude),
                                           width, result.mutable_data_ptr(), here.stream));
  return result;
}

}  // namespace cortorch::cuda
