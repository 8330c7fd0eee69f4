#include "training/cuda/update_tensors.h"

#include "base/cuda/here.h"
#include "training/cuda/update.h"

namespace cortorch::cuda {
namespace {

UpdateKind kind_of(OptimizerSpec::Kind kind) {
  switch (kind) {
    case OptimizerSpec::Kind::adam: return UpdateKind::adam;
    case OptimizerSpec::Kind::sgd: return UpdateKind::sgd;
    case OptimizerSpec::Kind::rmsprop: return UpdateKind::rmsprop;
  }
  TORCH_INTERNAL_ASSERT(false);
}

bool aligned(const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; }

}  // namespace

void update(Optimizer& optimizer, const std::vector<at::Tensor>& gradients, const UpdateConstants* table,
            const StepState* state) {
  const auto& parameters = optimizer.parameters();
  if (parameters.empty()) return;
  const Here here(parameters.front()->value);
  const OptimizerSpec& spec = optimizer.spec();
  // Those of maps and those of batch norm, whose gradients are float32 even where the maps' are bfloat16, apart.
  for (const bool bf16 : {false, true}) {
    const UpdateRule rule{kind_of(spec.kind), spec.batch_manhattan, spec.moments == Moments::bf16, bf16};
    UpdateList list;
    const auto flush = [&] {
      check_launch(update(list, rule, table, state, here.stream));
      list.count = 0;
    };
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const at::Tensor& gradient = gradients[i];
      if (!gradient.defined() || (gradient.scalar_type() == at::kBFloat16) != bf16 || gradient.numel() == 0) continue;
      const at::Tensor &value = parameters[i]->value, &compute = parameters[i]->compute;
      const at::Tensor &first = optimizer.first_moments()[i], &second = optimizer.second_moments()[i];
      UpdateList::Entry entry{};
      entry.value = value.mutable_data_ptr<float>();
      entry.copy = compute.is_same(value) ? nullptr : compute.mutable_data_ptr();
      entry.gradient = gradient.const_data_ptr();
      entry.first = mutable_or_null(first);
      entry.second = mutable_or_null(second);
      entry.values = value.numel();
      entry.number = static_cast<uint32_t>(i);
      entry.vector = aligned(entry.value) && aligned(entry.copy) && aligned(entry.gradient) && aligned(entry.first) &&
                     aligned(entry.second);
      list.entries[list.count++] = entry;
      if (list.count == UpdateList::most) flush();
    }
    if (list.count > 0) flush();
  }
}

}  // namespace cortorch::cuda
