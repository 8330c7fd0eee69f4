// Names of an enum's values: one table for each enum, beside it. The bindings parse by it, and errors list it.
#pragma once

#include <c10/util/Exception.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace cortorch {

// Names<E>::kind, what a value is called, and Names<E>::table, its names.
template <typename E>
struct Names;

template <typename E>
using NamedValue = std::pair<std::string_view, E>;

// Throws c10::Error that lists the names if there is none of that name.
template <typename E>
E from_name(std::string_view name) {
  for (const auto& [of_value, value] : Names<E>::table) {
    if (of_value == name) return value;
  }
  std::string known;
  for (const auto& [of_value, value] : Names<E>::table) known.append(known.empty() ? "" : ", ").append(of_value);
  TORCH_CHECK(false, "unknown ", Names<E>::kind, " '", name, "'; known are ", known);
}

template <typename E>
std::string name_of(E value) {
  for (const auto& [name, of_name] : Names<E>::table) {
    if (of_name == value) return std::string(name);
  }
  TORCH_INTERNAL_ASSERT(false);
}

}  // namespace cortorch
