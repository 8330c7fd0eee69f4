// Puts functions on an object of JavaScript's. What they throw becomes a JavaScript error.
#pragma once

#include <napi.h>

#include "node/errors.h"

namespace cortorch::node {

using Info = const Napi::CallbackInfo&;

class Exports {
 public:
  Exports(Napi::Env env, Napi::Object to) : env_(env), to_(to) {}

  // body(info) gives a Napi::Value.
  template <typename Body>
  void function(const char* name, Body body) const {
    to_.Set(
        name,
        Napi::Function::New(
            env_, [body](Info info) -> Napi::Value { return guarded(info.Env(), [&] { return body(info); }); }, name));
  }

 private:
  Napi::Env env_;
  mutable Napi::Object to_;
};

}  // namespace cortorch::node
