// The losses a network is trained on, as custom autograd functions that also count errors on the way.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "base/names.h"

namespace cortorch {

// Sums over the examples seen; divide by `examples`.
struct LossCounts {
  double loss = 0;     // cross-entropy in nats, or squared error summed over the outputs
  double error = 0;    // wrong answers, or for real-valued targets the mean squared error per output
  double error5 = 0;   // answers not among the five best
  double inverse = 0;  // the learned inverses' squared errors, over all of them; see training/inverses.h
  int64_t examples = 0;

  void add(const LossCounts& other);
};

// Where losses count. Work on a GPU is not waited for: its sums stay there until somebody reads them.
struct Tally {
  LossCounts host;
  at::Tensor on_gpu;  // float64 [5], in the order of LossCounts; made where it is needed
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

// Mean over the batch of −log softmax(logits)[label]. logits [batch, classes] float32 (on a GPU bfloat16 too), labels
// [batch] int64 → scalar. The gradient is (o − y) / batch, the difference o − y. Throws c10::Error for a label out of
// range; on a GPU the loss is NaN then.
at::Tensor softmax_cross_entropy(const at::Tensor& logits, const at::Tensor& labels, Tally& tally,
                                 Delivery delivery = Delivery::gradient);

// Mean over the batch of Σ (o − t)². outputs [batch, n]; targets [batch, n], or labels [batch] int64, which
// stand for one-hot targets. The gradient is 2 (o − t) / batch, the difference o − t.
at::Tensor squared_error(const at::Tensor& outputs, const at::Tensor& targets, Tally& tally,
                         Delivery delivery = Delivery::gradient);

}  // namespace cortorch
