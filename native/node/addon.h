#pragma once

#include <napi.h>

#include <vector>

namespace cortorch::node {

class ComputeThread;

// What the addon keeps for one environment (the main thread, or a worker thread).
struct AddonData {
  Napi::FunctionReference tensor_class, dataset_class;
  std::vector<ComputeThread*> threads;  // those that run

  static AddonData& of(Napi::Env env) { return *env.GetInstanceData<AddonData>(); }
};

void define_tensor(Napi::Env env, Napi::Object exports);
void define_dataset(Napi::Env env, Napi::Object exports);
void define_network(Napi::Env env, Napi::Object exports);
void define_trainer(Napi::Env env, Napi::Object exports);

}  // namespace cortorch::node
