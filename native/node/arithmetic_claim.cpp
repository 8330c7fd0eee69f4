#include "node/arithmetic_claim.h"

#include <mutex>
#include <string>

#include "node/errors.h"

namespace cortorch::node {
namespace {

std::mutex mutex;
Place in_force;
int networks = 0;

std::string describe(const Place& place) {
  return std::string(place.tf32 ? "tf32" : "fp32 or bf16") + (place.deterministic ? ", deterministic" : "");
}

}  // namespace

ArithmeticClaim::ArithmeticClaim(const Place& place) : held_(place.on_gpu()) {
  if (!held_) return;
  const std::lock_guard lock(mutex);
  if (networks > 0 && (place.tf32 != in_force.tf32 || place.deterministic != in_force.deterministic)) {
    held_ = false;
    throw CodedError(
        "ERR_PRECISION_CONFLICT",
        "this network asks for " + describe(place) + ", but another one in this process computes in " +
            describe(in_force) +
            ", and that is a setting of the whole process; ask for the same, or dispose of the other network first");
  }
  in_force = place;
  use_arithmetic(place);
  ++networks;
}

void ArithmeticClaim::release() {
  if (!held_) return;
  held_ = false;
  const std::lock_guard lock(mutex);
  --networks;
}

}  // namespace cortorch::node
