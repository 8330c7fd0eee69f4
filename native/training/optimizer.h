// Optimizers fused over all parameters: one parallel pass reads each gradient and moment once.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/names.h"
#include "plan/parameter.h"
#include "training/update.h"

namespace cortorch {

// What moments are kept in: on a GPU also bfloat16, rounded at random.
enum class Moments { fp32, bf16 };

template <>
struct Names<Moments> {
  static constexpr const char* kind = "type of moments";
  static constexpr NamedValue<Moments> table[] = {
      {"fp32", Moments::fp32},
      {"bf16", Moments::bf16},
  };
};

// PyTorch's definitions and names (torch.optim.Adam, SGD, RMSprop); weight decay is added to the gradient.
struct OptimizerSpec {
  enum class Kind { adam, sgd, rmsprop } kind = Kind::adam;
  double lr = 1e-3;
  double beta1 = 0.9;    // adam
  double beta2 = 0.999;  // adam; rmsprop's smoothing constant
  double eps = 1e-8;     // adam, rmsprop
  double momentum = 0;   // sgd, rmsprop
  double weight_decay = 0;
  bool batch_manhattan = false;  // of each gradient only its sign is used (Liao et al. 2016)
  Moments moments = Moments::fp32;
};

template <>
struct Names<OptimizerSpec::Kind> {
  static constexpr const char* kind = "optimizer";
  static constexpr NamedValue<OptimizerSpec::Kind> table[] = {
      {"adam", OptimizerSpec::Kind::adam},
      {"sgd", OptimizerSpec::Kind::sgd},
      {"rmsprop", OptimizerSpec::Kind::rmsprop},
  };
};

class Optimizer {
 public:
  // Of each its float32 value is updated in place, on a GPU with its copy in bfloat16.
  Optimizer(OptimizerSpec spec, std::vector<ParameterPtr> parameters);

  // On the CPU: one update from the parameters' gradients, which are given up. A parameter without a gradient is left
  // alone. `lr_factor` multiplies the learning rate (the schedule).
  void step(double lr_factor);

  // On a GPU the trainer makes the updates (training/cuda/update_tensors.h), from these.
  UpdateConstants constants(double lr_factor, int64_t number) const;  // of update `number`, counted from 1
  std::vector<at::Tensor> take_gradients();                           // contiguous; undefined where there is none
  const std::vector<ParameterPtr>& parameters() const { return parameters_; }
  const std::vector<at::Tensor>& first_moments() const { return first_; }
  const std::vector<at::Tensor>& second_moments() const { return second_; }

  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }
  // Named state of parameter i, as torch.optim calls it (exp_avg, exp_avg_sq; momentum_buffer; square_avg).
  // The tensors are the live ones.
  std::vector<std::pair<std::string, at::Tensor>> state(std::size_t i) const;
  std::size_t size() const { return parameters_.size(); }
  const OptimizerSpec& spec() const { return spec_; }

 private:
  struct Chunk {
    std::size_t parameter;
    int64_t begin, end;
  };

  OptimizerSpec spec_;
  std::vector<ParameterPtr> parameters_;
  std::vector<at::Tensor> first_, second_;  // moments; undefined where the kind has none
  std::vector<Chunk> chunks_;
  int64_t steps_ = 0;
};

}  // namespace cortorch
