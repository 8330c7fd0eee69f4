// open(path): opens a shared library, for good. What needs a library of that name afterwards gets this one, wherever
// the loader would have looked (ld.so matches names of what is loaded first).
#include <dlfcn.h>
#include <node_api.h>

#include <cstdlib>

namespace {

napi_value open_library(napi_env env, napi_callback_info info) {
  std::size_t count = 1, length = 0;
  napi_value path = nullptr;
  if (napi_get_cb_info(env, info, &count, &path, nullptr, nullptr) != napi_ok || count < 1 ||
      napi_get_value_string_utf8(env, path, nullptr, 0, &length) != napi_ok) {
    napi_throw_type_error(env, nullptr, "open: the path of a shared library is needed");
    return nullptr;
  }
  auto* name = static_cast<char*>(std::malloc(length + 1));
  if (name == nullptr) {
    napi_throw_error(env, nullptr, "open: out of memory");
    return nullptr;
  }
  napi_get_value_string_utf8(env, path, name, length + 1, &length);
  if (dlopen(name, RTLD_LAZY) == nullptr) napi_throw_error(env, nullptr, dlerror());
  std::free(name);
  return nullptr;
}

}  // namespace

NAPI_MODULE_INIT() {
  napi_value open;
  if (napi_create_function(env, "open", NAPI_AUTO_LENGTH, open_library, nullptr, &open) != napi_ok) return nullptr;
  napi_set_named_property(env, exports, "open", open);
  return exports;
}
