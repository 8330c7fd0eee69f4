#include "rules/rule.h"

#include <c10/util/Exception.h>

namespace cortorch {

Rule rule_from_name(std::string_view name) {
  if (name == "bp") return Rule::bp;
  if (name == "fa") return Rule::fa;
  if (name == "dfa") return Rule::dfa;
  TORCH_CHECK(false, "unknown rule '", name, "'; known are bp, fa, dfa");
}

std::string rule_name(Rule rule) {
  switch (rule) {
    case Rule::bp: return "bp";
    case Rule::fa: return "fa";
    case Rule::dfa: return "dfa";
  }
  TORCH_INTERNAL_ASSERT(false);
}

}  // namespace cortorch
