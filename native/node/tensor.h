#pragma once

#include <ATen/core/Tensor.h>

#include "node/wrapped.h"

namespace cortorch::node {

// The JavaScript class Tensor's native half: a handle on an at::Tensor. V8 is told of the memory that a
// handle keeps, and told again when it is let go.
class TensorHandle final : public Wrapped<TensorHandle> {
 public:
  static constexpr napi_type_tag kTag = {0x8c1f6f9a4d0b4e11, 0x9a54d2f0c7e36b01};
  static constexpr const char* kName = "tensor";

  explicit TensorHandle(const Napi::CallbackInfo& info);
  ~TensorHandle() override;

  static Napi::Object wrap(Napi::Env env, at::Tensor tensor);
  // Throws ERR_DISPOSED.
  const at::Tensor& tensor() const;
  void dispose();
  static int64_t live();

 private:
  void hold(Napi::Env env, at::Tensor tensor);

  at::Tensor tensor_;
  ReportedMemory memory_;
};

}  // namespace cortorch::node
