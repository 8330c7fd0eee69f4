#include "plan/plan.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "maps/conv2d.h"
#include "maps/dense.h"
#include "maps/locally_connected2d.h"

namespace cortorch {
namespace {

class Planner {
 public:
  explicit Planner(Plan& plan) : plan_(plan) {}

  std::vector<PlannedLayer> row(const std::vector<LayerSpec>& specs, Shape shape) {
    std::vector<PlannedLayer> layers;
    for (const LayerSpec& spec : specs) {
      layers.push_back(layer(spec, shape));
      shape = layers.back().output;
    }
    return layers;
  }

 private:
  PlannedLayer layer(const LayerSpec& spec, const Shape& input) {
    using Kind = LayerSpec::Kind;
    PlannedLayer result;
    result.spec = &spec;
    result.number = layers_++;
    result.input = input;
    switch (spec.kind) {
      case Kind::flatten: result.output = {count(input)}; break;
      case Kind::residual: residual(result); break;
      case Kind::batch_norm:
        result.output = input;
        result.name = new_name(spec);
        below_ = true;
        break;
      case Kind::dense:
        TORCH_CHECK(input.size() == 1, "layer ", name_of_next(spec),
                    ": a dense layer takes a vector, but its input has shape ", at::IntArrayRef(input),
                    "; put a flatten before it");
        result.output = {spec.units};
        add_site(result, c10::make_intrusive<Dense>(input[0], spec.units));
        break;
      default: window(result);
    }
    return result;
  }

  // A convolution or a pooling.
  void window(PlannedLayer& layer) {
    using Kind = LayerSpec::Kind;
    const LayerSpec& spec = *layer.spec;
    const Shape& input = layer.input;
    TORCH_CHECK(input.size() == 3, "layer ", name_of_next(spec), ": it takes an image, but its input has shape ",
                at::IntArrayRef(input));
    const Conv2dGeometry geometry{
        input[0],        input[1],        input[2],         is_map(spec.kind) ? spec.channels : input[0],
        spec.kernel[0],  spec.kernel[1],  spec.stride[0],   spec.stride[1],
        spec.padding[0], spec.padding[1], spec.dilation[0], spec.dilation[1]};
    check(geometry, ("layer " + name_of_next(spec)).c_str());
    layer.output = {geometry.out_channels, geometry.out_height(), geometry.out_width()};
    if (spec.kind == Kind::locally_connected2d) add_site(layer, c10::make_intrusive<LocallyConnected2d>(geometry));
    if (spec.kind == Kind::conv2d) add_site(layer, c10::make_intrusive<Conv2d>(geometry));
  }

  void residual(PlannedLayer& block) {
    const LayerSpec& spec = *block.spec;
    const Shape& input = block.input;
    const bool below = below_;
    block.layers = row(spec.layers, input);
    block.output = block.layers.empty() ? input : block.layers.back().output;
    const bool in_layers = std::exchange(below_, below);
    Shape past = input;
    if (spec.shortcut == Shortcut::layers) {
      block.shortcut = row(spec.shortcut_layers, input);
      if (!block.shortcut.empty()) past = block.shortcut.back().output;
    }
    below_ = below_ || in_layers;
    if (spec.shortcut == Shortcut::pad) {
      TORCH_CHECK(input.size() == 3 && block.output.size() == 3 && block.output[0] >= input[0],
                  "network: a padded shortcut goes from images to images of as many channels or more");
      const auto sampled = [&](std::size_t i) { return (input[i + 1] - 1) / spec.stride[i] + 1; };
      past = {block.output[0], sampled(0), sampled(1)};
    }
    TORCH_CHECK(past == block.output, "network: a residual block's layers give ", at::IntArrayRef(block.output),
                ", but its shortcut ", at::IntArrayRef(past));
  }

  void add_site(PlannedLayer& layer, LinearMapPtr map) {
    const LayerSpec& spec = *layer.spec;
    layer.index = plan_.sites.size();
    layer.name = new_name(spec);
    plan_.sites.push_back({layer.index, layer.name, std::move(map), spec.activation, spec.channels > 0,
                           std::exchange(below_, true), false});
  }

  std::string name_of_next(const LayerSpec& spec) const {
    return spec.name.empty() ? "layers." + std::to_string(names_.size()) : spec.name;
  }

  std::string new_name(const LayerSpec& spec) {
    std::string name = name_of_next(spec);
    TORCH_CHECK(std::find(names_.begin(), names_.end(), name) == names_.end(), "network: two layers are called ", name);
    names_.push_back(name);
    return name;
  }

  Plan& plan_;
  std::size_t layers_ = 0;
  std::vector<std::string> names_;  // of the layers with parameters
  bool below_ = false;              // there are parameters below the next layer, on some way to the input
};

}  // namespace

Plan::Plan(NetworkSpec said) : spec(std::move(said)) {
  TORCH_CHECK(!spec.input.empty(), "network: the input shape is empty");
  layers = Planner(*this).row(spec.layers, spec.input);
  TORCH_CHECK(!sites.empty(), "network: there is no layer with parameters");
  const Shape& output = layers.back().output;
  TORCH_CHECK(output.size() == 1, "network: the output must be a vector, but its shape is ", at::IntArrayRef(output));
  outputs = output[0];
  sites.back().last = true;
}

std::string called(const PlannedLayer& layer) {
  const std::string& name = layer.name.empty() ? layer.spec->name : layer.name;
  return "layer " + (name.empty() ? std::to_string(layer.number) + " (" + name_of(layer.kind()) + ")" : name);
}

int64_t count(const Shape& shape) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return n;
}

}  // namespace cortorch
