// Direct feedback alignment (Nøkland 2016): the output error goes straight to every hidden layer, by fixed random
// weights B [classes, units].
//
// Autograd itself carries it. Every hidden layer hands up an error port beside its activity: a tensor without content,
// whose *gradient* is the output error [batch, classes], or its image under feedback that all layers share [batch,
// units]. The output layer takes the ports of all layers below it and sends the error into each of them, past
// everything in between.
#pragma once

#include <vector>

#include "rules/rule.h"

namespace cortorch {

struct LayerOutput {
  at::Tensor y;
  at::Tensor error_port;
};

// A hidden layer: δ = (e B + g) ⊙ σ'(a), the units of B in the order of the flattened output shape (C, H, W); g is what
// came down past other maps, through a shortcut, if anything did; nothing goes down to x. Without feedback of its own
// (undefined) its port takes e B from the output layer.
LayerOutput dfa_hidden_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x,
                             const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& feedback);

// The same port behind something else, a batch norm or a residual block: y = h, whose gradient becomes e B + g.
LayerOutput dfa_port(const at::Tensor& h, const at::Tensor& feedback);

// The output layer: trained on its own gradient; its δ (for softmax cross-entropy e = o − y, over the batch size if the
// loss is a mean) is what arrives at every port. With `shared_feedback` B [classes, most units of any layer] a port of
// n units gets the first n columns of e B instead: one product for all layers.
at::Tensor dfa_output_layer(const LinearMapPtr& map, Activation activation, const at::Tensor& x,
                            const at::Tensor& weight, const at::Tensor& bias, const std::vector<at::Tensor>& ports,
                            const at::Tensor& shared_feedback = {});

}  // namespace cortorch
