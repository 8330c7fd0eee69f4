#include "rules/cuda/loss_tensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include "base/cuda/here.h"
#include "rules/cuda/loss.h"

namespace cortorch::cuda {
namespace {

// The sums of the rows that launch(gradient, rows) writes.
template <typename Launch>
LossAndGradient counted(const at::Tensor& outputs, bool want_gradient, const at::Tensor& counts, cudaStream_t stream,
                        const Launch& launch) {
  const auto options = outputs.options().requires_grad(false);
  LossAndGradient result{at::empty({}, options.dtype(at::kFloat)), {}};
  if (want_gradient) result.gradient = at::empty(outputs.sizes(), options);
  const at::Tensor rows = at::empty({outputs.size(0), kRow}, options.dtype(at::kDouble));
  auto* const row_data = rows.mutable_data_ptr<double>();
  check_launch(launch(mutable_or_null(result.gradient), row_data));
  check_launch(add_rows(outputs.size(0), row_data, counts.mutable_data_ptr<double>(),
                        result.mean.mutable_data_ptr<float>(), stream));
  return result;
}

}  // namespace

at::Tensor zero_counts(const at::Tensor& like) {
  return at::zeros({kCounts}, like.options().dtype(at::kDouble).requires_grad(false));
}

LossAndGradient cross_entropy(const at::Tensor& logits, const at::Tensor& labels, bool want_gradient, double divisor,
                              const at::Tensor& counts) {
  const Here here(logits);
  const at::Tensor z = logits.contiguous(), y = labels.contiguous();
  return counted(z, want_gradient, counts, here.stream, [&](void* gradient, double* rows) {
    return cuda::cross_entropy(z.size(0), z.size(1), precision_of(z), z.const_data_ptr(), y.const_data_ptr<int64_t>(),
                               gradient, divisor, rows, here.stream);
  });
}

LossAndGradient squared_error(const at::Tensor& outputs, const at::Tensor& targets, bool want_gradient, double factor,
                              const at::Tensor& counts) {
  const Here here(outputs);
  const bool labelled = targets.scalar_type() == at::kLong;
  const at::Tensor o = outputs.contiguous(),
                   t = labelled ? targets.contiguous() : targets.to(outputs.scalar_type()).contiguous();
  return counted(o, want_gradient, counts, here.stream, [&](void* gradient, double* rows) {
    return cuda::squared_error(o.size(0), o.size(1), precision_of(o), o.const_data_ptr(),
                               labelled ? nullptr : t.const_data_ptr(),
                               labelled ? t.const_data_ptr<int64_t>() : nullptr, gradient, factor, rows, here.stream);
  });
}

void add_squares(const at::Tensor& squares, double factor, const at::Tensor& counts) {
  const Here here(counts);
  check_launch(cuda::add_squares(squares.numel(), squares.const_data_ptr<float>(), factor,
                                 counts.mutable_data_ptr<double>(), here.stream));
}

}  // namespace cortorch::cuda
