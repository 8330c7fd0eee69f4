// What follows from a spec: the shapes, the linear maps in their places, and what lies below what. Plain data, which
// rules are asked about and a network is built from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "plan/spec.h"

namespace cortorch {

// A linear map in its place.
struct Site {
  std::size_t index = 0;  // among the maps, from 0: of its random numbers, and of inverses.<index>
  std::string name;       // prefix of its parameters' names
  LinearMapPtr map;
  Activation activation = Activation::identity;
  bool convolution = false;  // with shared weights or without
  bool sends = false;        // something with parameters lies below, which waits for the error
  bool last = false;         // of the maps: its output is the network's
};

// A layer of the spec in its place.
struct PlannedLayer {
  const LayerSpec* spec = nullptr;             // in the plan
  std::size_t number = 0;                      // among all layers, those in blocks among them, in the order of the walk
  Shape input, output;                         // of one example
  std::size_t index = 0;                       // of a map: in Plan::sites
  std::string name;                            // of a batch norm: prefix of its parameters' names
  std::vector<PlannedLayer> layers, shortcut;  // of a residual block

  LayerSpec::Kind kind() const { return spec->kind; }
};

inline bool is_map(LayerSpec::Kind kind) {
  using Kind = LayerSpec::Kind;
  return kind == Kind::dense || kind == Kind::conv2d || kind == Kind::locally_connected2d;
}

struct Plan {
  // Throws c10::Error that names the layer.
  explicit Plan(NetworkSpec spec);
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  const NetworkSpec spec;
  std::vector<PlannedLayer> layers;
  std::vector<Site> sites;  // a residual block's own before those of its shortcut
  int64_t outputs = 0;
};

// How a layer is called in an error: by its name, else by its number and type.
std::string called(const PlannedLayer& layer);

int64_t count(const Shape& shape);

}  // namespace cortorch
