// The losses a network is trained on, as custom autograd functions that also count errors on the way.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "base/names.h"

namespace cortorch {

// A reconstruction is a squared error whose targets are the inputs.
enum class Loss { softmax_cross_entropy, squared_error, reconstruction };

template <>
struct Names<Loss> {
  static constexpr const char* kind = "loss";
  static constexpr NamedValue<Loss> table[] = {
      {"softmax-cross-entropy", Loss::softmax_cross_entropy},
      {"squared-error", Loss::squared_error},
      {"reconstruction", Loss::reconstruction},
  };
};

// Sums over the examples seen; divide by `examples`.
struct LossCounts {
  double loss = 0;     // cross-entropy in nats, or squared error summed over the outputs
  double error = 0;    // wrong answers, or for real-valued targets the mean squared error per output
  double error5 = 0;   // answers not among the five best
  double inverse = 0;  // the learned inverses' squared errors, over all of them; see Rule::learn
  int64_t examples = 0;

  void add(const LossCounts& other);
};

// Where losses count. Work on a GPU is not waited for: its sums stay there until somebody reads them.
struct Tally {
  LossCounts host;
  at::Tensor device_sums;  // on a GPU: float64 [5], in the order of LossCounts; made where it is needed
  // The loss is a training step's own, on which backward() is called as it is: whether somebody multiplied it need not
  // be looked at, which on a GPU would be to wait.
  bool of_step = false;

  // All of it. Waits for the GPU.
  LossCounts read() const;
};

// What a loss hands to the layer below it: the gradient of its mean over the batch, or for target propagation the
// difference of each example's output and its target, h_L − ĥ_L. That one is no gradient: multiplying the loss, and
// differentiating twice, are refused.
enum class Delivery { gradient, difference };

template <>
struct Names<Delivery> {
  static constexpr const char* kind = "delivery";
  static constexpr NamedValue<Delivery> table[] = {
      {"gradient", Delivery::gradient},
      {"difference", Delivery::difference},
  };
};

// What the topmost activity h_L is.
enum class OutputActivity {
  softmax,  // o = softmax(y) where y are logits
  plain,    // y itself
};

// The top of a network as target propagation sees it.
struct Head {
  OutputActivity activity = OutputActivity::softmax;
  double factor = 1;  // the gradient of an example's loss at the layer's output, in terms of the difference h_L − ĥ_L
};

// Of the cross-entropy h_L = o, and the gradient is o − y itself; of a squared error it is twice the difference.
Head head_of(Loss loss);

// Mean over the batch of −log softmax(logits)[label]. logits [batch, classes] float32 (on a GPU bfloat16 too), labels
// [batch] int64 → scalar. The gradient is (o − y) / batch, the difference o − y. Throws c10::Error for a label out of
// range; on a GPU the loss is NaN then.
at::Tensor softmax_cross_entropy(const at::Tensor& logits, const at::Tensor& labels, Tally& tally,
                                 Delivery delivery = Delivery::gradient);

// Mean over the batch of Σ (o − t)². outputs [batch, n]; targets [batch, n], or labels [batch] int64, which
// stand for one-hot targets. The gradient is 2 (o − t) / batch, the difference o − t.
at::Tensor squared_error(const at::Tensor& outputs, const at::Tensor& targets, Tally& tally,
                         Delivery delivery = Delivery::gradient);

// The loss by its name. x [batch, input] are a reconstruction's targets.
at::Tensor loss_of(Loss loss, const at::Tensor& outputs, const at::Tensor& x, const at::Tensor& targets, Tally& tally,
                   Delivery delivery = Delivery::gradient);

}  // namespace cortorch
