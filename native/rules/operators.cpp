// The rules as torch operators, for Python: what PyTorch's own checks are run on.
#include "maps/operators.h"

#include <torch/library.h>

#include <optional>
#include <string>

#include "base/optional_tensor.h"
#include "rules/gradient.h"

namespace cortorch {
namespace {

at::Tensor rule_layer(const LinearMapPtr& map, const at::Tensor& x, const at::Tensor& weight,
                      const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& feedback,
                      const std::string& activation, const std::string& rule) {
  return gradient_layer(map, from_name<Activation>(activation), sender_of(rule, or_undefined(feedback), /*scale=*/1), x,
                        weight, or_undefined(bias));
}

// y = σ(W x + b) under bp or fa; see gradient_layer(). Feedback is of weight's shape.
at::Tensor dense_layer(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                       const std::optional<at::Tensor>& feedback, const std::string& activation,
                       const std::string& rule) {
  return rule_layer(dense_map("dense_layer", weight), x, weight, bias, feedback, activation, rule);
}

at::Tensor locally_connected2d_layer(const at::Tensor& x, const at::Tensor& weight,
                                     const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& feedback,
                                     const std::string& activation, const std::string& rule, at::IntArrayRef stride,
                                     at::IntArrayRef padding, at::IntArrayRef dilation) {
  return rule_layer(locally_connected2d_map("locally_connected2d_layer", x, weight, {stride, padding, dilation}), x,
                    weight, bias, feedback, activation, rule);
}

at::Tensor conv2d_layer(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                        const std::optional<at::Tensor>& feedback, const std::string& activation,
                        const std::string& rule, at::IntArrayRef stride, at::IntArrayRef padding,
                        at::IntArrayRef dilation) {
  return rule_layer(conv2d_map("conv2d_layer", x, weight, {stride, padding, dilation}), x, weight, bias, feedback,
                    activation, rule);
}

}  // namespace
}  // namespace cortorch

TORCH_LIBRARY_FRAGMENT(cortorch, m) {
  m.def("dense_layer(Tensor x, Tensor weight, Tensor? bias, Tensor? feedback, str activation, str rule) -> Tensor",
        &cortorch::dense_layer);
  m.def(
      "locally_connected2d_layer(Tensor x, Tensor weight, Tensor? bias, Tensor? feedback, str activation, str rule, "
      "int[2] stride=1, int[2] padding=0, int[2] dilation=1) -> Tensor",
      &cortorch::locally_connected2d_layer);
  m.def(
      "conv2d_layer(Tensor x, Tensor weight, Tensor? bias, Tensor? feedback, str activation, str rule, "
      "int[2] stride=1, int[2] padding=0, int[2] dilation=1) -> Tensor",
      &cortorch::conv2d_layer);
}
