// A network: layers in a row, their parameters by name, and the forward pass under a rule.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/initialize.h"
#include "base/noise.h"
#include "maps/linear_map.h"
#include "network/batch_norm.h"
#include "rules/feedback.h"
#include "rules/inverse.h"
#include "rules/rule.h"
#include "rules/target_layer.h"

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
  // The network's own to say: the shape of what comes out here; under dfa the map whose feedback brings the error to
  // it.
  Shape output;
  std::optional<std::size_t> port;
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

// Where the feedback of dfa comes from: a matrix for each hidden layer, or the first columns of one for all.
enum class DfaFeedback { per_layer, shared };

template <>
struct Names<DfaFeedback> {
  static constexpr const char* kind = "feedback of dfa";
  static constexpr NamedValue<DfaFeedback> table[] = {
      {"per-layer", DfaFeedback::per_layer},
      {"shared", DfaFeedback::shared},
  };
};

struct NetworkSpec {
  Shape input;  // (C, H, W) or (features)
  std::vector<LayerSpec> layers;
  Rule rule = Rule::bp;
  DfaFeedback dfa_feedback = DfaFeedback::per_layer;
  int64_t auxiliary = 0;                                 // outputs beside the network's own, under ao-sdtp
  FeedbackScale feedback_scale = FeedbackScale::glorot;  // of fa and sign-symmetry
  LastLayer last_layer = LastLayer::rule;
};

// What training by target propagation does at the layers: see rules/target_layer.h.
struct TargetSettings {
  OutputActivity activity = OutputActivity::softmax;
  UnitReduction reduction = UnitReduction::sum;
  double target_step = 0.1;
  StepLoss step_loss = StepLoss::example;
};

// What a forward pass of a training step is told, and what it leaves.
struct TrainingPass {
  TargetSettings targets;
  uint64_t seed = 0;           // of what is drawn at each step
  StepNumber step;             // made before, in all
  bool backpropagate = false;  // under bp, whatever the network's rule is: what diagnostics compare with
  bool keep_inputs = false, keep_outputs = false;
  std::vector<at::Tensor> inputs;           // of all maps, if they are to be kept
  std::vector<at::Tensor> outputs;          // likewise, as parts of the graph
  std::vector<MovedStatistics> statistics;  // of all batch norms
};

// A tensor of the state_dict.
struct Parameter {
  enum class Role { forward, inverse, fixed } role = Role::fixed;
  std::string name;
  at::Tensor value;    // float32; of fixed ones, where the network computes in bfloat16, that
  at::Tensor compute;  // what the layers compute with: the value itself, or its copy in bfloat16
};

template <>
struct Names<Parameter::Role> {
  static constexpr const char* kind = "role";
  static constexpr NamedValue<Parameter::Role> table[] = {
      {"forward", Parameter::Role::forward},
      {"inverse", Parameter::Role::inverse},
      {"fixed", Parameter::Role::fixed},
  };
};

class Network {
 public:
  // Builds the layers and draws all parameters from `seed`. Forward weights depend on the seed and the
  // layer alone, so networks that differ in their rule start equal. Throws c10::Error naming the layer.
  Network(NetworkSpec spec, uint64_t seed);

  // x [batch, input] → [batch, outputs], the last layer's output (logits for a classifier). Records the
  // graph of the rule if gradients are enabled. Without a pass: evaluation, where batch norm takes its running
  // statistics.
  at::Tensor forward(const at::Tensor& x, TrainingPass* pass = nullptr) const;
  // Goes to a device, and computes in this type from now on: float32, or bfloat16, of which trained parameters have
  // copies beside their float32 values and of fixed ones nothing else is kept. Once, before anything holds its tensors.
  void move_to(at::Device device, at::ScalarType compute);
  // After values were written: the copies follow.
  void refresh() const;
  at::Device device() const { return parameters_.front().value.device(); }
  at::ScalarType compute_type() const { return layers_.front().weight.scalar_type(); }
  // x as the network takes it.
  at::Tensor input(const at::Tensor& x) const { return x.to(device(), compute_type()); }

  // Makes the statistics that the pass moved the network's.
  static void keep(const std::vector<MovedStatistics>& statistics);

  // Linear maps, the learned inverse of each (undefined where there is none), and what that undoes: the
  // layer's activity for any input h, at the top h_L with the auxiliary outputs.
  std::size_t size() const { return layers_.size(); }
  const Inverse& inverse(std::size_t index) const { return layers_[index].inverse; }
  at::Tensor activity(std::size_t index, const at::Tensor& h, OutputActivity top) const;
  // A linear map's weights, its name in the state_dict, and by what it sends the error down at a step where that has
  // the weights' shape and is not the weights themselves (fa, sign-symmetry), else undefined.
  const at::Tensor& weight(std::size_t index) const { return layers_[index].weight; }
  const std::string& name(std::size_t index) const;
  at::Tensor sends_by(std::size_t index, const TrainingPass& pass) const;

  // Every tensor of the state_dict: the layers', the inverses', the auxiliary outputs'.
  const std::vector<Parameter>& parameters() const { return parameters_; }
  // Those of a role: what an optimizer updates.
  std::vector<Parameter> of_role(Parameter::Role role) const;

  Rule rule() const { return spec_.rule; }

 private:
  struct Layer {
    LinearMapPtr map;
    Activation activation;
    at::Tensor weight, bias, feedback;
    Inverse inverse;
    Rule rule;
    FeedbackDistribution feedback_distribution;
    bool sends = false;  // something with parameters lies below, which waits for the error
  };

  // A layer with parameters, in the order of the state_dict.
  struct Named {
    std::string prefix;
    bool is_map = true;
    std::size_t index = 0;  // in layers_ or norms_
  };

  // How far the forward pass has come.
  struct Cursor {
    std::size_t layer = 0, norm = 0;
    std::vector<at::Tensor> ports;
  };

  Shape add(std::vector<LayerSpec>& specs, Shape shape, uint64_t seed);
  Shape add(LayerSpec& spec, const Shape& input, uint64_t seed);
  Shape add_residual(LayerSpec& spec, const Shape& input, uint64_t seed);
  void add_layer(const LayerSpec& spec, LinearMapPtr map, uint64_t seed);
  void add_norm(const LayerSpec& spec, int64_t channels);
  void add_name(const LayerSpec& spec, bool is_map, std::size_t index);
  void add_feedback(uint64_t seed);
  void add_ports();
  // Of maps from `layer` on. `summed`: what comes out goes into a sum, from which its gradient comes. Returns the last
  // map.
  std::optional<std::size_t> add_ports(std::vector<LayerSpec>& specs, bool summed, std::size_t& layer);
  at::Tensor magnitudes(std::size_t index, const TrainingPass& pass) const;
  void add_inverses(uint64_t seed);
  void check_invertible() const;
  void name_parameters();
  std::string prefix(const LayerSpec& spec) const;
  at::Tensor forward(const std::vector<LayerSpec>& specs, at::Tensor h, TrainingPass* pass, Cursor& at) const;
  at::Tensor forward_layer(const LayerSpec& spec, const at::Tensor& x, const TrainingPass& pass, Cursor& at) const;
  at::Tensor with_port(const LayerSpec& spec, at::Tensor h, const TrainingPass& pass, Cursor& at) const;

  NetworkSpec spec_;
  std::vector<Layer> layers_;  // the linear maps, a residual block's own before those of its shortcut
  std::vector<BatchNorm> norms_;
  std::vector<Named> named_;
  at::Tensor shared_feedback_;
  Auxiliary auxiliary_;
  std::vector<Parameter> parameters_;
  int64_t outputs_ = 0;
  bool below_ = false;  // while it is built: there are parameters below the next layer, on some way to the input
};

}  // namespace cortorch
