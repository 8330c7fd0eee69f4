#include "node/trainer.h"

#include <ATen/core/grad_mode.h>

#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "node/addon.h"
#include "node/convert.h"
#include "node/dataset.h"
#include "node/network.h"
#include "node/serial_section.h"

namespace cortorch::node {
namespace {

struct Timed {
  PassResult pass;
  double seconds;
};

template <typename Body>
Timed timed(Body body) {
  const auto start = std::chrono::steady_clock::now();
  PassResult pass = body();
  return {pass, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

Napi::Value timed_to(Napi::Env env, const Timed& timed) {
  Napi::Object object = counts_to(env, timed.pass.counts);
  object.Set("steps", static_cast<double>(timed.pass.steps));
  object.Set("notFinite", timed.pass.not_finite);
  object.Set("inverseNotFinite", timed.pass.inverse_not_finite);
  object.Set("seconds", timed.seconds);
  return object;
}

Napi::Value diagnoses_to(Napi::Env env, const std::vector<Diagnosis>& layers) {
  Napi::Array array = Napi::Array::New(env, layers.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const Diagnosis& layer = layers[i];
    Napi::Object object = Napi::Object::New(env);
    object.Set("name", layer.name);
    const auto set = [&](const char* key, const std::optional<double>& value) {
      if (value) object.Set(key, *value);
    };
    set("gradientAngle", layer.gradient_angle);
    set("feedbackAngle", layer.feedback_angle);
    set("feedbackNormRatio", layer.feedback_norm_ratio);
    set("targetAngle", layer.target_angle);
    set("reconstructionError", layer.reconstruction_error);
    array.Set(static_cast<uint32_t>(i), object);
  }
  return array;
}

struct OptimizerState {
  int64_t steps = 0;
  std::vector<std::vector<std::pair<std::string, at::Tensor>>> parameters;
};

OptimizerState state_of(const Optimizer& optimizer) {
  OptimizerState state{optimizer.steps(), {}};
  for (std::size_t i = 0; i < optimizer.size(); ++i) {
    state.parameters.push_back(optimizer.state(i));
    for (auto& [name, tensor] : state.parameters.back()) tensor = host_copy(tensor);
  }
  return state;
}

Napi::Value state_to(Napi::Env env, const OptimizerState& state) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("steps", static_cast<double>(state.steps));
  Napi::Array parameters = Napi::Array::New(env, state.parameters.size());
  for (std::size_t i = 0; i < state.parameters.size(); ++i) {
    Napi::Object entry = Napi::Object::New(env);
    for (const auto& [name, tensor] : state.parameters[i]) entry.Set(name, typed_array_from(env, tensor));
    parameters.Set(static_cast<uint32_t>(i), entry);
  }
  object.Set("parameters", parameters);
  return object;
}

// What state_to gave, for an optimizer that it fits.
using Copies = std::vector<std::pair<at::Tensor, at::Tensor>>;

Copies copies_from(const Napi::Object& object, const Optimizer& optimizer) {
  const Napi::Array parameters = object.Get("parameters").As<Napi::Array>();
  TORCH_CHECK(parameters.Length() == optimizer.size(), "the optimizer has ", optimizer.size(),
              " parameters, but the state holds ", parameters.Length());
  Copies copies;
  for (std::size_t i = 0; i < optimizer.size(); ++i) {
    const Napi::Object entry = parameters.Get(static_cast<uint32_t>(i)).As<Napi::Object>();
    for (auto& [name, tensor] : optimizer.state(i)) {
      TORCH_CHECK(entry.Has(name), "the optimizer's state of parameter ", i, " lacks ", name);
      const Shape shape(tensor.sizes().begin(), tensor.sizes().end());
      copies.emplace_back(tensor, tensor_from(entry.Get(name), shape));
    }
  }
  return copies;
}

void require_collected(const Trainer& trainer) {
  if (!trainer.launching()) return;
  throw CodedError("ERR_BUSY",
                   "this trainer is in the middle of steps on a stream; ask for its state, or set it, at an event of "
                   "its fit() or after that");
}

int64_t bytes_of(const Optimizer& optimizer) {
  int64_t bytes = 0;
  for (std::size_t i = 0; i < optimizer.size(); ++i) {
    for (const auto& [name, tensor] : optimizer.state(i))
      bytes += tensor.is_cpu() ? static_cast<int64_t>(tensor.nbytes()) : 0;
  }
  return bytes;
}

}  // namespace

TrainerHandle::TrainerHandle(const Napi::CallbackInfo& info) : Wrapped(info) {
  guarded(info.Env(), [&] {
    const SerialSection serial;
    model_ = NetworkHandle::unwrap(info[0], "network").model();
    slot_->trainer = std::make_shared<Trainer>(
        model_->network(), loss_of(info[1]), optimizer_spec(info[2].As<Napi::Object>()), normalization_of(info[3]),
        rule_training(info[4].As<Napi::Object>()), augmentation_of(info[5].As<Napi::Object>()));
    model_->add(slot_);
    model_->settle();
    const Optimizer* inverse = slot_->trainer->rule_optimizer();
    memory_.report(info.Env(), bytes_of(slot_->trainer->optimizer()) + (inverse == nullptr ? 0 : bytes_of(*inverse)));
  });
}

std::shared_ptr<Trainer> TrainerHandle::trainer() const {
  if (slot_->trainer == nullptr) throw CodedError("ERR_DISPOSED", "the network of this trainer was disposed of");
  return slot_->trainer;
}

// run(dataset, { batchSize, seed, epoch, firstStep, step, phase }, lrFactors: Float64Array, sums, job): a promise of
// { loss, error, error5, inverse, examples } going on from `sums`, and of the { steps, notFinite, inverseNotFinite,
// seconds } of this run.
Napi::Value TrainerHandle::run(const Napi::CallbackInfo& info) {
  const Napi::Object options = info[1].As<Napi::Object>();
  const Napi::Float64Array array = info[2].As<Napi::Float64Array>();
  const auto trainer = this->trainer();
  const auto dataset = DatasetHandle::unwrap(info[0], "dataset").dataset();
  const auto stop = model_->thread().begin_stoppable(info[4].As<Napi::Number>().Uint32Value());
  return model_->thread().submit(
      info.Env(), model_,
      [trainer, dataset, stop, batch_size = integer(options, "batchSize"), position = position_of(options),
       counts = counts_of(info[3].As<Napi::Object>()),
       factors = std::vector<double>(array.Data(), array.Data() + array.ElementLength())] {
        return timed([&] { return trainer->run(*dataset, batch_size, position, factors, counts, *stop); });
      },
      timed_to);
}

// launch(batch, lrFactor, position): one update on a batch of the caller's own; on a GPU the promise does not wait for
// it. collect(): a promise of the sums and of { steps, notFinite, inverseNotFinite } of what was launched.
Napi::Value TrainerHandle::launch(const Napi::CallbackInfo& info) {
  return model_->thread().submit(
      info.Env(), model_,
      [trainer = trainer(), batch = examples_from(info[0].As<Napi::Object>()),
       factor = info[1].As<Napi::Number>().DoubleValue(), position = position_of(info[2].As<Napi::Object>())] {
        trainer->launch(batch.images, batch.targets, factor, position);
        return true;
      },
      [](Napi::Env env, bool) -> Napi::Value { return env.Undefined(); });
}

Napi::Value TrainerHandle::collect(const Napi::CallbackInfo& info) {
  return model_->thread().submit(
      info.Env(), model_, [trainer = trainer()] { return timed([&] { return trainer->collect(); }); }, timed_to);
}

// graphFailure(): why steps on a GPU are not recorded as a CUDA graph; null: they are, or there is none to record.
Napi::Value TrainerHandle::graph_failure(const Napi::CallbackInfo& info) {
  return model_->thread().submit(
      info.Env(), model_, [trainer = trainer()] { return trainer->graph_failure(); },
      [](Napi::Env env, const std::string& failure) -> Napi::Value {
        return failure.empty() ? env.Null() : Napi::Value(Napi::String::New(env, failure));
      });
}

// diagnose(dataset, { batchSize, seed, epoch, firstStep, step, phase }), diagnoseBatch(batch, position): a promise of
// an array of { name, gradientAngle, … }, without what a layer does not have.
Napi::Value TrainerHandle::diagnose(const Napi::CallbackInfo& info) {
  const Napi::Object options = info[1].As<Napi::Object>();
  return model_->thread().submit(
      info.Env(), model_,
      [trainer = trainer(), dataset = DatasetHandle::unwrap(info[0], "dataset").dataset(),
       batch_size = integer(options, "batchSize"),
       position = position_of(options)] { return trainer->diagnose(*dataset, batch_size, position); },
      diagnoses_to);
}

Napi::Value TrainerHandle::diagnose_batch(const Napi::CallbackInfo& info) {
  return model_->thread().submit(
      info.Env(), model_,
      [trainer = trainer(), batch = examples_from(info[0].As<Napi::Object>()),
       position = position_of(info[1].As<Napi::Object>())] {
        return trainer->diagnose(batch.images, batch.targets, position);
      },
      diagnoses_to);
}

// read(): a promise of { optimizer, inverseOptimizer or null }, each { steps, parameters: [{ exp_avg: Float32Array, …
// }] } with an entry for each parameter that it updates.
Napi::Value TrainerHandle::read(const Napi::CallbackInfo& info) {
  return model_->thread().submit(
      info.Env(), model_,
      [trainer = trainer()] {
        require_collected(*trainer);
        const Optimizer* inverse = trainer->rule_optimizer();
        return std::pair{state_of(trainer->optimizer()),
                         inverse == nullptr ? std::nullopt : std::optional(state_of(*inverse))};
      },
      [](Napi::Env env, const std::pair<OptimizerState, std::optional<OptimizerState>>& states) -> Napi::Value {
        Napi::Object object = Napi::Object::New(env);
        object.Set("optimizer", state_to(env, states.first));
        object.Set("inverseOptimizer", states.second ? state_to(env, *states.second) : env.Null());
        return object;
      });
}

// write(states): what read() gave.
Napi::Value TrainerHandle::write(const Napi::CallbackInfo& info) {
  const Napi::Object object = info[0].As<Napi::Object>();
  const Napi::Object forward = object.Get("optimizer").As<Napi::Object>();
  const auto held = trainer();
  Copies copies = copies_from(forward, held->optimizer());
  int64_t inverse_steps = 0;
  if (const Optimizer* optimizer = held->rule_optimizer()) {
    const Napi::Object inverse = object.Get("inverseOptimizer").As<Napi::Object>();
    Copies more = copies_from(inverse, *optimizer);
    copies.insert(copies.end(), more.begin(), more.end());
    inverse_steps = integer(inverse, "steps");
  }
  return model_->thread().submit(
      info.Env(), model_,
      [trainer = held, steps = integer(forward, "steps"), inverse_steps, copies = std::move(copies)] {
        require_collected(*trainer);
        for (const auto& [to, from] : copies) to.copy_(from);
        trainer->optimizer().set_steps(steps);
        if (Optimizer* optimizer = trainer->rule_optimizer()) optimizer->set_steps(inverse_steps);
        return true;
      },
      [](Napi::Env env, bool) -> Napi::Value { return env.Undefined(); });
}

void define_trainer(Napi::Env env, Napi::Object exports) {
  using Wrap = Napi::ObjectWrap<TrainerHandle>;
  const Napi::Function trainer_class = Wrap::DefineClass(
      env, "TrainerHandle",
      {TrainerHandle::method<&TrainerHandle::run>("run"), TrainerHandle::method<&TrainerHandle::launch>("launch"),
       TrainerHandle::method<&TrainerHandle::collect>("collect"),
       TrainerHandle::method<&TrainerHandle::graph_failure>("graphFailure"),
       TrainerHandle::method<&TrainerHandle::diagnose>("diagnose"),
       TrainerHandle::method<&TrainerHandle::diagnose_batch>("diagnoseBatch"),
       TrainerHandle::method<&TrainerHandle::read>("read"), TrainerHandle::method<&TrainerHandle::write>("write")});
  exports.Set("TrainerHandle", trainer_class);
}

}  // namespace cortorch::node
