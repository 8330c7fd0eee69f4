#pragma once

namespace cortorch::cuda {

// fp32 and tf32 are float in memory; tf32 rounds the factors of products to 10 bits of fraction. bf16 is bfloat16 in
// memory, results and weight gradients included. Sums are float in all three.
enum class Precision { fp32, tf32, bf16 };

}  // namespace cortorch::cuda
