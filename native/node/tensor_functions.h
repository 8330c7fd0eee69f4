// Functions over tensor handles; the class itself is TypeScript's.
#pragma once

#include <ATen/core/Tensor.h>
#include <napi.h>

#include "node/exports.h"
#include "node/serial_section.h"
#include "node/tensor.h"

namespace cortorch::node {

inline const at::Tensor& argument(Info info, std::size_t i, const char* name) {
  return TensorHandle::unwrap(info[i], name).tensor();
}

inline at::Tensor optional_argument(Info info, std::size_t i, const char* name) {
  return info[i].IsUndefined() || info[i].IsNull() ? at::Tensor() : argument(info, i, name);
}

// Functions of an object, on one thread: a parallel one would slow the models' threads down (SerialSection).
class TensorFunctions {
 public:
  TensorFunctions(Napi::Env env, Napi::Object to) : exports_(env, to) {}

  // body(info) gives a tensor.
  template <typename Body>
  void tensor(const char* name, Body body) const {
    plain(name, [body](Info info) -> Napi::Value { return TensorHandle::wrap(info.Env(), body(info)); });
  }

  // body(info) gives a Napi::Value.
  template <typename Body>
  void plain(const char* name, Body body) const {
    exports_.function(name, [body](Info info) -> Napi::Value {
      const SerialSection serial;
      return body(info);
    });
  }

 private:
  Exports exports_;
};

// The maps, rules and losses: node/tensor_maps.cpp.
void define_tensor_maps(Napi::Env env, Napi::Object to);

}  // namespace cortorch::node
