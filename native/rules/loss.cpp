#include "rules/loss.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/div.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sub.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/gpu.h"
#include "maps/custom_function.h"
#include "rules/cuda/loss_tensors.h"
#include "rules/rank.h"

namespace cortorch {
namespace {

using cuda::LossAndGradient;

// The mean loss as a tensor. A sum in float64 may be past what float32 holds: that is infinity there.
at::Tensor mean_loss(const LossCounts& counts, const at::Tensor& like) {
  const double mean = counts.loss / static_cast<double>(std::max<int64_t>(1, counts.examples));
  const double limit = std::numeric_limits<float>::max();
  return at::scalar_tensor(std::abs(mean) > limit ? std::copysign(INFINITY, mean) : mean,
                           like.options().requires_grad(false));
}

// Answers that rank before the right one.
int64_t rank_of(const float* outputs, int64_t classes, int64_t label) {
  int64_t rank = 0;
  for (int64_t c = 0; c < classes; ++c) rank += ranks_before(c, outputs[c], label, outputs[label]);
  return rank;
}

int64_t checked_label(const int64_t* labels, int64_t row, int64_t classes) {
  const int64_t label = labels[row];
  TORCH_CHECK(label >= 0 && label < classes, "label ", label, " of example ", row, " is not one of the ", classes,
              " classes 0 to ", classes - 1);
  return label;
}

void check_outputs(const char* loss, const at::Tensor& outputs, const at::Tensor& targets) {
  TORCH_CHECK(outputs.scalar_type() == at::kFloat || has_gpu_kernels(outputs), loss,
              ": expected float32 outputs, but received ", outputs.scalar_type(), " on ", outputs.device());
  TORCH_CHECK(outputs.device() == targets.device(), loss, ": the outputs are on ", outputs.device(),
              ", but the targets on ", targets.device());
  TORCH_CHECK(outputs.dim() == 2, loss, ": expected outputs to be [batch, n], but their shape is ", outputs.sizes());
  TORCH_CHECK(targets.dim() >= 1 && targets.size(0) == outputs.size(0), loss, ": there are ", outputs.size(0),
              " outputs but the targets' shape is ", targets.sizes());
}

void count_ranks(const float* row, int64_t classes, int64_t label, LossCounts& counts) {
  const int64_t rank = rank_of(row, classes, label);
  counts.error += rank >= 1;
  counts.error5 += rank >= 5;
}

// The difference goes down as it is, for g(h) − g(h − d) is not linear in d.
at::Tensor deliver_difference(const at::Tensor& difference, const at::Tensor& gradient, bool of_step) {
  TORCH_CHECK(!at::GradMode::is_enabled(),
              "target propagation cannot be differentiated twice: what travels down is no gradient; call backward "
              "without create_graph");
  TORCH_CHECK(of_step || gradient.item().toDouble() == 1,
              "target propagation sends differences down, which do not scale with the loss, but it was multiplied by ",
              gradient.item().toDouble(),
              "; change the learning rate or the target step instead, and call backward on the loss itself");
  return difference;
}

// One pass: loss, counts, and o − y over `divisor` (if wanted).
at::Tensor cross_entropy_on_cpu(const at::Tensor& logits, const at::Tensor& labels, bool want_gradient, double divisor,
                                LossCounts& counts) {
  const int64_t batch = logits.size(0), classes = logits.size(1);
  at::Tensor gradient;
  if (want_gradient) gradient = at::empty({batch, classes}, logits.options().requires_grad(false));
  const float* z = logits.const_data_ptr<float>();
  const int64_t* y = labels.const_data_ptr<int64_t>();
  for (int64_t b = 0; b < batch; ++b) {
    const float* row = z + b * classes;
    const int64_t label = checked_label(y, b, classes);
    const float top = *std::max_element(row, row + classes);
    double sum = 0;
    for (int64_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(row[c] - top));
    counts.loss += std::log(sum) + top - row[label];
    count_ranks(row, classes, label, counts);
    if (want_gradient) {
      float* g = gradient.mutable_data_ptr<float>() + b * classes;
      for (int64_t c = 0; c < classes; ++c) {
        const double o = std::exp(static_cast<double>(row[c] - top)) / sum;
        g[c] = static_cast<float>((o - (c == label)) / divisor);
      }
    }
  }
  counts.examples += batch;
  return gradient;
}

at::Tensor counts_on_gpu(const at::Tensor& like, Tally& tally) {
  if (!tally.device_sums.defined()) tally.device_sums = cuda::zero_counts(like);
  return tally.device_sums;
}

LossAndGradient cross_entropy_pass(const at::Tensor& logits, const at::Tensor& labels, bool wanted, double divisor,
                                   Tally& tally) {
  if (has_gpu_kernels(logits))
    return cuda::cross_entropy(logits, labels, wanted, divisor, counts_on_gpu(logits, tally));
  LossCounts here;
  const at::Tensor gradient = cross_entropy_on_cpu(logits.contiguous(), labels.contiguous(), wanted, divisor, here);
  tally.host.add(here);
  return {mean_loss(here, logits), gradient};
}

// What a loss saves for its backward pass, beside tensors.
void keep_delivery(AutogradContext* ctx, Delivery delivery, const Tally& tally) {
  ctx->saved_data["difference"] = delivery == Delivery::difference;
  ctx->saved_data["of_step"] = tally.of_step;
}

// What goes down where nobody differentiates twice: `saved` is the gradient of the loss itself, or the difference.
at::Tensor deliver(AutogradContext* ctx, const at::Tensor& saved, const at::Tensor& gradient) {
  const bool of_step = ctx->saved_data["of_step"].toBool();
  if (ctx->saved_data["difference"].toBool()) return deliver_difference(saved, gradient, of_step);
  return of_step ? saved : at::mul(saved, gradient);
}

struct CrossEntropy : Function<CrossEntropy> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& logits, const at::Tensor& labels, bool wanted,
                            Delivery delivery, Tally* tally) {
    const double divisor = delivery == Delivery::difference ? 1 : static_cast<double>(logits.size(0));
    // An evaluation needs no gradient. Inside forward() the grad mode is off, whatever it is outside.
    const LossAndGradient passed = cross_entropy_pass(logits, labels, wanted, divisor, *tally);
    keep_delivery(ctx, delivery, *tally);
    if (wanted) ctx->save_for_backward({logits, labels, passed.gradient});
    return passed.mean;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    if (ctx->saved_data["difference"].toBool() || !at::GradMode::is_enabled())
      return {deliver(ctx, saved[2], grads[0]), {}, {}, {}, {}};
    const at::Tensor difference = at::sub(at::softmax(saved[0], 1), at::one_hot(saved[1], saved[0].size(1)));
    return {at::mul(at::div(difference, static_cast<double>(saved[0].size(0))), grads[0]), {}, {}, {}, {}};
  }
};

at::Tensor as_targets(const at::Tensor& outputs, const at::Tensor& targets) {
  if (targets.scalar_type() != at::kLong) {
    return targets.to(outputs.scalar_type()).contiguous();
  }
  return at::one_hot(targets, outputs.size(1)).to(outputs.scalar_type());
}

LossAndGradient squared_error_pass(const at::Tensor& outputs, const at::Tensor& targets, bool wanted, double factor,
                                   Tally& tally) {
  if (has_gpu_kernels(outputs))
    return cuda::squared_error(outputs, targets, wanted, factor, counts_on_gpu(outputs, tally));
  const int64_t batch = outputs.size(0), n = outputs.size(1);
  const bool labelled = targets.scalar_type() == at::kLong;
  if (labelled) {
    const at::Tensor labels = targets.contiguous();
    for (int64_t b = 0; b < batch; ++b) checked_label(labels.const_data_ptr<int64_t>(), b, n);
  }
  const at::Tensor difference = at::sub(outputs, as_targets(outputs, targets)).contiguous();
  const at::Tensor o = outputs.contiguous(), labels = targets.contiguous();
  const float* d = difference.const_data_ptr<float>();
  LossCounts here;
  for (int64_t b = 0; b < batch; ++b) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(d[b * n + i]) * d[b * n + i];
    here.loss += sum;
    if (labelled) {
      count_ranks(o.const_data_ptr<float>() + b * n, n, labels.const_data_ptr<int64_t>()[b], here);
    } else {
      here.error += sum / static_cast<double>(std::max<int64_t>(1, n));
    }
  }
  here.examples = batch;
  tally.host.add(here);
  return {mean_loss(here, outputs), !wanted || factor == 1 ? difference : at::mul(difference, factor)};
}

struct SquaredError : Function<SquaredError> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& outputs, const at::Tensor& targets, bool wanted,
                            Delivery delivery, Tally* tally) {
    const double factor =
        delivery == Delivery::difference ? 1 : 2.0 / static_cast<double>(std::max<int64_t>(1, outputs.size(0)));
    const LossAndGradient passed = squared_error_pass(outputs, targets, wanted, factor, *tally);
    keep_delivery(ctx, delivery, *tally);
    if (wanted) ctx->save_for_backward({outputs, targets, passed.gradient});
    return passed.mean;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    if (ctx->saved_data["difference"].toBool() || !at::GradMode::is_enabled())
      return {deliver(ctx, saved[2], grads[0]), {}, {}, {}, {}};
    const at::Tensor scale = at::mul(grads[0], 2.0 / static_cast<double>(std::max<int64_t>(1, saved[0].size(0))));
    return {at::mul(at::sub(saved[0], as_targets(saved[0], saved[1])), scale), {}, {}, {}, {}};
  }
};

}  // namespace

void LossCounts::add(const LossCounts& other) {
  loss += other.loss;
  error += other.error;
  error5 += other.error5;
  inverse += other.inverse;
  examples += other.examples;
}

LossCounts Tally::read() const {
  LossCounts all = host;
  if (!device_sums.defined()) return all;
  const at::Tensor sums = device_sums.cpu();
  const double* s = sums.const_data_ptr<double>();
  all.add({s[0], s[1], s[2], s[3], static_cast<int64_t>(s[4])});
  return all;
}

at::Tensor softmax_cross_entropy(const at::Tensor& logits, const at::Tensor& labels, Tally& tally, Delivery delivery) {
  check_outputs("softmax cross-entropy", logits, labels);
  TORCH_CHECK(labels.scalar_type() == at::kLong && labels.dim() == 1,
              "softmax cross-entropy: expected int64 labels [batch], but received ", labels.scalar_type(), " ",
              labels.sizes());
  TORCH_CHECK(logits.size(1) > 0, "softmax cross-entropy: there are no classes");
  const bool wanted = at::GradMode::is_enabled() && logits.requires_grad();
  return CrossEntropy::apply(logits, labels, wanted, delivery, &tally);
}

at::Tensor squared_error(const at::Tensor& outputs, const at::Tensor& targets, Tally& tally, Delivery delivery) {
  check_outputs("squared error", outputs, targets);
  const bool labels = targets.scalar_type() == at::kLong && targets.dim() == 1;
  TORCH_CHECK(labels || (targets.is_floating_point() && targets.sizes() == outputs.sizes()),
              "squared error: expected targets of the outputs' shape ", outputs.sizes(), ", or int64 labels [",
              outputs.size(0), "], but received ", targets.scalar_type(), " ", targets.sizes());
  const bool wanted = at::GradMode::is_enabled() && outputs.requires_grad();
  return SquaredError::apply(outputs, targets, wanted, delivery, &tally);
}

at::Tensor loss_of(Loss loss, const at::Tensor& outputs, const at::Tensor& x, const at::Tensor& targets, Tally& tally,
                   Delivery delivery) {
  switch (loss) {
    case Loss::softmax_cross_entropy: return softmax_cross_entropy(outputs, targets, tally, delivery);
    case Loss::squared_error: return squared_error(outputs, targets, tally, delivery);
    case Loss::reconstruction: return squared_error(outputs, x.flatten(1), tally, delivery);
  }
  TORCH_INTERNAL_ASSERT(false);
}

Head head_of(Loss loss) {
  return loss == Loss::softmax_cross_entropy ? Head{OutputActivity::softmax, 1} : Head{OutputActivity::plain, 2};
}

}  // namespace cortorch
