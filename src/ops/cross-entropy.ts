import code from '../../shaders/cross-entropy.wgsl?raw';
import jvpCode from '../../shaders/cross-entropy-jvp.wgsl?raw';
import vjpCode from '../../shaders/cross-entropy-vjp.wgsl?raw';
import { InputError, ShapeError } from '../errors.ts';
import { f32 } from '../gpu/uniforms.ts';
import { IGNORE_INDEX } from '../reference/cross-entropy.ts';
import { empty, type Tensor, upload } from '../tensor/tensor.ts';
import { elementGrid, grid, matrixShape, rowLayout } from './kernels.ts';
import { apply, expectOneSet, type Op } from './op.ts';
import { sum } from './reduce.ts';

const shader = { file: 'shaders/cross-entropy.wgsl', code };
const vjpShader = { file: 'shaders/cross-entropy-vjp.wgsl', code: vjpCode };
const jvpShader = { file: 'shaders/cross-entropy-jvp.wgsl', code: jvpCode };

/** The label of a row that does not count, as the shaders know it. */
const IGNORED = 0xffffffff;

/** How the rows of logits are shared out; a row that is a whole vocabulary gets more threads than others do. */
function layoutOf(logits: Tensor) {
  const { rows, width } = matrixShape(logits);
  const layout = rowLayout(logits.context.adapter.kind);
  const constants = layout.LANES > 1 && width > 4096 ? { ...layout, LANES: 256 } : layout;
  return { rows, width, constants, workgroups: grid(Math.ceil(rows / constants.ROWS)) };
}

const meanLoss: Op<[logits: Tensor, labels: Tensor], { readonly counted: number }> = {
  name: 'crossEntropy',
  forward([logits, labels], { counted }) {
    const { context } = logits;
    const { rows, width, constants, workgroups } = layoutOf(logits);
    const losses = empty(context, [rows], 'f32', 'losses');
    const statistics = empty(context, [rows, 2], 'f32', 'cross-entropy');
    context.run({
      kernel: { shader, entry: 'main', constants },
      buffers: [logits.buffer, labels.buffer, losses.buffer, statistics.buffer],
      uniforms: [rows, width, f32(1 / counted)],
      workgroups,
      cost: 8 * logits.size,
    });
    const value = sum(losses);
    losses.dispose();
    return { value, saved: [statistics] };
  },
  vjp(dy, { inputs: [logits, labels], value, saved: [statistics] }, _, { counted }) {
    const { rows, width } = matrixShape(logits);
    const dlogits = empty(logits.context, logits.shape, 'f32', 'cross-entropy vjp');
    logits.context.run({
      kernel: { shader: vjpShader, entry: 'main' },
      buffers: [logits.buffer, labels.buffer, statistics.buffer, expectOneSet(dy, value).buffer, dlogits.buffer],
      uniforms: [rows, width, f32(1 / counted)],
      workgroups: elementGrid(dlogits.size),
      cost: 8 * logits.size,
    });
    return [dlogits];
  },
  jvp([dlogits], { inputs: [logits, labels], saved: [statistics] }, { counted }) {
    const { context } = logits;
    const { rows, width, constants, workgroups } = layoutOf(logits);
    const dlosses = empty(context, [rows], 'f32', 'cross-entropy jvp');
    context.run({
      kernel: { shader: jvpShader, entry: 'main', constants },
      buffers: [logits.buffer, labels.buffer, statistics.buffer, expectOneSet(dlogits!, logits).buffer, dlosses.buffer],
      uniforms: [rows, width, f32(1 / counted)],
      workgroups,
      cost: 8 * logits.size,
    });
    return sum(dlosses);
  },
};

/** Which rows count. */
export interface CrossEntropyOptions {
  /** The label of rows that do not; default -100, as in PyTorch. In a Uint32Array it is its two's complement. */
  readonly ignoreIndex?: number;
}

/**
 * Cross-entropy of next-token logits in nats: the mean of -logSoftmax(logits)[r, label_r] over the rows that count.
 * @param logits [rows, vocabulary]
 * @param labels [rows]
 * @returns [1]
 * @throws ShapeError unless there is a label for each row.
 * @throws InputError for a label outside the vocabulary, or when no row counts.
 */
export function crossEntropy(
  logits: Tensor,
  labels: Uint32Array | Int32Array,
  { ignoreIndex = IGNORE_INDEX }: CrossEntropyOptions = {},
): Tensor {
  const { rows, width } = matrixShape(logits);
  if (labels.length !== rows) {
    throw new ShapeError(`${labels.length} labels for logits [${logits.shape}].`, 'Give one label for each row.');
  }
  let counted = 0;
  const known = Uint32Array.from(labels, (label, row) => {
    if ((label | 0) === (ignoreIndex | 0)) return IGNORED;
    counted++;
    return expectLabel(label, row, width, ignoreIndex);
  });
  if (counted === 0) {
    throw new InputError(
      `None of ${rows} rows has a label that counts.`,
      `Give a label other than ${ignoreIndex} to at least one.`,
    );
  }
  const uploaded = upload(logits.context, known);
  const loss = apply(meanLoss, [logits, uploaded], { counted });
  uploaded.dispose();
  return loss;
}

function expectLabel(label: number, row: number, vocabulary: number, ignoreIndex: number): number {
  if (label >= 0 && label < vocabulary) return label;
  throw new InputError(
    `Row ${row} has the label ${label} in a vocabulary of ${vocabulary}.`,
    `Use labels from 0 to ${vocabulary - 1}, or ${ignoreIndex} for rows that do not count.`,
  );
}
