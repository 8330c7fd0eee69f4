#include "base/initialize.h"

#include <ATen/ops/diagonal.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sign.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

namespace cortorch {
namespace {

void fill_orthogonal(at::Tensor& tensor, const RandomStream& random) {
  if (tensor.numel() == 0) return;
  const int64_t rows = tensor.size(0), columns = tensor.numel() / rows;
  const int64_t tall = std::max(rows, columns), narrow = std::min(rows, columns);
  at::Tensor gaussian = at::empty({tall, narrow}, tensor.options());
  fill_normal(gaussian, 1.0, random);
  const auto [q, r] = at::linalg_qr(gaussian);
  // Without the signs of R's diagonal the distribution would depend on LAPACK's conventions.
  const at::Tensor signed_q = at::mul(q, at::sign(at::diagonal(r)));
  tensor.copy_((rows >= columns ? signed_q : signed_q.t()).reshape(tensor.sizes()));
}

}  // namespace

void fill_uniform(at::Tensor& tensor, double limit, const RandomStream& random) {
  float* data = tensor.mutable_data_ptr<float>();
  const float width = static_cast<float>(2 * limit), low = static_cast<float>(-limit);
  for (int64_t i = 0; i < tensor.numel(); ++i) data[i] = low + width * random.uniform(static_cast<uint64_t>(i));
}

void fill_normal(at::Tensor& tensor, double deviation, const RandomStream& random) {
  float* data = tensor.mutable_data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    data[i] = static_cast<float>(deviation) * random.normal(static_cast<uint64_t>(i));
  }
}

void initialize(at::Tensor& tensor, Initializer initializer, int64_t fan_in, int64_t fan_out,
                const RandomStream& random) {
  TORCH_INTERNAL_ASSERT(tensor.is_contiguous() && tensor.scalar_type() == at::kFloat && tensor.device().is_cpu());
  const double glorot = 2.0 / static_cast<double>(std::max<int64_t>(1, fan_in + fan_out));
  const double he = 2.0 / static_cast<double>(std::max<int64_t>(1, fan_in));
  switch (initializer) {
    // A uniform variable on ±a has variance a²/3.
    case Initializer::glorot_uniform:
    case Initializer::glorot_uniform_location: return fill_uniform(tensor, std::sqrt(3 * glorot), random);
    case Initializer::he_uniform: return fill_uniform(tensor, std::sqrt(3 * he), random);
    case Initializer::glorot_normal: return fill_normal(tensor, std::sqrt(glorot), random);
    case Initializer::he_normal: return fill_normal(tensor, std::sqrt(he), random);
    case Initializer::orthogonal: return fill_orthogonal(tensor, random);
    case Initializer::zeros: tensor.zero_(); return;
  }
}

}  // namespace cortorch
