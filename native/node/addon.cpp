// cortorch.node: the binding. The only folder that includes napi.h; one file per JavaScript class.
#include "node/addon.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include <memory>

#include "node/compute_thread.h"
#include "node/errors.h"

namespace cortorch::node {
namespace {

Napi::Value info(const Napi::CallbackInfo& call) {
  Napi::Object object = Napi::Object::New(call.Env());
  object.Set("libtorch", TORCH_VERSION);
  object.Set("cuda", at::hasCUDA());
  object.Set("threads", default_threads());
  object.Set("cpu", at::get_cpu_capability());
  return object;
}

Napi::Value shutdown(const Napi::CallbackInfo& call) {
  ComputeThread::end_all(call.Env());
  return call.Env().Undefined();
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  return guarded(env, [&] {
    env.SetInstanceData(std::make_unique<AddonData>().release());
    define_tensor(env, exports);
    define_dataset(env, exports);
    define_network(env, exports);
    define_trainer(env, exports);
    exports.Set("info", Napi::Function::New(env, info, "info"));
    exports.Set("shutdown", Napi::Function::New(env, shutdown, "shutdown"));
    return exports;
  });
}

}  // namespace

NODE_API_MODULE(cortorch, init)

}  // namespace cortorch::node
