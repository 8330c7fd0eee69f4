#include "node/network.h"

#include <ATen/core/grad_mode.h>

#include <vector>

#include "node/addon.h"
#include "node/convert.h"
#include "node/dataset.h"
#include "node/serial_section.h"

namespace cortorch::node {

NetworkHandle::NetworkHandle(const Napi::CallbackInfo& info) : Wrapped(info) {
  guarded(info.Env(), [&] {
    const int wanted = info[2].As<Napi::Number>().Int32Value();
    const int threads = wanted != 0 ? wanted : default_threads();
    const SerialSection serial;
    model_ = std::make_shared<Model>(info.Env(), network_spec(info[0].As<Napi::Object>()),
                                     rule_from(info[0].As<Napi::Object>()), seed_of(info[1]), threads,
                                     place_of(info[3].As<Napi::Object>()));
    int64_t bytes = 0;
    for (const ParameterPtr& parameter : model_->network().parameters()) {
      if (parameter->value.is_cpu()) bytes += static_cast<int64_t>(parameter->value.nbytes());
    }
    memory_.report(info.Env(), bytes);
  });
}

const std::shared_ptr<Model>& NetworkHandle::model() const {
  if (model_ == nullptr) throw CodedError("ERR_DISPOSED", "this network was disposed of");
  return model_;
}

// parameters(): [{ name, shape, role }] in the order of the state_dict.
Napi::Value NetworkHandle::parameters(const Napi::CallbackInfo& info) {
  const auto& parameters = model()->network().parameters();
  Napi::Array array = Napi::Array::New(info.Env(), parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = *parameters[i];
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("name", parameter.name);
    object.Set("shape", shape_to(info.Env(), parameter.value.sizes()));
    object.Set("role", name_of(parameter.role));
    array.Set(static_cast<uint32_t>(i), object);
  }
  return array;
}

Napi::Value NetworkHandle::threads(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), model()->threads());
}

// read(): a promise of the values of all parameters, Float32Arrays in the order of parameters().
Napi::Value NetworkHandle::read(const Napi::CallbackInfo& info) {
  const auto model = this->model();
  return model->thread().submit(
      info.Env(), model,
      [network = &model->network()] {
        at::NoGradGuard no_grad;
        std::vector<at::Tensor> values;
        for (const ParameterPtr& parameter : network->parameters()) values.push_back(host_copy(parameter->value));
        return values;
      },
      [](Napi::Env env, const std::vector<at::Tensor>& values) -> Napi::Value {
        Napi::Array array = Napi::Array::New(env, values.size());
        for (std::size_t i = 0; i < values.size(); ++i)
          array.Set(static_cast<uint32_t>(i), typed_array_from(env, values[i]));
        return array;
      });
}

// write(values): sets all parameters from Float32Arrays in the order of parameters().
Napi::Value NetworkHandle::write(const Napi::CallbackInfo& info) {
  const auto model = this->model();
  const auto& parameters = model->network().parameters();
  const Napi::Array array = info[0].As<Napi::Array>();
  TORCH_CHECK(array.Length() == parameters.size(), "the network has ", parameters.size(), " parameters, but ",
              array.Length(), " were given");
  std::vector<at::Tensor> values;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const at::IntArrayRef sizes = parameters[i]->value.sizes();
    const Shape shape(sizes.begin(), sizes.end());
    values.push_back(tensor_from(array.Get(static_cast<uint32_t>(i)), shape));
    TORCH_CHECK(values.back().scalar_type() == at::kFloat, "expected a Float32Array for ", parameters[i]->name);
  }
  return model->thread().submit(
      info.Env(), model,
      [network = &model->network(), values = std::move(values)] {
        at::NoGradGuard no_grad;
        const auto& to = network->parameters();
        for (std::size_t i = 0; i < to.size(); ++i) to[i]->value.detach().copy_(values[i]);
        network->refresh();
        return true;
      },
      [](Napi::Env env, bool) -> Napi::Value { return env.Undefined(); });
}

// predict(images, shape, normalization): a promise of a Float32Array [n, outputs] of the last layer's output.
Napi::Value NetworkHandle::predict(const Napi::CallbackInfo& info) {
  const auto model = this->model();
  at::Tensor images = tensor_from(info[0], shape_of(info[1]));
  return model->thread().submit(
      info.Env(), model,
      [network = &model->network(), images = std::move(images), normalization = normalization_of(info[2])] {
        at::NoGradGuard no_grad;
        return host_copy(network->forward(prepare_for(*network, images, normalization)));
      },
      [](Napi::Env env, const at::Tensor& outputs) { return typed_array_from(env, outputs); });
}

// evaluate(dataset, loss, normalization, batchSize, job): a promise of sums { loss, error, error5, examples };
// stop(job) ends it early.
Napi::Value NetworkHandle::evaluate(const Napi::CallbackInfo& info) {
  const auto model = this->model();
  const uint32_t job = info[4].As<Napi::Number>().Uint32Value();
  const auto dataset = DatasetHandle::unwrap(info[0], "dataset").dataset();
  const Loss loss = loss_of(info[1]);
  return model->thread().submit(
      info.Env(), model,
      [network = &model->network(), dataset, loss, normalization = normalization_of(info[2]),
       batch = info[3].As<Napi::Number>().Int64Value(), stop = model->thread().begin_stoppable(job)] {
        return cortorch::evaluate(*network, loss, *dataset, normalization, batch, *stop);
      },
      [](Napi::Env env, const LossCounts& counts) -> Napi::Value { return counts_to(env, counts); });
}

// evaluateBatch(batch, loss, normalization): the same of a batch of the caller's own.
Napi::Value NetworkHandle::evaluate_batch(const Napi::CallbackInfo& info) {
  const auto model = this->model();
  return model->thread().submit(
      info.Env(), model,
      [network = &model->network(), batch = examples_from(info[0].As<Napi::Object>()), loss = loss_of(info[1]),
       normalization = normalization_of(info[2])] {
        const Dataset data(batch.images, batch.targets, 0);
        return cortorch::evaluate(*network, loss, data, normalization, data.size(), false);
      },
      [](Napi::Env env, const LossCounts& counts) -> Napi::Value { return counts_to(env, counts); });
}

// stop(job) and settled(job): of a job that was given its number by the caller.
Napi::Value NetworkHandle::stop(const Napi::CallbackInfo& info) {
  if (model_ != nullptr) model_->thread().stop(info[0].As<Napi::Number>().Uint32Value());
  return info.Env().Undefined();
}

Napi::Value NetworkHandle::settled(const Napi::CallbackInfo& info) {
  if (model_ != nullptr) model_->thread().end_stoppable(info[0].As<Napi::Number>().Uint32Value());
  return info.Env().Undefined();
}

Napi::Value NetworkHandle::dispose(const Napi::CallbackInfo& info) {
  if (model_ != nullptr) model_->close(true);
  model_ = nullptr;
  memory_.release();
  return info.Env().Undefined();
}

void define_network(Napi::Env env, Napi::Object exports) {
  using Wrap = Napi::ObjectWrap<NetworkHandle>;
  const Napi::Function network_class = Wrap::DefineClass(
      env, "NetworkHandle",
      {NetworkHandle::method<&NetworkHandle::parameters>("parameters"),
       NetworkHandle::method<&NetworkHandle::threads>("threads"), NetworkHandle::method<&NetworkHandle::read>("read"),
       NetworkHandle::method<&NetworkHandle::write>("write"), NetworkHandle::method<&NetworkHandle::predict>("predict"),
       NetworkHandle::method<&NetworkHandle::evaluate>("evaluate"),
       NetworkHandle::method<&NetworkHandle::evaluate_batch>("evaluateBatch"),
       NetworkHandle::method<&NetworkHandle::stop>("stop"), NetworkHandle::method<&NetworkHandle::settled>("settled"),
       NetworkHandle::method<&NetworkHandle::dispose>("dispose")});
  exports.Set("NetworkHandle", network_class);
}

}  // namespace cortorch::node
