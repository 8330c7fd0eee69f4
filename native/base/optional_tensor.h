// A tensor that may be absent: undefined among our functions, an empty optional among libtorch's.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace cortorch {

inline std::optional<at::Tensor> if_defined(const at::Tensor& t) {
  return t.defined() ? std::optional(t) : std::nullopt;
}
inline at::Tensor or_undefined(const std::optional<at::Tensor>& t) { return t.value_or(at::Tensor()); }

}  // namespace cortorch
