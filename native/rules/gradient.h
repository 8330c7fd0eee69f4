// The rules under which every layer hands a gradient down: bp, fa and sign-symmetry. They differ in one thing alone,
// the weights that send δ down.
#pragma once

#include <functional>
#include <string>

#include "rules/feedback.h"
#include "rules/rule.h"

namespace cortorch {

// By what a layer sends its δ down.
struct Sender {
  std::string rule;     // for errors
  at::Tensor feedback;  // of the weights' shape; undefined where the rule has none, or nothing is below
  // From the weights W and the feedback, in the backward pass. Empty: nothing goes down.
  std::function<at::Tensor(const at::Tensor& weight, const at::Tensor& feedback)> weights;
  bool reads_weight = false;  // W is needed for it, and is kept
  bool exact = false;         // they are W: the backward pass is the derivative of the forward pass
};

Sender by_weights();                                                 // bp: W
Sender by_feedback(const std::string& rule, at::Tensor feedback);    // fa: B
Sender by_one_magnitude(const std::string& rule, double scale);      // usf: s sign W
Sender by_magnitudes(const std::string& rule, at::Tensor feedback);  // brsf, frsf: |B| ⊙ sign W
Sender by_nothing(const std::string& rule);
// By its name; the feedback and the scale are those of the rules that have them. Throws c10::Error.
Sender sender_of(const std::string& rule, const at::Tensor& feedback, double scale);

// y = σ(W x + b), x [batch, input_shape]. The gradient of weight and bias is the layer's own: δ = g ⊙ σ'(a), x ⊗ δ and
// Σ δ, with g what came down; what goes further down is adjoint(sender's weights, δ). Differentiating twice is refused
// where the sender is not exact.
at::Tensor gradient_layer(const LinearMapPtr& map, Activation activation, const Sender& sender, const at::Tensor& x,
                          const at::Tensor& weight, const at::Tensor& bias);

// What a rule of this family has to say: its sender at a layer and a step.
class GradientRule : public Rule {
 public:
  using Rule::Rule;
  at::Tensor forward(const Layer& layer, const at::Tensor& x, Pass& pass) const override;
  at::Tensor feedback(const Layer& layer, const Pass& pass) const override;

 protected:
  virtual Sender sender(const Layer& layer, const Pass& pass) const = 0;
};

}  // namespace cortorch
