// The layers of target propagation as custom autograd functions. What comes down to a layer is no gradient but
// d = h − ĥ, the difference of its activity and its target, one for each example; the layer's own gradient is that of
// its local loss ‖h − ĥ‖², and what it hands further down is the difference at the layer below
// (Bartunov et al. 2018, Algorithms 1 and 2; written with d, see ARCHITECTURE.md).
#pragma once

#include "maps/linear_map.h"
#include "rules/inverse.h"
#include "rules/rule.h"

namespace cortorch {

// Of local squared losses: over the units of a layer. Over the batch they are always averaged.
enum class UnitReduction { sum, mean };

template <>
struct Names<UnitReduction> {
  static constexpr const char* kind = "reduction";
  static constexpr NamedValue<UnitReduction> table[] = {
      {"sum", UnitReduction::sum},
      {"mean", UnitReduction::mean},
  };
};

// The loss that dtp takes a step down: that of an example, or the mean over the batch.
enum class StepLoss { example, batch_mean };

template <>
struct Names<StepLoss> {
  static constexpr const char* kind = "loss of the target's step";
  static constexpr NamedValue<StepLoss> table[] = {
      {"example", StepLoss::example},
      {"batch-mean", StepLoss::batch_mean},
  };
};

// Which g a hidden layer sends its target through.
enum class InverseKind {
  learned,
  transposed_jacobian,  // g(h) = (∂h/∂x)ᵀ h, a control: then the step is backpropagation's (Bartunov et al., A.5.6)
};

struct TargetLayerSettings {
  Rule rule = Rule::dtp;  // tp sends targets, the others differences
  UnitReduction reduction = UnitReduction::sum;
  InverseKind kind = InverseKind::learned;
};

// y = σ(W x + b), x [batch, input_shape], below the output. With d = y − ŷ from above:
//   the gradient of weight and bias is that of Σ ‖y − ŷ‖² / batch (the units summed or averaged);
//   what goes down is g(y) − g(y − d), under tp x − g(y − d).
// The inverse may be undefined where nothing below is trained.
at::Tensor target_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x, const at::Tensor& weight,
                        const at::Tensor& bias, const Inverse& inverse, const TargetLayerSettings& settings);

// What the topmost activity h_L is.
enum class OutputActivity {
  softmax,  // o = softmax(y) where y are logits of a cross-entropy
  plain,    // y itself, under a squared error
};

// Outputs beside the network's own, random features of the layer below: z = tanh(W_z x + b_z), W_z fixed. The
// topmost activity is then [o, z].
struct Auxiliary {
  at::Tensor weight, bias;  // [n, in], [n]
  bool defined() const { return weight.defined(); }
};

// h_L of the layer's output y and input x. y [batch, output_shape] → the same shape, or [batch, outputs + n].
at::Tensor top_activity(OutputActivity activity, const Auxiliary& auxiliary, const at::Tensor& y, const at::Tensor& x);

struct TargetOutputSettings {
  Rule rule = Rule::dtp;
  OutputActivity activity = OutputActivity::softmax;
  double target_step = 0.1;                // α, dtp
  StepLoss step_loss = StepLoss::example;  // dtp
};

// y = σ(W x + b), the output layer, trained on the task's loss. With d = h_L − ĥ_L from a loss that delivers it:
//   the gradient of weight and bias is that of the mean loss;
//   what goes down is α Wᵀδ under dtp (δ the gradient of an example's loss), else what the inverse makes of it:
//   g(h_L) − g(h_L − d), under tp x − g(h_L − d).
at::Tensor target_output_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x,
                               const at::Tensor& weight, const at::Tensor& bias, const Inverse& inverse,
                               const Auxiliary& auxiliary, const TargetOutputSettings& settings);

// Is y, or what it is a view of, what target_output_layer gave? Then its loss has to deliver a difference.
bool is_target_output(const at::Tensor& y);

}  // namespace cortorch
