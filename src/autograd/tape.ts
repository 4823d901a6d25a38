import { InputError, ShapeError } from '../errors.ts';
import type { Context } from '../gpu/context.ts';
import { add } from '../ops/elementwise.ts';
import { expectUntracked, type Inputs, noGrad, type Step, type Tape, withTape } from '../ops/op.ts';
import { reshape, type Storage, share, type Tensor, upload } from '../tensor/tensor.ts';

/**
 * A function at a point, with what its derivatives need: any number of jvp and vjp, no second forward. It holds those
 * tensors until it is disposed, or until the scope it was made in ends.
 */
export interface Linearization extends Disposable {
  readonly value: Tensor;
  /**
   * J dx: how the value changes when the inputs do.
   * @param tangents One for each input, of its shape (or k sets of it, see `Op`); undefined for zero.
   * @throws ShapeError, and InputError after `dispose`.
   */
  jvp(tangents: Inputs): Tensor;
  /**
   * J^T dy: the gradient of <dy, value> in each input. Steps that lead to no input cost nothing.
   * @param cotangent Of the shape of the value (or k sets of it).
   * @throws ShapeError, and InputError after `dispose`.
   */
  vjp(cotangent: Tensor): Tensor[];
  dispose(): void;
}

/**
 * Runs `f` and keeps what its derivatives in `inputs` need.
 *
 * The steps of `f` are recorded as they run, which is a topological order: jvp walks it forwards, vjp backwards. A step
 * is kept only if one of its inputs depends on `inputs`; all else is constant, and no derivative of it is ever computed.
 * A reshape shares its tensor's storage, and derivatives are kept by storage: it needs no step.
 *
 * @param f Made of preimage's operations, or a user's own through `apply`. It gets `inputs`, and may as well close over
 *   them. It must only record: no await.
 * @throws InputError without inputs, with one given twice, for an async f, or inside another recording.
 */
export function linearize(f: (...inputs: Tensor[]) => Tensor, inputs: readonly Tensor[]): Linearization {
  const context = contextOf(inputs);
  const steps: Step[] = [];
  const kept: Tensor[] = [];
  const keep = (tensor: Tensor): Tensor => {
    kept.push(share(tensor));
    return kept[kept.length - 1];
  };
  const tracked = new Set<Storage>(inputs.map((input) => input.storage));
  if (tracked.size < inputs.length) {
    throw new InputError('A tensor, or a reshape of it, is given as two inputs.', 'Give it once: f may use it twice.');
  }
  for (const input of inputs) keep(input);
  const tape: Tape = {
    tracks: ({ storage }) => tracked.has(storage),
    record({ op, options, inputs, value, saved }) {
      const own = inputs.map((input) => input && keep(input));
      steps.push({ op, options, inputs: own, value: keep(value), saved: saved.map(keep) });
      tracked.add(value.storage);
    },
  };
  let disposed = false;
  const dispose = () => {
    disposed = true;
    for (const tensor of kept.splice(0)) tensor.dispose();
  };
  let value: Tensor;
  try {
    value = context.scope(() => keep(expectTensor(withTape(tape, () => f(...inputs)))));
  } catch (error) {
    dispose();
    throw error;
  }
  const lastReader = new Map<Storage, Step>();
  for (const step of steps) for (const input of step.inputs) if (input) lastReader.set(input.storage, step);

  function jvp(tangents: Inputs): Tensor {
    expectAlive(disposed);
    const known = new Map<Storage, Tensor>(); // tangents, from the inputs to the value
    inputs.forEach((input, i) => {
      const tangent = tangents[i];
      if (tangent) known.set(input.storage, reshape(expectLike('tangent', tangent, input), tangent.shape));
    });
    for (const step of steps) {
      if (step.inputs.some((input) => input && known.has(input.storage))) {
        const tangent = context.scope(() => {
          const given = step.inputs.map((input) => input && withShapeOf(input, known.get(input.storage)));
          return step.op.jvp(given, step, step.options);
        });
        known.set(step.value.storage, tangent);
      }
      for (const input of step.inputs) {
        if (!input || lastReader.get(input.storage) !== step || input.storage === value.storage) continue;
        known.get(input.storage)?.dispose();
        known.delete(input.storage);
      }
    }
    return withShapeOf(value, known.get(value.storage)) ?? zerosLike(value);
  }

  function vjp(cotangent: Tensor): Tensor[] {
    expectAlive(disposed);
    const known = new Map<Storage, Tensor>(); // cotangents, from the value to the inputs
    known.set(value.storage, reshape(expectLike('cotangent', cotangent, value), cotangent.shape));
    for (const step of steps.toReversed()) {
      const dy = known.get(step.value.storage);
      if (!dy) continue;
      known.delete(step.value.storage);
      const wants = step.inputs.map((input) => input !== undefined && tape.tracks(input));
      const gradients = context.scope(() => {
        return step.op.vjp(withShapeOf(step.value, dy)!, step, wants, step.options);
      });
      step.inputs.forEach((input, i) => {
        if (!input || !wants[i]) return;
        const gradient = expectGradient(gradients[i], step, i);
        const before = known.get(input.storage);
        known.set(input.storage, before ? add(before, gradient) : reshape(gradient, gradient.shape));
        before?.dispose();
      });
      for (const gradient of gradients) gradient?.dispose();
      dy.dispose();
    }
    return inputs.map((input) => withShapeOf(input, known.get(input.storage)) ?? zerosLike(input));
  }

  /** Runs a derivative with nothing recorded: of a derivative, none is computed. */
  function constant<T>(given: Inputs, work: () => T): T {
    for (const tensor of given) if (tensor) expectUntracked('The derivative of a linearization', tensor);
    return context.scope(() => noGrad(work));
  }

  const linearization: Linearization = {
    value,
    jvp: (tangents) => constant(tangents, () => jvp(tangents)),
    vjp: (cotangent) => constant([cotangent], () => vjp(cotangent)),
    dispose,
    [Symbol.dispose]: dispose,
  };
  context.track(linearization);
  return linearization;
}

/** The context of what is differentiated by. @throws InputError without inputs. */
export function contextOf([input]: readonly Tensor[]): Context {
  if (input) return input.context;
  throw new InputError('Nothing to differentiate by.', 'Give at least one input tensor.');
}

/** A derivative in the shape of its tensor (k sets: k times as many rows), whatever reshapes came between. */
function withShapeOf({ shape, size }: Tensor, derivative: Tensor | undefined): Tensor | undefined {
  if (!derivative) return undefined;
  const [rows = 1, ...rest] = shape;
  return reshape(derivative, derivative.size === size ? shape : [(rows * derivative.size) / size, ...rest]);
}

const zerosLike = ({ context, shape, size }: Tensor): Tensor => upload(context, new Float32Array(size), shape);

function expectTensor(value: Tensor): Tensor {
  if (value?.storage) return value;
  throw new InputError(
    `The function to differentiate returned ${value instanceof Promise ? 'a promise' : typeof value}, not a tensor.`,
    'Return one tensor, synchronously: record inside the function, await read() outside of it.',
  );
}

function expectAlive(disposed: boolean): void {
  if (!disposed) return;
  throw new InputError(
    'A derivative is asked of a disposed linearization: what it had kept of the forward pass is gone.',
    'Dispose it after the last jvp or vjp, or linearize again.',
  );
}

function expectLike(kind: string, derivative: Tensor, { shape, size }: Tensor): Tensor {
  if (derivative.size === size || (derivative.size > 0 && derivative.size % size === 0)) return derivative;
  throw new ShapeError(
    `A ${kind} [${derivative.shape}] is given for a tensor [${shape}].`,
    `Give a ${kind} of the same shape, or several of them one after another.`,
  );
}

function expectGradient(gradient: Tensor | undefined, { op }: Step, input: number): Tensor {
  if (gradient) return gradient;
  throw new InputError(
    `${op.name} has no derivative in its input ${input}.`,
    'Wrap what makes that input in noGrad(() => ...) where it is meant as a constant.',
  );
}
