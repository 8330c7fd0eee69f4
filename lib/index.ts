/** cortorch: biologically motivated deep learning at libtorch speed, from TypeScript. */

export { CortorchError, type CortorchErrorCode } from './errors.js';

export {
  network,
  type Convolution1dOptions,
  type BatchNormOptions,
  type ConvolutionOptions,
  type DenseOptions,
  type ImageBuilder,
  type ImageShape,
  type Pool1dOptions,
  type PoolOptions,
  type ResidualOptions,
  type SignalBuilder,
  type SignalShape,
  type VectorBuilder,
  type VectorShape,
} from './model/builder.js';
export {
  Network,
  type Evaluation,
  type NetworkOptions,
  type Normalization,
  type ParameterInfo,
  type ParameterValue,
  type StateDict,
} from './model/network.js';
export { type Precision } from './model/device.js';
export { type MatchOptions, type MatchReport, type Misshaped } from './model/match-parameters.js';
export { preset, presetNames, type PresetName } from './model/presets.js';
export {
  type ActivationName,
  type AvgPool2dSpec,
  type BatchNormSpec,
  type Conv2dSpec,
  type DenseSpec,
  type FlattenSpec,
  type InitializerName,
  type LayerSpec,
  type LocallyConnected2dSpec,
  type MaxPool2dSpec,
  type ResidualSpec,
} from './model/layers.js';
export { type Padding2d, type Size2d, type WindowOptions } from './model/geometry.js';
export { parseNetworkSpec, type LossName, type NetworkSpec, type ResolvedSpec } from './model/spec.js';
export { trainingBudget, type BudgetOptions, type MemoryBudget } from './model/budget.js';

export { loadRule } from './rules/load-rule.js';
export { ruleNames, type RuleName, type RuleOptions } from './rules/names.js';
export type { OwnRule } from './rules/rule.js';
export { type InverseShapes, type Phase } from './rules/rule.js';
export { type DfaFeedback } from './rules/direct.js';
export {
  type FeedbackScale,
  type GradientRuleName,
  type LastLayer,
  type SignSymmetricRuleName,
} from './rules/gradient.js';
export {
  type InverseLoss,
  type LossReduction,
  type ResolvedTargets,
  type ScheduleName,
  type TargetOptions,
  type TargetRuleName,
  type TargetStepLoss,
} from './rules/target.js';
export {
  dfaHiddenLayer,
  dfaOutputLayer,
  layer,
  targetLayer,
  targetOutputLayer,
  type InverseOptions,
  type LayerMap,
  type LayerOptions,
} from './rules/layer.js';

export {
  openCheckpoint,
  StoredTensor,
  type CheckpointFile,
  type CheckpointFormat,
  type StoredValue,
} from './checkpoint/checkpoint-file.js';
export { loadTorchFile, saveTorchFile } from './checkpoint/torch-file.js';
export { saveSafetensors } from './checkpoint/safetensors.js';
export { tensorsOf } from './checkpoint/stored-values.js';
export {
  tensorDataFrom,
  typedArrayOf,
  type DType,
  type TensorData,
  type TypedArray,
} from './checkpoint/tensor-data.js';
export { OrderedDict, PyFloat, Tuple, type CheckpointValue } from './checkpoint/value.js';
export { readParameters } from './training/find-parameters.js';
export { type SavedOptimizer } from './training/checkpoint-optimizer.js';
export { readOptimizer } from './training/saved-optimizer.js';

export { type BatchStream, type StreamBatch } from './data/batch-stream.js';
export { type BatchSource } from './model/batches.js';
export {
  type Moments,
  type OptimizerName,
  type OptimizerOptions,
  type ResolvedOptimizer,
} from './training/optimizer.js';
export { trainerDefaults, type Hyperparameters } from './training/hyperparameters.js';
export { type LrScheduleName, type LrScheduleOptions, type ResolvedLrSchedule } from './training/lr-schedule.js';
export { Trainer, type TrainerOptions } from './training/trainer.js';
export { type FitOptions } from './training/fit-options.js';
export {
  type DiagnosticsEvent,
  type EpochEvent,
  type ProgressEvent,
  type Scores,
  type TrainEvent,
} from './training/events.js';
export {
  type EpochSums,
  type OptimizerState,
  type ParameterState,
  type TrainerState,
} from './training/trainer-state.js';

export { type AugmentationOptions, type CropBorderName, type FlipName } from './data/augmentation.js';
export { Dataset, type Batch, type BatchOptions, type DatasetArrays, type Labels } from './data/dataset.js';
export { packImages, type PackOptions, type PackProgress } from './data/images/pack.js';
export { listShards } from './data/images/shards.js';
export { ImageStream, type ImageBatch, type ImageStreamOptions } from './data/images/loader.js';
export { listImagenet, listImages, type ImageList } from './data/images/folders.js';
export { CIFAR10_NORMALIZATION } from './data/cifar10.js';
export { cifar10, fashionMnist, idxFolder, mnist, type LoadOptions, type TrainAndTest } from './data/index.js';

export { type LayerDiagnosis } from './native.js';

export { liveTensors, Tensor, type TensorArray, type TensorDType } from './tensor/tensor.js';
export {
  dense,
  denseAdjoint,
  denseOuter,
  softmaxCrossEntropy,
  squaredError,
  type LossOptions,
} from './tensor/operations.js';
export {
  avgPool2d,
  conv2d,
  conv2dAdjoint,
  conv2dOuter,
  locallyConnected1d,
  locallyConnected1dAdjoint,
  locallyConnected1dOuter,
  locallyConnected2d,
  locallyConnected2dAdjoint,
  locallyConnected2dOuter,
  maxPool2d,
} from './tensor/convolutions.js';
export { scope } from './tensor/scope.js';
