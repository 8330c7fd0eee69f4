#include "node/network.h"

#include <ATen/core/grad_mode.h>

#include <vector>

#include "node/addon.h"
#include "node/convert.h"
#include "node/dataset.h"

namespace cortorch::node {

NetworkHandle::NetworkHandle(const Napi::CallbackInfo& info) : Wrapped(info) {
  guarded(info.Env(), [&] {
    model_ = std::make_shared<Model>(info.Env(), network_spec(info[0].As<Napi::Object>()), seed_of(info[1]),
                                     info[2].As<Napi::Number>().Int32Value());
  });
}

const std::shared_ptr<Model>& NetworkHandle::model() const {
  if (model_ == nullptr) throw CodedError("ERR_DISPOSED", "this network was disposed of");
  return model_;
}

// parameters(): [{ name, shape, trainable }] in the order of the state_dict.
Napi::Value NetworkHandle::parameters(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto& parameters = model()->network.parameters();
    Napi::Array array = Napi::Array::New(info.Env(), parameters.size());
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const auto& [name, tensor] = parameters[i];
      Napi::Object object = Napi::Object::New(info.Env());
      object.Set("name", name);
      object.Set("shape", shape_to(info.Env(), tensor.sizes()));
      object.Set("trainable", tensor.requires_grad());
      array.Set(static_cast<uint32_t>(i), object);
    }
    return array;
  });
}

Napi::Value NetworkHandle::threads(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value { return Napi::Number::New(info.Env(), model()->team); });
}

// read(): a promise of the values of all parameters, Float32Arrays in the order of parameters().
Napi::Value NetworkHandle::read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto model = this->model();
    return model->thread.submit(
        info.Env(), model,
        [model = model.get()] {
          at::NoGradGuard no_grad;
          std::vector<at::Tensor> values;
          for (const auto& [name, tensor] : model->network.parameters()) values.push_back(tensor.detach().clone());
          return values;
        },
        [](Napi::Env env, const std::vector<at::Tensor>& values) -> Napi::Value {
          Napi::Array array = Napi::Array::New(env, values.size());
          for (std::size_t i = 0; i < values.size(); ++i) array.Set(static_cast<uint32_t>(i), typed_array_from(env, values[i]));
          return array;
        });
  });
}

// write(values): sets all parameters from Float32Arrays in the order of parameters().
Napi::Value NetworkHandle::write(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto model = this->model();
    const auto& parameters = model->network.parameters();
    const Napi::Array array = info[0].As<Napi::Array>();
    TORCH_CHECK(array.Length() == parameters.size(), "the network has ", parameters.size(), " parameters, but ", array.Length(), " were given");
    std::vector<at::Tensor> values;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Shape shape(parameters[i].second.sizes().begin(), parameters[i].second.sizes().end());
      values.push_back(tensor_from(array.Get(static_cast<uint32_t>(i)), shape));
      TORCH_CHECK(values.back().scalar_type() == at::kFloat, "expected a Float32Array for ", parameters[i].first);
    }
    return model->thread.submit(
        info.Env(), model,
        [model = model.get(), values = std::move(values)] {
          at::NoGradGuard no_grad;
          const auto& to = model->network.parameters();
          for (std::size_t i = 0; i < to.size(); ++i) to[i].second.detach().copy_(values[i]);
          return true;
        },
        [](Napi::Env env, bool) -> Napi::Value { return env.Undefined(); });
  });
}

// predict(images, shape, normalization): a promise of a Float32Array [n, outputs] of the last layer's output.
Napi::Value NetworkHandle::predict(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto model = this->model();
    at::Tensor images = tensor_from(info[0], shape_of(info[1]));
    return model->thread.submit(
        info.Env(), model,
        [model = model.get(), images = std::move(images), normalization = normalization_of(info[2])] {
          at::NoGradGuard no_grad;
          return model->network.forward(prepare(images, normalization));
        },
        [](Napi::Env env, const at::Tensor& outputs) { return typed_array_from(env, outputs); });
  });
}

// evaluate(dataset, loss, normalization, batchSize): a promise of sums { loss, error, error5, examples }.
Napi::Value NetworkHandle::evaluate(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto model = this->model();
    model->thread.clear_stop();
    return model->thread.submit(
        info.Env(), model,
        [model = model.get(), dataset = DatasetHandle::unwrap(info[0], "dataset").dataset(), loss = loss_of(info[1]),
         normalization = normalization_of(info[2]), batch = info[3].As<Napi::Number>().Int64Value()] {
          return cortorch::evaluate(model->network, loss, *dataset, normalization, batch, model->thread.stop_flag());
        },
        [](Napi::Env env, const LossCounts& counts) -> Napi::Value { return counts_to(env, counts); });
  });
}

Napi::Value NetworkHandle::stop(const Napi::CallbackInfo& info) {
  if (model_ != nullptr) model_->thread.request_stop();
  return info.Env().Undefined();
}

Napi::Value NetworkHandle::dispose(const Napi::CallbackInfo& info) {
  if (model_ != nullptr) model_->thread.end(true);
  model_ = nullptr;
  return info.Env().Undefined();
}

void define_network(Napi::Env env, Napi::Object exports) {
  using Wrap = Napi::ObjectWrap<NetworkHandle>;
  const Napi::Function network_class = Wrap::DefineClass(
      env, "NetworkHandle",
      {Wrap::InstanceMethod<&NetworkHandle::parameters>("parameters"), Wrap::InstanceMethod<&NetworkHandle::threads>("threads"),
       Wrap::InstanceMethod<&NetworkHandle::read>("read"), Wrap::InstanceMethod<&NetworkHandle::write>("write"),
       Wrap::InstanceMethod<&NetworkHandle::predict>("predict"), Wrap::InstanceMethod<&NetworkHandle::evaluate>("evaluate"),
       Wrap::InstanceMethod<&NetworkHandle::stop>("stop"), Wrap::InstanceMethod<&NetworkHandle::dispose>("dispose")});
  AddonData::of(env).network_class = Napi::Persistent(network_class);
  exports.Set("NetworkHandle", network_class);
}

}  // namespace cortorch::node
