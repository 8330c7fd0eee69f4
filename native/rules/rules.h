// The rules by name.
#pragma once

#include <memory>
#include <string>

#include "rules/rule.h"

namespace cortorch {

// The rule of a name; takes out the options that it has. Throws c10::Error if no rule has the name.
std::unique_ptr<Rule> make_rule(const std::string& name, Options& options);

}  // namespace cortorch
