import { InputError, ShapeError } from '../errors.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** The tensors an operation reads; undefined where an optional one is left out. */
export type Inputs = readonly (Tensor | undefined)[];

/** A tensor, or nothing, for each input. */
export type PerInput<I extends Inputs> = { readonly [K in keyof I]?: Tensor | undefined };

/** What an operation computed. */
export interface Forward {
  /** In a buffer of its own: operations change nothing in place. */
  readonly value: Tensor;
  /** Statistics that the derivatives would otherwise compute again; disposed at once when nothing records. */
  readonly saved?: readonly Tensor[];
}

/** The point at which a derivative is taken. */
export interface Point<I extends Inputs> {
  readonly inputs: I;
  readonly value: Tensor;
  readonly saved: readonly Tensor[];
}

/**
 * An operation with its derivatives. With J the Jacobian of `forward` at a point, `vjp` is J^T dy and `jvp` is J dx.
 *
 * Derivatives of operations that treat rows independently take several sets of rows at once: a tangent or cotangent of
 * k times as many rows as the point has is k sets, one after another, each at the same point.
 */
export interface Op<I extends Inputs, Options = void> {
  readonly name: string;
  forward(inputs: I, options: Options): Forward;
  /**
   * The gradient in each input that is wanted; others may be undefined. May return `dy` itself.
   * @param dy Cotangent of the value, of its shape.
   * @param wants Which inputs need a gradient.
   */
  vjp(dy: Tensor, at: Point<I>, wants: readonly boolean[], options: Options): PerInput<I>;
  /**
   * The tangent of the value.
   * @param tangents Tangent of each input; undefined where it is zero. At least one is given.
   */
  jvp(tangents: PerInput<I>, at: Point<I>, options: Options): Tensor;
}

/** One operation that ran, as a tape keeps it. */
export interface Step extends Point<Inputs> {
  readonly op: Op<Inputs, unknown>;
  readonly options: unknown;
}

/** Who listens to the operations that run. */
export interface Tape {
  /** Whether a tensor depends on what the tape differentiates by. */
  tracks(tensor: Tensor): boolean;
  /** Keeps what the step needs; `apply` disposes its own `saved` afterwards. */
  record(step: Step): void;
}

let tape: Tape | undefined;

/** Runs an operation. When a tape listens and an input is tracked, the step is recorded. */
export function apply<I extends Inputs, Options>(op: Op<I, Options>, inputs: I, options: Options): Tensor {
  const { value, saved = [] } = op.forward(inputs, options);
  if (isTracked(...inputs)) {
    tape?.record({ op: op as unknown as Step['op'], inputs, value, saved, options });
  }
  for (const tensor of saved) tensor.dispose();
  return value;
}

/** Whether a derivative by one of these is being recorded: fused kernels then keep to what they can differentiate. */
export const isTracked = (...tensors: Inputs): boolean =>
  tape !== undefined && tensors.some((tensor) => tensor && tape?.tracks(tensor));

/**
 * For operations that have no derivative.
 * @throws InputError when a derivative by `tensor` is being recorded: it would silently be zero.
 */
export function expectUntracked(what: string, tensor: Tensor): void {
  if (!isTracked(tensor)) return;
  throw new InputError(
    `${what} has no derivative, and is given a tensor that one is recorded of.`,
    'Wrap it in noGrad(() => ...) where it is meant as a constant.',
  );
}

/**
 * For derivatives that cannot tell several sets of rows apart.
 * @returns `derivative`
 * @throws ShapeError unless it has the size of `tensor`.
 */
export function expectOneSet(derivative: Tensor, tensor: Tensor): Tensor {
  if (derivative.size === tensor.size) return derivative;
  throw new ShapeError(
    `A derivative [${derivative.shape}] is given for a tensor [${tensor.shape}] whose rows are summed.`,
    'Give one set of tangents or cotangents at a time here.',
  );
}

/** Runs `work` with this tape listening. @throws InputError when one listens already. */
export function withTape<T>(listener: Tape, work: () => T): T {
  if (tape) {
    throw new InputError(
      'A derivative is taken while another is being recorded: derivatives of derivatives are not computed.',
      'Take them one after the other, or wrap the inner one in noGrad(() => ...).',
    );
  }
  return listen(listener, work);
}

/** Runs `work` with no tape listening: what it computes counts as constant. */
export const noGrad = <T>(work: () => T): T => listen(undefined, work);

function listen<T>(listener: Tape | undefined, work: () => T): T {
  const before = tape;
  tape = listener;
  try {
    return work();
  } finally {
    tape = before;
  }
}
