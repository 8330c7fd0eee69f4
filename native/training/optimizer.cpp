#include "training/optimizer.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

#include "base/gpu.h"
#include "base/pool.h"
#include "base/simd.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace cortorch {
namespace {

// Moments of weights whose input is nearly always zero decay into subnormal numbers, on which many
// processors are a hundred times slower. They are flushed to zero while an update runs.
class FlushSubnormals {
 public:
#if defined(__x86_64__)
  FlushSubnormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
  ~FlushSubnormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#endif
};

CORTORCH_CLONES
void adam(float* __restrict__ p, const float* __restrict__ g, float* __restrict__ m, float* __restrict__ v, int64_t n,
          const UpdateConstants& constants) {
  const UpdateConstants c = constants;
  for (int64_t i = 0; i < n; ++i) {
    const float gradient = g[i] + c.weight_decay * p[i];
    m[i] += (gradient - m[i]) * c.beta1_complement;
    v[i] = v[i] * c.beta2 + c.beta2_complement * gradient * gradient;
    p[i] -= c.step * m[i] / (__builtin_sqrtf(v[i]) * c.root_correction + c.eps);
  }
}

CORTORCH_CLONES
void signs(const float* __restrict__ g, float* __restrict__ out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>((g[i] > 0) - (g[i] < 0));
}

CORTORCH_CLONES
void sgd(float* __restrict__ p, const float* __restrict__ g, int64_t n, float lr, float weight_decay) {
  for (int64_t i = 0; i < n; ++i) p[i] -= lr * (g[i] + weight_decay * p[i]);
}

CORTORCH_CLONES
void sgd_momentum(float* __restrict__ p, const float* __restrict__ g, float* __restrict__ buffer, int64_t n, float lr,
                  float momentum, float weight_decay) {
  for (int64_t i = 0; i < n; ++i) {
    buffer[i] = momentum * buffer[i] + (g[i] + weight_decay * p[i]);
    p[i] -= lr * buffer[i];
  }
}

CORTORCH_CLONES
void rmsprop(float* __restrict__ p, const float* __restrict__ g, float* __restrict__ square, int64_t n,
             const UpdateConstants& constants) {
  const UpdateConstants c = constants;
  for (int64_t i = 0; i < n; ++i) {
    const float gradient = g[i] + c.weight_decay * p[i];
    square[i] = square[i] * c.beta2 + c.beta2_complement * gradient * gradient;
    p[i] -= c.lr * gradient / (__builtin_sqrtf(square[i]) + c.eps);
  }
}

CORTORCH_CLONES
void rmsprop_momentum(float* __restrict__ p, const float* __restrict__ g, float* __restrict__ square,
                      float* __restrict__ buffer, int64_t n, const UpdateConstants& constants) {
  const UpdateConstants c = constants;
  for (int64_t i = 0; i < n; ++i) {
    const float gradient = g[i] + c.weight_decay * p[i];
    square[i] = square[i] * c.beta2 + c.beta2_complement * gradient * gradient;
    buffer[i] = c.momentum * buffer[i] + gradient / (__builtin_sqrtf(square[i]) + c.eps);
    p[i] -= c.lr * buffer[i];
  }
}

// 64 KiB of each array: long enough to be worth a call, short enough to share out evenly.
constexpr int64_t kChunk = 16384;

}  // namespace

Optimizer::Optimizer(OptimizerSpec spec, std::vector<ParameterPtr> parameters)
    : spec_(spec), parameters_(std::move(parameters)), first_(parameters_.size()), second_(parameters_.size()) {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor value = parameters_[i]->value.detach();
    TORCH_INTERNAL_ASSERT(value.is_contiguous() && value.scalar_type() == at::kFloat);
    const auto moment = [&] {
      const auto type = spec_.moments == Moments::bf16 ? at::kBFloat16 : at::kFloat;
      return on_gpu(value) ? at::zeros(value.sizes(), value.options().dtype(type))
                           : pooled_empty(value.sizes()).zero_();
    };
    TORCH_CHECK(on_gpu(value) || spec_.moments == Moments::fp32,
                "optimizer: moments in bfloat16 are for training on a GPU");
    using Kind = OptimizerSpec::Kind;
    if (spec_.kind == Kind::adam || spec_.momentum != 0) first_[i] = moment();
    if (spec_.kind == Kind::adam || spec_.kind == Kind::rmsprop) second_[i] = moment();
    for (int64_t begin = 0; begin < value.numel(); begin += kChunk) {
      chunks_.push_back({i, begin, std::min(value.numel(), begin + kChunk)});
    }
  }
}

std::vector<std::pair<std::string, at::Tensor>> Optimizer::state(std::size_t i) const {
  using Kind = OptimizerSpec::Kind;
  std::vector<std::pair<std::string, at::Tensor>> state;
  if (first_[i].defined()) state.emplace_back(spec_.kind == Kind::adam ? "exp_avg" : "momentum_buffer", first_[i]);
  if (second_[i].defined()) state.emplace_back(spec_.kind == Kind::adam ? "exp_avg_sq" : "square_avg", second_[i]);
  return state;
}

UpdateConstants Optimizer::constants(double lr_factor, int64_t number) const {
  const double lr = spec_.lr * lr_factor, t = static_cast<double>(number);
  return {
      static_cast<float>(lr),
      static_cast<float>(lr / (1 - std::pow(spec_.beta1, t))),
      static_cast<float>(1 / std::sqrt(1 - std::pow(spec_.beta2, t))),
      static_cast<float>(1 - spec_.beta1),
      static_cast<float>(spec_.beta2),
      static_cast<float>(1 - spec_.beta2),
      static_cast<float>(spec_.eps),
      static_cast<float>(spec_.momentum),
      static_cast<float>(spec_.weight_decay),
  };
}

std::vector<at::Tensor> Optimizer::take_gradients() {
  std::vector<at::Tensor> gradients(parameters_.size());
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    at::Tensor& gradient = parameters_[i]->compute.mutable_grad();
    if (gradient.defined()) gradients[i] = gradient.contiguous();
    gradient.reset();
  }
  // A rule of somebody's own may have written them.
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    const at::Tensor& compute = parameters_[i]->compute;
    const at::Tensor& gradient = gradients[i];
    TORCH_CHECK(!gradient.defined() ||
                    (gradient.sizes() == compute.sizes() && gradient.device() == compute.device() &&
                     (gradient.scalar_type() == at::kFloat || gradient.scalar_type() == compute.scalar_type())),
                "the gradient of ", parameters_[i]->name, " is ", gradient.scalar_type(), " ", gradient.sizes(),
                ", but the parameter ", compute.scalar_type(), " ", compute.sizes());
  }
  return gradients;
}

void Optimizer::step(double lr_factor) {
  const UpdateConstants c = constants(lr_factor, ++steps_);
  const std::vector<at::Tensor> gradients = take_gradients();
  const auto data = [](const at::Tensor& t) { return t.defined() ? t.mutable_data_ptr<float>() : nullptr; };
  at::parallel_for(0, static_cast<int64_t>(chunks_.size()), 1, [&](int64_t begin, int64_t end) {
    const FlushSubnormals flush;
    std::vector<float> sign(spec_.batch_manhattan ? kChunk : 0);
    for (int64_t i = begin; i < end; ++i) {
      const Chunk& chunk = chunks_[static_cast<std::size_t>(i)];
      const std::size_t k = chunk.parameter;
      if (!gradients[k].defined()) continue;
      const int64_t n = chunk.end - chunk.begin;
      float* p = parameters_[k]->value.mutable_data_ptr<float>() + chunk.begin;
      const float* g = gradients[k].const_data_ptr<float>() + chunk.begin;
      if (spec_.batch_manhattan) {
        signs(g, sign.data(), n);
        g = sign.data();
      }
      float* first = first_[k].defined() ? data(first_[k]) + chunk.begin : nullptr;
      float* second = second_[k].defined() ? data(second_[k]) + chunk.begin : nullptr;
      switch (spec_.kind) {
        case OptimizerSpec::Kind::adam: adam(p, g, first, second, n, c); break;
        case OptimizerSpec::Kind::sgd:
          if (first == nullptr) {
            sgd(p, g, n, c.lr, c.weight_decay);
          } else {
            sgd_momentum(p, g, first, n, c.lr, c.momentum, c.weight_decay);
          }
          break;
        case OptimizerSpec::Kind::rmsprop:
          if (first == nullptr) {
            rmsprop(p, g, second, n, c);
          } else {
            rmsprop_momentum(p, g, second, first, n, c);
          }
          break;
      }
    }
  });
}

}  // namespace cortorch
