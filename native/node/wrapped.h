// A C++ object in a JavaScript one, with a type tag: an object of another class is refused with a TypeError
// where it would otherwise be read as memory of the wrong shape.
#pragma once

#include <napi.h>

#include <string>

#include "node/errors.h"

namespace cortorch::node {

// Memory outside V8's heap that a JavaScript object keeps: told to V8, and told again when it is let go, so
// that the garbage collector knows what it would free.
class ReportedMemory {
 public:
  ReportedMemory() = default;
  ReportedMemory(const ReportedMemory&) = delete;
  ReportedMemory& operator=(const ReportedMemory&) = delete;
  ~ReportedMemory() { release(); }

  void report(Napi::Env env, int64_t bytes) {
    release();
    env_ = env;
    bytes_ = bytes;
    Napi::MemoryManagement::AdjustExternalMemory(env, bytes);
  }
  void release() {
    if (bytes_ != 0) Napi::MemoryManagement::AdjustExternalMemory(Napi::Env(env_), -bytes_);
    bytes_ = 0;
  }

 private:
  napi_env env_ = nullptr;
  int64_t bytes_ = 0;
};

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

  // For DefineClass: a method as JavaScript sees it. What `body` throws becomes a JavaScript error.
  template <Napi::Value (T::*body)(const Napi::CallbackInfo&)>
  static auto method(const char* name) {
    using Method = Napi::Value (T::*)(const Napi::CallbackInfo&);
    return Napi::ObjectWrap<T>::InstanceMethod(name, static_cast<Method>(&Wrapped::template call<body>));
  }

 private:
  template <Napi::Value (T::*body)(const Napi::CallbackInfo&)>
  Napi::Value call(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] { return (static_cast<T*>(this)->*body)(info); });
  }
};

}  // namespace cortorch::node
