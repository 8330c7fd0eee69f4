#include "rules/layer_function.h"

namespace cortorch {

void check_layer(const LinearMap& map, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                 std::initializer_list<at::Tensor> others) {
  const Shape input = map.input_shape();
  TORCH_CHECK(x.dim() == static_cast<int64_t>(input.size()) + 1 && x.sizes().slice(1) == at::IntArrayRef(input),
              "layer: expected x to be [batch] and ", at::IntArrayRef(input), ", but its shape is ", x.sizes());
  TORCH_CHECK(weight.sizes() == at::IntArrayRef(map.weight_shape()), "layer: expected weight of shape ",
              at::IntArrayRef(map.weight_shape()), ", but its shape is ", weight.sizes());
  TORCH_CHECK(!bias.defined() || bias.sizes() == at::IntArrayRef(map.bias_shape()), "layer: expected bias of shape ",
              at::IntArrayRef(map.bias_shape()), ", but its shape is ",
              bias.defined() ? bias.sizes() : at::IntArrayRef());
  TORCH_CHECK(x.is_floating_point(), "layer: expected floating-point x, but it is ", x.scalar_type());
  const auto check_kind = [&](const at::Tensor& other) {
    TORCH_CHECK(!other.defined() || (other.scalar_type() == x.scalar_type() && other.device() == x.device()),
                "layer: x is ", x.scalar_type(), " on ", x.device(), ", but another tensor of the layer is ",
                other.scalar_type(), " on ", other.device());
  };
  check_kind(weight);
  check_kind(bias);
  for (const at::Tensor& other : others) check_kind(other);
}

}  // namespace cortorch
