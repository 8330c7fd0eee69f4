#pragma once

#include <memory>

#include "data/dataset.h"
#include "node/wrapped.h"

namespace cortorch::node {

// new DatasetHandle(images, shape, targets, outputs, classes): images a Uint8Array or Float32Array of
// shape [n, …]; targets BigInt64Array labels (outputs 0) or Float32Array [n, outputs].
class DatasetHandle final : public Wrapped<DatasetHandle> {
 public:
  static constexpr napi_type_tag kTag = {0x3b7d6ad10f2c4c5e, 0xb1f40dd1a9c5e202};
  static constexpr const char* kName = "data set";

  explicit DatasetHandle(const Napi::CallbackInfo& info);

  // Throws ERR_DISPOSED.
  std::shared_ptr<const Dataset> dataset() const;

 private:
  friend void define_dataset(Napi::Env env, Napi::Object exports);
  Napi::Value subset(const Napi::CallbackInfo& info);
  Napi::Value batch(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  void hold(Napi::Env env, std::shared_ptr<const Dataset> dataset);

  std::shared_ptr<const Dataset> dataset_;
  ReportedMemory memory_;
};

}  // namespace cortorch::node
