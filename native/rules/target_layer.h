// The layers of target propagation as custom autograd functions. What comes down to a layer is no gradient but
// d = h − ĥ, the difference of its activity and its target, one for each example; the layer's own gradient is that of
// its local loss ‖h − ĥ‖², and what it hands further down is the difference at the layer below
// (Bartunov et al. 2018, Algorithms 1 and 2; written with d, see ARCHITECTURE.md).
#pragma once

#include <string>
#include <vector>

#include "maps/linear_map.h"
#include "rules/inverse.h"
#include "rules/rule.h"

namespace cortorch {

// In what the rules of the family differ.
struct TargetKind {
  std::string rule;
  bool hands_targets = false;    // tp: what goes down is the target that g makes, else a difference
  bool steps_down_loss = false;  // dtp: the penultimate target lies one step down the loss's gradient
  bool auxiliary = false;        // ao-sdtp: beside the network's outputs the top has random features of its own
};

// Of a rule by its name. Throws c10::Error if it sends no targets.
TargetKind target_kind(const std::string& rule);

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

// What g(f(h̃)), h̃ = h + σ ε, is compared with: h̃ itself (Lee et al. 2015, DTP in Bartunov et al. 2018), or h.
enum class InverseLoss { noise_preserving, de_noising };

template <>
struct Names<InverseLoss> {
  static constexpr const char* kind = "loss of the inverses";
  static constexpr NamedValue<InverseLoss> table[] = {
      {"noise-preserving", InverseLoss::noise_preserving},
      {"de-noising", InverseLoss::de_noising},
  };
};

// All that can be set.
struct TargetSettings : RuleSettings {
  Head head;  // the loss's
  UnitReduction reduction = UnitReduction::sum;
  double target_step = 0.1;                // α, dtp
  StepLoss step_loss = StepLoss::example;  // dtp
  InverseLoss inverse_loss = InverseLoss::noise_preserving;
  std::vector<double> noise;  // σ of each inverse, from below
};

// Which g a hidden layer sends its target through.
enum class InverseKind {
  learned,
  transposed_jacobian,  // g(h) = (∂h/∂x)ᵀ h, a control: then the step is backpropagation's (Bartunov et al., A.5.6)
};

// y = σ(W x + b), x [batch, input_shape], below the output. With d = y − ŷ from above:
//   the gradient of weight and bias is that of Σ ‖y − ŷ‖² / batch (the units summed or averaged);
//   what goes down is g(y) − g(y − d), under tp x − g(y − d).
// The inverse may be undefined where nothing below is trained.
at::Tensor target_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x, const at::Tensor& weight,
                        const at::Tensor& bias, const Inverse& inverse, const TargetKind& kind,
                        const TargetSettings& settings, InverseKind inverse_kind = InverseKind::learned);

// Outputs beside the network's own, random features of the layer below: z = tanh(W_z x + b_z), W_z fixed. The
// topmost activity is then [o, z].
struct Auxiliary {
  at::Tensor weight, bias;  // [n, in], [n]
  bool defined() const { return weight.defined(); }
};

// h_L of the layer's output y and input x. y [batch, output_shape] → the same shape, or [batch, outputs + n].
at::Tensor top_activity(OutputActivity activity, const Auxiliary& auxiliary, const at::Tensor& y, const at::Tensor& x);

// y = σ(W x + b), the output layer, trained on the task's loss. With d = h_L − ĥ_L from a loss that delivers it:
//   the gradient of weight and bias is that of the mean loss;
//   what goes down is α Wᵀδ under dtp (δ the gradient of an example's loss), else what the inverse makes of it:
//   g(h_L) − g(h_L − d), under tp x − g(h_L − d).
at::Tensor target_output_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x,
                               const at::Tensor& weight, const at::Tensor& bias, const Inverse& inverse,
                               const Auxiliary& auxiliary, const TargetKind& kind, const TargetSettings& settings);

// Is y, or what it is a view of, what target_output_layer gave? Then its loss has to deliver a difference.
bool is_target_output(const at::Tensor& y);

}  // namespace cortorch
