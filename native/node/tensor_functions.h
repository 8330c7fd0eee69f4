// Exports functions over tensor handles; the class itself is TypeScript's.
#pragma once

#include <ATen/core/Tensor.h>
#include <napi.h>

#include "node/errors.h"
#include "node/tensor.h"

namespace cortorch::node {

using Info = const Napi::CallbackInfo&;

inline const at::Tensor& argument(Info info, std::size_t i, const char* name) {
  return TensorHandle::unwrap(info[i], name).tensor();
}

inline at::Tensor optional_argument(Info info, std::size_t i, const char* name) {
  return info[i].IsUndefined() || info[i].IsNull() ? at::Tensor() : argument(info, i, name);
}

class Exports {
 public:
  Exports(Napi::Env env, Napi::Object to) : env_(env), to_(to) {}

  // body(info) gives a tensor.
  template <typename Body>
  void tensor(const char* name, Body body) const {
    plain(name, [body](Info info) -> Napi::Value { return TensorHandle::wrap(info.Env(), body(info)); });
  }

  // body(info) gives a Napi::Value.
  template <typename Body>
  void plain(const char* name, Body body) const {
    to_.Set(
        name,
        Napi::Function::New(
            env_, [body](Info info) -> Napi::Value { return guarded(info.Env(), [&] { return body(info); }); }, name));
  }

 private:
  Napi::Env env_;
  mutable Napi::Object to_;
};

// The maps, rules and losses: node/tensor_maps.cpp.
void define_tensor_maps(Napi::Env env, Napi::Object to);

}  // namespace cortorch::node
