#pragma once

#include <memory>

#include "node/model.h"
#include "node/wrapped.h"

namespace cortorch::node {

// new NetworkHandle(spec, seed, threads, { device, precision, deterministic }): see network_spec in convert.cpp.
// Everything that touches parameters runs on the model's thread and gives a promise.
class NetworkHandle final : public Wrapped<NetworkHandle> {
 public:
  static constexpr napi_type_tag kTag = {0x5e0e91c2b6a94a7d, 0x8d2a1c6be0f7d303};
  static constexpr const char* kName = "network";

  explicit NetworkHandle(const Napi::CallbackInfo& info);

  // Throws ERR_DISPOSED.
  const std::shared_ptr<Model>& model() const;

 private:
  friend void define_network(Napi::Env env, Napi::Object exports);
  Napi::Value parameters(const Napi::CallbackInfo& info);
  Napi::Value threads(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value predict(const Napi::CallbackInfo& info);
  Napi::Value evaluate(const Napi::CallbackInfo& info);
  Napi::Value evaluate_batch(const Napi::CallbackInfo& info);
  Napi::Value stop(const Napi::CallbackInfo& info);
  Napi::Value settled(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<Model> model_;
  ReportedMemory memory_;
};

}  // namespace cortorch::node
