// What every export goes through, so that no C++ exception escapes into Node: errors become JavaScript
// errors with the message alone (no C++ backtrace) and a stable `code`.
#pragma once

#include <c10/util/Exception.h>
#include <napi.h>

#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

namespace cortorch::node {

// An error that has a code of its own.
class CodedError : public std::runtime_error {
 public:
  CodedError(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

// What is left of an exception once it has left its thread.
struct Failure {
  std::string code, message;
};

// To be called inside a catch block.
inline Failure current_failure() {
  try {
    throw;
  } catch (const CodedError& e) {
    return {e.code(), e.what()};
  } catch (const c10::OutOfMemoryError& e) {
    // Its first sentence says what was asked for and what there was; what follows is advice for Python.
    const std::string message = e.what_without_backtrace();
    return {"ERR_OUT_OF_MEMORY",
            message.substr(0, message.find(". ")) + "; use a smaller batch, precision bf16, or moments bf16"};
  } catch (const c10::Error& e) {
    return {"ERR_NATIVE", e.what_without_backtrace()};
  } catch (const std::bad_alloc&) {
    return {"ERR_OUT_OF_MEMORY", "out of memory"};
  } catch (const std::exception& e) {
    return {"ERR_NATIVE", e.what()};
  } catch (...) {
    return {"ERR_NATIVE", "an unknown C++ exception"};
  }
}

inline Napi::Error to_javascript(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failure.message);
  error.Set("code", failure.code);
  return error;
}

// The body of an export.
template <typename Body>
auto guarded(Napi::Env env, Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw to_javascript(env, current_failure());
  }
}

}  // namespace cortorch::node
