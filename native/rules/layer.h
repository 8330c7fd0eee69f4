// One layer as a custom autograd function: map, bias and activation together, and a backward pass in which
// the rule decides what travels down. The rules are written here once, over any linear map.
#pragma once

#include <vector>

#include "maps/linear_map.h"
#include "rules/rule.h"

namespace cortorch {

// What a layer hands up. `error_port` is only there under dfa: a tensor without content, whose *gradient* is the
// output error [batch, classes], or its image under feedback that all layers share [batch, units]. The output layer
// takes the ports of all layers below it and sends the error into each of them, past everything in between.
struct LayerOutput {
  at::Tensor y;
  at::Tensor error_port;
};

// y = σ(W x + b), x [batch, input_shape].
//
// The gradient of weight and bias is always the layer's own: δ = g ⊙ σ'(a), x ⊗ δ and Σ δ, with g what came
// down. What goes further down is, with `feedback` B:
//   bp          Wᵀ δ                 (feedback unused)
//   fa          Bᵀ δ                 (feedback of W's shape; may be undefined where nothing is below)
//   usf         (s sign W)ᵀ δ        (s is `scale`)
//   brsf, frsf  (|B| ⊙ sign W)ᵀ δ    (feedback as for fa; whoever calls draws it afresh or does not)
// Differentiating twice is possible under bp and refused under the others, whose backward pass is not the
// derivative of the forward pass.
at::Tensor layer(const LinearMapPtr& map, Activation activation, Rule rule, const at::Tensor& x,
                 const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& feedback, double scale = 1);

// A hidden layer under dfa whose g is ordinary, since its error arrives behind a batch norm or a sum (dfa_port): as
// `layer`, but nothing goes down to x.
at::Tensor dfa_inner_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x,
                           const at::Tensor& weight, const at::Tensor& bias);

// The weights by which `layer` sends δ down: W, B, s sign W or |B| ⊙ sign W. Undefined where nothing is sent.
at::Tensor down_weight(Rule rule, const at::Tensor& weight, const at::Tensor& feedback, double scale);

// A hidden layer under dfa: δ = (Bᵀ e + g) ⊙ σ'(a), feedback B [classes, units] with the units in the order of
// the flattened output shape (C, H, W); g is what came down past other maps, through a shortcut, if anything did;
// nothing goes down to x. Without feedback of its own (undefined) its port takes Bᵀ e from the output layer.
LayerOutput dfa_hidden_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x,
                             const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& feedback);

// The same port behind something else, a batch norm or a residual block: y = h, whose gradient becomes Bᵀ e + g.
// Without feedback of its own it takes Bᵀ e from the output layer.
LayerOutput dfa_port(const at::Tensor& h, const at::Tensor& feedback);

// The output layer under dfa: trained on its own gradient; its δ (for softmax cross-entropy e = o − y, over
// the batch size if the loss is a mean) is what arrives at every port. With `shared_feedback` B [classes, most units
// of any layer] a port of n units gets the first n columns of e B instead: one product for all layers.
at::Tensor dfa_output_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x,
                            const at::Tensor& weight, const at::Tensor& bias, const std::vector<at::Tensor>& ports,
                            const at::Tensor& shared_feedback = {});

}  // namespace cortorch
