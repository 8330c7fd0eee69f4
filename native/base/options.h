// Options by name, as a script gives them. Who reads them takes them out, so that what is left over is a mistake.
#pragma once

#include <c10/util/Exception.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/names.h"

namespace cortorch {

class Options {
 public:
  using Value = std::variant<double, std::string, std::vector<double>>;

  void set(const std::string& name, Value value) { values_[name] = std::move(value); }

  bool has(const std::string& name) const { return values_.count(name) != 0; }
  // Of an option that is always there: a rule's own, whose defaults its declaration has.
  double number(const std::string& name) { return required(name), number(name, 0); }
  int64_t integer(const std::string& name) { return required(name), integer(name, 0); }
  std::string text(const std::string& name) { return required(name), text(name, ""); }

  // The value of an option, or what holds where it is not given. Throws c10::Error for a value of another type.
  double number(const std::string& name, double otherwise) { return take<double>(name, otherwise, "a number"); }
  int64_t integer(const std::string& name, int64_t otherwise) {
    const double value = number(name, static_cast<double>(otherwise));
    TORCH_CHECK(std::floor(value) == value && std::abs(value) < 0x1p53, "expected a whole number for ", name,
                ", but received ", value);
    return static_cast<int64_t>(value);
  }
  std::string text(const std::string& name, std::string otherwise) {
    return take<std::string>(name, std::move(otherwise), "a word");
  }
  // One number is a list of one.
  std::vector<double> numbers(const std::string& name, std::vector<double> otherwise) {
    const auto found = values_.find(name);
    if (found != values_.end() && std::holds_alternative<double>(found->second)) return {number(name, 0)};
    return take<std::vector<double>>(name, std::move(otherwise), "a list of numbers");
  }
  // One of an enum's names.
  template <typename E>
  E one_of(const std::string& name, E otherwise) {
    return from_name<E>(text(name, name_of(otherwise)));
  }

  // Takes out all whose names begin with the prefix, without it.
  Options with_prefix(const std::string& prefix) {
    Options taken;
    for (auto option = values_.lower_bound(prefix); option != values_.end() && option->first.starts_with(prefix);) {
      taken.set(option->first.substr(prefix.size()), std::move(option->second));
      option = values_.erase(option);
    }
    return taken;
  }

  // Throws c10::Error if an option is left that nobody has asked for.
  void done(const std::string& of) const {
    TORCH_CHECK(values_.empty(), of, " has no option ", values_.begin()->first);
  }

 private:
  void required(const std::string& name) const {
    TORCH_CHECK(has(name), "there is no option ", name, ": CORTORCH_RULE has to declare it");
  }

  template <typename T>
  T take(const std::string& name, T otherwise, const char* expected) {
    const auto found = values_.find(name);
    if (found == values_.end()) return otherwise;
    T* value = std::get_if<T>(&found->second);
    TORCH_CHECK(value != nullptr, "expected ", expected, " for ", name);
    T result = std::move(*value);
    values_.erase(found);
    return result;
  }

  std::map<std::string, Value> values_;
};

}  // namespace cortorch
