// Training where the network is on a GPU: steps are given to its stream one after the other, and only at the end of a
// run somebody waits. Where a step stands is in the GPU's own memory (step_state.h), so a step is always the same work,
// and is recorded as a CUDA graph once it has run a few times.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "data/cuda/gpu_batches.h"
#include "training/cuda/step_graph.h"
#include "training/trainer.h"

namespace cortorch::cuda {

// Their headers need CUDA's.
struct StepState;
class Uploader;

class GpuTrainer {
 public:
  // All of these outlive it.
  GpuTrainer(const Network& network, Loss loss, const Normalization& normalization, const Augmentation& augmentation,
             const std::optional<TargetTraining>& targets, Optimizer& optimizer, Optimizer* inverse_optimizer);
  ~GpuTrainer();

  // As Trainer::run; `order` are all indices of the epoch.
  PassResult run(const Dataset& data, int64_t batch_size, const Position& position, const std::vector<int64_t>& order,
                 std::span<const double> lr_factors, const LossCounts& counts, const std::atomic<bool>& stop);

  // As Trainer::launch and collect.
  void launch(const at::Tensor& images, const at::Tensor& targets, double lr_factor, const Position& position);
  PassResult collect();
  // Is there something to collect?
  bool launching() const { return launching_.has_value(); }

  // A batch of the data set at a place of its order, as a step sees it.
  Dataset::Batch batch(const Dataset& data, const std::vector<int64_t>& order, int64_t batch_size, int64_t step,
                       const Position& position);

  // Why steps are not recorded as a graph; empty: they are, or none was tried yet.
  const std::string& graph_failure() const { return graph_failure_; }
  bool use_graphs = true;

 private:
  // What a recorded step has fixed: the data set (null: batches of the caller's), the batch's size, the phase, the
  // seed.
  using StepKey = std::tuple<const Dataset*, int64_t, Phase, uint64_t>;
  struct Recorded {
    int64_t eager = 0;  // steps made without it
    StepGraph graph;
    at::Tensor x, targets;  // of the caller's batches: where it reads them
  };

  StepState* state() const;
  // The state of before a run, and the constants of its updates.
  void begin(const Position& position, std::span<const double> lr_factors, const LossCounts& counts);
  void append_constants(int64_t at, double lr_factor);
  PassResult end();
  // end(), at the latest when it goes out of scope. A failure of that is ignored: another one is being thrown.
  class ReadBack {
   public:
    explicit ReadBack(GpuTrainer& trainer) : trainer_(trainer) {}
    ReadBack(const ReadBack&) = delete;
    ReadBack& operator=(const ReadBack&) = delete;
    ~ReadBack() {
      if (done_) return;
      try {
        trainer_.end();
      } catch (...) {
      }
    }
    PassResult now() {
      done_ = true;
      return trainer_.end();
    }

   private:
    GpuTrainer& trainer_;
    bool done_ = false;
  };
  void launch_unguarded(const at::Tensor& images, const at::Tensor& targets, double lr_factor,
                        const Position& position);
  // Gives one step to the stream.
  void step(const at::Tensor& x, const at::Tensor& targets, Phase phase, uint64_t seed);
  void step_unguarded(const at::Tensor& x, const at::Tensor& targets, Phase phase, uint64_t seed);
  // The same, recorded as soon as that is possible.
  void step_or_replay(Recorded& recorded, int64_t examples, const std::function<void()>& work);
  void drop_gradients();
  at::Tensor prepared(const at::Tensor& images);
  GpuBatches& batches_of(const Dataset& data, const std::vector<int64_t>& order, const Position& position);

  const Network& network_;
  Loss loss_;
  const Normalization& normalization_;
  const Augmentation& augmentation_;
  const std::optional<TargetTraining>& targets_;
  Optimizer& optimizer_;
  Optimizer* inverse_optimizer_;
  at::Tensor state_, counts_;         // StepState as bytes; its `current`
  at::Tensor table_, inverse_table_;  // UpdateConstants of a run's steps
  at::Tensor pinned_table_, pinned_inverse_table_;
  std::unique_ptr<GpuScaling> scaling_;  // of the caller's own batches, whose examples have this shape
  Shape scaled_;
  at::Tensor identity_;
  std::unique_ptr<GpuBatches> batches_;
  std::tuple<uint64_t, uint32_t> order_{};  // seed and epoch whose order batches_ has
  bool ordered_ = false;
  std::map<StepKey, std::unique_ptr<Recorded>> recorded_;
  std::unique_ptr<Uploader> uploader_;
  std::optional<GraphMemory> graph_memory_;  // made with the first graph
  int64_t most_ = 0;                         // examples in a batch so far: smaller ones are not recorded
  // Steps that were launched and not collected.
  struct Launching {
    int64_t steps = 0;
    bool broken = false;  // the last one failed, so that what is on the GPU is to be read first
  };
  std::optional<Launching> launching_;
  Phase phase_ = Phase::forward;  // of the steps that the state counts
  std::string graph_failure_;
};

// As evaluate() of training/trainer.h.
LossCounts evaluate(const Network& network, Loss loss, const Dataset& data, const Normalization& normalization,
                    int64_t batch_size, const std::atomic<bool>& stop);

}  // namespace cortorch::cuda
