import { InputError, TrainingError } from '../errors.ts';
import type { ModelConfig } from '../model/config.ts';
import type { LanguageModel } from '../model/model.ts';
import { loadMemory, type SavedTraining, type TrainingState, trainingState } from './checkpoint.ts';
import { batchOf, checkData, evenWindows, type TrainingData, unigramLoss } from './data.ts';
import { completePlan, learningRateAt, type TrainingPlan } from './plan.ts';
import { createTrainer } from './trainer.ts';

/** A step that was taken. */
export interface StepReport {
  /** From 1. */
  readonly step: number;
  readonly steps: number;
  /** Mean cross-entropy of the batch before the step, in nats. */
  readonly loss: number;
  /** Before clipping. */
  readonly gradientNorm: number;
  readonly learningRate: number;
  /** Since training began, breaks left out. */
  readonly seconds: number;
  readonly tokensPerSecond: number;
}

/** A look at held-out text. */
export interface Evaluation {
  /** Steps taken before. */
  readonly step: number;
  /** Mean cross-entropy in nats. */
  readonly loss: number;
}

/** How to train: the plan, as far as its defaults do not serve, and who is told. */
export interface TrainOptions extends Partial<TrainingPlan> {
  /** Goes on where a checkpoint left off, by its plan (`steps` may be more or fewer); load the model from it, too. */
  readonly resume?: SavedTraining;
  /** Called after each step. */
  readonly onStep?: (report: StepReport) => void;
  readonly onEvaluation?: (evaluation: Evaluation) => void;
  /**
   * Keeps the state: every `checkpointSeconds`, at the end, when the signal fires, and when a gradient is not finite
   * though the loss was. A loss that is not finite keeps nothing: the weights may be spoilt, and the state before good.
   */
  readonly onCheckpoint?: (state: TrainingState) => Promise<void>;
  /** Default 300. */
  readonly checkpointSeconds?: number;
  /** Stops after the step under way. */
  readonly signal?: AbortSignal;
}

/** What came of training. */
export interface TrainResult {
  /** Steps taken in all. */
  readonly step: number;
  readonly steps: number;
  /** Of each step. */
  readonly losses: Float32Array;
  readonly evaluations: readonly Evaluation[];
  /** What guessing by token frequency costs on the text of the evaluations, in nats. */
  readonly unigramLoss: number;
  /** In all, evaluations and saving included. */
  readonly seconds: number;
  /** Trained on in all. */
  readonly tokens: number;
  /** While taking the steps since training began or went on. */
  readonly tokensPerSecond: number;
}

/**
 * Trains a model in place. Its weights change step by step; what `plan` and data are the same gives the same losses,
 * bit by bit on one adapter, whether or not it was interrupted.
 *
 * @throws InputError for a plan or data that do not fit the model.
 * @throws TrainingError when a loss, also on held-out text, or a gradient is not finite, which it names; the weights are
 * those before the step.
 */
export async function train(
  model: LanguageModel,
  data: TrainingData,
  options: TrainOptions = {},
): Promise<TrainResult> {
  const { resume, onStep, onEvaluation, onCheckpoint, checkpointSeconds = 300, signal } = options;
  const plan = planOf(options, model.config);
  checkData(data, plan, model.config.vocabularySize);
  const heldOut = evenWindows(data.heldOut, plan.window, plan.evaluationWindows);
  const unigram = unigramLoss(data.train, heldOut.labels, model.config.vocabularySize);
  const trainer = createTrainer(model, plan);
  const losses = [...(resume?.losses ?? [])];
  const before = losses.length;
  const evaluations = [...(resume?.evaluations ?? [])];
  const seconds = stopwatch(resume?.seconds ?? 0);
  const tokensOfStep = plan.batch * plan.window;

  let savedAt = seconds();
  async function save(): Promise<void> {
    const progress = { plan, losses: Float32Array.from(losses), evaluations: [...evaluations], seconds: seconds() };
    await onCheckpoint?.(trainingState(trainer, { ...progress, unigramLoss: unigram }));
    savedAt = seconds();
  }

  async function evaluate(): Promise<void> {
    const loss = await trainer.evaluate(heldOut, signal);
    if (loss === undefined) return;
    if (!Number.isFinite(loss)) throw heldOutNotFinite(losses.length);
    evaluations.push({ step: losses.length, loss });
    onEvaluation?.(evaluations[evaluations.length - 1]);
  }

  let last: StepReport | undefined;
  let steppingSeconds = 0;
  async function takeStep(): Promise<void> {
    const step = losses.length + 1;
    const learningRate = learningRateAt(plan, step - 1);
    const begun = seconds();
    const { loss, gradientNorm, culprit } = await trainer.step(batchOf(data.train, plan, step - 1), learningRate, step);
    if (culprit !== undefined) {
      const failure = Number.isFinite(loss) ? await save().catch((error: unknown) => error) : undefined;
      throw notFinite(culprit, { step, learningRate, loss: losses.at(-1), norm: last?.gradientNorm }, failure);
    }
    losses.push(loss);
    const now = seconds();
    steppingSeconds += now - begun;
    const tokensPerSecond = tokensOfStep / (now - begun);
    last = { step, steps: plan.steps, loss, gradientNorm, learningRate, seconds: now, tokensPerSecond };
    onStep?.(last);
  }

  try {
    if (resume) await loadMemory(trainer, resume);
    for (;;) {
      const step = losses.length;
      const isDue = step % plan.evaluateEvery === 0 || step === plan.steps;
      if (isDue && evaluations.at(-1)?.step !== step) await evaluate();
      if (step >= plan.steps || signal?.aborted) break;
      if (seconds() - savedAt >= checkpointSeconds) await save();
      await takeStep();
    }
    await save();
  } finally {
    trainer.dispose();
  }
  return {
    step: losses.length,
    steps: plan.steps,
    losses: Float32Array.from(losses),
    evaluations,
    unigramLoss: unigram,
    seconds: seconds(),
    tokens: losses.length * tokensOfStep,
    tokensPerSecond: steppingSeconds > 0 ? ((losses.length - before) * tokensOfStep) / steppingSeconds : 0,
  };
}

/**
 * The plan that training with these options follows: that of the state to go on from, or a new one.
 * @throws InputError as `completePlan`, or when fewer steps are asked for than the state has taken.
 */
export function planOf(options: TrainOptions, config: ModelConfig): TrainingPlan {
  const { resume } = options;
  if (!resume) return completePlan(options, config);
  const plan = completePlan({ ...resume.plan, steps: options.steps ?? resume.plan.steps }, config);
  if (plan.steps >= resume.losses.length) return plan;
  throw new InputError(
    `${resume.checkpoint.name} has taken ${resume.losses.length} steps already; ${plan.steps} are asked for.`,
    'Ask for more.',
  );
}

/** Seconds that pass, counted on from `before`. */
function stopwatch(before: number): () => number {
  const started = performance.now();
  return () => before + (performance.now() - started) / 1000;
}

/**
 * @param at The step; loss and norm of the gradient are those of the step before, where they are known.
 * @param cause What kept the state from being saved.
 */
function notFinite(
  culprit: string,
  at: { step: number; learningRate: number; loss?: number; norm?: number },
  cause: unknown,
): TrainingError {
  const { step, learningRate, loss, norm } = at;
  const ofGradient = norm === undefined ? '' : ` and the norm of the gradient ${norm.toPrecision(3)}`;
  const before =
    loss === undefined
      ? 'it was the first step'
      : `at the step before, the loss was ${loss.toPrecision(4)}${ofGradient}`;
  return new TrainingError(
    `Step ${step}: ${culprit} (learning rate ${learningRate.toPrecision(3)}; ${before}).`,
    'The weights are those before the step. Begin again with a lower learning rate, a longer warm-up, or clipping.',
    { cause },
  );
}

function heldOutNotFinite(steps: number): TrainingError {
  return new TrainingError(
    `After ${steps} steps: the held-out loss is not a finite number.`,
    steps === 0
      ? 'Begin with weights that are finite.'
      : 'Begin again with a lower learning rate, a longer warm-up, or clipping.',
  );
}

/** How many steps fit into a time, evaluations included; a few are tried, and change nothing. */
export async function stepsWithin(
  model: LanguageModel,
  data: TrainingData,
  options: Partial<TrainingPlan>,
  secondsLeft: number,
): Promise<number> {
  const plan = completePlan(options, model.config);
  checkData(data, plan, model.config.vocabularySize);
  const trainer = createTrainer(model, plan);
  try {
    const seconds = stopwatch(0);
    const rehearse = (step: number) => trainer.rehearse(batchOf(data.train, plan, step));
    await rehearse(0); // compiles the kernels
    const begun = seconds();
    for (let step = 1; step <= TRIAL_STEPS; step++) await rehearse(step);
    const perStep = (seconds() - begun) / TRIAL_STEPS;
    // A forward pass is a third of a step.
    const evaluations = (EVALUATIONS * plan.evaluationWindows * perStep) / (3 * plan.batch);
    return Math.max(1, Math.floor((secondsLeft - seconds() - evaluations) / perStep));
  } finally {
    trainer.dispose();
  }
}

const TRIAL_STEPS = 3;
/** With those at the beginning and the end; see `completePlan`. */
const EVALUATIONS = 11;
