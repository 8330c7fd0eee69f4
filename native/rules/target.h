// Target propagation (Lee et al. 2015; Bartunov et al. 2018): what travels down is no gradient but the difference of a
// layer's activity and its target, which learned inverses bring from layer to layer. target_layer.h has the layers.
#pragma once

#include <memory>
#include <string_view>

#include "rules/rule.h"

namespace cortorch {

// tp: the target itself goes down; dtp: the difference rule, with the penultimate target by the loss's gradient; sdtp:
// the difference rule at the penultimate layer too; ao-sdtp: the same with auxiliary outputs. Option auxiliary (512) of
// ao-sdtp; a trainer's options are lossReduction (sum), inverseLoss (noise-preserving of tp and dtp, de-noising of the
// others), noise (0.1, or one for each inverse from below), and of dtp targetStep (0.1), targetStepLoss (example).
std::unique_ptr<Rule> target_propagation(std::string_view name, Options& options);

}  // namespace cortorch
