#pragma once

#include <memory>

#include "node/model.h"
#include "node/wrapped.h"
#include "training/trainer.h"

namespace cortorch::node {

// new TrainerHandle(network, loss, optimizer, normalization, { options, optimizer } of the rule, augmentation). Runs on
// the network's thread.
class TrainerHandle final : public Wrapped<TrainerHandle> {
 public:
  static constexpr napi_type_tag kTag = {0x71c5a0c9d3e84f10, 0xa7e65b0f4412c404};
  static constexpr const char* kName = "trainer";

  explicit TrainerHandle(const Napi::CallbackInfo& info);

 private:
  friend void define_trainer(Napi::Env env, Napi::Object exports);
  Napi::Value run(const Napi::CallbackInfo& info);
  Napi::Value launch(const Napi::CallbackInfo& info);
  Napi::Value collect(const Napi::CallbackInfo& info);
  Napi::Value graph_failure(const Napi::CallbackInfo& info);
  Napi::Value diagnose(const Napi::CallbackInfo& info);
  Napi::Value diagnose_batch(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value write(const Napi::CallbackInfo& info);

  // Throws ERR_DISPOSED.
  std::shared_ptr<Trainer> trainer() const;

  std::shared_ptr<Model> model_;
  std::shared_ptr<TrainerSlot> slot_ = std::make_shared<TrainerSlot>();
  ReportedMemory memory_;
};

}  // namespace cortorch::node
