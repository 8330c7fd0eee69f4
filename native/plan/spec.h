// What the user said a network is: layers in a row, as plain data. Nobody changes it; plan.h says what follows from it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/initialize.h"
#include "base/names.h"
#include "maps/linear_map.h"

namespace cortorch {

// What goes past a residual block's layers: the block's input as it is; every stride-th row and column of it, with
// channels of zeros before and after (He et al. 2016, option A); or what layers of its own make of it.
enum class Shortcut { identity, pad, layers };

// Layers have no word: they are given themselves.
template <>
struct Names<Shortcut> {
  static constexpr const char* kind = "shortcut";
  static constexpr NamedValue<Shortcut> table[] = {
      {"identity", Shortcut::identity},
      {"pad", Shortcut::pad},
  };
};

// One entry of a network's description. What a kind does not name, it does not use.
struct LayerSpec {
  enum class Kind {
    flatten,
    max_pool2d,
    avg_pool2d,
    dense,
    locally_connected2d,
    conv2d,
    batch_norm,
    residual
  } kind = Kind::dense;
  std::string name;      // prefix of the parameter names; empty: layers.<i>
  int64_t units = 0;     // of dense
  int64_t channels = 0;  // of the convolutions
  std::array<int64_t, 2> kernel{1, 1}, stride{1, 1}, padding{0, 0}, dilation{1, 1};  // of convolutions and pooling
  Activation activation = Activation::identity;
  bool bias = true;
  Initializer initializer = Initializer::glorot_uniform;
  double momentum = 0.1, epsilon = 1e-5;  // of batch norm
  std::vector<LayerSpec> layers;          // of a residual block: σ(layers(x) + shortcut(x))
  Shortcut shortcut = Shortcut::identity;
  std::vector<LayerSpec> shortcut_layers;
};

template <>
struct Names<LayerSpec::Kind> {
  static constexpr const char* kind = "layer type";
  static constexpr NamedValue<LayerSpec::Kind> table[] = {
      {"flatten", LayerSpec::Kind::flatten},
      {"max-pool2d", LayerSpec::Kind::max_pool2d},
      {"avg-pool2d", LayerSpec::Kind::avg_pool2d},
      {"dense", LayerSpec::Kind::dense},
      {"locally-connected2d", LayerSpec::Kind::locally_connected2d},
      {"conv2d", LayerSpec::Kind::conv2d},
      {"batch-norm", LayerSpec::Kind::batch_norm},
      {"residual", LayerSpec::Kind::residual},
  };
};

struct NetworkSpec {
  Shape input;  // (C, H, W) or (features)
  std::vector<LayerSpec> layers;
};

}  // namespace cortorch
