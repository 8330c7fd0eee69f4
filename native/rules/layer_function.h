// What the autograd functions of layers share, whatever their rule.
#pragma once

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <cstddef>

#include "maps/custom_function.h"
#include "rules/rule.h"

namespace cortorch {

// The tensors among the arguments of each function are its edges, in their order; an absent bias has none.
enum Edge : std::size_t { kX = 0, kWeight = 1, kBias = 2 };

// Needs what forward saved under "has_bias".
inline bool wants_bias(AutogradContext* ctx) {
  return ctx->saved_data["has_bias"].toBool() && ctx->needs_input_grad(kBias);
}

inline void refuse_second_derivative(Rule rule, const char* why) {
  TORCH_CHECK(!at::GradMode::is_enabled(), "rule ", name_of(rule), " cannot be differentiated twice: ", why,
              ". Call backward without create_graph, or use rule bp");
}

}  // namespace cortorch
