/// <reference lib="esnext.disposable" preserve="true" />
/** The browser-safe public face of preimage. */

export { type Differentiable, grad, jvp, type ValueAndGradients, valueAndGrad, vjp } from './autograd/grad.ts';
export { type Gradcheck, type GradcheckOptions, gradcheck } from './autograd/gradcheck.ts';
export { jacobian, rowJacobians } from './autograd/jacobian.ts';
export { linearizeRows, type RowLinearization } from './autograd/rows.ts';
export { type Linearization, linearize } from './autograd/tape.ts';
export * from './errors.ts';
export { type AdapterDescription, type AdapterKind, describeAdapter } from './gpu/adapter.ts';
export { type Context, type ContextOptions, createContext, type Run } from './gpu/context.ts';
export type { KernelTime } from './gpu/profiler.ts';
export type { Kernel, Shader } from './gpu/shader.ts';
export { f32 } from './gpu/uniforms.ts';
export { type Cause, findCauses } from './injectivity/causes.ts';
export type { Pair } from './injectivity/closest.ts';
export {
  type CollideOptions,
  type CollisionCost,
  type CollisionProgress,
  type Collisions,
  collide,
  type LayerCollisions,
} from './injectivity/collide.ts';
export { continueClosest } from './injectivity/exhaustive.ts';
export { explainCollision } from './injectivity/explain.ts';
export { type LastStates, lastStates } from './injectivity/last-states.ts';
export { type Margin, type MarginOptions, margins, type PrefixMargins } from './injectivity/margins.ts';
export { type NumberedPrompt, type PromptLine, type PromptSet, promptSet } from './injectivity/prompt-set.ts';
export type { Precision } from './injectivity/quantise.ts';
export {
  type CollisionReportRun,
  collisionReport,
  type MarginReportRun,
  marginReport,
  type ReportPrefix,
} from './injectivity/report.ts';
export {
  type CollisionResult,
  type ExhaustiveResult,
  type FoundPair,
  mergeResults,
  type ResultBin,
  type ResultLayer,
  type ResultPair,
  resultOf,
  type TestIdentity,
} from './injectivity/result.ts';
export { type CollisionStore, memoryStore, type SavedProgress } from './injectivity/store.ts';
export type { Shard } from './injectivity/tiles.ts';
export { bytesFromArray, bytesFromBlob, filesSource } from './io/blobs.ts';
export type { Checkpoint, Dtype, TensorInfo } from './io/checkpoint.ts';
export { urlSource } from './io/http.ts';
export { hubSource } from './io/hub.ts';
export { opfsCache } from './io/opfs.ts';
export { openSafetensors } from './io/safetensors.ts';
export {
  encodeSafetensors,
  type SafetensorsStream,
  streamSafetensors,
  type TensorToWrite,
} from './io/safetensors-writer.ts';
export { openCheckpoint } from './io/sharded.ts';
export type { ByteSource, Source } from './io/source.ts';
export { loadTokenizer, type Tokenizer } from './io/tokenizer.ts';
export { encodeLenses, readLens } from './lens/file.ts';
export { type FitOptions, fitLens } from './lens/fit.ts';
export type { LayerLens, LinearLens } from './lens/lens.ts';
export { type RivalIndex, rivalIndex } from './lens/rivals.ts';
export { createScorer, type Ranking, type Scorer } from './lens/scorer.ts';
export { type LensOptions, lensesOf } from './lens/store.ts';
export { type ModelConfig, parseConfig } from './model/config.ts';
export { forward, residualStates } from './model/forward.ts';
export { type GenerateOptions, generate } from './model/generate.ts';
export { capture, type Hook, type HookPoint, type Hooks } from './model/hooks.ts';
export { initialCheckpoint } from './model/initial.ts';
export { type LoadedModel, loadModel, type ModelFiles, modelFiles, openModel } from './model/load.ts';
export type { LanguageModel } from './model/model.ts';
export {
  type NewPositionMap,
  newPositionMap,
  type PositionMap,
  positionMap,
  type Segment,
} from './model/position-map.ts';
export { createPrefixCache, type PrefixCache } from './model/prefix-cache.ts';
export { loadReferenceModel, type ReferenceModel } from './model/reference.ts';
export { warmUp } from './model/warm-up.ts';
export type { Weights } from './model/weights.ts';
export { ACTIVATIONS, activation } from './ops/activation.ts';
export {
  type AttentionShape,
  appendToCache,
  attention,
  type LayerCache,
  uploadVisibility,
  type Visibility,
  type VisibilityTensors,
} from './ops/attention.ts';
export { type CrossEntropyOptions, crossEntropy } from './ops/cross-entropy.ts';
export { distance } from './ops/distance.ts';
export { dotRows } from './ops/dot-rows.ts';
export { add, multiply, scale } from './ops/elementwise.ts';
export { type AddedRows, embedding, type Table } from './ops/embedding.ts';
export { elementGrid, grid } from './ops/kernels.ts';
export { layernorm } from './ops/layernorm.ts';
export { type MatmulOptions, matmul } from './ops/matmul.ts';
export {
  apply,
  expectOneSet,
  expectUntracked,
  type Forward,
  type Inputs,
  noGrad,
  type Op,
  type PerInput,
  type Point,
} from './ops/op.ts';
export { columnSums, repeat, sum, sumOfSquares } from './ops/reduce.ts';
export { countSets, shapeOfSets } from './ops/sets.ts';
export { placeColumns, replaceColumns, sliceRows, takeColumns } from './ops/slice.ts';
export { logSoftmax, softmax } from './ops/softmax.ts';
export { argmin, topk } from './ops/topk.ts';
export { type Block, block, type Weight } from './probe/blocks/block.ts';
export { type FirstAttention, firstAttention } from './probe/blocks/first-attention.ts';
export { firstAttentionInverse } from './probe/blocks/first-attention-inverse.ts';
export { type LeakyMlp, leakyMlp, leakyMlpStep } from './probe/blocks/leaky-mlp.ts';
export { leakyMlpInverse } from './probe/blocks/leaky-mlp-inverse.ts';
export { followLine, type LineSolution } from './probe/blocks/line.ts';
export { type LinearAttention, linearAttention } from './probe/blocks/linear-attention.ts';
export { linearAttentionInverse } from './probe/blocks/linear-attention-inverse.ts';
export type { Preimage } from './probe/blocks/preimages.ts';
export { attentionBound, mlpBound } from './probe/branch-bound.ts';
export { checkCertificate, headFor, regionFor } from './probe/certificates/check.ts';
export { certifyDominated, type Unembedding, unembedding } from './probe/certificates/dominated.ts';
export { type ModelParameters, modelParameters } from './probe/certificates/model-parts.ts';
export { certificateJson, readCertificate } from './probe/certificates/read.ts';
export { certify } from './probe/certificates/separation.ts';
export type { Certificate, DominationCertificate, Region, SeparationCertificate } from './probe/certificates/types.ts';
export type { Chain } from './probe/chain.ts';
export { type Elicitation, type ElicitOptions, type ElicitTask, elicit, type ForcedToken } from './probe/elicit.ts';
export { type Finding, type Inspector, inspector, type Solve, type StepFinding } from './probe/findings.ts';
export { naturalStates } from './probe/natural.ts';
export { type Probed, type ProbeOptions, type ProbeResult, type ProbeTask, probe } from './probe/probe.ts';
export { type ProbeReportRun, probeReport } from './probe/report.ts';
export type { Search, Vector } from './probe/requests.ts';
export { type Run as ProbeRun, runRounds, type Work } from './probe/rounds.ts';
export { type RowMap, rowMap, subBlocks } from './probe/row-map.ts';
export type { Stage, StepReport as ProbeStepReport } from './probe/solve.ts';
export { type ChainOptions, type ChainSolution, solveChain } from './probe/solve-chain.ts';
export { type ForcedState, forcedStates, randomState, type StateStatistics, stateStatistics } from './probe/targets.ts';
export { encodeVectors, type VectorsFacts, type VectorsRecord } from './probe/vectors-file.ts';
export * as reference from './reference/index.ts';
export { sizeOf } from './reference/shape.ts';
export { selftest } from './selftest/run.ts';
export { calibrate } from './sipit/decision.ts';
export { findLayer, placeRecords } from './sipit/find-layer.ts';
export { centred } from './sipit/foreign-centred.ts';
export { type FinalNorm, finalNormOf } from './sipit/foreign-norm.ts';
export { type Inverted, invert, invertMany } from './sipit/invert.ts';
export { createInverter, type Inverter } from './sipit/inverter.ts';
export { gradientPolicy, type Policy, policies, randomPolicy, type Step } from './sipit/policy.ts';
export { inversionReport, type NamedInversion, type ReportRun, sweepReport } from './sipit/report.ts';
export {
  encodeStates,
  type FileRecord,
  type ReadStatesOptions,
  readStates,
  type StatesFile,
} from './sipit/states-file.ts';
export { sweep } from './sipit/sweep.ts';
export * from './sipit/types.ts';
export { warmUpInverter } from './sipit/warm-up.ts';
export * from './tensor/tensor.ts';
export {
  readTraining,
  type SavedTraining,
  type TrainingProgress,
  type TrainingState,
  trainingFile,
  weightsFile,
} from './train/checkpoint.ts';
export { configNamed, namedConfigs } from './train/configs.ts';
export {
  batchOf,
  evenWindows,
  holdOut,
  type Tokens,
  type TrainingData,
  unigramLoss,
  type Windows,
} from './train/data.ts';
export { encodeText } from './train/encode.ts';
export { type LossHistory, lossCurve } from './train/loss-curve.ts';
export type { OptimizerOptions } from './train/optimizer.ts';
export { completePlan, learningRateAt, type TrainingPlan } from './train/plan.ts';
export {
  type Evaluation,
  type StepReport,
  stepsWithin,
  type TrainOptions,
  type TrainResult,
  train,
} from './train/train.ts';
