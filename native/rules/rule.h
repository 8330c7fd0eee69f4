#pragma once

#include "base/names.h"

namespace cortorch {

// How the error reaches the layer below.
enum class Rule {
  bp,   // by the transposed weights
  fa,   // by fixed random weights of the same shape (Lillicrap et al. 2016)
  dfa,  // from the output straight to each layer, by fixed random weights (Nøkland 2016)
  // Sign-symmetry (Liao et al. 2016; Xiao et al. 2019): by weights that share only their signs with the forward ones.
  usf,   // of one magnitude
  brsf,  // of random magnitudes, drawn afresh at each step
  frsf,  // of fixed random magnitudes
  // Target propagation (Lee et al. 2015; Bartunov et al. 2018): what travels down is not a gradient but the difference
  // of a layer's activity and its target.
  tp,       // the target itself through learned inverses
  dtp,      // difference rule; the penultimate target by the loss gradient
  sdtp,     // difference rule at the penultimate layer too
  ao_sdtp,  // the same with auxiliary outputs
};

template <>
struct Names<Rule> {
  static constexpr const char* kind = "rule";
  static constexpr NamedValue<Rule> table[] = {
      {"bp", Rule::bp},     {"fa", Rule::fa}, {"dfa", Rule::dfa}, {"usf", Rule::usf},   {"brsf", Rule::brsf},
      {"frsf", Rule::frsf}, {"tp", Rule::tp}, {"dtp", Rule::dtp}, {"sdtp", Rule::sdtp}, {"ao-sdtp", Rule::ao_sdtp},
  };
};

inline bool is_sign_symmetric(Rule rule) { return rule == Rule::usf || rule == Rule::brsf || rule == Rule::frsf; }

inline bool is_target_rule(Rule rule) {
  return rule == Rule::tp || rule == Rule::dtp || rule == Rule::sdtp || rule == Rule::ao_sdtp;
}

}  // namespace cortorch
