#include "training/cuda/gpu_stepper.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>

#include "base/cuda/here.h"
#include "base/cuda/pinned.h"
#include "data/cuda/gpu_batches.h"
#include "training/cuda/step_graph.h"
#include "training/cuda/step_state.h"
#include "training/cuda/update_tensors.h"
#include "training/cuda/uploader.h"
#include "training/step.h"

namespace cortorch::cuda {
namespace {

// Steps that a run gives to the stream at most; longer ones are cut.
constexpr int64_t kMostSteps = 4096;
// Steps that are made before one is recorded: libraries choose algorithms and take memory at their first calls.
constexpr int64_t kWarmUp = 3;

static_assert(sizeof(StepState) % sizeof(double) == 0 && offsetof(StepState, current) % sizeof(double) == 0);
static_assert(sizeof(UpdateConstants) % sizeof(float) == 0);
constexpr int64_t kConstants = sizeof(UpdateConstants) / sizeof(float);

UpdateConstants* constants_in(const at::Tensor& table) {
  return reinterpret_cast<UpdateConstants*>(table.mutable_data_ptr<float>());
}

at::Tensor rows_of(std::vector<UpdateConstants>& constants) {
  return at::from_blob(constants.data(), {static_cast<int64_t>(constants.size()), kConstants}, at::kFloat);
}

at::Tensor order_tensor(const std::vector<int64_t>& order) {
  return at::from_blob(const_cast<int64_t*>(order.data()), {static_cast<int64_t>(order.size())}, at::kLong);
}

LossCounts counts_of(const double (&sums)[kCounts]) {
  return {sums[kLoss], sums[kError], sums[kError5], sums[kInverse], static_cast<int64_t>(sums[kExamples])};
}

class GpuStepper final : public Stepper {
 public:
  explicit GpuStepper(Task& task);

  PassResult run(const Dataset& data, int64_t batch_size, const Position& position, const std::vector<int64_t>& order,
                 std::span<const double> lr_factors, const LossCounts& counts, const std::atomic<bool>& stop) override;
  void launch(const at::Tensor& images, const at::Tensor& targets, double lr_factor, const Position& position) override;
  PassResult collect() override;
  bool launching() const override { return launching_.has_value(); }
  Dataset::Batch batch(const Dataset& data, const std::vector<int64_t>& order, int64_t batch_size, int64_t step,
                       const Position& position) override;
  std::string graph_failure() const override { return graph_failure_; }
  void use_graphs(bool use) override { use_graphs_ = use; }

 private:
  // What a recorded step has fixed: the data set (null: batches of the caller's), the batch's size, the phase, the
  // seed.
  using StepKey = std::tuple<const Dataset*, int64_t, Phase, uint64_t>;
  struct RecordedStep {
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
    explicit ReadBack(GpuStepper& trainer) : trainer_(trainer) {}
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
    GpuStepper& trainer_;
    bool done_ = false;
  };
  void launch_unguarded(const at::Tensor& images, const at::Tensor& targets, double lr_factor,
                        const Position& position);
  // Gives one step to the stream.
  void step(const at::Tensor& x, const at::Tensor& targets, Phase phase, uint64_t seed);
  void step_unguarded(const at::Tensor& x, const at::Tensor& targets, Phase phase, uint64_t seed);
  // The same, recorded as soon as that is possible.
  void step_or_replay(RecordedStep& recorded, int64_t examples, const std::function<void()>& work);
  at::Tensor prepared(const at::Tensor& images);
  GpuBatches& batches_of(const Dataset& data, const std::vector<int64_t>& order, const Position& position);

  Task& task_;
  at::Tensor state_, counts_;      // StepState as bytes; its `current`
  at::Tensor table_, rule_table_;  // UpdateConstants of a run's steps
  at::Tensor pinned_table_, pinned_rule_table_;
  std::unique_ptr<GpuScaling> scaling_;  // of the caller's own batches, whose examples have this shape
  Shape scaled_;
  at::Tensor identity_;
  std::unique_ptr<GpuBatches> batches_;
  std::tuple<uint64_t, uint32_t> order_{};  // seed and epoch whose order batches_ has
  bool ordered_ = false;
  std::map<StepKey, std::unique_ptr<RecordedStep>> recorded_;
  std::unique_ptr<Uploader> uploader_;
  std::optional<GraphMemory> graph_memory_;  // made with the first graph
  int64_t most_ = 0;                         // examples in a batch so far: smaller ones are not recorded
  // Steps that were launched and not collected.
  struct LaunchedSteps {
    int64_t steps = 0;
    bool broken = false;  // the last one failed, so that what is on the GPU is to be read first
  };
  std::optional<LaunchedSteps> launching_;
  Phase phase_ = Phase::forward;  // of the steps that the state counts
  std::string graph_failure_;
  bool use_graphs_ = true;
};

GpuStepper::GpuStepper(Task& task) : task_(task) {
  const auto options = at::TensorOptions(task.network.device());
  state_ = at::zeros({static_cast<int64_t>(sizeof(StepState))}, options.dtype(at::kByte));
  counts_ = state_.view(at::kDouble).narrow(0, offsetof(StepState, current) / sizeof(double), kCounts);
  table_ = at::zeros({kMostSteps, kConstants}, options.dtype(at::kFloat));
  if (task.rule_optimizer) rule_table_ = at::zeros_like(table_);
}

StepState* GpuStepper::state() const { return reinterpret_cast<StepState*>(state_.mutable_data_ptr<uint8_t>()); }

void GpuStepper::begin(const Position& position, std::span<const double> lr_factors, const LossCounts& counts) {
  StepState before{};
  before.batch = position.first_step;
  before.total[kLoss] = counts.loss;
  before.total[kError] = counts.error;
  before.total[kError5] = counts.error5;
  before.total[kInverse] = counts.inverse;
  before.total[kExamples] = static_cast<double>(counts.examples);
  before.epoch = position.epoch;
  before.step = position.step;
  state_.copy_(at::from_blob(&before, {static_cast<int64_t>(sizeof(StepState))}, at::kByte));
  const auto upload = [&](const Optimizer& optimizer, at::Tensor& table) {
    std::vector<UpdateConstants> constants;
    for (std::size_t i = 0; i < lr_factors.size(); ++i) {
      constants.push_back(optimizer.constants(lr_factors[i], optimizer.steps() + 1 + static_cast<int64_t>(i)));
    }
    if (!constants.empty()) table.narrow(0, 0, static_cast<int64_t>(constants.size())).copy_(rows_of(constants));
  };
  if (trains_forward(position.phase)) upload(task_.optimizer, table_);
  if (task_.trains_own(position.phase)) upload(*task_.rule_optimizer, rule_table_);
  phase_ = position.phase;
}

void GpuStepper::append_constants(int64_t at, double lr_factor) {
  // Out of pinned memory, which stays as it is until the steps are collected: any other copy would be waited for.
  const auto append = [&](const Optimizer& optimizer, at::Tensor& table, at::Tensor& pinned) {
    if (!pinned.defined()) pinned = pinned_empty(table.sizes(), at::kFloat);
    constants_in(pinned)[at] = optimizer.constants(lr_factor, optimizer.steps() + 1 + at);
    table.narrow(0, at, 1).copy_(pinned.narrow(0, at, 1), /*non_blocking=*/true);
  };
  if (trains_forward(phase_)) append(task_.optimizer, table_, pinned_table_);
  if (task_.trains_own(phase_)) append(*task_.rule_optimizer, rule_table_, pinned_rule_table_);
}

PassResult GpuStepper::end() {
  StepState after{};
  const at::Tensor bytes = state_.cpu();  // waits for all steps
  std::copy_n(bytes.const_data_ptr<uint8_t>(), sizeof(StepState), reinterpret_cast<uint8_t*>(&after));
  const auto count = [&](Optimizer& optimizer) { optimizer.set_steps(optimizer.steps() + after.made); };
  if (trains_forward(phase_)) count(task_.optimizer);
  if (task_.trains_own(phase_)) count(*task_.rule_optimizer);
  PassResult result;
  result.counts = counts_of(after.total);
  result.steps = after.made;
  result.not_finite = after.not_finite != 0;
  result.inverse_not_finite = after.inverse_not_finite != 0;
  return result;
}

// A step that is broken off, for want of memory say, leaves no gradient that would be added to the next ones.
void GpuStepper::step(const at::Tensor& x, const at::Tensor& targets, Phase phase, uint64_t seed) {
  try {
    step_unguarded(x, targets, phase, seed);
  } catch (...) {
    task_.drop_gradients();
    throw;
  }
}

void GpuStepper::step_unguarded(const at::Tensor& x, const at::Tensor& targets, Phase phase, uint64_t seed) {
  TrainingPass pass = pass_of(task_, seed, StepNumber(&state()->step));
  Tally tally;
  tally.device_sums = counts_;
  tally.of_step = true;
  const at::Tensor loss = step_losses(task_, x, targets, phase, pass, tally);
  if (trains_forward(phase)) loss.backward();
  const bool learns = task_.trains_own(phase);
  std::vector<at::Tensor> gradients, rule_gradients;
  if (trains_forward(phase)) gradients = task_.optimizer.take_gradients();
  if (learns) rule_gradients = task_.rule_optimizer->take_gradients();
  // Not before all is computed: a step that breaks until here was not counted, and has moved nothing.
  const Here here(state_);
  check_launch(judge(state(), here.stream));
  if (trains_forward(phase)) update(task_.optimizer, gradients, constants_in(table_), state());
  if (learns) update(*task_.rule_optimizer, rule_gradients, constants_in(rule_table_), state());
  KeepList list;
  const auto flush = [&] {
    check_launch(cuda::keep(list, state(), here.stream));
    list.count = 0;
  };
  const auto add = [&](const at::Tensor& to, const at::Tensor& from) {
    list.entries[list.count++] = {to.mutable_data_ptr<float>(), from.const_data_ptr<float>(), to.numel()};
    if (list.count == KeepList::most) flush();
  };
  for (const auto& [state_of, values] : pass.moved) add(state_of, values);
  if (list.count > 0) flush();
}

void GpuStepper::step_or_replay(RecordedStep& recorded, int64_t examples, const std::function<void()>& work) {
  if (use_graphs_ && recorded.graph.recorded()) return recorded.graph.replay();
  most_ = std::max(most_, examples);
  if (use_graphs_ && graph_failure_.empty() && recorded.eager >= kWarmUp && examples == most_) {
    if (!graph_memory_) graph_memory_ = new_graph_memory();
    if (recorded.graph.record(work, *graph_memory_)) return recorded.graph.replay();
    graph_failure_ = recorded.graph.failure();
    task_.drop_gradients();
  }
  ++recorded.eager;
  work();
}

GpuBatches& GpuStepper::batches_of(const Dataset& data, const std::vector<int64_t>& order, const Position& position) {
  const auto on_gpu = data.on(task_.network.device());
  if (batches_ == nullptr || batches_->data() != on_gpu || std::get<0>(order_) != position.seed) {
    // What was recorded reads the batches of before.
    std::erase_if(recorded_, [](const auto& entry) { return std::get<0>(entry.first) != nullptr; });
    batches_ = std::make_unique<GpuBatches>(on_gpu, task_.normalization, task_.augmentation,
                                            task_.network.compute_type(), position.seed);
    ordered_ = false;
  }
  const std::tuple<uint64_t, uint32_t> wanted{position.seed, position.epoch};
  if (!ordered_ || order_ != wanted) {
    batches_->set_order(order_tensor(order));
    order_ = wanted;
    ordered_ = true;
  }
  return *batches_;
}

PassResult GpuStepper::run(const Dataset& data, int64_t batch_size, const Position& position,
                           const std::vector<int64_t>& order, std::span<const double> lr_factors,
                           const LossCounts& counts, const std::atomic<bool>& stop) {
  const GpuBatches& batches = batches_of(data, order, position);
  PassResult total;
  total.counts = counts;
  Position at = position;
  while (!lr_factors.empty()) {
    const auto part = lr_factors.subspan(0, std::min<std::size_t>(lr_factors.size(), kMostSteps));
    lr_factors = lr_factors.subspan(part.size());
    begin(at, part, total.counts);
    const BatchPlace place{0, &state()->batch, &state()->epoch};
    // Where a step breaks, the optimizers count what the state counts: the steps before it.
    ReadBack read_back{*this};
    for (int64_t given = 0; given < static_cast<int64_t>(part.size()) && !stop.load(std::memory_order_relaxed);
         ++given) {
      const int64_t size = examples_of(data, batch_size, at.first_step + given);
      // Of nothing on this stack: what is recorded outlives this call.
      const auto work = [this, &batches, batch_size, size, place, phase = position.phase, seed = position.seed] {
        const auto batch = batches.gather(batch_size, size, place);
        step(batch.x, batch.targets, phase, seed);
      };
      if (size < batch_size) {  // the last one of an epoch
        work();
        continue;
      }
      auto& recorded = recorded_[{batches.data().get(), batch_size, position.phase, position.seed}];
      if (recorded == nullptr) recorded = std::make_unique<RecordedStep>();
      step_or_replay(*recorded, size, work);
    }
    const PassResult one = read_back.now();
    total.counts = one.counts;
    total.steps += one.steps;
    total.not_finite = one.not_finite;
    total.inverse_not_finite = one.inverse_not_finite;
    at.first_step += one.steps;
    at.step += static_cast<uint32_t>(one.steps);
    if (one.steps < static_cast<int64_t>(part.size())) break;
  }
  return total;
}

void GpuStepper::launch(const at::Tensor& images, const at::Tensor& targets, double lr_factor,
                        const Position& position) {
  TORCH_CHECK(!launching_ || launching_->steps < kMostSteps, "trainer: ", kMostSteps,
              " steps were launched and not collected");
  TORCH_CHECK(!launching_ || !launching_->broken,
              "trainer: a launched step failed; collect the steps before it, then launch others");
  if (!launching_) {
    begin(position, {}, {});
    launching_.emplace();
  }
  try {
    launch_unguarded(images, targets, lr_factor, position);
  } catch (...) {
    launching_->broken = true;
    throw;
  }
  ++launching_->steps;
}

void GpuStepper::launch_unguarded(const at::Tensor& images, const at::Tensor& targets, double lr_factor,
                                  const Position& position) {
  append_constants(launching_->steps, lr_factor);
  if (uploader_ == nullptr) uploader_ = std::make_unique<Uploader>(task_.network.device());
  // As the bytes lie: images whose channels come last are put into planes on the GPU.
  const bool channels_last = images.dim() == 4 && !images.is_contiguous();
  const at::Tensor in_memory = channels_last ? images.permute({0, 2, 3, 1}) : images;
  const auto uploaded = uploader_->upload(in_memory.contiguous(), targets);
  const at::Tensor on_gpu = channels_last ? uploaded.images.permute({0, 3, 1, 2}) : uploaded.images;
  // Whatever comes of this step, the uploaded batch is used up to here.
  const auto [x, labels] = [&] {
    try {
      std::pair ready{prepared(on_gpu.contiguous()), uploaded.targets.clone()};
      uploader_->done();
      return ready;
    } catch (...) {
      uploader_->done();
      throw;
    }
  }();
  auto& recorded = recorded_[{nullptr, x.size(0), position.phase, position.seed}];
  if (recorded == nullptr) recorded = std::make_unique<RecordedStep>();
  if (!recorded->x.defined() || recorded->x.sizes() != x.sizes() || recorded->targets.sizes() != targets.sizes()) {
    recorded = std::make_unique<RecordedStep>();
    recorded->x = at::empty_like(x);
    recorded->targets = at::empty_like(labels);
  }
  recorded->x.copy_(x);
  recorded->targets.copy_(labels);
  // Of values alone: what is recorded outlives this call.
  step_or_replay(*recorded, x.size(0), [this, r = recorded.get(), phase = position.phase, seed = position.seed] {
    step(r->x, r->targets, phase, seed);
  });
}

// As prepare(), without what it copies to the GPU each time.
at::Tensor GpuStepper::prepared(const at::Tensor& images) {
  const Shape example(images.sizes().begin() + 1, images.sizes().end());
  if (scaling_ == nullptr || scaled_ != example) {
    scaling_ = std::make_unique<GpuScaling>(images, task_.normalization, task_.network.compute_type());
    scaled_ = example;
  }
  const int64_t size = images.size(0);
  if (!identity_.defined() || identity_.size(0) < size) identity_ = at::arange(size, images.options().dtype(at::kLong));
  return scaling_->gather(images, identity_, size, size, {}, {}, 0);
}

PassResult GpuStepper::collect() {
  if (!launching_) return {};
  launching_.reset();
  return end();
}

Dataset::Batch GpuStepper::batch(const Dataset& data, const std::vector<int64_t>& order, int64_t batch_size,
                                 int64_t step, const Position& position) {
  const GpuBatches& batches = batches_of(data, order, position);
  // The augmentation is a function of the epoch. The state is that of steps that may be under way.
  const at::Tensor epoch =
      at::full({}, static_cast<int64_t>(position.epoch), at::TensorOptions(task_.network.device()).dtype(at::kInt));
  const int64_t size = examples_of(data, batch_size, step);
  // Its memory is used again in the order of this stream, after this.
  return batches.gather(batch_size, size,
                        {step, nullptr, reinterpret_cast<const uint32_t*>(epoch.const_data_ptr<int32_t>())});
}

}  // namespace

std::unique_ptr<Stepper> gpu_stepper(Task& task) { return std::make_unique<GpuStepper>(task); }

LossCounts evaluate(const Network& network, Loss loss, const Dataset& data, const Normalization& normalization,
                    int64_t batch_size, const std::atomic<bool>& stop) {
  const at::NoGradGuard no_grad;
  const GpuBatches batches(data.on(network.device()), normalization, {}, network.compute_type(), 0);
  Tally tally;
  for (int64_t i = 0; i * batch_size < data.size() && !stop.load(std::memory_order_relaxed); ++i) {
    const auto batch =
        batches.gather(batch_size, std::min(batch_size, data.size() - i * batch_size), {i, nullptr, nullptr});
    loss_of(loss, network.forward(batch.x), batch.x, batch.targets, tally);
  }
  return tally.read();
}

}  // namespace cortorch::cuda
