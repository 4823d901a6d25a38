import { FormatError, MissingTensorError } from '../errors.ts';
import type { Checkpoint } from '../io/checkpoint.ts';
import { isObject } from '../io/json.ts';
import { type SafetensorsStream, streamSafetensors, type TensorToStream } from '../io/safetensors-writer.ts';
import { partsOf, publishedName } from '../model/parameters.ts';
import { fillRun, type Run, runsOf } from '../model/weights.ts';
import { sliceRows } from '../ops/slice.ts';
import { sizeOf } from '../reference/shape.ts';
import { read, reshape, type Tensor, take } from '../tensor/tensor.ts';
import type { TrainedTensor } from './optimizer.ts';
import type { TrainingPlan } from './plan.ts';
import type { Evaluation } from './train.ts';
import type { Trainer } from './trainer.ts';

/** How far training has come. */
export interface TrainingProgress {
  readonly plan: TrainingPlan;
  /** Of each step taken. */
  readonly losses: Float32Array<ArrayBuffer>;
  readonly evaluations: readonly Evaluation[];
  /** Spent so far. */
  readonly seconds: number;
}

/** All that going on needs. Tensors are read from the GPU as they are written: write it before the next step. */
export interface TrainingState extends TrainingProgress {
  /** What guessing by token frequency costs on the text of the evaluations, in nats. */
  readonly unigramLoss: number;
  /** By the names that transformers gives them. */
  readonly weights: readonly TensorToStream[];
  /** What the optimizer remembers. */
  readonly memory: readonly TensorToStream[];
}

/** Training as a file holds it. */
export interface SavedTraining extends TrainingProgress {
  readonly checkpoint: Checkpoint;
  /** What the writer said besides, such as where the text came from. */
  readonly about: Readonly<Record<string, unknown>>;
}

const METADATA = 'preimage.training';
const LOSSES = 'history.losses';
const EVALUATIONS = 'history.evaluations';
const memoryName = (kind: string, parameter: string) => `optimizer.${kind}.${publishedName(parameter)}`;

/** The state of a trainer, as it is when the tensors are read. */
export function trainingState(
  { parameters, memory }: Trainer,
  progress: TrainingProgress & Pick<TrainingState, 'unigramLoss'>,
): TrainingState {
  return {
    ...progress,
    weights: streams(
      parameters,
      publishedName,
      parameters.map(({ tensor }) => tensor),
    ),
    memory: [...memory].flatMap(([kind, tensors]) => streams(parameters, (name) => memoryName(kind, name), tensors)),
  };
}

/** One tensor for each parameter: chunks are joined again, and what shares a tensor on the GPU is taken apart. */
function streams(
  parameters: readonly TrainedTensor[],
  nameOf: (parameter: string) => string,
  tensors: readonly Tensor[],
): TensorToStream[] {
  return [...new Set(parameters.map(({ name }) => name))].flatMap((name) => {
    const chunks = tensors.filter((_, i) => parameters[i].name === name);
    const parts = partsOf(name);
    const [, ...columns] = chunks[0].shape;
    const rows = sum(chunks.map(({ shape }) => shape[0])) / parts.length;
    return parts.map(
      (parameter, part): TensorToStream => ({
        name: nameOf(parameter),
        dtype: 'F32',
        shape: [rows, ...columns],
        async *pieces() {
          for (const run of runsOf(chunks, parts.length)) if (run.part === part) yield await readRun(run);
        },
      }),
    );
  });
}

function readRun({ tensor, at, count }: Run): Promise<Float32Array<ArrayBuffer>> {
  if (count === tensor.size) return read(tensor);
  return take(tensor.context.scope(() => sliceRows(reshape(tensor, [tensor.size, 1]), at, count)));
}

/** The weights as the `model.safetensors` of a model folder. */
export const weightsFile = ({ weights }: TrainingState): SafetensorsStream =>
  streamSafetensors(weights, { format: 'pt' });

/**
 * All of it as one file, which `readTraining` understands, and any loader of weights, too.
 * @param about Anything to find again, as JSON.
 */
export function trainingFile(state: TrainingState, about: Readonly<Record<string, unknown>> = {}): SafetensorsStream {
  const { plan, losses, evaluations, seconds } = state;
  const table = Float64Array.from(evaluations.flatMap(({ step, loss }) => [step, loss]));
  const history: TensorToStream[] = [
    { name: LOSSES, dtype: 'F32', shape: [losses.length], pieces: () => [losses] },
    { name: EVALUATIONS, dtype: 'F64', shape: [evaluations.length, 2], pieces: () => [table] },
  ];
  const metadata = { format: 'pt', [METADATA]: JSON.stringify({ plan, seconds, about }) };
  return streamSafetensors([...state.weights, ...state.memory, ...history], metadata);
}

/**
 * Reads what `trainingFile` wrote; tensors stay in the file until they are needed.
 * @throws FormatError for a file of another kind.
 */
export async function readTraining(checkpoint: Checkpoint): Promise<SavedTraining> {
  const text = checkpoint.metadata.get(METADATA);
  const hasHistory = [LOSSES, EVALUATIONS].every((name) => checkpoint.tensors.has(name));
  if (text === undefined || !hasHistory) {
    throw new FormatError(
      `${checkpoint.name} is no state of training.`,
      'Pass the training.safetensors that preimage train wrote.',
    );
  }
  const { plan, seconds, about } = parse(text, checkpoint.name);
  const table = await checkpoint.float64(EVALUATIONS);
  return {
    checkpoint,
    plan,
    seconds,
    about,
    losses: await checkpoint.float32(LOSSES),
    evaluations: Array.from({ length: table.length / 2 }, (_, i) => ({ step: table[2 * i], loss: table[2 * i + 1] })),
  };
}

function parse(text: string, name: string): Pick<SavedTraining, 'plan' | 'seconds' | 'about'> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (isObject(value) && isObject(value.plan) && typeof value.seconds === 'number' && isObject(value.about)) {
    return { plan: value.plan as unknown as TrainingPlan, seconds: value.seconds, about: value.about };
  }
  throw new FormatError(`${name} holds a plan of training that cannot be read.`, 'Use a state as it was written.');
}

/**
 * Fills the optimizer's memory from a file.
 * @throws MissingTensorError when the file lacks what this optimizer remembers; FormatError when it is of another size.
 */
export async function loadMemory({ parameters, memory }: Trainer, { checkpoint }: SavedTraining): Promise<void> {
  for (const [kind, tensors] of memory) {
    for (const name of new Set(parameters.map((parameter) => parameter.name))) {
      const chunks = tensors.filter((_, i) => parameters[i].name === name);
      const stored = partsOf(name).map((parameter) => memoryName(kind, parameter));
      const size = sum(chunks.map((chunk) => chunk.size)) / stored.length;
      for (const part of stored) expectSize(checkpoint, part, size);
      for (const run of runsOf(chunks, stored.length)) await fillRun(run, checkpoint, stored[run.part]);
    }
  }
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

function expectSize(checkpoint: Checkpoint, name: string, size: number): void {
  const info = checkpoint.tensors.get(name);
  if (!info) {
    throw new MissingTensorError(
      `${name} is not in ${checkpoint.name}: the optimizer needs it to go on.`,
      'Begin anew from these weights, or use the state as it was written.',
    );
  }
  const stored = sizeOf(info.shape);
  if (stored === size) return;
  throw new FormatError(
    `${name} in ${checkpoint.name} has ${stored} elements; its parameter has ${size}.`,
    'Use the state as it was written.',
  );
}
