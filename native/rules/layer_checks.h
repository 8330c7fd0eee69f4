// What the kernels of a layer rely on.
#pragma once

#include <c10/util/Exception.h>

#include <initializer_list>

#include "maps/linear_map.h"

namespace cortorch {

// Shapes of x, weight and bias, and that they and `others` are of one type on one device. Throws c10::Error.
void check_layer(const LinearMap& map, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                 std::initializer_list<at::Tensor> others = {});

}  // namespace cortorch
