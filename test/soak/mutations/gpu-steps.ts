/** Slips in how steps are given to the GPU, and batches. The emulation's copies arrive as late as they may. */
import type { Mutation } from './mutation.js';

const file = 'native/training/cuda/uploader.cpp';
const stepper = 'native/training/cuda/gpu_stepper.cpp';
const JUDGE = '  const Here here(state_);\n  check_launch(judge(state(), here.stream));\n';
const TAKEN = `  const bool learns = task_.trains_own(phase);
  std::vector<at::Tensor> gradients, rule_gradients;
  if (trains_forward(phase)) gradients = task_.optimizer.take_gradients();
  if (learns) rule_gradients = task_.rule_optimizer->take_gradients();
  // Not before all is computed: a step that breaks until here was not counted, and has moved nothing.
`;
const BACKWARD = '  if (trains_forward(phase)) loss.backward();\n';
const tests = ['training_check'];
const RECORD = '    C10_CUDA_CHECK(cudaEventRecord(slot.copied, stream_.stream()));\n';
const IMAGES = '    copy(slot.pinned_images, slot.images);\n';
const TARGETS = '    copy(slot.pinned_targets, slot.targets);\n';

export const mutations: readonly Mutation[] = [
  {
    what: 'computations do not wait for the copies',
    file,
    from: '  C10_CUDA_CHECK(cudaStreamWaitEvent(compute, slot.copied, 0));\n',
    to: '  (void)compute;\n',
    tests,
  },
  {
    what: 'the event stands before the copies',
    file,
    from: IMAGES + TARGETS + RECORD,
    to: RECORD + IMAGES + TARGETS,
    tests,
  },
  { what: 'the event stands before the targets’ copy', file, from: TARGETS + RECORD, to: RECORD + TARGETS, tests },
  {
    what: 'the event is on the computations’ stream',
    file,
    from: 'cudaEventRecord(slot.copied, stream_.stream())',
    to: 'cudaEventRecord(slot.copied, compute)',
    tests,
  },
  {
    what: 'a step is counted before its backward pass',
    file: stepper,
    from: BACKWARD + TAKEN + JUDGE,
    to: JUDGE + BACKWARD + TAKEN,
    tests,
  },
  {
    what: 'after a failed launch others follow',
    file: stepper,
    from: '    launching_->broken = true;\n',
    to: '',
    tests,
  },
  {
    what: 'a run that fails leaves the optimizer’s steps behind',
    file: stepper,
    from: '        trainer_.end();\n      } catch',
    to: '      } catch',
    tests,
  },
  {
    what: 'a launch in another phase is taken',
    file: 'native/training/trainer.cpp',
    from: '!launched_phase_ || *launched_phase_ == position.phase,',
    to: 'true,',
    tests,
  },
  {
    what: 'a run forgets what was launched',
    file: 'native/training/trainer.cpp',
    from: 'TORCH_CHECK(!launched_phase_, "trainer: steps were launched and not collected; collect them first");\n',
    to: '',
    tests,
  },
  {
    what: 'a diagnosis begins the state anew',
    file: stepper,
    from: '  // The augmentation is a function of the epoch.',
    to: '  begin(position, {}, {});\n  // The augmentation is a function of the epoch.',
    tests,
  },
  {
    what: 'what a step moves is not kept',
    file: stepper,
    from: '  if (list.count > 0) flush();\n',
    to: '',
    tests,
  },
  {
    what: 'a step that breaks on the GPU leaves its gradients to the next one',
    file: stepper,
    from: '  } catch (...) {\n    task_.drop_gradients();\n',
    to: '  } catch (...) {\n',
    tests,
  },
  {
    what: 'what the rule learns is updated by the constants of the rest',
    file: stepper,
    from: 'rule_gradients, constants_in(rule_table_)',
    to: 'rule_gradients, constants_in(table_)',
    tests,
  },
  {
    what: 'in bfloat16 batch norm has parameters of that',
    file: 'native/network/parameters.cpp',
    from: 'parameter->stays_float32 ? at::kFloat : compute;',
    to: 'compute;',
    tests,
  },
  {
    what: 'in bfloat16 the inverses have no float32 values that are trained',
    file: 'native/network/parameters.cpp',
    from: 'parameter->role != Parameter::Role::fixed;',
    to: 'parameter->role == Parameter::Role::forward;',
    tests,
  },
  {
    what: 'in bfloat16 the copies that are computed with do not follow what is loaded',
    file: 'native/network/parameters.cpp',
    from: '    if (!parameter->compute.is_same(parameter->value)) parameter->compute.detach().copy_(parameter->value);\n',
    to: '    (void)parameter;\n',
    tests,
  },
  {
    what: 'a batch takes the memory of the one before',
    file,
    from: 'next_ = (next_ + 1) % slots_.size();',
    to: 'next_ = 0;',
    tests,
    untried: 'then nothing runs beside a copy: it is slower, and right',
  },
  {
    what: 'a batch does not wait until the one before the last was used',
    file,
    from: '    C10_CUDA_CHECK(cudaEventSynchronize(slot.used));\n',
    to: '',
    tests,
    untried: 'the emulation computes at once: what is in use too long needs a GPU',
  },
];
