/** Slips on a batch's way to the GPU. The emulation's copies arrive as late as they may. */
import type { Mutation } from './mutation.js';

const file = 'native/training/cuda/uploader.cpp';
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
