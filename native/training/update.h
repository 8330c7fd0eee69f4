// The constants of one update, for the processor's optimizer and for that of a GPU.
#pragma once

namespace cortorch {

struct UpdateConstants {
  float lr;
  float step;             // adam: lr / (1 − β1ᵗ)
  float root_correction;  // adam: 1 / √(1 − β2ᵗ)
  float beta1_complement, beta2, beta2_complement;
  float eps, momentum, weight_decay;
};

}  // namespace cortorch
