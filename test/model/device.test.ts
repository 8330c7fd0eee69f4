/**
 * Which device, in which numbers, and why not: every answer is of a description of the GPUs, so that none has to be
 * there.
 */
import t from 'tap';
import { cudaLines, describeCuda } from '../../lib/cli/doctor.js';
import { describeMemory, memoryTable } from '../../lib/cli/memory.js';
import { inverseOptimizerOf, memorySettingsOf, optimizerOf, resolveSettings } from '../../lib/cli/settings.js';
import { Network, preset, Trainer } from '../../lib/index.js';
import { requireMemoryForTraining } from '../../lib/model/budget.js';
import { availableOn, chooseGpu, parsePlace, resolvePlace, type FoundGpus } from '../../lib/model/device.js';
import type { NativeGpu } from '../../lib/native.js';
import { resolveOptimizer } from '../../lib/training/optimizer.js';
import { describeSetup } from '../../scripts/doctor.mjs';
import { whyNoKernels } from '../../scripts/cuda.mjs';

const cpuBuild = {
  ...{ version: '2.13.0+cpu', path: '/opt/libtorch', cuda: null },
  cudaKernels: 'none: libtorch is a CPU build',
};
const cudaBuild = {
  ...{ version: '2.13.0+cu130', path: '/opt/libtorch', cuda: '13.0' },
  cudaKernels: 'built by /usr/local/cuda/bin/nvcc for 80-real;90',
};
const h100: NativeGpu = {
  ...{ index: 0, name: 'NVIDIA H100 80GB HBM3', capability: '9.0', supported: true },
  ...{ memory: 85e9, free: 84e9 },
};
const v100: NativeGpu = {
  ...{ index: 1, name: 'Tesla V100-SXM2-16GB', capability: '7.0', supported: false },
  ...{ memory: 17e9, free: 16e9 },
};
/** A machine where all is well, but for what is said. */
const machine = (changes: Partial<FoundGpus> = {}): FoundGpus => ({
  ...{ built: true, driver: '13.0', runtime: '13.0', problem: null, devices: [h100], build: cudaBuild },
  ...changes,
});
const never = (): FoundGpus => {
  throw new Error('nobody should have looked for GPUs');
};

t.test('device, precision and deterministic', async (t) => {
  const plain = { device: 'cpu', precision: 'fp32', deterministic: false };
  t.strictSame(parsePlace({}), plain);
  t.strictSame(parsePlace({ deterministic: true }), { ...plain, deterministic: true }, 'as the CPU always is');
  t.equal(parsePlace({ device: 'cuda' }).device, 'cuda:0');
  t.equal(parsePlace({ device: 'cuda:12' }).device, 'cuda:12');
  t.strictSame(resolvePlace({}, never), { place: plain, gpu: null });
  const bf16 = { device: 'cuda', precision: 'bf16', deterministic: true } as const;
  t.strictSame(
    resolvePlace(bf16, () => machine()),
    { place: { ...bf16, device: 'cuda:0' }, gpu: h100 },
  );
  t.equal(
    availableOn('cuda:0', () => machine()),
    84e9,
  );
  t.ok(availableOn('cpu', never) > 0);

  for (const device of ['gpu', 'cuda:', 'cuda:x', 'cuda:-1', 'cuda:01', 'cuda:1000', 'CUDA', '', 3, null]) {
    t.throws(
      () => parsePlace({ device: device as string }),
      { code: 'ERR_INVALID_ARGUMENT', message: /^expected 'cpu', 'cuda' or 'cuda:i' for `device`/ },
      String(device),
    );
  }
  t.throws(() => parsePlace({ precision: 'fp16' as 'fp32' }), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /^expected 'fp32' or 'tf32' or 'bf16' for `precision` but received "fp16"/,
  });
  t.throws(() => parsePlace({ deterministic: 'yes' as never }), { code: 'ERR_INVALID_ARGUMENT' });
  for (const precision of ['tf32', 'bf16'] as const) {
    t.throws(() => resolvePlace({ precision }, never), {
      code: 'ERR_DEVICE_UNAVAILABLE',
      message: `precision ${precision} needs a GPU; use fp32 on the CPU, or device cuda`,
    });
  }
});

/** Every way in which there is no such GPU: what there is, and the message behind "device … is not available: ". */
const refusals: Readonly<Record<string, { found: FoundGpus; device?: string; why: string }>> = {
  'a CPU build of libtorch': {
    found: machine({
      ...{ built: false, driver: null, runtime: null, problem: 'not built', devices: [] },
      build: cpuBuild,
    }),
    why:
      'libtorch 2.13.0+cpu (/opt/libtorch) is a CPU build; use a CUDA one (pip install torch, or LIBTORCH=DIR of an ' +
      'unpacked one), then: npx cortorch setup',
  },
  'a CUDA libtorch without nvcc': {
    found: machine({
      built: false,
      build: {
        ...cudaBuild,
        cudaKernels: 'none: there is no nvcc: put it on PATH, or name it with CUDACXX',
      },
    }),
    why:
      'libtorch 2.13.0+cu130 is for CUDA 13.0, but its CUDA kernels are not built: there is no nvcc: put it on PATH, or ' +
      "name it with CUDACXX; install CUDA's compiler (apt-get install cuda-toolkit-13-0, see docs/gpu.md), then: npx cortorch setup",
  },
  'an nvcc that does not work': {
    found: machine({
      built: false,
      build: {
        ...cudaBuild,
        cuda: 'unknown',
        cudaKernels: 'none: /usr/bin/nvcc does not work with /usr/bin/g++',
      },
    }),
    why:
      'libtorch 2.13.0+cu130 is a CUDA build, but its CUDA kernels are not built: /usr/bin/nvcc does not work with ' +
      '/usr/bin/g++; put that right (see docs/gpu.md), then: npx cortorch setup',
  },
  'no driver': {
    found: machine({ driver: null, problem: 'CUDA driver is not installed', devices: [] }),
    why:
      'no NVIDIA driver is loaded (CUDA says: CUDA driver is not installed); install one until nvidia-smi shows the GPU ' +
      '(see docs/gpu.md), and start a container with --gpus all',
  },
  'a driver that is too old': {
    found: machine({ driver: '12.4', problem: 'CUDA driver version is insufficient', devices: [] }),
    why:
      'the NVIDIA driver is for CUDA 12.4, and this build for CUDA 13.0 (CUDA says: CUDA driver version is insufficient); ' +
      'install a newer driver, or a libtorch for CUDA 12 (see docs/gpu.md), then: npx cortorch setup',
  },
  'no GPU': {
    found: machine({ problem: 'no CUDA-capable device is detected', devices: [] }),
    why:
      'the NVIDIA driver shows no GPU (CUDA says: no CUDA-capable device is detected); look at nvidia-smi and ' +
      'CUDA_VISIBLE_DEVICES, and start a container with --gpus all',
  },
  'fewer GPUs': {
    found: machine(),
    device: 'cuda:3',
    why: 'there is only cuda:0 (NVIDIA H100 80GB HBM3); use one of these',
  },
  'other GPUs': {
    found: machine({ devices: [h100, { ...h100, index: 1 }] }),
    device: 'cuda:2',
    why: 'there are cuda:0 (NVIDIA H100 80GB HBM3), cuda:1 (NVIDIA H100 80GB HBM3); use one of these',
  },
  'an old chip': {
    found: machine({ devices: [{ ...v100, index: 0 }] }),
    why:
      'cuda:0 is a Tesla V100-SXM2-16GB of compute capability 7.0, and the kernels need 8.0 (A100, RTX 30) or newer; use ' +
      'such a GPU, or device cpu',
  },
  'an old chip beside a newer one': {
    found: machine({ devices: [h100, v100] }),
    device: 'cuda:1',
    why:
      'cuda:1 is a Tesla V100-SXM2-16GB of compute capability 7.0, and the kernels need 8.0 (A100, RTX 30) or newer; use ' +
      'such a GPU, or device cpu; device cuda:0 can be used',
  },
  'a chip that is newer than the build': {
    found: machine({ devices: [{ ...h100, capability: '12.0', name: 'RTX 5090', supported: false }] }),
    why:
      'cuda:0 is a RTX 5090 of compute capability 12.0, which the kernels and libtorch 2.13.0+cu130 are not built for ' +
      '(kernels: built by /usr/local/cuda/bin/nvcc for 80-real;90); use a libtorch for a newer CUDA (see docs/gpu.md), ' +
      'then: npx cortorch setup',
  },
};

t.test('one message with the remedy, and the same words from doctor', async (t) => {
  for (const [name, { found, device = 'cuda:0', why }] of Object.entries(refusals)) {
    const error = {
      code: 'ERR_DEVICE_UNAVAILABLE',
      message: `device ${device} is not available: ${why}`,
    };
    t.throws(() => chooseGpu(device, found), error, name);
    t.throws(() => resolvePlace({ device }, () => found), error, name);
    t.notMatch(error.message, /\n/);
    // As scripts/doctor.mjs describes the build.
    const unbuilt = whyNoKernels(found.build, found.build.cudaKernels);
    const build = { built: found.built, reason: unbuilt ?? found.build.cudaKernels };
    const [line, ...rest] = cudaLines(describeCuda(build, () => found));
    if (device === 'cuda:0') t.strictSame(line, ['CUDA', `no: ${why}`], name);
    else if (name.includes('chip')) t.match(rest.at(-1)![1], /not supported: cuda:1 is a Tesla/);
    else t.match(line, ['CUDA', /^yes: kernels built by/]);
  }
});

t.test('what doctor says of GPUs', async (t) => {
  const build = { built: true, reason: cudaBuild.cudaKernels };
  const cuda = describeCuda(build, () => machine({ devices: [h100, v100] }));
  t.match(cuda, { built: true, available: true, driver: '13.0', runtime: '13.0' });
  t.strictSame(cuda.devices[0], { ...h100, problem: null });
  t.strictSame(cudaLines(cuda).slice(0, 3), [
    ['CUDA', 'yes: kernels built by /usr/local/cuda/bin/nvcc for 80-real;90'],
    ['  driver', '13.0, built for CUDA 13.0'],
    ['  cuda:0', 'NVIDIA H100 80GB HBM3, compute capability 9.0, 85.0 GB (84.0 GB free)'],
  ]);
  t.match(cudaLines(cuda)[3], ['  cuda:1', /^Tesla .* 17\.0 GB \(16\.0 GB free\); not supported: cuda:1 is/]);
  t.strictSame(describeCuda({ built: false, reason: 'why' }, never).devices, [], 'nobody looks in vain');
  t.equal(
    whyNoKernels(cudaBuild, null),
    'libtorch 2.13.0+cu130 is for CUDA 13.0, but nothing is built yet; run npx cortorch setup',
  );
  t.match(whyNoKernels(cudaBuild, null, false), /there is no nvcc.*cuda-toolkit-13-0/);
  const setup = describeSetup();
  t.type(setup.cuda.reason, 'string');
  if (setup.built?.cuda === null) t.match(setup.cuda.reason, /is a CPU build; use a CUDA one/);
});

t.test('moments in bf16 are a setting of the optimizers that keep some, on a GPU', async (t) => {
  t.equal(resolveOptimizer({ moments: 'bf16' }).moments, 'bf16');
  t.equal(resolveOptimizer({ type: 'sgd', momentum: 0.9, moments: 'bf16' }).moments, 'bf16');
  t.equal(resolveOptimizer().moments, 'fp32');
  t.throws(() => resolveOptimizer({ moments: 'fp16' as 'bf16' }), { code: 'ERR_INVALID_ARGUMENT' });
  t.throws(() => resolveOptimizer({ type: 'sgd', moments: 'bf16' }), {
    code: 'ERR_UNUSED_OPTION',
    message: /optimizer\.moments is not used by sgd without momentum.*set optimizer\.momentum, or leave it out/,
  });
  using network = new Network(preset('mnist-fc'), { rule: 'dtp' });
  t.match(network, { device: 'cpu', precision: 'fp32', deterministic: false });
  t.throws(() => new Trainer(network, { optimizer: { moments: 'bf16' } }), {
    code: 'ERR_UNUSED_OPTION',
    message: 'optimizer.moments bf16 is not used by device cpu; choose device cuda, or leave it out',
  });
  t.throws(() => new Trainer(network, { inverseOptimizer: { moments: 'bf16' } }), {
    code: 'ERR_UNUSED_OPTION',
    message: /^inverseOptimizer\.moments bf16/,
  });
  t.doesNotThrow(() => new Trainer(network, { optimizer: { moments: 'fp32' } }));
});

t.test('the settings of a run on a GPU', async (t) => {
  const mnist = { dataset: 'mnist', model: 'mnist-fc' } as const;
  const onGpu = { ...mnist, device: 'cuda', precision: 'bf16', moments: 'bf16' } as const;
  const config = await resolveSettings({ ...onGpu, deterministic: true }, undefined, () => machine());
  t.match(config, {
    ...{ device: 'cuda:0', precision: 'bf16', deterministic: true, moments: 'bf16' },
    versions: { gpu: h100.name },
  });
  t.equal(optimizerOf(config).moments, 'bf16');
  t.match(memorySettingsOf(config), { device: 'cuda:0', precision: 'bf16', optimizer: { moments: 'bf16' } });
  const { network: _, versions: __, ...saved } = config;
  t.strictSame(await resolveSettings(saved, undefined, () => machine()), config, 'it resolves to itself');

  const dtp = { ...mnist, rule: 'dtp', device: 'cuda', inverseMoments: 'bf16' } as const;
  const inverse = await resolveSettings(dtp, undefined, () => machine());
  t.match(inverse, { moments: 'fp32', inverseMoments: 'bf16' });
  t.equal(inverseOptimizerOf(inverse)?.moments, 'bf16');

  const onCpu = await resolveSettings(mnist, undefined, never);
  t.match(onCpu, { device: 'cpu', precision: 'fp32', deterministic: false, moments: 'fp32' });
  t.notOk('gpu' in onCpu.versions);
  const sgd = { ...mnist, optimizer: 'sgd', device: 'cuda' } as const;
  t.notOk('moments' in (await resolveSettings(sgd, undefined, () => machine())), 'it keeps none');

  await t.rejects(resolveSettings({ ...sgd, moments: 'bf16' }, undefined, never), {
    code: 'ERR_UNUSED_OPTION',
    message:
      '--moments is not used by optimizer sgd without momentum, which keeps none; add --momentum, or leave it out',
  });
  await t.rejects(
    resolveSettings({ ...mnist, device: 'cuda:1' }, undefined, () => machine()),
    {
      code: 'ERR_DEVICE_UNAVAILABLE',
    },
  );
});

t.test('the memory of a model on a GPU, as a table', async (t) => {
  const asked = { model: 'imagenet-lc', rule: 'dfa', batchSize: 256, device: 'cuda' } as const;
  const { training } = await describeMemory({ ...asked, precision: 'bf16' }, () => machine());
  t.match(training, {
    device: 'cuda:0',
    precision: 'bf16',
    available: 84e9,
    problem: null,
    total: 6_966_965_200,
  });
  t.equal(
    memoryTable(training!),
    [
      '─'.repeat(70),
      ' imagenet-lc with dfa, adam, batches of 256, cuda:0 in bf16    memory',
      '─'.repeat(70),
      ' weights                                                      1.04 GB',
      ' bf16 copies                                                   520 MB',
      ' feedback                                                      696 MB',
      ' gradients                                                     520 MB',
      ' optimizer state                                              2.08 GB',
      ' activations                                                   497 MB',
      ' unrecorded steps                                             1.02 GB',
      ' CUDA itself                                                   600 MB',
      ' in all                                                       6.97 GB',
      ' available on cuda:0                                          84.0 GB',
      '─'.repeat(70),
    ].join('\n'),
  );

  const small = machine({ devices: [{ ...h100, free: 6.8e9 }] });
  const { training: tight } = await describeMemory({ ...asked, rule: 'bp' }, () => small);
  t.match(tight?.problem, {
    code: 'ERR_OUT_OF_MEMORY',
    message: /cuda:0 has 6\.80 GB for it; use a batch size of at most \d+ or precision bf16 or moments bf16$/,
  });

  // A server's run may be planned on a laptop.
  const { found } = refusals['no driver']!;
  const { training: planned } = await describeMemory(asked, () => found);
  t.match(planned, { available: null, problem: { code: 'ERR_DEVICE_UNAVAILABLE' }, runtime: 6e8 });
  t.match(memoryTable(planned!), / available on cuda:0 +none\n/);

  const config = await resolveSettings(
    { ...asked, dataset: 'imagenet', dataDir: '/data', batchSize: 128 },
    undefined,
    () => machine(),
  );
  t.doesNotThrow(() =>
    requireMemoryForTraining(config.network, memorySettingsOf(config), { available: 8_182_875_936 }),
  );
});
