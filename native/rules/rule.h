#pragma once

#include <string>
#include <string_view>

namespace cortorch {

// How the error reaches the layer below.
enum class Rule {
  bp,   // by the transposed weights
  fa,   // by fixed random weights of the same shape (Lillicrap et al. 2016)
  dfa,  // from the output straight to each layer, by fixed random weights (Nøkland 2016)
};

// Throws c10::Error naming the rule if there is none of that name.
Rule rule_from_name(std::string_view name);
std::string rule_name(Rule rule);

}  // namespace cortorch
