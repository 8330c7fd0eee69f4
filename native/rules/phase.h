#pragma once

#include "base/names.h"

namespace cortorch {

// Which losses a step is made for: the task's with the layers' targets, the one of what a rule learns beside it
// (inverses), or both from the same parameters.
enum class Phase { forward, inverse, both };

template <>
struct Names<Phase> {
  static constexpr const char* kind = "phase";
  static constexpr NamedValue<Phase> table[] = {
      {"forward", Phase::forward},
      {"inverse", Phase::inverse},
      {"both", Phase::both},
  };
};

inline bool trains_forward(Phase phase) { return phase != Phase::inverse; }

}  // namespace cortorch
