#include "rules/rule.h"

#include <c10/util/Exception.h>

#include <array>
#include <utility>

namespace cortorch {
namespace {

constexpr std::array<std::pair<std::string_view, Rule>, 10> kNames{{
    {"bp", Rule::bp},
    {"fa", Rule::fa},
    {"dfa", Rule::dfa},
    {"usf", Rule::usf},
    {"brsf", Rule::brsf},
    {"frsf", Rule::frsf},
    {"tp", Rule::tp},
    {"dtp", Rule::dtp},
    {"sdtp", Rule::sdtp},
    {"ao-sdtp", Rule::ao_sdtp},
}};

}  // namespace

Rule rule_from_name(std::string_view name) {
  for (const auto& [known, rule] : kNames) {
    if (known == name) return rule;
  }
  TORCH_CHECK(false, "unknown rule '", name, "'; known are bp, fa, dfa, usf, brsf, frsf, tp, dtp, sdtp, ao-sdtp");
}

std::string rule_name(Rule rule) {
  for (const auto& [name, known] : kNames) {
    if (known == rule) return std::string(name);
  }
  TORCH_INTERNAL_ASSERT(false);
}

}  // namespace cortorch
