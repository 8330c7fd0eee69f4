#pragma once

namespace cortorch {

enum class Activation { identity, tanh, relu, sigmoid };

}  // namespace cortorch
