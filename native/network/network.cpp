#include "network/network.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <string>
#include <utility>

namespace cortorch {
namespace {

at::Tensor batch_of(const at::Tensor& x, const Shape& shape) {
  Shape full{x.size(0)};
  full.insert(full.end(), shape.begin(), shape.end());
  return x.sizes() == at::IntArrayRef(full) ? x : x.reshape(full);
}

void refuse_all(const std::vector<std::string>& refusals) {
  std::string all;
  for (const std::string& refusal : refusals) all.append(all.empty() ? "" : "; ").append(refusal);
  TORCH_CHECK(refusals.empty(), all);
}

}  // namespace

Network::Network(NetworkSpec spec, std::unique_ptr<Rule> rule, uint64_t seed)
    : plan_(std::move(spec)), rule_(std::move(rule)) {
  const at::NoGradGuard no_grad;
  refuse_all(rule_->refusals(plan_));
  OwnParameters own;
  rule_->attach(plan_, seed, own);
  layers_.resize(plan_.sites.size());
  nodes_ = make_nodes(plan_.layers, {plan_.sites, *rule_, own, seed, layers_, parameters_});
  for (const ParameterPtr& parameter : own.of_network()) parameters_.add(parameter);
}

at::Tensor Network::forward(const at::Tensor& x, TrainingPass* pass) const {
  TrainingPass evaluation;
  return cortorch::forward(nodes_, batch_of(x, plan_.spec.input), pass == nullptr ? evaluation : *pass,
                           pass != nullptr);
}

void Network::keep(const std::vector<Moved>& moved) {
  const at::NoGradGuard no_grad;
  for (const auto& [state, values] : moved) state.copy_(values);
}

}  // namespace cortorch
