// cortorch.node: the binding. The only folder that includes napi.h; one file per JavaScript class.
#include "node/addon.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include <memory>
#include <string>

#include "base/cuda/devices.h"
#include "base/noise.h"
#include "base/pool.h"
#include "node/compute_thread.h"
#include "node/convert.h"
#include "node/errors.h"
#include "node/exports.h"
#include "node/serial_section.h"
#include "rules/own_rule.h"
#include "rules/rules.h"

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

// gpus(closely): { built, driver, runtime, problem, devices: [{ index, name, capability, memory, free, supported }] };
// asks the driver. `closely`: the device of which the free memory is asked for, −1: of all.
Napi::Value gpus(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  Napi::Object object = Napi::Object::New(env);
  Napi::Array devices = Napi::Array::New(env);
  const auto text_or_null = [&](const std::string& text) {
    return text.empty() ? env.Null() : Napi::Value(Napi::String::New(env, text));
  };
  const cuda::Gpus found = cuda::find_gpus(call[0].As<Napi::Number>().Int32Value());
  object.Set("built", cuda::kernels_are_built());
  object.Set("driver", text_or_null(found.driver));
  object.Set("runtime", text_or_null(found.runtime));
  object.Set("problem", text_or_null(found.problem));
  for (const cuda::Gpu& gpu : found.devices) {
    Napi::Object device = Napi::Object::New(env);
    device.Set("index", gpu.index);
    device.Set("name", gpu.name);
    device.Set("capability", std::to_string(gpu.major) + "." + std::to_string(gpu.minor));
    device.Set("memory", static_cast<double>(gpu.memory));
    device.Set("free", static_cast<double>(gpu.free));
    device.Set("supported", gpu.supported);
    devices.Set(devices.Length(), device);
  }
  object.Set("devices", devices);
  return object;
}

// noise(seed, layer, step, count): the standard normal numbers that a layer's inverse is trained with at a step.
Napi::Value noise(const Napi::CallbackInfo& call) {
  const SerialSection serial;
  const auto word = [&](std::size_t i) { return call[i].As<Napi::Number>().Uint32Value(); };
  return typed_array_from(call.Env(),
                          normals(call[3].As<Napi::Number>().Int64Value(), {seed_of(call[0]), word(1), word(2)}));
}

// limitPool(bytes): how much memory may be kept unused; a container may have less than the machine.
Napi::Value limit_pool(const Napi::CallbackInfo& call) {
  set_pool_limit(static_cast<std::size_t>(call[0].As<Napi::Number>().Int64Value()));
  return call.Env().Undefined();
}

// loadRule(path, build): { name, learns: { forward, inverse, both }, options: [{ name, help, default, and words, or
// whole, least, most }] } of a rule's compiled file; what it learns is asked of one with its defaults.
Napi::Value load_rule(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  const auto text_at = [&](std::size_t i) { return call[i].As<Napi::String>().Utf8Value(); };
  const RuleDeclaration& declaration = cortorch::load_rule(text_at(0), text_at(1));
  Napi::Object object = Napi::Object::New(env);
  object.Set("name", declaration.name);
  Napi::Array options = Napi::Array::New(env, declaration.options.size());
  for (std::size_t i = 0; i < declaration.options.size(); ++i) {
    const RuleOption& option = declaration.options[i];
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("name", option.name);
    entry.Set("help", option.help);
    if (option.is_word) {
      Napi::Array words = Napi::Array::New(env, option.words.size());
      for (std::size_t k = 0; k < option.words.size(); ++k) words.Set(static_cast<uint32_t>(k), option.words[k]);
      entry.Set("words", words);
      entry.Set("default", option.word);
    } else {
      entry.Set("whole", option.is_whole);
      entry.Set("least", option.least);
      entry.Set("most", option.most);
      entry.Set("default", option.number);
    }
    options.Set(static_cast<uint32_t>(i), entry);
  }
  object.Set("options", options);
  Options defaults;
  const auto rule = make_rule(declaration.name, defaults);
  Napi::Object learns = Napi::Object::New(env);
  for (const auto& [name, phase] : Names<Phase>::table) learns.Set(std::string(name), rule->learns_in(phase));
  object.Set("learns", learns);
  return object;
}

Napi::Value shutdown(const Napi::CallbackInfo& call) {
  ComputeThread::end_all(call.Env());
  return call.Env().Undefined();
}

// What is set for the whole process, once: a worker's environment that comes later finds models at work.
void settle_process() {
  // Not by std::call_once, which asks for glibc 2.34.
  static const bool settled = [] {
    use_pool_everywhere();
    // NNPACK takes some small convolutions, where it knows the processor; where it does not, each of them prints a
    // warning.
    at::globalContext().setUserEnabledNNPACK(false);
    return true;
  }();
  (void)settled;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  return guarded(env, [&] {
    settle_process();
    env.SetInstanceData(std::make_unique<AddonData>().release());
    define_tensor(env, exports);
    define_dataset(env, exports);
    define_network(env, exports);
    define_trainer(env, exports);
    const Exports set(env, exports);
    set.function("noise", noise);
    set.function("limitPool", limit_pool);
    set.function("gpus", gpus);
    set.function("loadRule", load_rule);
    set.function("info", info);
    set.function("shutdown", shutdown);
    return exports;
  });
}

}  // namespace

NODE_API_MODULE(cortorch, init)

}  // namespace cortorch::node
