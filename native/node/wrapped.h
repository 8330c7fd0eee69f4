// A C++ object in a JavaScript one, with a type tag: an object of another class is refused with a TypeError
// where it would otherwise be read as memory of the wrong shape.
#pragma once

#include <napi.h>

#include <string>

#include "node/errors.h"

namespace cortorch::node {

template <typename T>
class Wrapped : public Napi::ObjectWrap<T> {
 public:
  explicit Wrapped(const Napi::CallbackInfo& info) : Napi::ObjectWrap<T>(info) {
    info.This().template As<Napi::Object>().TypeTag(&T::kTag);
  }

  static T& unwrap(const Napi::Value& value, const char* name) {
    if (!value.IsObject() || !value.template As<Napi::Object>().CheckTypeTag(&T::kTag)) {
      throw Napi::TypeError::New(value.Env(), std::string("expected a native ") + T::kName + " for `" + name + "`");
    }
    return *Napi::ObjectWrap<T>::Unwrap(value.template As<Napi::Object>());
  }
};

}  // namespace cortorch::node
