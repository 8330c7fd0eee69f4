#include "rules/rules.h"

#include <c10/util/Exception.h>

#include <string_view>
#include <utility>

#include "rules/direct.h"
#include "rules/gradient.h"
#include "rules/target.h"

namespace cortorch {
namespace {

struct Entry {
  std::string_view name;
  std::unique_ptr<Rule> (*make)(std::string_view name, Options& options);
};

// A new rule has a line here.
constexpr Entry kRules[] = {
    {"bp", backpropagation},         {"fa", feedback_alignment},  {"dfa", direct_feedback_alignment},
    {"usf", sign_symmetry},          {"brsf", sign_symmetry},     {"frsf", sign_symmetry},
    {"tp", target_propagation},      {"dtp", target_propagation}, {"sdtp", target_propagation},
    {"ao-sdtp", target_propagation},
};

}  // namespace

std::unique_ptr<Rule> make_rule(const std::string& name, Options& options) {
  std::string known;
  for (const Entry& entry : kRules) {
    if (entry.name == name) return entry.make(entry.name, options);
    known.append(known.empty() ? "" : ", ").append(entry.name);
  }
  TORCH_CHECK(false, "unknown rule '", name, "'; known are ", known);
}

}  // namespace cortorch
