// The rules as torch operators, for Python: what PyTorch's own checks are run on.
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <optional>
#include <string>

#include "maps/dense.h"
#include "rules/layer.h"

namespace cortorch {
namespace {

// y = σ(x Wᵀ + b) under bp or fa; see layer(). x [batch, in], weight [out, in], feedback as weight.
at::Tensor dense_layer(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                       const std::optional<at::Tensor>& feedback, const std::string& activation,
                       const std::string& rule) {
  TORCH_CHECK(weight.dim() == 2, "dense_layer: expected weight [out, in], but its shape is ", weight.sizes());
  const LinearMapPtr map = c10::make_intrusive<Dense>(weight.size(1), weight.size(0));
  return layer(map, activation_from_name(activation), rule_from_name(rule), x, weight, bias.value_or(at::Tensor()),
               feedback.value_or(at::Tensor()));
}

}  // namespace
}  // namespace cortorch

TORCH_LIBRARY_FRAGMENT(cortorch, m) {
  m.def("dense_layer(Tensor x, Tensor weight, Tensor? bias, Tensor? feedback, str activation, str rule) -> Tensor",
        &cortorch::dense_layer);
}
